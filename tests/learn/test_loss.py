import math

import numpy as np
import pytest
import torch

from dewedge.geometry import TiltRange
from dewedge.learn.loss import cut_wedge, dewedge_loss, squared_error
from dewedge.learn.network import NetworkConfig, UNet
from dewedge.physics.fourier import frequencies, multiplicity
from dewedge.physics.rotation import random_rotation
from dewedge.physics.wedge import wedge_mask


def masks(size: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    rotations = torch.from_numpy(np.stack([random_rotation(rng) for _ in range(2 * count)])).float()
    pairs = wedge_mask((size,) * 3, TiltRange(-60, 60), rotations)
    return pairs[:count], pairs[count:]


def test_with_full_masks_it_is_the_mean_squared_error():
    generator = torch.Generator().manual_seed(0)
    for size in (6, 7):
        a, b = torch.randn(2, 3, size, size, size, generator=generator)
        full = torch.ones(size, size, size // 2 + 1)
        torch.testing.assert_close(dewedge_loss(a, b, full, full), (a - b).square().mean())


def test_it_is_the_energy_of_the_two_masked_differences():
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, 2, 9, 8, 10, generator=generator)
    w = wedge_mask((9, 8, 10), TiltRange(-40, 60))
    w_r = wedge_mask(
        (9, 8, 10),
        TiltRange(-40, 60),
        torch.from_numpy(random_rotation(np.random.default_rng(0)))[None].float(),
    )
    both = cut_wedge(a - b, w * w_r).square().mean()
    cut_only = cut_wedge(a - b, (1 - w) * w_r).square().mean()
    torch.testing.assert_close(dewedge_loss(a, b, w, w_r, wedge_weight=3), both + 3 * cut_only)


@pytest.mark.parametrize("wedge_weight", [2.0, 20.0])
def test_proposition_1_self_supervised_minus_supervised_is_the_noise_variance(wedge_weight: float):
    """Wiedemann and Heckel 2024, proposition 1, for a fixed network and many masks.

    With M1 the mask of the data and M2 the added one, the loss against the noisy, masked target exceeds the
    supervised one, on frequencies measured by at least one of the two, by the noise the target brings in.
    Another weight than 2 of what was cut counts, halved, where only one of them measured.
    """
    torch.manual_seed(0)
    size, count, sigma = 16, 1200, 0.7
    network = UNet(NetworkConfig(channels=4, levels=2)).eval()
    specimen = torch.nn.functional.avg_pool3d(torch.randn(1, 1, *[size + 2] * 3), 3, stride=1)[0, 0] * 4
    data_mask, added_mask = masks(size, count)
    noise = sigma * torch.randn(2, count, size, size, size)
    differences = []
    for m1, m2, n0, n1 in zip(data_mask, added_mask, *noise, strict=True):
        half0 = cut_wedge(specimen + n0, m1)
        half1 = cut_wedge(specimen + n1, m1)
        with torch.no_grad():
            prediction = network(cut_wedge(half0, m2)[None, None])[0, 0]
        self_supervised = dewedge_loss(prediction, half1, m2, m1, wedge_weight)
        either = 1 - (1 - m1) * (1 - m2)
        supervised = dewedge_loss(prediction, specimen, m1 * m2, either, wedge_weight / 2)
        # The target's noise counts as its loss does.
        weight = m1 * (m2 + wedge_weight * (1 - m2)) * multiplicity(size)
        brought_in = sigma**2 * float(weight.sum()) / size**3
        differences.append(float(self_supervised - supervised) - brought_in)
    mean, error = np.mean(differences), np.std(differences) / math.sqrt(count)
    assert abs(mean) < 3 * error
    assert error < 0.01 * wedge_weight * sigma**2  # sharp enough to tell a wrong weight


def test_proposition_1_holds_with_a_transfer():
    """Frequencies of the supervised loss count by H^2; the noise is what it is.

    The target has passed through H, and so has the input, before a wedge is cut.
    """
    torch.manual_seed(1)
    size, count, sigma = 16, 1200, 0.7
    network = UNet(NetworkConfig(channels=4, levels=2)).eval()
    specimen = torch.nn.functional.avg_pool3d(torch.randn(1, 1, *[size + 2] * 3), 3, stride=1)[0, 0] * 4
    kz, ky, kx = frequencies((size,) * 3)
    passed = (-2 * (kz.square() + ky.square() + kx.square()).sqrt()).exp()
    data_mask, added_mask = masks(size, count)
    noise = sigma * torch.randn(2, count, size, size, size)
    differences = []
    for m1, m2, n0, n1 in zip(data_mask, added_mask, *noise, strict=True):
        halves = [cut_wedge(cut_wedge(specimen, passed) + n, m1) for n in (n0, n1)]
        with torch.no_grad():
            prediction = network(cut_wedge(halves[0], m2)[None, None])[0, 0]
        self_supervised = dewedge_loss(prediction, halves[1], m2, m1, transfer=passed)
        either = 1 - (1 - m1) * (1 - m2)
        supervised = squared_error(prediction - specimen, either * passed.square())
        weight = m1 * (m2 + 2 * (1 - m2)) * multiplicity(size)
        brought_in = sigma**2 * float(weight.sum()) / size**3
        differences.append(float(self_supervised - supervised) - brought_in)
    mean, error = np.mean(differences), np.std(differences) / math.sqrt(count)
    assert abs(mean) < 3 * error
    assert error < 0.02 * sigma**2


def test_a_transfer_of_one_is_none():
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, 2, 8, 8, 8, generator=generator)
    w = wedge_mask((8, 8, 8), TiltRange(-40, 60))
    torch.testing.assert_close(
        dewedge_loss(a, b, w, w, transfer=torch.ones(8, 8, 5)), dewedge_loss(a, b, w, w)
    )


def test_a_prediction_between_the_planes_of_the_target_costs_nothing():
    gap, full = torch.zeros(8, 8, 5), torch.ones(8, 8, 5)
    nothing, loud = (torch.full((1, 8, 8, 8), value) for value in (0.0, 5.0))
    assert float(dewedge_loss(loud, nothing, full, full, transfer=gap)) == 0
    assert float(dewedge_loss(loud, nothing, full, full)) > 0
