"""Volumes in files of either format: MRC, and OME-Zarr where a name says so."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from dewedge.io.files import StrPath
from dewedge.io.mrc import create_mrc, read_mrc
from dewedge.io.ome_zarr import SUFFIX, create_zarr, read_zarr, store_of
from dewedge.io.volume_file import VolumeFile, VolumeWriter


def read_volume(path: StrPath) -> VolumeFile:
    """Open a volume: ``X.zarr``, or a level of it, ``X.zarr/1``, else an MRC file.

    Raises
    ------
    InputError
        As `dewedge.io.ome_zarr.read_zarr` and `dewedge.io.mrc.read_mrc`.
    """
    path = Path(path)
    is_zarr = store_of(path).suffix.lower() == SUFFIX and not path.is_file()
    return read_zarr(path) if is_zarr else read_mrc(path)


def create_volume(
    path: StrPath,
    shape: Sequence[int],
    voxel_size_A: float | None,
    *,
    origin_xyz_A: tuple[float, float, float] = (0.0, 0.0, 0.0),
    labels: Sequence[str] = (),
    what: str = "",
) -> AbstractContextManager[VolumeWriter]:
    """Write a volume piece by piece, as OME-Zarr if its name ends in .zarr, else as MRC.

    Parameters and errors as `dewedge.io.mrc.create_mrc`.
    """
    create = create_zarr if Path(path).suffix.lower() == SUFFIX else create_mrc
    return create(path, shape, voxel_size_A, origin_xyz_A=origin_xyz_A, labels=labels, what=what)
