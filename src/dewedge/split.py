"""Splitting a tilt series into two half-sets of independent noise."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dewedge.errors import InputError
from dewedge.geometry import TiltGeometry

SplitMethod = Literal["tilts", "random"]


def split_tilts(
    geometry: TiltGeometry, method: SplitMethod, fraction: float = 0.5, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the tilt images of half-set 0 and of half-set 1.

    Parameters
    ----------
    geometry
        Geometry of the whole series.
    method
        ``tilts``: even and odd images, by order of acquisition where it is known, else by order in the stack.
        ``random``: ``round(fraction * n)`` images, drawn without replacement, form half-set 0.
    fraction, seed
        Of ``random`` only.

    Returns
    -------
    tuple of arrays
        Both sorted, disjoint, and together all images.

    Raises
    ------
    InputError
        If a half-set would hold fewer than two images.

    Source: Wiedemann and Heckel 2024, step 1 and appendix D.2 (random fractions).
    """
    n = geometry.n_tilts
    if method == "tilts":
        order = np.arange(n) if geometry.acquisition_order is None else geometry.acquisition_order
        in_half0 = order % 2 == 0
    elif method == "random":
        if not 0 <= fraction <= 1:
            raise InputError(f"split fraction {fraction:g}: expected a number between 0 and 1")
        in_half0 = np.zeros(n, dtype=bool)
        in_half0[np.random.default_rng(seed).permutation(n)[: round(fraction * n)]] = True
    else:
        raise ValueError(f"method {method!r}: expected 'tilts' or 'random'")
    half0, half1 = np.flatnonzero(in_half0), np.flatnonzero(~in_half0)
    if min(half0.size, half1.size) < 2:
        raise InputError(
            f"splitting {n} tilt images gives half-sets of {half0.size} and {half1.size}: "
            "each needs at least 2; give more tilts or another split fraction"
        )
    return half0, half1
