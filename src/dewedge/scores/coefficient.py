"""Correlation coefficients of two volumes: whole, outside and inside the missing wedge."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike

from dewedge.geometry import TiltRange
from dewedge.physics.fourier import multiplicity
from dewedge.physics.wedge import wedge_in_place
from dewedge.scores.volumes import (
    centred,
    checked_pair,
    correlation_of_sums,
    mean_of,
    products,
    row_blocks,
)


def correlation(estimate: ArrayLike, truth: ArrayLike) -> float:
    """Correlation coefficient of two ``(z, y, x)`` volumes, their means removed: between -1 and 1.

    Raises
    ------
    InputError
        If the shapes differ, or a volume is constant or holds a value that is not finite.

    Examples
    --------
    >>> volume = np.arange(24.0).reshape(2, 3, 4)
    >>> correlation(volume, 5 - 2 * volume)
    -1.0
    """
    a, b = checked_pair(estimate, truth)
    mean_a, mean_b = mean_of(a, "estimate"), mean_of(b, "truth")
    sums = np.zeros(3)
    for rows in row_blocks(a.shape):
        part_a = a[:, rows].astype(np.float64) - mean_a
        part_b = b[:, rows].astype(np.float64) - mean_b
        sums += [np.vdot(part_a, part_a), np.vdot(part_b, part_b), np.vdot(part_a, part_b)]
    return float(sums[2] / (np.sqrt(sums[0]) * np.sqrt(sums[1])))


def correlation_outside_inside(
    estimate: ArrayLike, truth: ArrayLike, tilt_range: TiltRange
) -> tuple[float, float]:
    """Correlation coefficients after both spectra are multiplied by W (outside the wedge) and 1 - W (inside).

    The volumes are ``(z, y, x)``, and read in blocks of rows along y; as a whole, if there is a tilt about x.
    A part in which either volume has no signal (less than 1e-12 of its energy) has correlation 0.

    Raises
    ------
    InputError
        As `correlation`, or if the tilt range is not valid.
    """
    a, b = checked_pair(estimate, truth)
    mean_a, mean_b = mean_of(a, "estimate"), mean_of(b, "truth")
    measured = wedge_in_place(a.shape, tilt_range.validated()).double()
    parts = torch.stack([measured, 1 - measured]) * multiplicity(a.shape[2])
    sums = torch.zeros(2, 3, dtype=torch.float64)
    # Where W does not depend on ky, y is not transformed: by Parseval the sum over y is that over ky.
    level = measured.shape[1] == 1
    axes = (0, 2) if level else (0, 1, 2)
    for rows in row_blocks(a.shape) if level else [slice(None)]:
        spectra = [
            torch.fft.rfftn(centred(v[:, rows], mean), dim=axes, norm="ortho")
            for v, mean in ((a, mean_a), (b, mean_b))
        ]
        for i, product in enumerate(products(*spectra)):
            alike = product.sum(dim=1, keepdim=True, dtype=torch.float64) if level else product
            sums[:, i] += (parts * alike).sum(dim=(1, 2, 3))
    outside, inside = correlation_of_sums(sums, energy=sums[:, :2].sum(dim=0)).tolist()
    return outside, inside
