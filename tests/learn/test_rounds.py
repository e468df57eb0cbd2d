"""Rounds in blocks of a large tomogram."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from test_sampling import make_pair

import dewedge.learn.rounds as rounds
from dewedge.geometry import TiltRange
from dewedge.learn.network import NetworkConfig, UNet
from dewedge.learn.options import FitOptions
from dewedge.learn.pairs import TomogramPair
from dewedge.learn.rounds import blocks, filled_inputs, round_epochs
from dewedge.learn.sampling import CropSampler, slices

NETWORK = NetworkConfig(channels=2, levels=1)
SIZE = 8


@pytest.fixture
def pair(monkeypatch) -> TomogramPair:
    monkeypatch.setattr(rounds, "BLOCK_VOXELS", 20 * 30 * 30)
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


def test_blocks_cover_the_tomogram(pair):
    found = blocks(pair.shape_zyx, SIZE)
    assert len(found) == 4 * 2
    seen = np.zeros(pair.shape_zyx, dtype=int)
    for box in found:
        assert (box[1] - box[0]).tolist() == [20, 30, 30]
        seen[slices(box)] += 1
    assert seen.min() == 1
    assert len({box.tobytes() for box in found}) == 8  # in some order, none twice


def test_a_small_tomogram_is_one_block():
    shape = make_pair().shape_zyx
    (box,) = blocks(shape, 16)
    assert box.tolist() == [[0, 0, 0], list(shape)]


def test_crops_of_a_round_lie_in_its_block_and_see_its_inputs(pair, fabric):
    sampler = CropSampler([pair], SIZE, exact_rotations=0.5, held_out=0.1)
    ((block, *_),) = inputs = filled_inputs(sampler, NETWORK, weights(), 2, fabric)
    begin, end = blocks(pair.shape_zyx, SIZE)[2]
    assert block.box.tolist() == [begin.tolist(), end.tolist()] and block.half0.shape == (20, 30, 30)
    before = sampler.load([sampler.draw(0)], torch.device("cpu"))
    sampler.inputs = inputs
    for index in range(50):
        centre = sampler.draw(index).centre_zyx
        assert (begin + SIZE // 2 - 1 <= centre).all() and (centre <= end - SIZE // 2 + 1).all()
    upright = (c._replace(rotation=np.eye(3)) for c in map(sampler.draw, range(50)))
    crop = next(c for c in upright if (c.centre_zyx - begin >= SIZE // 2).all())
    after = sampler.load([crop], torch.device("cpu"))
    scale = sampler.grey_scales[0]
    for found, volume, first in ((after.half0, block.half0, begin), (after.half1, pair.half1, 0)):
        corner = crop.centre_zyx - SIZE // 2 - first
        cube = volume[slices(np.stack([corner, corner + SIZE]))]
        np.testing.assert_allclose(found[0], (cube - scale.mean) / scale.std_half, atol=1e-4)
    assert before.half0.shape == after.half0.shape


@pytest.mark.parametrize("round_", range(8))
def test_in_the_block_of_any_round_there_is_room_beside_the_held_out_region(
    pair, fabric, round_, monkeypatch
):
    """Else most places are refused, at a cost, and crops come from where no wedge is filled."""
    sampler = CropSampler([pair], SIZE, held_out=0.4)
    ((block, *_),) = sampler.inputs = filled_inputs(sampler, NETWORK, weights(), round_, fabric)
    tried = []
    extent = sampler._extent
    monkeypatch.setattr(sampler, "_extent", lambda rotation: tried.append(rotation) or extent(rotation))
    begin, end = block.box
    for index in range(50):
        centre = sampler.draw(index).centre_zyx
        assert (begin + SIZE // 2 - 1 <= centre).all() and (centre <= end - SIZE // 2 + 1).all()
    assert len(tried) < 50 * 20


@pytest.mark.parametrize("round_", range(8))
def test_held_out_crops_see_filled_inputs_in_every_round(pair, fabric, round_):
    """Else the loss on them would rise when the network has learnt from filled inputs."""
    sampler = CropSampler([pair], SIZE, held_out=0.1)
    crops = sampler.validation(4)
    before = sampler.load(crops, torch.device("cpu"))
    sampler.inputs = filled_inputs(sampler, NETWORK, weights(), round_, fabric)
    after = sampler.load(crops, torch.device("cpu"))
    assert all(not torch.equal(a, b) for a, b in zip(after.half0, before.half0, strict=True))
    torch.testing.assert_close(after.half1, before.half1)


def test_of_a_large_held_out_region_the_middle_is_looked_at():
    shape = (20, 200, 180)
    pair = TomogramPair(*(np.random.default_rng(i).normal(size=shape) for i in (0, 1)), TiltRange(-60, 60))
    sampler = CropSampler([pair], SIZE, held_out=0.25)
    box, validated = sampler.held_out[0], sampler.validated[0]
    assert (validated[1] - validated[0]).tolist() == [20, 24, 24]
    assert (box[0] <= validated[0]).all() and (validated[1] <= box[1]).all()
    np.testing.assert_allclose(validated.mean(axis=0), box.mean(axis=0), atol=1)
    for crop in sampler.validation(10):
        assert (validated[0] + SIZE // 2 - 1 <= crop.centre_zyx).all()
        assert (crop.centre_zyx <= validated[1] - SIZE // 2 + 1).all()


def test_the_length_of_a_round_counts_a_block_only(pair, monkeypatch):
    options = FitOptions(epochs=1, cube_size=SIZE, epoch_samples=1)
    sampler = CropSampler([pair], SIZE)
    of_a_block = round_epochs(sampler, NETWORK, options)
    monkeypatch.setattr(rounds, "BLOCK_VOXELS", 10**9)
    assert 2 * of_a_block < round_epochs(sampler, NETWORK, options) < 6 * of_a_block


def test_cubic_splines_see_no_further_than_the_block(pair, fabric):
    sampler = CropSampler([pair], SIZE, interpolation="cubic", held_out=0)
    sampler.inputs = filled_inputs(sampler, NETWORK, weights(), 2, fabric)
    batch = sampler.load([sampler.draw(i) for i in range(20)], torch.device("cpu"))
    assert batch.half0.isfinite().all() and batch.half1.std() > 0.3


def test_a_block_without_specimen_gives_way_to_the_whole(pair, fabric):
    mask = np.zeros(pair.shape_zyx, dtype=bool)
    mask[:, :30] = True
    masked = replace(pair, mask=mask)
    sampler = CropSampler([masked], SIZE, held_out=0)
    below = next(i for i, box in enumerate(blocks(pair.shape_zyx, SIZE)) if box[0, 1] >= 60)
    sampler.inputs = filled_inputs(sampler, NETWORK, weights(), below, fabric)
    crop = sampler.draw(0)
    assert crop.centre_zyx[1] < 40
    sampler.load([crop], torch.device("cpu"))
