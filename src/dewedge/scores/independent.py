"""How far two results agree that have nothing in common but the specimen.

Two networks that were fitted to separate halves of space are given one half-set each. With the specimen t,
what both invent alike, u, and errors e of their own, all without correlation, their outputs are

    f_i = a_i t + b_i u + e_i

so that their correlation is c = r_1 r_2 + what u adds, where r is the correlation of each with the specimen:
sqrt(c) is the most that r can be (in the geometric mean of both), and is r if they invent nothing alike. Of
both half-sets, whose error has half of the noise, it would be sqrt(2 c / (1 + c)).

Source: Rosenthal and Henderson 2003, J. Mol. Biol. 333, 721 (C_ref, where nothing is invented alike).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dewedge.geometry import Floats, TiltRange
from dewedge.scores.extra_wedge import of_whole
from dewedge.scores.spectra import ShellSums, parted_by_wedge, shell_sums, tapered_spectrum


class Agreement(NamedTuple):
    """Sums of two results over shells of frequency, inside the missing wedge and outside."""

    inside: ShellSums
    outside: ShellSums


def agreement(a: ArrayLike, b: ArrayLike, tilt_range: TiltRange, edges: Sequence[float]) -> Agreement:
    """Sums of two ``(z, y, x)`` volumes over shells whose edges are in cycles per voxel, both tapered.

    Raises
    ------
    InputError
        If a volume is constant or holds values that are not finite.
    """
    first, second = (
        tapered_spectrum(volume, name, edges[-1]) for volume, name in ((a, "first fit"), (b, "second fit"))
    )
    masks = parted_by_wedge(first, tilt_range, np.shape(a)[0])
    return Agreement(*(shell_sums(first, second, edges, mask) for mask in masks))


def most_with_truth(correlation: NDArray[np.float64]) -> Floats:
    """Most that a result of both half-sets correlates with the specimen; 0 without agreement.

    Of correlations c of any shape, sqrt(2 c / (1 + c)).

    Examples
    --------
    >>> most_with_truth(np.array([1.0, 0.5, -0.2])).round(3)
    array([1.   , 0.816, 0.   ])
    """
    return of_whole(np.sqrt(np.maximum(correlation, 0)))
