"""Measured defocus of each tilt image: files of CTFFIND, AreTomo, Gctf and IMOD's ctfplotter.

Where a file gives a direction of astigmatism, it is taken as degrees from x, counter-clockwise, of the first
of the two defocus values.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from dewedge import limits
from dewedge.errors import InputError, shown
from dewedge.geometry import CtfParameters, Floats
from dewedge.io import star
from dewedge.io.files import StrPath, write_text_atomic
from dewedge.io.star import read_star
from dewedge.io.text_files import number, numbers, read_text

_NM, _A = 1e-3, 1e-4  # in micrometres
# Flags on the first line of ctfplotter's files from version 3 on.
_ASTIGMATISM, _ASTIGMATISM_RADIANS, _PHASE, _PHASE_RADIANS = 1, 2, 4, 8


def read_ctf_file(path: StrPath, n_images: int) -> CtfParameters:
    """CTF parameters of a stack of ``n_images`` images, in its order; the program is told by the content.

    Raises
    ------
    InputError
        If the file is of none of these programs, or not of a stack of so many images.
    """
    path = Path(path)
    if path.suffix.lower() == ".star":
        return read_gctf(path, n_images)
    if path.suffix.lower() == ".defocus":
        return read_ctfplotter(path, n_images)
    return read_ctffind(path, n_images)


def read_ctffind(path: StrPath, n_images: int) -> CtfParameters:
    """CTFFIND's .txt and AreTomo's _CTF.txt: defocus in A, azimuth in degrees, phase shift in radians.

    Errors as `read_ctf_file`.
    """
    text = read_text(path)
    comments = " ".join(line for line in text.splitlines() if line.lstrip().startswith("#"))
    rows = _rows(path, text, (7, 8), "CTFFIND's columns (number, defocus 1, defocus 2, azimuth, ...)")
    if not np.array_equal(rows[:, 0], np.arange(1, len(rows) + 1)):
        raise InputError(f"{path}: expected micrographs numbered from 1 on, in order")
    _expect(path, len(rows), n_images)

    def of_header(name: str) -> float | None:
        match = re.search(rf"{name}:\s*([0-9.]+)", comments)
        return number(match[1]) if match else None

    return CtfParameters(
        defocus_u_um=rows[:, 1] * _A,
        defocus_v_um=rows[:, 2] * _A,
        astigmatism_deg=rows[:, 3],
        phase_shift_deg=np.degrees(rows[:, 4]),
        voltage_kV=of_header("acceleration voltage"),
        spherical_aberration_mm=of_header("spherical aberration"),
        amplitude_contrast=of_header("amplitude contrast"),
    )


def write_ctffind(path: StrPath, ctf: CtfParameters) -> None:
    """Write CTF parameters as CTFFIND's .txt does; the fit's quality and resolution, not known, are 0.

    Errors as `dewedge.io.files.write_text_atomic`.
    """
    header = [
        f"# acceleration voltage: {ctf.voltage_kV:.1f} keV ; spherical aberration: "
        f"{ctf.spherical_aberration_mm:.2f} mm ; amplitude contrast: {ctf.amplitude_contrast:.2f}",
        "# Columns: #1 - micrograph number; #2 - defocus 1 [Angstroms]; #3 - defocus 2; #4 - azimuth of "
        "astigmatism; #5 - additional phase shift [radians]; #6 - cross correlation; #7 - spacing [A]",
    ]
    rows = zip(
        ctf.defocus_u_um / _A,
        ctf.defocus_v_um / _A,
        ctf.astigmatism_deg,
        np.radians(ctf.phase_shift_deg),
        strict=True,
    )
    lines = [
        f"{i}.000000 {u:.2f} {v:.2f} {angle:.4f} {phase:.6f} 0.000000 0.000000"
        for i, (u, v, angle, phase) in enumerate(rows, 1)
    ]
    write_text_atomic(path, "\n".join([*header, *lines]) + "\n")


def read_gctf(path: StrPath, n_images: int) -> CtfParameters:
    """Gctf's .star: one row for each image, in the order of the stack.

    Errors as `read_ctf_file`.
    """
    tables = [table for table in read_star(path).values() if "rlnDefocusU" in table]
    if not tables:
        raise InputError(f"{path}: no column rlnDefocusU: expected a STAR file of Gctf")
    table = tables[0]
    u = star.numbers(path, table, "rlnDefocusU")
    _expect(path, len(u), n_images)
    return CtfParameters(
        defocus_u_um=u * _A,
        defocus_v_um=star.numbers(path, table, "rlnDefocusV") * _A,
        astigmatism_deg=star.numbers(path, table, "rlnDefocusAngle"),
        phase_shift_deg=star.numbers(path, table, "rlnPhaseShift", 0.0),
        voltage_kV=star.number(path, table, "rlnVoltage"),
        spherical_aberration_mm=star.number(path, table, "rlnSphericalAberration"),
        amplitude_contrast=star.number(path, table, "rlnAmplitudeContrast"),
    )


def read_ctfplotter(path: StrPath, n_images: int) -> CtfParameters:
    """IMOD's .defocus, versions 2 and 3: defocus in nm of views or ranges of views.

    An image gets the values at the middle of its range; between ranges they are interpolated by view number.

    Errors as `read_ctf_file`.
    """
    lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
    table = [row for row in map(numbers, lines[: limits.TILTS + 1]) if row is not None]
    if not table or len(table) < len(lines):
        raise InputError(f"{path}: expected a .defocus file of IMOD's ctfplotter: only numbers, in lines")
    flags = 0
    version = 1
    if len(table[0]) == 6 and int(table[0][5]) >= 3:
        flags, version, table = int(table[0][0]), int(table[0][5]), table[1:]
    elif len(table[0]) == 6:
        version = int(table[0].pop())
    width = 5 + 2 * bool(flags & _ASTIGMATISM) + bool(flags & _PHASE)
    if not table or min(map(len, table)) < width:
        raise InputError(f"{path}: expected at least {width} numbers on every line of defocus values")
    rows = np.array([row[:width] for row in table])
    # Views count from 1 since version 2.
    views = (rows[:, 0] + rows[:, 1]) / 2 - (1 if version >= 2 else 0)
    if views.min() < 0 or views.max() > n_images - 1:
        raise InputError(
            f"{path}: views {rows[:, 0].min():g} to {rows[:, 1].max():g}: expected those of a stack of "
            f"{n_images} images"
        )
    order = np.argsort(views, kind="stable")

    def each(values: Floats) -> Floats:
        return np.interp(np.arange(n_images), views[order], values[order])

    u = each(rows[:, 4]) * _NM
    if flags & _ASTIGMATISM:
        v = each(rows[:, 5]) * _NM
        direction = rows[:, 6] if flags & _ASTIGMATISM_RADIANS else np.radians(rows[:, 6])
        # An axis, not a vector: 89 and -89 degrees are neighbours.
        astigmatism_deg = np.degrees(np.arctan2(each(np.sin(2 * direction)), each(np.cos(2 * direction)))) / 2
    else:
        v, astigmatism_deg = u, np.zeros(n_images)
    phase_shift_deg = np.zeros(n_images)
    if flags & _PHASE:
        phase = each(rows[:, -1])
        phase_shift_deg = np.degrees(phase) if flags & _PHASE_RADIANS else phase
    return CtfParameters(
        defocus_u_um=u, defocus_v_um=v, astigmatism_deg=astigmatism_deg, phase_shift_deg=phase_shift_deg
    )


def _rows(path: StrPath, text: str, widths: tuple[int, ...], expected: str) -> Floats:
    rows: list[list[float]] = []
    for place, line in enumerate(text.splitlines(), start=1):
        words = line.split(maxsplit=max(widths))
        if not words or words[0].startswith("#"):
            continue
        # The rest is not used; CTFFIND writes inf there where it could fit no rings.
        row = numbers(words[:5])
        if row is None or len(words) not in widths or len(rows) == limits.TILTS:
            raise InputError(f"{path}, line {place}: expected {expected}, got {shown(line)}")
        rows.append(row)
    if not rows:
        raise InputError(f"{path}: expected {expected}, found no line of numbers")
    return np.array(rows)


def _expect(path: StrPath, count: int, n_images: int) -> None:
    if count != n_images:
        raise InputError(
            f"{path}: defocus of {count} images for a stack of {n_images}: expected one line for each image"
        )
