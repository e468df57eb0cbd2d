"""Volumes in files of either format: MRC, and OME-Zarr where a name says so."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from dewedge.io.files import StrPath
from dewedge.io.mrc import create_mrc, read_mrc, write_mrc
from dewedge.io.ome_zarr import create_zarr, read_zarr, write_zarr
from dewedge.io.volume_file import ZARR_SUFFIX, VolumeFile, VolumeWriter, ZarrVersion, is_zarr
from dewedge.io.zarr_array import zarr_at_hand

# Of files that volumes are written to; the first where none is given.
VOLUME_SUFFIXES = (".mrc", ".map", ".rec", ZARR_SUFFIX)


def read_volume(path: StrPath) -> VolumeFile:
    """Open a volume: ``X.zarr``, or a level of it, ``X.zarr/1``, else an MRC file.

    Raises
    ------
    InputError
        As `dewedge.io.ome_zarr.read_zarr` and `dewedge.io.mrc.read_mrc`.
    """
    return read_zarr(path) if is_zarr(path) else read_mrc(path)


def create_volume(
    path: StrPath,
    shape: Sequence[int],
    voxel_size_A: float | None,
    *,
    origin_xyz_A: tuple[float, float, float] = (0.0, 0.0, 0.0),
    labels: Sequence[str] = (),
    what: str = "",
    zarr_version: ZarrVersion = "0.5",
) -> AbstractContextManager[VolumeWriter]:
    """Write a volume piece by piece, as OME-Zarr if its name ends in .zarr, else as MRC.

    Parameters and errors as `dewedge.io.mrc.create_mrc`.
    """
    create = partial(create_zarr, version=zarr_version) if is_zarr(path) else create_mrc
    return create(path, shape, voxel_size_A, origin_xyz_A=origin_xyz_A, labels=labels, what=what)


def require_zarr(path: StrPath) -> None:
    """Refuse to begin what will be written as OME-Zarr where the libraries for it are missing.

    Raises
    ------
    InputError
        If they are.
    """
    with zarr_at_hand(Path(path)):
        import yaozarrs  # noqa: F401
        import zarr  # noqa: F401


def write_volume(
    path: StrPath,
    array: NDArray[Any],
    voxel_size_A: float | None,
    *,
    origin_xyz_A: tuple[float, float, float] = (0.0, 0.0, 0.0),
    labels: Sequence[str] = (),
    what: str = "",
    zarr_version: ZarrVersion = "0.5",
) -> None:
    """Write a ``(z, y, x)`` array in the format that `create_volume` would take."""
    write = partial(write_zarr, version=zarr_version) if is_zarr(path) else write_mrc
    write(path, array, voxel_size_A, origin_xyz_A=origin_xyz_A, labels=labels, what=what)
