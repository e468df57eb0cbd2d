"""MRC files of half precision: mode 12, IEEE 754 binary16."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dewedge.io.files import StrPath
from dewedge.io.formats import read_volume
from dewedge.io.mrc import create_mrc, read_mrc
from dewedge.io.volume_file import VolumeFile

# Most that rounding may change values, as a share of their standard deviation: a ten-thousandth of the power.
MOST_ERROR = 0.01


def to_half_precision(path: StrPath) -> str:
    """Write an MRC file of mode 2 anew as one of mode 12, half as large; a file of another mode stays.

    It keeps its name and its time. Where half precision would lose what the file holds, it stays as it is.

    Returns
    -------
    str
        Why it stays, if that is so; else empty.

    Raises
    ------
    InputError
        If it cannot be read or written.
    """
    volume = read_mrc(path)
    if volume.data.dtype != np.float32:
        return ""
    fault = _fault(volume.data)
    if fault:
        return fault
    time = os.stat(path).st_mtime_ns
    with create_mrc(
        path,
        volume.data.shape,
        volume.voxel_size_A,
        origin_xyz_A=volume.origin_xyz_A,
        labels=volume.labels,
        what="as float16",
        half_precision=True,
    ) as writer:
        for target, section in zip(writer.data, volume.data, strict=True):
            target[...] = section
    # What it was made from, and what is made of it, are older and newer than before.
    os.utime(path, ns=(time, time))
    return ""


def _fault(data: NDArray[Any]) -> str:
    """What of a ``(z, y, x)`` array half precision would lose; nothing if no more than `MOST_ERROR`."""
    largest, error, square, total = 0.0, 0.0, 0.0, 0.0
    for section in data:
        values = section.astype(np.float64)
        if not np.isfinite(values).all():
            return "holds values that are not finite"
        with np.errstate(over="ignore", invalid="ignore"):
            error += float(((section.astype(np.float16) - values) ** 2).sum())
        largest = max(largest, float(np.abs(values).max()))
        square, total = square + float((values**2).sum()), total + float(values.sum())
    limit = float(np.finfo(np.float16).max)
    if largest > limit:
        return f"values up to {largest:.3g}: float16 ends at {limit:.0f}"
    variance = max(square / data.size - (total / data.size) ** 2, 0.0)
    if error / data.size > MOST_ERROR**2 * variance:
        std, lost = variance**0.5, (error / data.size) ** 0.5
        return f"float16 would change values by {lost:.2g}, of a standard deviation of {std:.2g}"
    return ""


class AsSingle:
    """A ``(z, y, x)`` array of float16 as one of float32, of which parts are converted when they are taken.

    Parameters
    ----------
    data
        Memory-mapped. A slice of it is a copy.
    """

    def __init__(self, data: NDArray[Any]) -> None:
        self.data = data
        self.shape, self.ndim, self.size = data.shape, data.ndim, data.size
        self.dtype = np.dtype(np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (self[z] for z in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        return np.asarray(self.data[index]).astype(np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("what is converted is a copy")
        return np.asarray(self.data).astype(dtype or self.dtype)

    def astype(self, dtype: Any, copy: bool = True) -> NDArray[Any]:
        """All of it, in memory."""
        return np.asarray(self.data).astype(dtype)


def read_result(path: StrPath) -> VolumeFile:
    """Open a volume of a run: as `dewedge.io.formats.read_volume`, and float16 as float32."""
    volume = read_volume(path)
    if volume.data.dtype != np.float16:
        return volume
    data: Any = AsSingle(volume.data)
    return replace(volume, data=data)
