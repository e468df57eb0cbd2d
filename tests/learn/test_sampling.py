from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.learn.grey_scale import measure_grey_scale
from dewedge.learn.pairs import TomogramPair
from dewedge.learn.sampling import CropSampler
from dewedge.physics.rotation import cube_rotations, source_extent
from dewedge.physics.wedge import wedge_mask

RANGE = TiltRange(-60, 50)


def make_pair(shape=(40, 64, 72), seed=0, scale=1.0, offset=0.0, **options) -> TomogramPair:
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal(shape)
    halves = [(scale * (signal + rng.standard_normal(shape)) + offset).astype(np.float32) for _ in range(2)]
    return TomogramPair(*halves, RANGE, **options)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.sampled_from([16, 23, 24]), exact=st.sampled_from([0.0, 0.5]))
def test_no_crop_sees_beyond_its_data_or_the_held_out_region(seed: int, size: int, exact: float):
    sampler = CropSampler([make_pair()], size, seed=seed, exact_rotations=exact)
    box = sampler.held_out[0]
    for crop in [sampler.draw(i) for i in range(20)] + sampler.validation(5):
        low, high = source_extent(crop.rotation, size)
        assert (crop.centre_zyx + low >= 0).all()
        assert (crop.centre_zyx + high < (40, 64, 72)).all()
    for i in range(20):
        crop = sampler.draw(i)
        low, high = source_extent(crop.rotation, size)
        overlaps = (crop.centre_zyx + high >= box[0]) & (crop.centre_zyx + low < box[1])
        assert not overlaps.all()
    for crop in sampler.validation(5):
        low, high = source_extent(crop.rotation, size)
        assert (crop.centre_zyx + low >= box[0]).all() and (crop.centre_zyx + high < box[1]).all()


def test_a_thin_tomogram_gets_exact_rotations_only():
    sampler = CropSampler([make_pair((17, 60, 60))], 16, seed=3)
    for i in range(30):
        rotation = sampler.draw(i).rotation
        np.testing.assert_array_equal(np.abs(rotation), np.abs(rotation).round())


def test_crops_depend_on_seed_and_index_alone():
    sampler = CropSampler([make_pair(), make_pair(seed=1)], 16, seed=5)
    once = [sampler.draw(i) for i in (7, 3, 11)]
    again = [CropSampler(sampler.pairs, 16, seed=5).draw(i) for i in (7, 3, 11)]
    for a, b in zip(once, again, strict=True):
        assert a.tomogram == b.tomogram
        np.testing.assert_array_equal(a.centre_zyx, b.centre_zyx)
        np.testing.assert_array_equal(a.rotation, b.rotation)
    assert not np.array_equal(CropSampler(sampler.pairs, 16, seed=6).draw(7).rotation, once[0].rotation)
    drawn = [sampler.draw(i) for i in range(60)]
    assert {crop.tomogram for crop in drawn} == {0, 1}


def test_half_of_the_crops_are_swapped_and_always_the_same_ones():
    sampler = CropSampler([make_pair()], 16, seed=4, swap_halves=True)
    crops = [sampler.draw(i) for i in range(200)]
    assert 80 <= sum(crop.swapped for crop in crops) <= 120
    again = CropSampler(sampler.pairs, 16, seed=4, swap_halves=True)
    assert [again.draw(i).swapped for i in range(200)] == [crop.swapped for crop in crops]
    assert {crop.swapped for crop in sampler.validation(16)} == {True, False}
    assert not any(CropSampler(sampler.pairs, 16, seed=4).draw(i).swapped for i in range(20))


def test_a_swapped_crop_goes_from_half_set_1_to_half_set_0():
    sampler = CropSampler([make_pair()], 16)
    crops = [sampler.draw(i) for i in range(3)]
    cpu = torch.device("cpu")
    plain, swapped = (sampler.load([c._replace(swapped=s) for c in crops], cpu) for s in (False, True))
    assert torch.equal(plain.half0, swapped.half1) and torch.equal(plain.half1, swapped.half0)
    assert not torch.equal(plain.half0, plain.half1)


