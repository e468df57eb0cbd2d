"""A volume in a file, whatever the file's format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class VolumeFile:
    """A volume, or a stack of images, in a file, or in a folder that is one (Zarr).

    Parameters
    ----------
    path
        The file.
    data
        ``(z, y, x)`` or ``(n, y, x)``, read-only, in the file's type. What is sliced out of it is a numpy array:
        of MRC, the memory-mapped file itself; of Zarr, a copy, read only then
        (`dewedge.io.zarr_array.ZarrArray`).
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
