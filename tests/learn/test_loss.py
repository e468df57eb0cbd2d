import math

import numpy as np
import pytest
import torch

from dewedge.geometry import TiltRange
from dewedge.learn.loss import cut_wedge, dewedge_loss, squared_error
from dewedge.learn.network import NetworkConfig, UNet
from dewedge.physics.fourier import frequencies, multiplicity
from dewedge.physics.rotation import random_rotation
from dewedge.physics.transfer import RADII, MeasuredPlanes, Transfer, constant
from dewedge.physics.wedge import wedge_mask


def rotations(count: int) -> torch.Tensor:
    """Of the data, then of the cut."""
    rng = np.random.default_rng(0)
    return torch.from_numpy(np.stack([random_rotation(rng) for _ in range(2 * count)])).float()


def masks(size: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    pairs = wedge_mask((size,) * 3, TiltRange(-60, 60), rotations(count))
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


@pytest.mark.parametrize("wedge_weight", [2.0, 6.0])
def test_proposition_1_holds_nearly_for_planes(wedge_weight: float):
    """The transfers of the two half-sets, whose tilts alternate, turn with the crop, and are no mask.

    What only the cut kept counts in the supervised loss as if it had been cut by such planes.
    """
    torch.manual_seed(1)
    size, count, sigma = 16, 400, 0.7
    network = UNet(NetworkConfig(channels=4, levels=2)).eval()
    specimen = torch.nn.functional.avg_pool3d(torch.randn(1, 1, *[size + 2] * 3), 3, stride=1)[0, 0] * 4
    tilts = np.arange(-60, 61, 6.0)
    faded = np.exp(-np.outer(np.abs(tilts) / 30, RADII))
    of_input, of_target = (
        Transfer(MeasuredPlanes(tilts[part], faded[part], constant(tilts[part])), size)
        for part in (slice(0, None, 2), slice(1, None, 2))
    )
    turns = rotations(count)
    differences, supervised = [], []
    for m1, m2, turn, of_cut in zip(*masks(size, count), turns[:count], turns[count:], strict=True):
        passed = [transfer.at(turn, size) for transfer in (of_input, of_target)]
        halves = [
            cut_wedge(cut_wedge(specimen, h) + sigma * torch.randn(size, size, size), m1) for h in passed
        ]
        with torch.no_grad():
            prediction = network(cut_wedge(halves[0], m2)[None, None])[0, 0]
        loss = dewedge_loss(prediction, halves[1], m2, m1, wedge_weight, transfer=passed[1])
        weight = m1 * (m2 + wedge_weight * (1 - m2))
        cut = m2 * (1 - m1) * of_target.at(of_cut, size).square()
        one = wedge_weight / 2
        counted = m1 * passed[1].square() * (m2 + one * (1 - m2)) + one * cut
        supervised.append(float(squared_error(prediction - specimen, counted)))
        brought_in = sigma**2 * float((weight * multiplicity(size)).sum()) / size**3
        differences.append(float(loss) - supervised[-1] - brought_in)
    assert abs(np.mean(differences)) < 0.02 * np.mean(supervised)
    assert np.std(differences) / math.sqrt(count) < 0.01 * np.mean(supervised)


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
