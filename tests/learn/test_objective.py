"""The losses of the methods, apart from that of DeepDeWedge itself (test_loss.py)."""

from dataclasses import replace
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from test_sampling import make_pair

from dewedge.learn.batch import Batch
from dewedge.learn.loss import cut_wedge
from dewedge.learn.objective import OBJECTIVES, isonet_noise_level, objective_of
from dewedge.learn.options import FitOptions
from dewedge.learn.sampling import CropSampler
from dewedge.physics.rotation import cube_rotations, rotate_cubes
from dewedge.physics.wedge import wedge_mask

OPTIONS = FitOptions(epochs=1, cube_size=16)


@pytest.fixture(scope="module")
def batch() -> Batch:
    sampler = CropSampler([make_pair()], 16)
    return sampler.load([sampler.draw(i) for i in range(3)], torch.device("cpu"))


class Recorder:
    """A network that returns its input, or what it is told, and keeps its inputs."""

    def __init__(self, *outputs: torch.Tensor) -> None:
        self.outputs = list(outputs)
        self.inputs: list[torch.Tensor] = []

    def __call__(self, volumes: torch.Tensor) -> torch.Tensor:
        self.inputs.append(volumes)
        return self.outputs.pop(0).unsqueeze(1) if self.outputs else volumes


def test_every_objective_of_the_options_is_there():
    assert tuple(OBJECTIVES) == get_args(get_type_hints(FitOptions)["objective"])


@pytest.mark.parametrize(("name", "target"), [("noise2noise", 1), ("supervised", 1), ("isonet", 0)])
def test_losses_without_masks_are_zero_for_their_target_alone(batch, name, target):
    objective = objective_of(replace(OPTIONS, objective=name))
    assert objective(Recorder(batch[target]), batch) == 0
    assert objective(Recorder(batch[1 - target]), batch) > 0.1


def test_the_loss_of_isonet_is_the_mean_absolute_error(batch):
    error = torch.linspace(-2.0, 3.0, batch.half0.numel()).reshape(batch.half0.shape)
    loss = objective_of(replace(OPTIONS, objective="isonet"))(Recorder(batch.half0 + error), batch)
    assert float(loss) == pytest.approx(float(error.abs().mean()), rel=1e-5)


def test_the_input_of_noise2noise_keeps_what_was_measured_however_it_is_turned():
    """A cube whose wedge is empty passes uncut, since the wedge that is cut has turned with it."""
    cubes = cut_wedge(torch.randn(4, 15, 15, 15), wedge_mask((15,) * 3, torch.tensor([[-60.0, 50.0, 0.0]])))
    turns = torch.from_numpy(cube_rotations("tilt axis").copy()).float()
    half0 = rotate_cubes(cubes[:, None], turns, 15)[:, 0]
    turned = Batch(half0, torch.zeros_like(half0), torch.tensor([[-60.0, 50.0, 0.0]] * 4), turns)
    seen = Recorder()
    objective_of(replace(OPTIONS, objective="noise2noise"))(seen, turned)
    torch.testing.assert_close(seen.inputs[0][:, 0], half0, atol=1e-4, rtol=0)
    fixed = Recorder()
    objective_of(replace(OPTIONS, objective="supervised"))(fixed, turned)
    assert (fixed.inputs[0][:, 0] - half0).std(dim=(1, 2, 3)).max() > 0.3


def test_noise_of_isonet_rises_as_published():
    """Of 30 rounds 0.05 from the 11th on, 0.05 more every fifth (METHOD: IsoNet)."""
    levels = [isonet_noise_level(i / 30, OPTIONS) for i in range(30)]
    assert levels == pytest.approx([0.0] * 10 + [0.05] * 5 + [0.10] * 5 + [0.15] * 5 + [0.20] * 5)


@pytest.mark.parametrize("kind", ["none", "ramp", "hamming"])
def test_noise_of_isonet_has_its_level_and_lies_outside_the_wedge(batch, kind):
    batch = batch._replace(
        **{
            name: torch.cat(8 * [getattr(batch, name)])
            for name in ("half0", "half1", "tilt_range", "rotation")
        }
    )
    torch.manual_seed(0)
    options = replace(OPTIONS, objective="isonet", noise_level=0.5, noise_start=0.0, noise_filter=kind)
    quiet, noisy = Recorder(), Recorder()
    objective_of(replace(options, noise_start=0.5))(quiet, batch)
    objective_of(options)(noisy, batch)
    noise = noisy.inputs[0][:, 0] - quiet.inputs[0][:, 0]
    low, high = np.percentile(batch.half0.flatten(1), (4, 96), axis=1)
    np.testing.assert_allclose(noise.std(dim=(1, 2, 3)), 0.5 * (high - low), rtol=5e-3)
    mask = wedge_mask((16,) * 3, batch.tilt_range)
    assert cut_wedge(noise, 1 - mask).abs().max() < 1e-4
    power = torch.fft.rfftn(noise, dim=(1, 2, 3)).abs().square().mean(dim=0)
    low_to_high = float(power[1:3, :, 1:3].mean() / power[1:3, :, 7:9].mean())
    expected = {"none": (2.3, 8.0), "ramp": (0.1, 0.5), "hamming": (1.5, 20.0)}[kind]
    assert expected[0] < low_to_high < expected[1]


def test_what_is_cut_from_an_input_does_not_come_back_with_its_filled_wedge(batch):
    """Filled online, the network's inputs are the same whatever half-set 0 holds in the wedge that is cut."""
    mask = wedge_mask((16, 16, 16), batch.tilt_range)
    other = batch._replace(half0=batch.half0 + cut_wedge(torch.randn_like(batch.half0), 1 - mask))
    objective = objective_of(replace(OPTIONS, online_fill=1.0))
    seen = []
    for each in (batch, other):
        network = Recorder()
        objective(network, each)
        doubly_cut, filled = network.inputs
        seen.append((doubly_cut, filled))
    for one, another in zip(*seen, strict=True):
        torch.testing.assert_close(one, another, atol=1e-4, rtol=0)


def test_an_input_filled_online_holds_the_measured_and_the_predicted(batch):
    own = wedge_mask((16, 16, 16), batch.tilt_range, batch.rotation)
    cut = wedge_mask((16, 16, 16), batch.tilt_range)
    prediction = torch.randn_like(batch.half0)
    network = Recorder(prediction, prediction)
    objective_of(replace(OPTIONS, online_fill=1.0))(network, batch)
    filled = network.inputs[1][:, 0]
    torch.testing.assert_close(cut_wedge(filled, own), cut_wedge(batch.half0, cut * own), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        cut_wedge(filled, 1 - own), cut_wedge(prediction, cut * (1 - own)), atol=1e-4, rtol=0
    )


def test_batches_are_filled_online_at_the_end_of_a_fit_and_none_or_all_when_validating(batch):
    def passes(share: float, progress: float, grad: bool = True) -> int:
        network = Recorder()
        with torch.set_grad_enabled(grad):
            objective_of(replace(OPTIONS, online_fill=share))(network, batch, progress)
        return len(network.inputs)

    assert [passes(0.25, progress) for progress in (0.0, 0.74, 0.75, 0.99)] == [1, 1, 2, 2]
    assert [passes(0.0, progress) for progress in (0.0, 0.99)] == [1, 1]
    assert [passes(1.0, progress) for progress in (0.0, 0.99)] == [2, 2]
    assert [passes(share, 0.99, grad=False) for share in (0.25, 1.0)] == [1, 2]
