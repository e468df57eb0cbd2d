"""Tomo110 as it is downloaded: one tilt series of a flagellum of Chlamydomonas, as movies.

Tomo110.zip holds (cryoCARE_T2T, README and notebooks 01 and 02) ``Tomo110/frames`` with 65 movies such as
``01_Tomo110_64.0_Apr04_15.51.42.mrc``, number in the stack, nominal angle and time in the name, each of 10
frames of 7420 x 7676 bytes of 2.3555 A; and ``Tomo110/imod`` with Tomo110.xf, .tlt, .xtilt, .defocus,
Tomo110local.xf, rotation.xf, newst.com, ctfcorrection.com, tilt.com and eraser.com. Where the first notebook
was run, ``frames/even`` and ``frames/odd`` hold the sums of the even and odd frames after MotionCor2, by the
same names; they are taken if they are there, for this program corrects no motion.

Local alignments, the tilt about x and X-rays (eraser.com) are not applied. Whether the paper's wider wedge
was made by leaving out tilts is not known; here it is.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dewedge.errors import InputError
from dewedge.io.angles import read_tilt_angles, write_tilt_angles
from dewedge.io.entries import SeriesEntry
from dewedge.io.mrc import create_mrc, read_mrc
from dewedge.io.programs.imod import read_imod_series
from dewedge.pipeline.frames import average_frames

logger = logging.getLogger("dewedge.paper")

NAME = "Tomo110"
DOWNLOAD = "https://download.fht.org/jug/cryoCARE/Tomo110.zip"
SIDECARS = (".xf", ".xtilt", ".defocus")
COMMANDS = ("tilt.com", "newst.com")
EXPOSURE_E_PER_A2, EXPOSURE_BEFORE_E_PER_A2 = 1.61, 3.0
# Between the nominal angle of a movie's name and its refined one, beyond a common offset.
TOLERANCE_DEG = 1.5
# Largest of these offsets that moves no tilt across the edge of a wider wedge.
OFFSET_DEG = 0.5

_MOVIE = re.compile(r"(\d+)_Tomo110_(-?[\d.]+)_([A-Z][a-z]{2}\d+_\d\d\.\d\d\.\d\d)\.mrc")


class TiltFile(NamedTuple):
    """A file of one tilt, and what its name tells."""

    number: int
    tilt_deg: float
    time: str
    path: Path


def flagella(folder: Path, work: Path) -> SeriesEntry:
    """The tilt series, as stacks of even and odd frames and of all, in ``work``; those that exist stay.

    Raises
    ------
    InputError
        If files are missing or do not fit each other.
    """
    imod = _imod_folder(folder)
    tilts = read_tilt_angles(imod / f"{NAME}.tlt")
    halves = [_tilt_files(folder, half) for half in ("even", "odd")]
    movies = _tilt_files(folder, None)
    files = halves[0] if all(halves) else movies
    for group in halves if all(halves) else [movies]:
        check_files(folder, group, tilts)
    stacks = work / f"{NAME}_EVN.mrc", work / f"{NAME}_ODD.mrc"
    if not all(stack.exists() for stack in stacks):
        if all(halves):
            for stack, group in zip(stacks, halves, strict=True):
                _stack(stack, [file.path for file in group])
        else:
            logger.warning("%s: no frames/even and frames/odd of MotionCor2: motion stays", folder)
            paths = [file.path for file in movies]
            average_frames(paths, work, angles=imod / f"{NAME}.tlt", name=NAME, overwrite=True)
    write_tilt_angles(work / f"{NAME}.tlt", tilts)
    for name in (*(f"{NAME}{suffix}" for suffix in SIDECARS), *COMMANDS):
        if (imod / name).is_file():
            shutil.copyfile(imod / name, work / name)
    whole = work / f"{NAME}.mrc"
    if not whole.exists():
        _mean(whole, stacks)
    entry = read_imod_series(whole, stacks, root=NAME)
    order = np.argsort(np.argsort([file.time for file in files], kind="stable"))
    exposure = EXPOSURE_BEFORE_E_PER_A2 + EXPOSURE_E_PER_A2 * order.astype(np.float64)
    geometry = replace(entry.geometry, acquisition_order=order, pre_exposure_e_per_A2=exposure)
    return replace(entry, geometry=geometry)


def within(entry: SeriesEntry, largest_deg: float) -> SeriesEntry:
    """The series without the tilts beyond an angle, so that its missing wedge is wider."""
    # Refined angles are apart from the nominal ones by a common offset.
    kept = np.flatnonzero(np.abs(entry.geometry.tilt_deg) <= largest_deg + OFFSET_DEG)
    if kept.size < entry.geometry.n_tilts:
        logger.info("%s: %d tilts within %g degrees", entry.name, kept.size, largest_deg)
    assert entry.images is not None and entry.even is not None and entry.odd is not None
    return replace(
        entry,
        images=entry.images.select(kept),
        even=entry.even.select(kept),
        odd=entry.odd.select(kept),
        geometry=entry.geometry.select(kept),
    )


def check_files(folder: Path, files: Sequence[TiltFile], tilt_deg: NDArray[np.float64]) -> None:
    """Refuse files that are not those of the angles, one for each, in their order."""
    if len(files) != tilt_deg.size:
        raise InputError(
            f"{folder}: {len(files)} files of tilts for the {tilt_deg.size} angles of {NAME}.tlt: get the "
            f"rest from {DOWNLOAD}"
        )
    apart = np.array([file.tilt_deg for file in files]) - tilt_deg
    worst = int(np.abs(apart - np.median(apart)).argmax())
    if abs(apart[worst] - np.median(apart)) > TOLERANCE_DEG:
        raise InputError(
            f"{files[worst].path}: at {files[worst].tilt_deg:g} degrees by its name, "
            f"{tilt_deg[worst]:g} by {NAME}.tlt: expected the files in the order of the angles"
        )


def _imod_folder(folder: Path) -> Path:
    found = sorted(path.parent for path in folder.rglob(f"{NAME}.xf"))
    if not found:
        raise InputError(f"{folder}: no imod/{NAME}.xf: get {DOWNLOAD} and unpack it there")
    imod = min(found, key=lambda path: (path.name != "imod", str(path)))
    for name in (f"{NAME}.tlt", f"{NAME}.defocus", "tilt.com"):
        if not (imod / name).is_file():
            raise InputError(f"{imod}: no {name}: get it from {DOWNLOAD}")
    return imod


def _tilt_files(folder: Path, half: str | None) -> list[TiltFile]:
    """The movies, or the images of a half, by their number."""
    halves = ("even", "odd")
    found = []
    for path in folder.rglob(f"*_{NAME}_*.mrc"):
        match = _MOVIE.fullmatch(path.name)
        is_of = path.parent.name == half if half else path.parent.name not in halves
        if match is not None and is_of:
            found.append(TiltFile(int(match[1]), float(match[2]), match[3], path))
    return sorted(found)


def _stack(output: Path, paths: Sequence[Path]) -> None:
    first = read_mrc(paths[0], stack=True)
    shape = (len(paths), *first.data.shape[1:])
    with create_mrc(output, shape, first.voxel_size_A, stack=True, labels=first.labels) as writer:
        for i, path in enumerate(paths):
            image = read_mrc(path, stack=True).data
            if image.shape != (1, *shape[1:]):
                raise InputError(f"{path}: shape {image.shape}: expected one image of {shape[1:]}")
            writer.data[i] = image[0]


def _mean(output: Path, stacks: Sequence[Path]) -> None:
    even, odd = (read_mrc(path, stack=True) for path in stacks)
    with create_mrc(output, even.data.shape, even.voxel_size_A, stack=True, what="all frames") as writer:
        for i in range(len(even.data)):
            writer.data[i] = (even.data[i] + odd.data[i]) / 2
