"""Rounds in bands of a large tomogram."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from test_sampling import make_pair

import dewedge.learn.rounds as rounds
from dewedge.geometry import TiltRange
from dewedge.learn.network import NetworkConfig, UNet
from dewedge.learn.options import FitOptions
from dewedge.learn.rounds import bands, filled_inputs, round_epochs
from dewedge.learn.sampling import CropSampler, TomogramPair

NETWORK = NetworkConfig(channels=2, levels=1)
SIZE = 8


@pytest.fixture
def pair(monkeypatch) -> TomogramPair:
    monkeypatch.setattr(rounds, "BAND_VOXELS", 20 * 40 * 30)
    rng = np.random.default_rng(0)
    shape = (20, 100, 40)
    signal = rng.normal(size=shape)
    half0, half1 = ((signal + rng.normal(size=shape)).astype(np.float32) for _ in range(2))
    return TomogramPair(half0, half1, TiltRange(-60, 60))


def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return UNet(NETWORK).state_dict()


@pytest.fixture(scope="module")
def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


def test_bands_cover_the_rows(pair):
    found = bands(pair, SIZE)
    assert len(found) == 4
    assert found[0].start == 0 and found[-1].stop == 100
    assert {band.stop - band.start for band in found} == {30}
    assert all(a.stop >= b.start for a, b in pairwise(found))


def test_a_small_tomogram_is_one_band():
    small = make_pair()
    assert bands(small, 16) == [slice(0, small.shape_zyx[1])]


def test_crops_of_a_round_lie_in_its_band_and_see_its_inputs(pair, fabric):
    sampler = CropSampler([pair], SIZE, exact_rotations=0.5, held_out=0.1, swap="random")
    inputs = filled_inputs(sampler, NETWORK, weights(), 2, fabric)
    rows = bands(pair, SIZE)[2]
    assert inputs[0].rows == rows and inputs[0].half0.shape == (20, 30, 40)
    before = sampler.load([sampler.draw(0)], torch.device("cpu"))
    sampler.inputs = inputs
    for index in range(50):
        assert rows.start + SIZE // 2 - 1 <= sampler.draw(index).centre_zyx[1] <= rows.stop - SIZE // 2 + 1
    upright = (c._replace(rotation=np.eye(3)) for c in map(sampler.draw, range(50)) if not c.swapped)
    crop = next(c for c in upright if (c.centre_zyx - (0, rows.start, 0) >= SIZE // 2).all())
    after = sampler.load([crop], torch.device("cpu"))
    z, y, x = crop.centre_zyx - SIZE // 2
    scale = sampler.grey_scales[0]
    for found, volume, first in ((after.half0, inputs[0].half0, rows.start), (after.half1, pair.half1, 0)):
        cube = volume[z : z + SIZE, y - first : y - first + SIZE, x : x + SIZE]
        np.testing.assert_allclose(found[0], (cube - scale.mean) / scale.std_half, atol=1e-4)
    assert before.half0.shape == after.half0.shape


def test_held_out_crops_beside_the_band_are_the_measured_ones(pair, fabric):
    sampler = CropSampler([pair], SIZE, held_out=0.1)
    crops = sampler.validation(4)
    before = sampler.load(crops, torch.device("cpu"))
    far = [i for i in range(4) if sampler.held_out[0][0, 1] > 40]
    sampler.inputs = filled_inputs(sampler, NETWORK, weights(), 0, fabric)
    after = sampler.load(crops, torch.device("cpu"))
    assert far == list(range(4))
    torch.testing.assert_close(after.half0, before.half0)
    sampler.inputs = filled_inputs(sampler, NETWORK, weights(), 3, fabric)
    assert not torch.equal(sampler.load(crops, torch.device("cpu")).half0, before.half0)


def test_the_length_of_a_round_counts_a_band_only(pair, monkeypatch):
    options = FitOptions(epochs=1, cube_size=SIZE, epoch_samples=1)
    sampler = CropSampler([pair], SIZE)
    of_a_band = round_epochs(sampler, NETWORK, options)
    monkeypatch.setattr(rounds, "BAND_VOXELS", 10**9)
    assert 2.5 * of_a_band < round_epochs(sampler, NETWORK, options) < 4.5 * of_a_band


def test_cubic_splines_see_no_further_than_the_band(pair, fabric):
    sampler = CropSampler([pair], SIZE, interpolation="cubic", held_out=0)
    sampler.inputs = filled_inputs(sampler, NETWORK, weights(), 2, fabric)
    batch = sampler.load([sampler.draw(i) for i in range(20)], torch.device("cpu"))
    assert batch.half0.isfinite().all() and batch.half1.std() > 0.3


def test_a_band_without_specimen_gives_way_to_the_whole(pair, fabric):
    mask = np.zeros(pair.shape_zyx, dtype=bool)
    mask[:, :30] = True
    masked = replace(pair, mask=mask)
    sampler = CropSampler([masked], SIZE, held_out=0)
    sampler.inputs = filled_inputs(sampler, NETWORK, weights(), 3, fabric)
    crop = sampler.draw(0)
    assert crop.centre_zyx[1] < 40
    sampler.load([crop], torch.device("cpu"))
