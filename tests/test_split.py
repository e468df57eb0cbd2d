"""Splitting a tilt series into half-sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dewedge.errors import InputError
from dewedge.geometry import TiltGeometry
from dewedge.split import split_tilts


def geometry(n: int, order: list[int] | None = None) -> TiltGeometry:
    rank = None if order is None else np.array(order)
    return TiltGeometry(
        tilt_deg=np.linspace(-60, 60, n), image_shape_yx=(8, 8), pixel_size_A=10, acquisition_order=rank
    )


@given(st.integers(4, 80), st.floats(0, 1), st.integers(0, 5))
def test_random_halves_are_sorted_disjoint_and_complete(n: int, fraction: float, seed: int) -> None:
    if not 2 <= round(fraction * n) <= n - 2:
        with pytest.raises(InputError, match="at least 2"):
            split_tilts(geometry(n), "random", fraction, seed)
        return
    half0, half1 = split_tilts(geometry(n), "random", fraction, seed)
    assert half0.size == round(fraction * n)
    assert (np.diff(half0) > 0).all() and (np.diff(half1) > 0).all()
    assert sorted([*half0, *half1]) == list(range(n))


def test_random_depends_on_the_seed_only() -> None:
    first = split_tilts(geometry(41), "random", seed=1)
    assert np.array_equal(first[0], split_tilts(geometry(41), "random", seed=1)[0])
    assert not np.array_equal(first[0], split_tilts(geometry(41), "random", seed=2)[0])


def test_tilts_by_stack_order_when_the_order_of_acquisition_is_unknown() -> None:
    half0, half1 = split_tilts(geometry(5), "tilts")
    assert half0.tolist() == [0, 2, 4] and half1.tolist() == [1, 3]


def test_tilts_by_order_of_acquisition() -> None:
    # Dose-symmetric: 0, 15, -15, -30, 30, 45, -45, -60, 60 degrees, in a stack sorted by angle.
    half0, half1 = split_tilts(geometry(9, [7, 6, 3, 2, 0, 1, 4, 5, 8]), "tilts")
    assert half0.tolist() == [1, 3, 4, 6, 8] and half1.tolist() == [0, 2, 5, 7]


def test_too_few_tilts_or_a_wrong_fraction_are_refused() -> None:
    with pytest.raises(InputError, match="half-sets of 2 and 1"):
        split_tilts(geometry(3), "tilts")
    with pytest.raises(InputError, match="between 0 and 1"):
        split_tilts(geometry(9), "random", 1.5)
