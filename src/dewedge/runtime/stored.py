"""How volumes of a run are kept, once they are written: their precision, and whether half-sets are."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dewedge.errors import InputError
from dewedge.io.files import remove_all
from dewedge.io.formats import write_volume
from dewedge.io.half_precision import read_result, to_half_precision
from dewedge.io.volume_file import ZarrVersion
from dewedge.runtime.folder import ResultFolder
from dewedge.settings.sections import FilesSection

logger = logging.getLogger(__name__)


def write_copy(source: Path, path: Path, zarr_version: ZarrVersion) -> None:
    """Write a volume of a run in the format that a name tells.

    Errors as `dewedge.io.half_precision.read_result` and `dewedge.io.formats.write_volume`.
    """
    volume = read_result(source)
    write_volume(
        path,
        volume.data,
        volume.voxel_size_A,
        origin_xyz_A=volume.origin_xyz_A,
        labels=volume.labels,
        what="copy",
        zarr_version=zarr_version,
    )


def without_gold(refined: Path) -> NDArray[np.float32]:
    """``(z, y, x)`` refined tomogram of a run without the gold that was given back to it.

    Errors as `dewedge.io.half_precision.read_result`.
    """
    data, beads = np.asarray(read_result(refined).data), ResultFolder(refined.parent).beads
    if not beads.exists():
        return data
    return np.subtract(data, np.asarray(read_result(beads).data), dtype=np.float32)


def store(paths: Iterable[Path], section: FilesSection) -> None:
    """Give MRC files that are there the precision that is asked for.

    Where half precision would lose what one holds, it stays as it is, with a warning.

    Errors as `dewedge.io.half_precision.to_half_precision`.
    """
    if section.output_dtype == "float32":
        return
    for path in paths:
        if path.is_file():
            fault = to_half_precision(path)
            if fault:
                logger.warning("%s: stays float32: %s", path, fault)


def drop_halves(folders: Iterable[ResultFolder]) -> None:
    """Remove the half-sets of tomograms, what was refined of them, and the pages that tell of them.

    Errors as `dewedge.io.files.remove_all`.
    """
    for folder in folders:
        there = [path for path in (*folder.halves, *folder.refined_halves) if path.exists()]
        if there:
            # The page first: a process that is killed in between leaves half-sets, which are dropped later.
            remove_all([folder.report, *there])
            names = ", ".join(path.name for path in there)
            logger.info("%s: removed %s (--half-sets drop)", folder.name, names)


def require_halves(run: ResultFolder, folder: ResultFolder) -> None:
    """Refuse a tomogram whose half-sets are not there.

    Raises
    ------
    InputError
        With what makes them again.
    """
    missing = missing_halves(folder)
    if missing:
        names = " and ".join(path.name for path in missing)
        raise InputError(
            f"{folder.path}: {names} not there: `dewedge run --resume --half-sets keep -o {run.path}` makes "
            "half-sets again, without a fit"
        )


def missing_halves(folder: ResultFolder) -> Sequence[Path]:
    """Half-sets that are not there."""
    return [path for path in folder.halves if not path.is_file()]
