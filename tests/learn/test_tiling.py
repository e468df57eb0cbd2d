import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dewedge.errors import InputError
from dewedge.learn.network import PRESETS
from dewedge.learn.tiling import TILE, tile_axis, tile_groups, tile_size

MULTIPLES = st.sampled_from([1, 2, 4, 8])


@given(n=st.integers(1, 200), multiple=MULTIPLES, edge=st.integers(1, 12), overlap=st.integers(0, 60))
def test_tiles_cover_the_axis_on_one_grid_and_weights_add_up_to_one(n, multiple, edge, overlap):
    largest = edge * multiple
    wanted = -(-overlap // multiple) * multiple
    if wanted >= largest:
        with pytest.raises(InputError, match="overlap"):
            tile_axis(n, largest, overlap, multiple)
        return
    tiles = tile_axis(n, largest, overlap, multiple)
    padded = len(tiles.source)
    assert n <= padded < n + multiple and padded % multiple == 0
    assert tiles.size <= largest and tiles.size % multiple == 0
    assert all(start % multiple == 0 for start in tiles.starts)
    assert tiles.starts[0] == 0 and tiles.starts[-1] + tiles.size == padded
    assert (np.diff(tiles.starts) <= tiles.size - overlap).all()
    assert (np.diff(tiles.starts) > 0).all()
    assert tiles.weights.min() > 0
    total = np.zeros(padded)
    for start, weights in zip(tiles.starts, tiles.weights, strict=True):
        total[start : start + tiles.size] += weights
    np.testing.assert_allclose(total, 1, rtol=1e-6)


def test_padding_is_a_reflection():
    assert tile_axis(5, 8, 0, 8).source.tolist() == [0, 1, 2, 3, 4, 3, 2, 1]
    assert tile_axis(1, 8, 0, 4).source.tolist() == [0, 0, 0, 0]


def test_no_more_tiles_than_needed():
    assert tile_axis(160, 96, 32, 8).starts == [0, 64]
    assert tile_axis(168, 96, 32, 8).size == 80  # three tiles of 96 would overlap more than asked
    assert tile_axis(96, 96, 32, 8).starts == [0]


@pytest.mark.parametrize("largest", [0, 4, 20])
def test_a_tile_that_is_no_multiple_is_refused(largest):
    with pytest.raises(InputError, match="expected a multiple of 8"):
        tile_axis(100, largest, 0, 8)


def test_a_negative_overlap_is_refused():
    with pytest.raises(InputError, match="overlap of -8"):
        tile_axis(100, 32, -8, 8)


def test_instance_normalisation_is_applied_to_tiles_as_large_as_the_cubes():
    assert tile_size(PRESETS["default"], 48) == TILE
    assert tile_size(PRESETS["paper"], 48) == 48


@given(n=st.integers(1, 200), edge=st.integers(1, 12), overlap=st.integers(0, 11), largest=st.integers(0, 90))
def test_groups_of_tiles_are_as_few_as_fit(n, edge, overlap, largest):
    axis = tile_axis(n, edge, min(overlap, edge - 1), 1)
    groups = tile_groups(axis, largest)

    def span(first, last):
        return axis.starts[last] + axis.size - axis.starts[first]

    assert [tile for group in groups for tile in group] == list(range(len(axis.starts)))
    assert all(len(group) == 1 or span(group[0], group[-1]) <= largest for group in groups)
    assert all(span(group[0], after[0]) > largest for group, after in itertools.pairwise(groups))
