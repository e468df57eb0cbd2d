"""IMOD: a tilt series with the files that etomo keeps beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dewedge.errors import InputError, shown
from dewedge.geometry import TiltGeometry
from dewedge.io.ctf_files import read_ctf_file
from dewedge.io.entries import SeriesEntry
from dewedge.io.files import StrPath, is_file
from dewedge.io.image_numbers import image_numbers, numbers_text
from dewedge.io.mrc import read_mrc
from dewedge.io.programs.projection_model import x_tilt_notes
from dewedge.io.text_files import number, read_numbers, read_text
from dewedge.io.tilt_images import stack_images
from dewedge.io.tilt_series import find_sidecars, read_tilt_series

STACK_SUFFIXES = (".mrc", ".st", ".mrcs", ".ali")

# Of a file of the series TS: after its name.
_CTF_ENDINGS = (".defocus", "_CTF.txt", "_ctf.txt", "_ctffind4.txt", "_ctffind.txt", "_gctf.star")


@dataclass(frozen=True)
class Etomo:
    """Values that etomo's files of one tilt series tell.

    Parameters
    ----------
    angle_offset_deg
        OFFSET of tilt.com, which IMOD's tilt adds to the angles of its TILTFILE.
    excluded
        Sections, counted from 0, left out of the tomogram.
    thickness
        THICKNESS of tilt.com in raw pixels.
    pixel_size_A
        Of the .edf.
    xf
        TransformFile of newst.com, if it exists.
    notes
        What was read, and what is not used.
    """

    angle_offset_deg: float = 0.0
    excluded: tuple[int, ...] = ()
    thickness: int | None = None
    pixel_size_A: float | None = None
    xf: Path | None = None
    notes: tuple[str, ...] = ()


def read_com(path: StrPath) -> dict[str, str]:
    """Entries of a command file such as tilt.com: the rest of the line by keyword in capitals.

    Errors as `dewedge.io.text_files.read_text`.
    """
    entries: dict[str, list[str]] = {}
    for line in read_text(path).splitlines():
        words = line.split(maxsplit=1)
        if words and words[0][0] not in "$#":
            entries.setdefault(words[0].upper(), []).append(words[1].strip() if len(words) > 1 else "")
    # The last of several lines counts, but for lists of views, which may be given on several.
    return {
        key: ",".join(values) if key.startswith("EXCLUDELIST") else values[-1]
        for key, values in entries.items()
    }


def read_edf(path: StrPath) -> dict[str, str]:
    """Properties of etomo's .edf by name.

    Errors as `dewedge.io.text_files.read_text`.
    """
    pairs = (line.split("=", 1) for line in read_text(path).splitlines() if not line.startswith("#"))
    return {pair[0].strip(): pair[1].strip() for pair in pairs if len(pair) == 2}


def read_etomo(folder: Path, root: str) -> Etomo:
    """Read ROOT.edf, tilt.com, newst.com and ROOT.xtilt in a folder, those that are there and are of ROOT.

    Raises
    ------
    InputError
        If a file cannot be read or a value is no number.
    """
    notes: list[str] = []
    excluded: set[int] = set()
    pixel_size_A = None
    edf_path = folder / f"{root}.edf"
    if edf_path.is_file():
        edf = read_edf(edf_path)
        excluded |= _sections(edf_path, edf.get("Setup.AxisA.ExcludeProjections", ""))
        size_nm = _number(edf_path, "Setup.PixelSize", edf.get("Setup.PixelSize") or "0")
        pixel_size_A = 10 * size_nm if size_nm > 0 else None
    tilt_path = next((p for p in (folder / "tilt.com", folder / f"{root}_tilt.com") if p.is_file()), None)
    tilt = {} if tilt_path is None else read_com(tilt_path)
    if tilt_path is not None and Path(tilt.get("TILTFILE", f"{root}.tlt")).stem != root:
        tilt = {}  # of another tilt series in the same folder
    name = "" if tilt_path is None else tilt_path.name

    def value(key: str, default: str, place: int = 0) -> float:
        words = re.split(r"[\s,]+", tilt.get(key) or default)
        return _number(folder / name, key, words[place] if place < len(words) else default)

    offset = value("OFFSET", "0")
    if offset:
        notes.append(f"{name}: OFFSET of {offset:g} degrees added to the tilt angles")
    for key in ("EXCLUDELIST", "EXCLUDELIST2", "EXCLUDE"):
        excluded |= _sections(folder / name, tilt.get(key, ""))
    if value("SHIFT", "0") or value("SHIFT", "0", 1):
        notes.append(f"{name}: SHIFT {tilt['SHIFT']} is not used: the tomogram is centred on the tilt axis")
    for key, what in (("LOCALFILE", "local alignments"), ("ZFACTORFILE", "Z factors")):
        if tilt.get(key):
            notes.append(f"{name}: {what} ({tilt[key]}) are not used")
    x_tilt = np.array([value("XAXISTILT", "0")])
    x_tilt_path = folder / tilt.get("XTILTFILE", f"{root}.xtilt")
    if is_file(x_tilt_path):
        x_tilt = x_tilt + read_numbers(x_tilt_path, 1, "one tilt about x in degrees")[0][:, 0]
    notes += x_tilt_notes(x_tilt, x_tilt_path.name if x_tilt.size > 1 else name)
    newst_path = folder / "newst.com"
    xf = None
    if newst_path.is_file():
        xf = folder / read_com(newst_path).get("TRANSFORMFILE", f"{root}.xf")
        # tiltxcorr's and others' names are of one folder and one tilt series too.
        xf = xf if is_file(xf) and xf.stem == root else None
    return Etomo(
        angle_offset_deg=offset,
        excluded=tuple(sorted(excluded)),
        thickness=round(value("THICKNESS", "0")) or None,
        pixel_size_A=pixel_size_A,
        xf=xf,
        notes=tuple(notes),
    )


def read_imod_series(
    stack: Path | None,
    halves: tuple[Path, Path] | None = None,
    *,
    root: str | None = None,
    axis_angle_deg: float | None = None,
    pixel_size_A: float | None = None,
) -> SeriesEntry:
    """A tilt series with its .tlt, .xf, mdoc and etomo's files beside it, named like it.

    Parameters
    ----------
    stack
        The raw or aligned stack; None if only ``halves`` are there.
    halves
        Stacks of the even and of the odd frames.
    root
        Name by which the files beside the stack go; that of the stack if not given.
    axis_angle_deg, pixel_size_A
        See `dewedge.io.tilt_series.read_tilt_series`.

    Raises
    ------
    InputError
        If a file cannot be read, files do not fit each other, or there are no tilt angles.
    """
    stacks = [path for path in (stack, *(halves or ())) if path is not None]
    first = stacks[0]
    folder = first.parent
    root = root or first.stem.removesuffix("_ali")
    # The stack's own name, or that which its halves would have together.
    named = stack or first.with_name(f"{root}{first.suffix}")
    found = find_sidecars(named)
    etomo = read_etomo(folder, root)
    given_pixel_size = pixel_size_A
    if (
        pixel_size_A is None
        and etomo.pixel_size_A
        and read_mrc(first, stack=True).voxel_size_A in (None, 1.0)
    ):
        pixel_size_A = etomo.pixel_size_A
    xf = None if axis_angle_deg is not None or found.aligned else found.xf or etomo.xf
    series = read_tilt_series(
        first,
        angles=found.angles,
        xf=xf,
        mdoc=found.mdoc,
        axis_angle_deg=axis_angle_deg,
        pixel_size_A=pixel_size_A,
    )
    geometry, notes = series.geometry, [*series.notes, *etomo.notes]
    if pixel_size_A is not None and given_pixel_size is None:
        notes.append(f"pixel size {pixel_size_A:g} A from {root}.edf")
    if etomo.angle_offset_deg:
        geometry = replace(geometry, tilt_deg=geometry.tilt_deg + etomo.angle_offset_deg)
    geometry = _with_measured_ctf(geometry, folder, root, notes)
    n = geometry.n_tilts
    if etomo.excluded and etomo.excluded[-1] >= n:
        raise InputError(
            f"{folder}: {root}: view {etomo.excluded[-1] + 1} is left out of {n}: expected at most {n}"
        )
    kept = [i for i in range(n) if i not in etomo.excluded]
    if etomo.excluded:
        views = numbers_text(i + 1 for i in etomo.excluded)
        notes.append(f"views {views} (counted from 1) left out, as in etomo")
    return SeriesEntry(
        name=root,
        program="IMOD" if found.xf or etomo != Etomo() else "SerialEM" if found.mdoc else "IMOD",
        path=first,
        images=None if stack is None else stack_images(stack, kept),
        even=None if halves is None else stack_images(halves[0], kept),
        odd=None if halves is None else stack_images(halves[1], kept),
        geometry=geometry.select(kept),
        thickness=etomo.thickness,
        notes=tuple(notes),
    )


def has_sidecars(stack: Path) -> bool:
    """True if tilt angles or an mdoc of its own lie beside a stack."""
    found = find_sidecars(stack)
    return found.angles is not None or found.mdoc is not None


def _with_measured_ctf(geometry: TiltGeometry, folder: Path, root: str, notes: list[str]) -> TiltGeometry:
    """The geometry with defocus measured by a program beside the stack instead of the nominal one."""
    path = next((p for end in _CTF_ENDINGS if (p := folder / f"{root}{end}").is_file()), None)
    if path is None:
        return geometry
    try:
        ctf = read_ctf_file(path, geometry.n_tilts)
    except InputError as error:
        notes.append(f"defocus not used: {error}")
        return geometry
    notes.append(f"defocus from {path.name}")
    return replace(geometry, ctf=ctf)


def _sections(path: Path, text: str) -> set[int]:
    """Sections counted from 0 of a list of views counted from 1, such as 1,3-5."""
    try:
        return {view - 1 for view in image_numbers(re.split(r"[\s,]+", text))}
    except InputError:
        raise InputError(f"{path}: expected a list of views such as 1,3-5, got {shown(text)}") from None


def _number(path: Path, key: str, text: str) -> float:
    value = number(text)
    if value is None:
        raise InputError(f"{path}: expected a number for {key}, got {shown(text)}")
    return value
