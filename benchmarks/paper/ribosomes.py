"""EMPIAR-10045 as it is downloaded: seven tilt series of purified 80S ribosomes.

Below ``data/ribosomes`` (Bharat and Scheres 2016, Nat. Protoc. 11, 2054; names as programs that read the
entry use them): ``Tomograms/05`` to ``11``, each with IS002_291013_0NN.mrcs (the series, aligned by IMOD's
newstack), .tlt (refined angles), .order (nominal angle and accumulated dose, a line a tilt), .mrc (the
tomogram, z first), .trial and .coords; and, in AnticipatedResults, the same folders with
``ctffind/IS002_291013_0NN_ctffind.star``: two estimates a tilt, of the trial images on either side.

Not known, hence not relied on: the type of the stacks' values, whether their headers tell the pixel size
(2.17 A by the entry), the words of the STAR file's image names, and whether the dose of .order includes the
image itself: it gives the order of acquisition and nothing else.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dewedge.errors import InputError
from dewedge.geometry import CtfParameters
from dewedge.io.entries import SeriesEntry
from dewedge.io.mrc import read_mrc
from dewedge.io.programs.imod import read_imod_series
from dewedge.io.star import numbers, read_star
from dewedge.io.text_files import read_text

logger = logging.getLogger("dewedge.paper")

Floats = NDArray[np.float64]

NAMES = tuple(f"IS002_291013_{number:03d}" for number in range(5, 12))
DOWNLOAD = "https://www.ebi.ac.uk/empiar/EMPIAR-10045/ (the folder data/ribosomes)"
RESULTS = "AnticipatedResults"
PIXEL_SIZE_A = 2.17
# A header beyond these does not tell the pixel size, but a filler or that of other images.
BELIEVED_A = (2.1, 2.35)
# Defocus of CTFFIND is not to be trusted beyond this tilt (the entry's own protocol).
LOW_TILT_DEG = 30.0
# Between a nominal and a refined angle: half of the step between tilts.
NOMINAL_TOLERANCE_DEG = 1.75


def ribosomes(folder: Path) -> list[SeriesEntry]:
    """The tilt series below ``folder``, with order of acquisition, defocus and thickness.

    Raises
    ------
    InputError
        If there is none, or a file of one cannot be used.
    """
    stacks = {name: path for name in NAMES if (path := _found(folder, f"{name}.mrcs")) is not None}
    if not stacks:
        raise InputError(f"{folder}: no {NAMES[0]}.mrcs to {NAMES[-1]}.mrcs: get them from {DOWNLOAD}")
    missing = [name for name in NAMES if name not in stacks]
    if missing:
        logger.warning("%s: without %s: figure 3 is a fit to all seven", folder, ", ".join(missing))
    return [_series(folder, stack) for stack in stacks.values()]


def _series(folder: Path, stack: Path) -> SeriesEntry:
    angles = stack.with_suffix(".tlt")
    if not angles.is_file():
        raise InputError(f"{stack}: no {angles.name} beside it: get it from {DOWNLOAD}")
    header = read_mrc(stack, stack=True).voxel_size_A
    told = header is not None and BELIEVED_A[0] < header < BELIEVED_A[1]
    # Aligned already: no transform, and the axis along y.
    entry = read_imod_series(stack, axis_angle_deg=0.0, pixel_size_A=header if told else PIXEL_SIZE_A)
    notes = [*entry.notes, *([] if told else [f"pixel size {PIXEL_SIZE_A} A: the header says {header}"])]
    geometry = entry.geometry
    tilts = geometry.tilt_deg
    order_path = stack.with_suffix(".order")
    if order_path.is_file():
        geometry = replace(geometry, acquisition_order=acquisition_order(order_path, tilts))
        notes.append(f"order of acquisition from {order_path.name}")
    star = _found(folder, f"{stack.stem}_ctffind.star")
    if star is not None:
        geometry = replace(geometry, ctf=defocus(star, tilts))
        notes.append(f"defocus from {star.name}")
    else:
        logger.warning(
            "%s: no %s_ctffind.star below %s: give --set ctf.defocus_um=NUMBER", folder, stack.stem, RESULTS
        )
    thickness = _thickness(stack)
    if thickness is None:
        logger.warning(
            "%s: no tomogram of its size beside it: give --set reconstruct.thickness=NUMBER", stack
        )
    return replace(entry, geometry=geometry, thickness=thickness, notes=tuple(notes))


def acquisition_order(path: Path, tilt_deg: Floats) -> NDArray[np.int64]:
    """``(n,)`` rank in time of each tilt, by the doses of an .order file.

    Raises
    ------
    InputError
        If the file does not hold one line for each tilt: nominal angle and dose.
    """
    try:
        rows = [[float(word) for word in re.split(r"[\s,]+", line.strip())]
                for line in read_text(path).splitlines() if line.strip()]  # fmt: skip
        nominal, dose = np.array(rows, dtype=np.float64)[:, :2].T
    except (ValueError, IndexError):
        raise InputError(f"{path}: expected a nominal angle and a dose on every line") from None
    apart = np.abs(tilt_deg[:, None] - nominal)
    index = apart.argmin(axis=1)
    if len(set(index.tolist())) < tilt_deg.size or apart.min(axis=1).max() > NOMINAL_TOLERANCE_DEG:
        raise InputError(
            f"{path}: its {nominal.size} nominal angles are not those of the {tilt_deg.size} tilts: expected "
            "the file of this very series"
        )
    ranks: NDArray[np.int64] = np.argsort(np.argsort(dose[index], kind="stable"))
    return ranks


def defocus(path: Path, tilt_deg: Floats) -> CtfParameters:
    """Defocus of each tilt: the mean of its estimates, and beyond 30 degrees that of the lower tilts.

    Raises
    ------
    InputError
        If the file does not hold one estimate a tilt, or two.
    """
    tables = [table for table in read_star(path).values() if "rlnDefocusU" in table]
    if not tables:
        raise InputError(f"{path}: no column rlnDefocusU: expected CTFFIND's results as RELION writes them")
    estimates = [numbers(path, tables[0], f"rlnDefocus{axis}") * 1e-4 for axis in "UV"]
    n = tilt_deg.size
    if estimates[0].size not in (n, 2 * n):
        raise InputError(f"{path}: {estimates[0].size} estimates for {n} tilts: expected one or two for each")
    um = np.mean(estimates, axis=0).reshape(n, -1).mean(axis=1)
    low = np.abs(tilt_deg) < LOW_TILT_DEG
    if low.any():
        um = np.where(low, um, um[low].mean())
    return CtfParameters(
        defocus_u_um=um, voltage_kV=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.07
    )


def _thickness(stack: Path) -> int | None:
    """Thickness in raw pixels of the tomogram beside a series; None if there is none of its size."""
    path = stack.with_suffix(".mrc")
    if not path.is_file():
        return None
    shape, lateral = read_mrc(path).data.shape, read_mrc(stack, stack=True).data.shape[1:]
    for depth, others in ((shape[0], shape[1:]), (shape[1], (shape[0], shape[2]))):
        ratios = [image / volume for image, volume in zip(lateral, others, strict=True)]
        if max(ratios) - min(ratios) < 0.02 * max(ratios):
            return round(depth * float(np.mean(ratios)))
    return None


def _found(folder: Path, name: str) -> Path | None:
    """The file of this name below a folder; the one outside of the anticipated results, if there are more."""
    paths: Sequence[Path] = sorted(path for path in folder.rglob(name) if path.is_file())
    return min(paths, key=lambda path: (RESULTS in path.parts, str(path)), default=None)
