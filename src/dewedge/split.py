"""Splitting a tilt series into two half-sets of independent noise."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dewedge.errors import InputError
from dewedge.geometry import TiltGeometry

SplitMethod = Literal["tilts", "random"]

BY_ANGLE = (
    "even and odd tilts by order of acquisition would leave one half-set without a part of the tilt range: "
    "split by order of angle instead"
)
# Half-sets that share directions have no more than this many neighbours in angle in a row. Dose-symmetric
# series have two where the branches change, orders without any plan seldom more than four.
_LONGEST_RUN = 3


def split_tilts(
    geometry: TiltGeometry, method: SplitMethod, fraction: float = 0.5, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the tilt images of half-set 0 and of half-set 1.

    Parameters
    ----------
    geometry
        Geometry of the whole series.
    method
        ``tilts``: even and odd images, by order of acquisition where it is known, else by order in the stack;
        where `splits_by_angle`, by order of tilt angle.
        ``random``: ``round(fraction * n)`` images, drawn without replacement, form half-set 0.
    fraction, seed
        Of ``random`` only.

    Returns
    -------
    tuple of arrays
        ``(m,)`` int64, both sorted, disjoint, and together all images.

    Raises
    ------
    InputError
        If a half-set would hold fewer than two images, or the fraction lies outside 0 to 1.

    Source: Wiedemann and Heckel 2024, step 1 and appendix D.2 (random fractions).
    """
    n = geometry.n_tilts
    if method == "tilts":
        in_half0 = _rank_in_angle(geometry) % 2 == 0 if splits_by_angle(geometry) else _is_even(geometry)
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


def splits_by_angle(geometry: TiltGeometry) -> bool:
    """True if even and odd images, by order of acquisition, would not share directions.

    So it is where more than three images that are neighbours in angle would be in one half-set: of the order
    0, 3, -3, 6, -6 all positive angles. Then the half-sets' missing wedges would differ, and a fit from one
    to the other would learn to remove what the other has not measured.
    """
    if geometry.n_tilts <= _LONGEST_RUN:
        return False
    is_even = _is_even(geometry)[np.argsort(_rank_in_angle(geometry))]
    changes = np.flatnonzero(np.diff(is_even)) + 1
    runs = np.diff(np.concatenate([[0], changes, [is_even.size]]))
    return bool(runs.max() > _LONGEST_RUN)


def _is_even(geometry: TiltGeometry) -> NDArray[np.bool_]:
    order = geometry.acquisition_order
    even: NDArray[np.bool_] = (np.arange(geometry.n_tilts) if order is None else order) % 2 == 0
    return even


def _rank_in_angle(geometry: TiltGeometry) -> NDArray[np.int64]:
    return np.argsort(np.argsort(geometry.tilt_deg, kind="stable"), kind="stable")
