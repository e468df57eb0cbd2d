"""The two half-sets of a tomogram."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.physics.transfer import MeasuredPlanes


@dataclass(frozen=True, eq=False)
class TomogramPair:
    """Both half-sets of one tomogram and what is known of them.

    Parameters
    ----------
    half0, half1
        ``(z, y, x)`` arrays, in memory or memory-mapped, of any grey scale. For a fit without half-sets, both
        are one and the same array.
    tilt_range
        Tilt range of the series.
    mask
        ``(z, y, x)`` booleans, True where there is specimen; None for everywhere.
    name
        For messages.
    full
        ``(z, y, x)`` reconstruction of both, of their grey scale; None for their average.
    planes
        What the tilts of each half-set measured; None where only their range is known.
    voxel_size_A
        Edge of a voxel in Angstrom; None if not known.

    Raises
    ------
    InputError
        If the shapes differ, or are not those of volumes.
    """

    half0: NDArray[np.float32]
    half1: NDArray[np.float32]
    tilt_range: TiltRange
    mask: NDArray[np.bool_] | None = None
    name: str = "tomogram"
    full: NDArray[np.float32] | None = None
    planes: tuple[MeasuredPlanes, MeasuredPlanes] | None = None
    voxel_size_A: float | None = None

    def __post_init__(self) -> None:
        if self.half0.ndim != 3 or self.half0.shape != self.half1.shape:
            raise InputError(
                f"{self.name}: half-sets of shapes {self.half0.shape} and {self.half1.shape}; expected two "
                "tomograms of one shape"
            )
        if self.mask is not None and self.mask.shape != self.half0.shape:
            raise InputError(f"{self.name}: mask of shape {self.mask.shape} for {self.half0.shape}")

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Shape of both half-sets."""
        depth, height, width = self.half0.shape
        return depth, height, width
