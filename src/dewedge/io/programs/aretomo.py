"""AreTomo2 and AreTomo3: tilt series and half tomograms that belong to a .aln file."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dewedge.errors import InputError
from dewedge.geometry import CtfParameters, Microscope, TiltGeometry, TiltRange
from dewedge.io.ctf_files import read_ctffind
from dewedge.io.entries import HalvesEntry, Layout, SeriesEntry
from dewedge.io.files import StrPath
from dewedge.io.mdoc import exposure_before
from dewedge.io.mrc import read_mrc
from dewedge.io.programs.aln import Aln, aln_geometry, aln_sections, read_aln, slots_of_rows
from dewedge.io.text_files import number, read_numbers, read_text
from dewedge.io.tilt_images import TiltImages, stack_images
from dewedge.io.tilt_series import find_sidecars, read_tilt_series

_SESSION = "AreTomo3_Session.json"
# Its parameters that tell of the microscope.
_OPTICS = {"voltage_kV": "kV", "spherical_aberration_mm": "Cs", "amplitude_contrast": "AmpContrast"}


def read_aretomo_series(
    path: StrPath,
    images: Path | None,
    halves: tuple[Path, Path] | None = None,
    *,
    pixel_size_A: float | None = None,
) -> SeriesEntry:
    """The raw tilt series of a .aln file.

    Nominal angles, the order of acquisition and the exposure come from AreTomo3's X_TLT.txt, or from
    X.rawtlt, X.tlt and an mdoc beside it; microscope and pixel size of the movies from AreTomo3_Session.json.

    Parameters
    ----------
    images
        The raw stack; None if only ``halves`` are there.
    halves
        Stacks of the even and of the odd frames.
    pixel_size_A
        Pixel size; that of the stack's header if not given.

    Raises
    ------
    InputError
        If a file cannot be read or they do not fit each other.
    """
    aln = read_aln(path)
    notes: list[str] = []
    stacks = [stack for stack in (images, *(halves or ())) if stack is not None]
    if not stacks:
        raise InputError(f"{aln.path}: expected the raw stack {aln.path.stem}.mrc or .st beside it")
    first = read_mrc(stacks[0], stack=True)
    if first.data.shape != aln.raw_shape:
        raise InputError(
            f"{first.path}: shape {first.data.shape} (n, y, x): expected {aln.raw_shape}, that of the stack "
            f"{aln.path.name} was made from"
        )
    raw = _raw_geometry(aln, first.path, notes)
    sections = aln_sections(aln, None if raw is None else raw.tilt_deg)
    pixel_size = pixel_size_A or first.voxel_size_A
    if pixel_size is None:
        raise InputError(f"{first.path}: no pixel size in its header: give --pixel-size in Angstrom")
    ctf = _ctf(aln, notes)
    notes = [
        f"alignment of {len(aln.sec)} of {aln.raw_shape[0]} images from {aln.path.name}",
        f"pixel size {pixel_size:g} A" + (" as given" if pixel_size_A else " from the stack's header"),
        *_alignment_notes(aln),
        *notes,
    ]
    if raw is None and aln.sec.min() > 0 and aln.sec.max() < aln.raw_shape[0]:
        notes.append(
            f"{aln.path.name}: SEC taken to count from 1; the angles of the stack (.rawtlt) would tell"
        )
    session = _session(aln.path.parent)
    geometry = replace(aln_geometry(aln, pixel_size, ctf), told=_microscope(session, notes))
    if raw is not None:
        taken = raw.select(sections)
        geometry = replace(
            geometry,
            acquisition_order=taken.acquisition_order,
            pre_exposure_e_per_A2=taken.pre_exposure_e_per_A2,
            ctf=ctf or taken.ctf,
            told=geometry.told.completed(taken.told),
        )

    def open_stack(stack: Path) -> TiltImages:
        return stack_images(stack, sections.tolist())

    return SeriesEntry(
        name=aln.path.stem,
        program="AreTomo",
        path=aln.path,
        images=None if images is None else open_stack(images),
        even=None if halves is None else open_stack(halves[0]),
        odd=None if halves is None else open_stack(halves[1]),
        geometry=geometry,
        thickness=aln.thickness,
        movie_pixel_size_A=session["PixSize"] if session.get("PixSize", 0) > 0 else None,
        notes=tuple(notes),
    )


def read_aretomo_halves(
    path: StrPath, half0: Path, half1: Path, full: Path | None = None, name: str | None = None
) -> HalvesEntry:
    """Tomograms X_EVN_Vol.mrc and X_ODD_Vol.mrc of the alignment X.aln.

    AreTomo writes (y, z, x), which transposed is our (z, y, x); with -FlipVol 1 it reorders the axes and
    reverses z; with -FlipVol 2 it only reorders. The two cannot be told from the file: AreTomo3_Session.json
    beside it tells, else -FlipVol 1 is assumed, and said.

    Raises
    ------
    InputError
        If a file cannot be read, or no order of axes fits the size of the raw stack.
    """
    aln = read_aln(path)
    layout, notes = _layout(aln, half0)
    ctf = _ctf(aln, [])
    if ctf is not None:
        ctf = replace(ctf.select([int(np.abs(aln.tilt_deg).argmin())]), astigmatism_deg=np.zeros(1))
    return HalvesEntry(
        name=name or aln.path.stem,
        program="AreTomo",
        path=aln.path,
        half0=half0,
        half1=half1,
        full=full,
        tilt_range=TiltRange(float(aln.tilt_deg.min()), float(aln.tilt_deg.max())),
        layout=layout,
        ctf=ctf,
        notes=(f"tilt range from {aln.path.name}", *notes),
    )


def _raw_geometry(aln: Aln, stack: Path, notes: list[str]) -> TiltGeometry | None:
    """Sidecars of the raw stack, as far as they tell of its images; None if none tells its angles."""
    named = stack.with_name(f"{aln.path.stem}{stack.suffix}")
    found = find_sidecars(named)
    own, raw = (named.with_name(f"{aln.path.stem}{ending}") for ending in ("_TLT.txt", ".rawtlt"))
    angles = raw if raw.is_file() else found.angles
    try:
        if own.is_file():
            # Angle, place in time counted from 1, dose.
            rows = read_numbers(own, 3, "angle, order of acquisition and dose")[0]
            if len(rows) != aln.raw_shape[0]:
                raise InputError(f"{own}: {len(rows)} lines for {aln.raw_shape[0]} images")
            order, exposure = np.argsort(np.argsort(rows[:, 1])), rows[:, 2]
            exposed = bool((exposure > 0).all())
            notes.append(f"order of acquisition{' and exposure' if exposed else ''} from {own.name}")
            return TiltGeometry(
                tilt_deg=rows[:, 0],
                image_shape_yx=aln.raw_shape[1:],
                pixel_size_A=1.0,
                acquisition_order=order,
                pre_exposure_e_per_A2=exposure_before(exposure, order) if exposed else None,
            )
        if angles is None and found.mdoc is None:
            return None
        series = read_tilt_series(stack, angles=angles, mdoc=found.mdoc, axis_angle_deg=0, pixel_size_A=1.0)
    except InputError as error:
        notes.append(f"angles of the stack not used: {error}")
        return None
    notes += [note for note in series.notes if "order" in note]
    return series.geometry


def _alignment_notes(aln: Aln) -> list[str]:
    notes = []
    if aln.n_patches:
        notes.append(
            f"{aln.path.name}: local alignment of {aln.n_patches} patches is not used, the global one is"
        )
    if aln.alpha_deg:
        notes.append(f"{aln.path.name}: the angles include its offset alpha, {aln.alpha_deg:g} degrees")
    if aln.beta_deg:
        notes.append(
            f"{aln.path.name}: its offset beta, {aln.beta_deg:g} degrees about x, is not used (AreTomo does "
            "not apply it either)"
        )
    return notes


def _ctf(aln: Aln, notes: list[str]) -> CtfParameters | None:
    """CTF parameters of the rows from X_CTF.txt, which has a line for each image, sorted by angle."""
    path = aln.path.with_name(f"{aln.path.stem}_CTF.txt")
    if not path.is_file():
        return None
    n, slots = aln.raw_shape[0], slots_of_rows(aln)
    try:
        ctf = read_ctffind(path, len(aln.sec) if slots is None else n)
        ctf = ctf if slots is None else ctf.select(slots)
    except InputError as error:
        notes.append(f"defocus not used: {error}")
        return None
    notes.append(f"defocus from {path.name}")
    return ctf


def _layout(aln: Aln, volume: Path) -> tuple[Layout, list[str]]:
    """Order of a volume's axes: the ratio of its long sides is that of the aligned images."""
    shape = read_mrc(volume).data.shape
    height, width = aln_geometry(aln, 1.0).aligned_shape_yx
    ratio = height / width
    as_yzx, as_zyx = (abs(shape[axis] / shape[2] / ratio - 1) for axis in (0, 1))
    if min(as_yzx, as_zyx) > 0.05:
        raise InputError(
            f"{volume}: shape {shape}: expected one long side in the ratio {ratio:.3g} to the last, as the "
            f"images of {aln.path.name}"
        )
    if as_yzx < 0.05 and as_zyx < 0.05:
        # A cube: the size does not tell.
        note = (
            f"{volume.name}: its sides do not tell the order of its axes: taken as (y, z, x), AreTomo's own"
        )
        return "yzx", [note]
    if as_yzx < as_zyx:
        return "yzx", [f"{volume.name}: axes (y, z, x) as AreTomo writes them, brought into order"]
    flip = _session(volume.parent).get("FlipVol")
    if flip == 2:
        return "zyx", [f"{volume.name}: written with -FlipVol 2"]
    if flip == 1:
        return "-zyx", [f"{volume.name}: written with -FlipVol 1, which reverses z: turned back"]
    return "-zyx", [
        f"{volume.name}: taken as written with -FlipVol 1, which reverses z, and turned back; if it was "
        "-FlipVol 2 the hand is wrong, and the wedge unless the tilt range is symmetric"
    ]


def _session(folder: Path) -> dict[str, float]:
    """Numbers of the AreTomo3 session that wrote into a folder, by the names of its parameters."""
    path = folder / _SESSION
    if not path.is_file():
        return {}
    # Not all that AreTomo3 writes there is JSON.
    found = re.finditer(r'"(\w+)"\s*:\s*([-+.\w]+)\s*[,}\n]', read_text(path))
    values = ((match[1], number(match[2])) for match in found)
    return {name: value for name, value in values if value is not None}


def _microscope(session: dict[str, float], notes: list[str]) -> Microscope:
    """What a session was told of the microscope."""
    known: dict[str, Any] = {key: session[name] for key, name in _OPTICS.items() if session.get(name, 0) > 0}
    try:
        microscope = Microscope(**known)
    except InputError as error:
        notes.append(f"microscope of {_SESSION} not used: {error}")
        return Microscope()
    if known:
        notes.append(f"voltage, spherical aberration and amplitude contrast, what is told, from {_SESSION}")
    return microscope
