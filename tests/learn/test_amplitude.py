"""How strong what fills the wedge is: measured where a wedge was cut from what is known."""

import numpy as np
import pytest
import torch

from dewedge.geometry import TiltRange
from dewedge.learn.amplitude import WedgeAmplitude, measure_amplitude
from dewedge.learn.pairs import TomogramPair
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
    np.testing.assert_allclose(factors[8:], 0.4, atol=0.06)


def test_one_of_nothing_that_is_there_is_taken_away(batches):
    noisy, truths = batches
    torch.manual_seed(0)
    invented = [torch.randn_like(truth) for truth in truths]
    factors = measure_amplitude(Oracle(invented, 1.0), noisy).factors
    assert max(factors[3:]) < 0.2


def test_factors_hold_in_the_wedge_alone_between_shells_and_beyond_the_last():
    amplitude = WedgeAmplitude((1.0, 0.6, 0.2), 4)
    mask = amplitude.mask((16, 16, 16), RANGE, torch.device("cpu"))
    measured = wedge_mask((16, 16, 16), RANGE).bool()
    assert (mask[measured] == 1).all()
    kz = 6  # 6 / 16 of a cycle per voxel along z is in the middle of the wedge, at shell 1.5
    assert mask[kz, 0, 0] == pytest.approx(0.4, abs=1e-3)
    assert mask[8, 8, 0] == pytest.approx(0.2, abs=1e-3)
