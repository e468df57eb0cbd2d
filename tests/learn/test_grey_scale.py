import numpy as np
import pytest

from dewedge.errors import InputError
from dewedge.learn.grey_scale import clipped_scale, match_grey_range, mean_and_covariance


def test_it_is_numpys():
    volumes = np.random.default_rng(0).normal(size=(3, 5, 6, 7)).astype(np.float32)
    mean, covariance = mean_and_covariance(list(volumes), ["a", "b", "c"])
    flat = volumes.reshape(3, -1).astype(np.float64)
    np.testing.assert_allclose(mean, flat.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(flat, bias=True), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.float16, ">f4"])
def test_it_takes_all_types_of_file(dtype):
    volume = np.random.default_rng(0).integers(0, 100, size=(4, 5, 6)).astype(dtype)
    mean, covariance = mean_and_covariance([volume], ["a"])
    values = volume.astype(np.float64)
    np.testing.assert_allclose((mean[0], covariance[0, 0]), (values.mean(), values.var()), rtol=1e-12)


def test_a_large_offset_costs_no_precision():
    volume = np.random.default_rng(0).normal(size=(8, 8, 8))
    _, plain = mean_and_covariance([volume], ["a"])
    _, shifted = mean_and_covariance([volume + 1e6], ["a"])
    np.testing.assert_allclose(shifted, plain, rtol=1e-8)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    volume = np.ones((3, 3, 3), dtype=np.float32)
    volume[2, 1, 0] = bad
    with pytest.raises(InputError, match=r"b\.mrc: holds NaN or infinite"):
        mean_and_covariance([np.arange(27.0).reshape(3, 3, 3), volume], ["a.mrc", "b.mrc"])


@pytest.mark.parametrize("value", [0, 0.1, -3e7])
def test_a_constant_volume_is_refused(value):
    with pytest.raises(InputError, match=r"a\.mrc: all voxels are the same"):
        mean_and_covariance([np.full((3, 4, 5), value, dtype=np.float32)], ["a.mrc"])


def with_beads(scale=1.0, offset=0.0, seed=0):
    rng = np.random.default_rng(seed)
    volume = rng.normal(size=(30, 60, 60))
    for z, y, x in rng.integers(3, 27, (12, 3)):
        volume[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2] = -50
    return (scale * volume + offset).astype(np.float32)


@pytest.mark.parametrize(("share", "least"), [(0.3, 0.9), (0.1, 0.7), (0.02, 0.3), (0.001, 0)])
def test_a_specimen_in_an_empty_volume_is_not_clipped_away(share, least):
    volume = np.zeros((20, 50, 50), dtype=np.float32)
    filled = round(share * volume.size)
    volume.ravel()[:filled] = np.random.default_rng(0).normal(size=filled)
    assert least * volume.std() < clipped_scale([volume], 6.0).std <= volume.std()


@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (1e-6, 5e-3), (1e4, -31900)])
def test_beads_do_not_move_the_clipped_scale(scale, offset):
    volume = with_beads(scale, offset)
    mean, std = clipped_scale([volume], 6.0)
    assert volume.std() > 2 * scale
    assert std == pytest.approx(scale, rel=0.02)
    assert mean == pytest.approx(offset, abs=0.02 * scale)


def test_without_strong_voxels_the_clipped_scale_is_the_plain_one():
    volume = np.random.default_rng(1).normal(3, 2, (20, 30, 40)).astype(np.float32)
    assert clipped_scale([volume], 6.0) == pytest.approx((volume.mean(), volume.std()), rel=1e-5)


def test_the_clipped_scale_of_two_volumes_is_that_of_their_average():
    a, b = with_beads(seed=1), with_beads(seed=2)
    assert clipped_scale([a, b], 6.0) == pytest.approx(clipped_scale([(a + b) / 2], 6.0), rel=1e-5)


@pytest.mark.parametrize(("scale", "offset"), [(1e-3, 3.0), (0.0, 2.0), (50.0, -700.0)])
def test_a_matched_range_is_that_of_the_reference_whatever_it_was(scale, offset):
    rng = np.random.default_rng(0)
    values, reference = (rng.normal(size=(6, 7, 8)).astype(np.float32) for _ in range(2))
    volume = (scale * values + offset).astype(np.float32)
    match_grey_range(volume, reference)
    if scale == 0:
        assert np.isfinite(volume).all() and np.ptp(volume) == 0
    else:
        expected = np.percentile(reference, [4, 96])
        np.testing.assert_allclose(np.percentile(volume, [4, 96]), expected, atol=1e-2)
        assert np.corrcoef(volume.ravel(), values.ravel())[0, 1] > 0.999