@pytest.mark.parametrize(("turns", "count"), [("tilt axis", 4), ("moving", 20), ("all", 24)])
def test_exact_rotations_are_drawn_from_the_turns_that_are_asked_for(turns, count):
    sampler = CropSampler([make_pair()], 16, exact_rotations=1.0, turns=turns)
    for crops in ([sampler.draw(i) for i in range(300)], sampler.validation(300)):
        drawn = np.unique([crop.rotation for crop in crops], axis=0)
        np.testing.assert_array_equal(drawn, np.unique(cube_rotations(turns), axis=0))
        assert len(drawn) == count


def test_an_unrotated_crop_is_the_standardised_data():
    pair = make_pair(scale=3, offset=100)
    sampler = CropSampler([pair], 16)
    scale = sampler.grey_scales[0]
    crop = sampler.draw(0)._replace(rotation=np.eye(3), centre_zyx=np.array([20, 30, 40]))
    here = np.s_[12:28, 22:38, 32:48]
    batch = sampler.load([crop], torch.device("cpu"))
    for got, half in ((batch.half0, pair.half0), (batch.half1, pair.half1)):
        np.testing.assert_allclose(got[0], (half[here] - scale.mean) / scale.std_half, atol=2e-5)
    assert batch.tilt_range.tolist() == [list(RANGE)]


def test_masks_of_a_batch_are_those_of_its_tomograms():
    level, turned = make_pair(), replace(make_pair(), tilt_range=RANGE._replace(x_tilt_deg=6))
    for pairs, height in (([level, level], 1), ([level, turned], 16)):
        sampler = CropSampler(pairs, 16)
        crops = [sampler.draw(i)._replace(tomogram=i % 2) for i in range(4)]
        batch = sampler.load(crops, torch.device("cpu"))
        assert batch.input_mask().shape == (4, 16, height, 9)
        for part in (batch, batch.part(1, 2)):
            assert part.input_mask().shape[2] == height
        for i, crop in enumerate(crops):
            expected = wedge_mask((16, 16, 16), pairs[crop.tomogram].tilt_range)
            assert torch.equal(batch.input_mask()[i].expand(16, 16, 9), expected)


@pytest.mark.parametrize(("scale", "offset"), [(1e-6, 0), (1e6, 0), (1, 1e5), (1e-6, -1e-3)])
def test_grey_scale_and_offset_do_not_matter(scale: float, offset: float):
    plain = CropSampler([make_pair()], 16, seed=1)
    scaled = CropSampler([make_pair(scale=scale, offset=offset)], 16, seed=1)
    crops = [plain.draw(i) for i in range(2)]
    expected, got = (sampler.load(crops, torch.device("cpu")) for sampler in (plain, scaled))
    # A float32 near 1e5 is known to 0.008 only.
    torch.testing.assert_close(got.half0, expected.half0, atol=6e-3, rtol=0)


def test_the_whole_of_uneven_halves_has_its_own_deviation():
    pair = make_pair()
    full = 0.25 * pair.half0 + 0.75 * pair.half1
    scale = measure_grey_scale(replace(pair, full=full))
    assert scale == measure_grey_scale(pair)._replace(std_full=pytest.approx(full.std(), rel=1e-4))
    assert scale.std_full > 1.02 * measure_grey_scale(pair).std_full


def test_grey_scale_is_that_of_the_halves_and_their_average():
    pair = make_pair(scale=2, offset=-7)
    scale = measure_grey_scale(pair)
    assert scale.mean == pytest.approx(np.mean([pair.half0, pair.half1]), rel=1e-4)
    assert scale.std_half == pytest.approx(np.sqrt((pair.half0.var() + pair.half1.var()) / 2), rel=1e-4)
    assert scale.std_full == pytest.approx(((pair.half0 + pair.half1) / 2).std(), rel=1e-4)


