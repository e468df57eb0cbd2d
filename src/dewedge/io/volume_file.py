"""A volume in a file, whatever the file's format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dewedge.io.files import StrPath

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ZARR_SUFFIX = ".zarr"
ZarrVersion = Literal["0.4", "0.5"]


def file_of(path: StrPath) -> Path:
    """The file that a volume lies in: of ``X.zarr/1``, a level of a Zarr store, ``X.zarr``; else itself.

    Examples
    --------
    >>> str(file_of("run/refined.zarr/1")), str(file_of("run/refined.mrc"))
    ('run/refined.zarr', 'run/refined.mrc')
    """
    path = Path(path)
    return next((each for each in (path, *path.parents) if each.suffix.lower() == ZARR_SUFFIX), path)


def is_zarr(path: StrPath) -> bool:
    """True for what is a Zarr store, or a level of one, by its name."""
    return file_of(path).suffix.lower() == ZARR_SUFFIX and not Path(path).is_file()


@dataclass(frozen=True, eq=False)
class VolumeFile:
    """A volume, or a stack of images, in a file, or in a folder that is one (Zarr).

    Parameters
    ----------
    path
        The file.
    data
        ``(z, y, x)`` or ``(n, y, x)``, read-only, in the file's type. A slice of it is a numpy array: of MRC,
        part of the memory-mapped file; of Zarr (`dewedge.io.zarr_array.ZarrArray`) a copy, read only then.
    voxel_size_A
        Voxel size of a volume or pixel size of a stack in Angstrom; None if the file has no plausible one.
    origin_xyz_A
        Place of the first voxel in Angstrom, x first.
    labels
        What programs wrote on how the file was made.
    """

    path: Path
    data: NDArray[Any]
    voxel_size_A: float | None
    origin_xyz_A: tuple[float, float, float]
    labels: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class VolumeWriter:
    """A file being written: ``data`` is a float32 memory map of its shape, zero until assigned."""

    data: NDArray[np.float32]
