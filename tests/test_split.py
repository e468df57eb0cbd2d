"""Splitting a tilt series into half-sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dewedge.errors import InputError
from dewedge.geometry import TiltGeometry
from dewedge.split import split_tilts, splits_by_angle


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


STEP = 3
SIDE = 20  # tilts on either side of zero


def in_time(name: str) -> list[int]:
    """Multiples of the tilt step in order of acquisition."""
    up, down = list(range(1, SIDE + 1)), list(range(-1, -SIDE - 1, -1))
    if name == "hagen":
        sequence = [0, 1]
        a, b = down, up[1:]
        while a or b:
            sequence += a[:2] + b[:2]
            a, b = a[2:], b[2:]
        return sequence
    if name == "alternating":  # 0, 3, -3, 6, -6: all positive angles in one half-set
        return [0, *(sign * i for i in up for sign in (1, -1))]
    if name == "bidirectional":
        return [0, *up, *down]
    if name == "continuous":
        return sorted([0, *up, *down])
    size = int(name.removeprefix("groups of "))
    sequence = [0]
    for start in range(0, SIDE, size):
        sequence += up[start : start + size] + down[start : start + size]
    return sequence


def acquired(sequence: list[int]) -> TiltGeometry:
    order = np.empty(len(sequence), dtype=int)
    order[np.searchsorted(np.sort(sequence), sequence)] = np.arange(len(sequence))
    return TiltGeometry(
        tilt_deg=STEP * np.sort(sequence).astype(float),
        image_shape_yx=(8, 8),
        pixel_size_A=10,
        acquisition_order=order,
    )


def largest_gap(whole: TiltGeometry, indices: np.ndarray) -> float:
    """Largest distance in degrees from a tilt of the whole series to the nearest one of a half-set."""
    distance = np.abs(whole.tilt_deg[:, None] - whole.tilt_deg[indices])
    return float(distance.min(axis=1).max())


@pytest.mark.parametrize(
    "name, by_angle",
    [
        ("hagen", False),
        ("alternating", True),
        ("bidirectional", False),
        ("continuous", False),
        ("groups of 2", False),
        ("groups of 3", False),
    ],
)
def test_half_sets_share_directions_in_every_order_of_acquisition(name: str, by_angle: bool) -> None:
    whole = acquired(in_time(name))
    assert whole.n_tilts == 2 * SIDE + 1
    assert splits_by_angle(whole) == by_angle
    halves = split_tilts(whole, "tilts")
    assert sorted([*halves[0], *halves[1]]) == list(range(whole.n_tilts))
    for half in halves:
        assert largest_gap(whole, half) <= 2 * STEP
        assert abs(half.size - whole.n_tilts / 2) <= 2
    if not by_angle:
        assert whole.acquisition_order is not None
        np.testing.assert_array_equal(halves[0], np.flatnonzero(whole.acquisition_order % 2 == 0))


def test_by_angle_every_second_tilt_is_in_the_other_half_set() -> None:
    half0, half1 = split_tilts(acquired(in_time("alternating")), "tilts")
    assert half0.tolist() == list(range(0, 41, 2)) and half1.tolist() == list(range(1, 41, 2))


@given(st.integers(0, 200), st.integers(8, 61))
def test_half_sets_share_directions_in_random_orders(seed: int, n: int) -> None:
    sequence = np.random.default_rng(seed).permutation(n).tolist()
    whole = acquired([i - n // 2 for i in sequence]) if n * STEP < 180 else acquired(in_time("hagen"))
    for half in split_tilts(whole, "tilts"):
        assert largest_gap(whole, half) <= 3 * STEP


def test_a_stack_in_order_of_acquisition_without_mdoc_is_split_by_angle_where_it_must_be() -> None:
    sequence = in_time("alternating")
    whole = TiltGeometry(tilt_deg=STEP * np.array(sequence, float), image_shape_yx=(8, 8), pixel_size_A=10)
    assert splits_by_angle(whole)
    for half in split_tilts(whole, "tilts"):
        tilts = np.sort(whole.tilt_deg[half])
        assert np.diff(tilts).max() == 2 * STEP