def test_crops_lie_on_the_specimen_and_the_held_out_corner_is_the_fullest():
    mask = np.zeros((40, 96, 96), dtype=bool)
    mask[:, :60, :60] = True
    sampler = CropSampler([make_pair(mask.shape, mask=mask)], 16, seed=2)
    np.testing.assert_array_equal(sampler.held_out[0][0], [0, 0, 0])
    for i in range(30):
        begin = sampler.draw(i).centre_zyx - 8
        assert mask[tuple(slice(a, a + 16) for a in begin)].mean() >= 0.4


def test_validation_crops_lie_on_the_specimen_where_there_is_any():
    mask = np.zeros((64, 96, 96), dtype=bool)
    mask[40:] = True
    pair = make_pair(mask.shape, mask=mask)
    for crop in CropSampler([pair], 16).validation(8):
        begin = np.maximum(crop.centre_zyx - 8, 0)
        assert mask[tuple(slice(a, a + 16) for a in begin)].mean() >= 0.4
    mask = np.zeros_like(mask)
    mask[:, 36:60, 36:60] = True  # not in any corner
    assert len(CropSampler([make_pair(mask.shape, mask=mask)], 16, held_out=0.05).validation(8)) == 8


def test_a_tomogram_without_specimen_to_hold_out_costs_others_nothing():
    shape = (40, 120, 120)
    in_the_middle, at_one_side = np.zeros((2, *shape), dtype=bool)
    in_the_middle[:, 50:70, 50:70] = True
    at_one_side[:, :, 92:] = True
    pairs = [make_pair(shape, mask=mask) for mask in (in_the_middle, at_one_side)]
    alone, both = (CropSampler(some, 16, held_out=0.15) for some in (pairs[1:], pairs))
    crops = both.validation(15)
    assert [crop.tomogram for crop in crops].count(0) == 8
    assert alone._on_specimen(pairs[1], alone.validation(1)[0].centre_zyx)
    assert all(both._on_specimen(pairs[1], crop.centre_zyx) for crop in crops if crop.tomogram == 1)


def test_unusable_halves_are_refused():
    pair = make_pair()
    bad = pair.half0.copy()
    bad[3, 2, 1] = np.nan
    with pytest.raises(InputError, match="NaN"):
        measure_grey_scale(TomogramPair(bad, pair.half1, RANGE))
    with pytest.raises(InputError, match="all voxels are the same"):
        measure_grey_scale(TomogramPair(np.full_like(bad, 7.3), pair.half1, RANGE))
    with pytest.raises(InputError, match="the same up to scale"):
        measure_grey_scale(TomogramPair(pair.half0, pair.half0 * 2, RANGE))
    with pytest.raises(InputError, match="one shape"):
        TomogramPair(pair.half0, pair.half1[1:], RANGE)
    with pytest.raises(InputError, match="do not fit"):
        CropSampler([pair], 48)
    with pytest.raises(InputError, match="beside a held-out"):
        CropSampler([make_pair((40, 40, 40))], 24)
    with pytest.raises(InputError, match="no place"):
        CropSampler([make_pair(mask=np.zeros((40, 64, 72), dtype=bool))], 16).draw(0)


def test_inputs_and_targets_are_clipped_on_the_scale_without_beads():
    pair = make_pair()
    for half in (pair.half0, pair.half1):
        half[20:23, 10:13, 10:13] = -500
    sampler = CropSampler([pair], 16, clip=6.0, exact_rotations=1.0, held_out=0)
    assert sampler.grey_scales[0].std_half == pytest.approx(np.sqrt(2), rel=0.02)
    crops = [replace_centre(sampler.draw(0), (21, 11, 11)), replace_centre(sampler.draw(1), (20, 40, 40))]
    batch = sampler.load(crops, torch.device("cpu"))
    for half in (batch.half0, batch.half1):
        assert half[0].min() == -6.0
        assert half[1].std() == pytest.approx(1, rel=0.05)


def replace_centre(crop, centre):
    return crop._replace(centre_zyx=np.array(centre))
