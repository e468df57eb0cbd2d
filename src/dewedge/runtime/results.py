"""What a verb has written, or would write, in a few words for each file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from dewedge.runtime.folder import ResultFolder

logger = logging.getLogger(__name__)

Described = Sequence[tuple[Path, str]]

# Of a tomogram, and of a run, by their places in `ResultFolder`: what is looked at first comes first.
_OF_TOMOGRAM = {
    "report": "look at this first: pictures, checks and measures",
    "refined": "the refined tomogram",
    "refined_zarr": "the refined tomogram as OME-Zarr",
    "slices": "sections before and after",
    "full": "reconstruction of all data",
    "half0": "reconstruction of half-set 0",
    "half1": "reconstruction of half-set 1",
    "tv": "total variation at twice the voxel size",
    "beads": "gold beads, painted over for the fit",
    "mask": "where there is specimen",
    "planes": "what the tilts of both half-sets measured",
    "trust_page": "look at this first: how far the filled wedge is to be believed",
    "measured": "the refined tomogram at measured frequencies, for averaging and template matching",
    "added": "what the network put inside the wedge",
    "uncertainty": "how far off that can be: one standard deviation",
    "fits_difference": "difference of two independent fits",
    "trust": "the figures of the page",
    "refined_half0": "half-set 0, refined alone",
    "refined_half1": "half-set 1, refined alone",
}
_OF_RUN = {
    "model": "the network, for dewedge refine",
    "loss_figure": "loss by epoch",
    "loss_table": "the same as a table",
    "checkpoint": "for --resume",
    "config_file": "all settings, for --config",
    "inputs": "what all was made of",
    "log": "the log",
}
_JUDGED = ("measured", "added", "uncertainty", "fits_difference")
_OF_TOMOGRAM |= {f"{key}_zarr": f"{_OF_TOMOGRAM[key]}, as OME-Zarr" for key in _JUDGED}
_OF_TRUST = ("trust_page", *_JUDGED, *(f"{key}_zarr" for key in _JUDGED), "trust")
_INDEX = "look at this first: the list of all tomograms"


def described(
    run: ResultFolder, folders: Sequence[ResultFolder], among: Sequence[Path] | None = None
) -> Described:
    """Files of a run and of its tomograms that are there, or those ``among`` some, with what they are.

    Of several tomograms that have folders of their own, the files of one name are one path, with a star.
    """

    def is_one(path: Path) -> bool:
        return path.exists() if among is None else path in among

    several = list(folders) != [run]
    found = [(run.report, _INDEX)] if several and is_one(run.report) else []
    for key, what in (_OF_TOMOGRAM | _OF_RUN).items():
        paths = [getattr(folder, key) for folder in (folders if several else [])] + [getattr(run, key)]
        there = [path for path in dict.fromkeys(paths) if is_one(path) and (path, _INDEX) not in found]
        own = [path for path in there if path.parent != run.path]
        if len(own) > 1:
            found.append((run.path / "*" / own[0].name, f"{what}; of each of {len(own)} tomograms"))
            there = [path for path in there if path not in own]
        found += [(path, what) for path in there]
    return found


def of_trust(folders: Sequence[ResultFolder]) -> Described:
    """Files that `dewedge trust` has written of these tomograms, with what they are."""
    files = [(getattr(folder, key), _OF_TOMOGRAM[key]) for folder in folders for key in _OF_TRUST]
    return [(path, what) for path, what in files if path.exists()]


def tell(files: Described) -> None:
    """Log a line for each file."""
    for line in lines(files):
        logger.info(line)


def lines(files: Described) -> list[str]:
    """Lines of files, one each, with the words in a column."""
    width = max((len(str(path)) for path, _ in files), default=0)
    return [f"{str(path).ljust(width)}  {what}" for path, what in files]
