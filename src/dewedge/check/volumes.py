"""Whether files are what they are taken for: tomograms, not tilt series, of one voxel size."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from dewedge.check.finding import Finding
from dewedge.errors import InputError
from dewedge.io.angles import read_tilt_angles
from dewedge.io.volume_file import VolumeFile

# Relative differences of the voxel sizes of one specimen's files, and from that of a model.
SAME_VOXEL = 0.01
SAME_MODEL = 0.05
_STACK_SUFFIXES = (".st", ".ali")


def check_tomogram(name: str, where: str, mrc: VolumeFile) -> list[Finding]:
    """Tell of a file that is rather a stack of tilt images, by its name and the files beside it.

    The header does not tell: programs write the one as the other.
    """
    reason = _sign_of_a_stack(mrc)
    if reason is None:
        return []
    what = f"{mrc.path} is rather a stack of tilt images than a tomogram: {reason}"
    why = "A tomogram is asked for, whose sections are slices of the specimen"
    return [Finding("error", name, what, where, why, "Reconstruct it first (dewedge reconstruct, run)")]


def check_voxel_sizes(name: str, sizes_A: Mapping[str, float | None]) -> list[Finding]:
    """Tell of volumes of one specimen, by their names, whose voxel sizes differ; what is not known fits."""
    known = {volume: size_A for volume, size_A in sizes_A.items() if size_A is not None}
    for volume, size_A in known.items():
        reference, expected_A = next(iter(known.items()))
        if abs(size_A / expected_A - 1) > SAME_VOXEL:
            what = f"{volume} has voxels of {size_A:g} A, {reference} of {expected_A:g} A"
            why = "Files of one specimen have one voxel size: these may be of two"
            do = "Give files that belong together, or correct the wrong header"
            return [Finding("error", name, what, "voxel size", why, do)]
    return []


def check_model_voxel(name: str, size_A: float | None, fitted_A: float | None) -> list[Finding]:
    """Tell of a tomogram of another voxel size in Angstrom than those that a model was fitted to."""
    if fitted_A is None or size_A is None or abs(size_A / fitted_A - 1) <= SAME_MODEL:
        return []
    what = f"its voxels are of {size_A:g} A, the model was fitted to {fitted_A:g} A"
    why = "The network knows its specimens at one size of voxels"
    return [Finding("error", name, what, "voxel size", why, "Fit a model to this one, or bin alike")]


def require_sound(findings: list[Finding]) -> None:
    """Refuse what has errors, unless it is not to be checked.

    Raises
    ------
    InputError
        If there is a finding.
    """
    if findings:
        raise InputError(f"{findings[0]} (--no-check, in Python no_check=True, goes on all the same)")


def _sign_of_a_stack(mrc: VolumeFile) -> str | None:
    path = mrc.path
    if path.suffix.lower() in _STACK_SUFFIXES:
        return f"its name ends in {path.suffix}"
    mdoc = path.with_name(f"{path.name}.mdoc")
    if mdoc.is_file():
        return f"{mdoc.name} beside it describes its images"
    for suffix in (".tlt", ".rawtlt"):
        angles = path.with_suffix(suffix)
        with suppress(InputError):
            if path.suffix.lower() != ".rec" and len(read_tilt_angles(angles)) == len(mrc.data):
                return f"{angles.name} beside it has an angle for each of its {len(mrc.data)} sections"
    return None
