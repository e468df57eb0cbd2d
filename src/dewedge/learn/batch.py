"""Crops of tomograms: where one lies, what a batch of them is rotated from, and the batch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dewedge.physics.transfer import Transfer
from dewedge.physics.wedge import wedge_mask


class Crop(NamedTuple):
    """Place and rotation of one pair of sub-tomograms.

    The number of its tomogram, ``(3,)`` voxel at its centre, and ``(3, 3)`` rotation on (z, y, x);
    ``swapped`` where the half-sets change places.
    """

    tomogram: int
    centre_zyx: NDArray[np.int64]
    rotation: NDArray[np.float64]
    swapped: bool = False


class Batch(NamedTuple):
    """Rotated, standardised crops ``(b, n, n, n)``, tilt ranges ``(b, 3)`` and rotations ``(b, 3, 3)``.

    ``transfers``: of the target of each crop, or none if it is not known of all. ``level`` where no tomogram
    has a tilt about x.
    """

    half0: Tensor
    half1: Tensor
    tilt_range: Tensor
    rotation: Tensor
    transfers: tuple[Transfer, ...] = ()
    level: bool = True

    def part(self, begin: int, end: int) -> Batch:
        """Crops from ``begin`` up to ``end``, without that."""
        return Batch(
            self.half0[begin:end],
            self.half1[begin:end],
            self.tilt_range[begin:end],
            self.rotation[begin:end],
            self.transfers[begin:end],
            self.level,
        )

    def input_mask(self) -> Tensor:
        """``(b, n, n, n // 2 + 1)`` mask of the wedge in its own place; if ``level``, with one ky for all."""
        depth, height, width = self.half0.shape[-3:]
        shape = (depth, 1 if self.level else height, width)
        return wedge_mask(shape, self.tilt_range, device=self.half0.device)

    def target_mask(self) -> Tensor:
        """``(b, n, n, n // 2 + 1)`` mask of the wedge that has turned with the crop."""
        return wedge_mask(self.half0.shape[-3:], self.tilt_range, self.rotation, device=self.half0.device)

    def target_transfer(self) -> Tensor | None:
        """``(b, n, n, n // 2 + 1)`` transfer of the target, turned with it; None if not known."""
        if not self.transfers:
            return None
        size = self.half0.shape[-1]
        return torch.stack(
            [each.at(rotation, size) for each, rotation in zip(self.transfers, self.rotation, strict=True)]
        )


class Sources(NamedTuple):
    """Cubes that a batch is rotated from, on the CPU.

    Crops that need sources of one size are a group: their places in the batch and ``(g, 2, s, s, s)``
    standardised half-sets. Tilt ranges ``(b, 3)``, rotations ``(b, 3, 3)`` and transfers are the batch's.
    """

    groups: list[tuple[Tensor, Tensor]]
    tilt_range: Tensor
    rotation: Tensor
    transfers: tuple[Transfer, ...]
