"""How strong what fills the wedge is: measured where a wedge was cut from what is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.learn.amplitude import WedgeAmplitude, measure_amplitude
from dewedge.learn.checkpoint import Model, load_model, save_model
from dewedge.learn.fit import fit
from dewedge.learn.network import NetworkConfig, UNet
from dewedge.learn.options import FitOptions
from dewedge.learn.pairs import TomogramPair
from dewedge.learn.refine import RefineOptions, refine
from dewedge.learn.sampling import CropSampler
from dewedge.physics.fourier import frequencies
from dewedge.physics.wedge import wedge_mask

RANGE = TiltRange(-60, 60)
SIZE = 24


class Oracle:
    """A network that knows the specimen of all crops: the same in every voxel, times a filter."""

    def __init__(self, truths: list[torch.Tensor], gain) -> None:
        self.calls, self.truths, self.gain = 0, truths, gain

    def __call__(self, volumes: torch.Tensor) -> torch.Tensor:
        # The first pass fills the crops' own wedge, the second one predicts.
        truth = self.truths[self.calls // 2]
        self.calls += 1
        spectrum = torch.fft.rfftn(truth, dim=(-3, -2, -1)) * self.gain
        return torch.fft.irfftn(spectrum, s=truth.shape[-3:], dim=(-3, -2, -1)).unsqueeze(1)


@pytest.fixture(scope="module")
def batches():
    rng = np.random.default_rng(0)
    specimen = rng.standard_normal((48, 96, 96))
    halves = [(specimen + rng.standard_normal(specimen.shape)).astype(np.float32) for _ in range(2)]
    sampler = CropSampler([TomogramPair(*halves, RANGE)], SIZE, held_out=0.2)
    clean = CropSampler([TomogramPair(specimen.astype(np.float32), halves[1], RANGE)], SIZE, held_out=0.2)
    crops = sampler.validation(16)
    scale = clean.grey_scales[0].std_half / sampler.grey_scales[0].std_half
    cpu = torch.device("cpu")
    noisy = [sampler.load(crops[i : i + 4], cpu) for i in range(0, 16, 4)]
    truths = [clean.load(crops[i : i + 4], cpu).half0 * scale for i in range(0, 16, 4)]
    return noisy, truths


def test_a_prediction_that_is_true_is_taken_as_it_is(batches):
    noisy, truths = batches
    amplitude = measure_amplitude(Oracle(truths, 1.0), noisy)
    assert amplitude.width == SIZE and len(amplitude.factors) == SIZE // 2 + 1
    np.testing.assert_allclose(amplitude.factors[2:], 1, atol=0.1)


def test_one_that_is_too_strong_is_made_weaker_and_one_too_weak_is_left(batches):
    noisy, truths = batches
    radius = sum(k.square() for k in frequencies((SIZE,) * 3)).sqrt()
    strong = torch.where(radius > 0.25, 2.5, 0.5)
    factors = np.array(measure_amplitude(Oracle(truths, strong), noisy).factors)
    np.testing.assert_allclose(factors[:5], 1)
    np.testing.assert_allclose(factors[8:], math.sqrt(0.4), atol=0.06)


def test_one_of_nothing_that_is_there_is_taken_away(batches):
    noisy, truths = batches
    torch.manual_seed(0)
    invented = [torch.randn_like(truth) for truth in truths]
    factors = measure_amplitude(Oracle(invented, 1.0), noisy).factors
    assert max(factors[3:]) < 0.4


def test_factors_hold_in_the_wedge_alone_between_shells_and_beyond_the_last():
    amplitude = WedgeAmplitude((1.0, 0.6, 0.2), 4)
    mask = amplitude.mask((16, 16, 16), RANGE, torch.device("cpu"))
    measured = wedge_mask((16, 16, 16), RANGE).bool()
    assert (mask[measured] == 1).all()
    kz = 6  # 6 / 16 of a cycle per voxel along z is in the middle of the wedge, at shell 1.5
    assert mask[kz, 0, 0] == pytest.approx(0.4, abs=1e-3)
    assert mask[8, 8, 0] == pytest.approx(0.2, abs=1e-3)


def test_a_model_keeps_it_and_one_that_cannot_be_is_refused(tmp_path):
    network = NetworkConfig(channels=4, levels=1)
    model = Model(
        UNet(network).state_dict(), network, 8, 0.8, None, WedgeAmplitude((1.0, 0.5, 0.25), 4), RANGE, {}
    )
    path = tmp_path / "model.safetensors"
    save_model(path, model)
    assert load_model(path).wedge_amplitude == model.wedge_amplitude
    for factors, width in (((1.0, 2.0, 0.5), 4), ((1.0, 0.5), 4), ((1.0, math.nan, 0.5), 4), ((), 0)):
        save_model(path, replace(model, wedge_amplitude=WedgeAmplitude(factors, width)))
        with pytest.raises(InputError, match="damaged"):
            load_model(path)


def test_a_fit_measures_it_where_space_is_held_out(batches):
    rng = np.random.default_rng(1)
    specimen = rng.standard_normal((24, 64, 64))
    halves = [(specimen + rng.standard_normal(specimen.shape)).astype(np.float32) for _ in range(2)]
    fabric = Fabric(accelerator="cpu", devices=1)
    config = NetworkConfig(channels=4, levels=1)
    for held_out, objective in ((0.1, "dewedge"), (0.0, "dewedge"), (0.1, "noise2noise")):
        sizes = {"cube_size": 16, "epochs": 1, "epoch_samples": 4, "validation_crops": 2}
        options = FitOptions(held_out=held_out, objective=objective, **sizes)
        model, _ = fit([TomogramPair(*halves, RANGE)], config, options, fabric)
        known = held_out > 0 and objective == "dewedge"
        assert (model.wedge_amplitude is not None) == known


def test_refinement_weakens_what_the_network_puts_into_the_wedge_and_nothing_else():
    """A network that adds a plane wave in the wedge, along z, and one outside, along y."""
    wave = torch.cos(2 * torch.pi * 4 / 32 * torch.arange(32))
    z, y = wave[:, None, None], wave[:, None]

    class Waves(torch.nn.Module):
        multiple = 1

        def forward(self, tiles: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(tiles) + z + y

    volume = np.random.default_rng(2).standard_normal((32, 32, 32)).astype(np.float32)
    output = np.empty_like(volume)
    options = RefineOptions(tile=32, overlap=0)
    half = WedgeAmplitude((0.5,) * 9, 16)
    [scale] = refine([volume], output, Waves(), RANGE, options, input_std=1.0, wedge_amplitude=half)
    expected = scale.mean + scale.std * (0.5 * z + y).expand(32, 32, 32).numpy()
    np.testing.assert_allclose(output, expected, atol=1e-4)
