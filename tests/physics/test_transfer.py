import json

import numpy as np
import pytest
import torch

from dewedge.errors import InputError
from dewedge.geometry import TiltGeometry, TiltRange
from dewedge.learn.loss import cut_wedge
from dewedge.physics.fourier import frequencies
from dewedge.physics.projection import project
from dewedge.physics.reconstruction import fbp
from dewedge.physics.rotation import cube_rotations, random_rotation, rotate_cubes
from dewedge.physics.transfer import RADII, MeasuredPlanes, Transfer, constant, noise_at, transfer_at
from dewedge.physics.wedge import wedge_mask

SPARSE = np.arange(-54, 55, 12.0)


def planes(tilts: np.ndarray, signal: float = 1.0, noise: float = 1.0) -> MeasuredPlanes:
    return MeasuredPlanes(tilts, signal * constant(tilts), noise * constant(tilts))


def simulated_planes() -> MeasuredPlanes:
    """Ten tilts whose signal and noise change from tilt to tilt, and with the frequency."""
    falls = np.exp(-np.outer(np.linspace(0, 3, SPARSE.size), RADII))
    return MeasuredPlanes(SPARSE, falls, np.linspace(1, 3, SPARSE.size)[:, None] * constant(SPARSE))


def filtered(images: np.ndarray, responses: np.ndarray) -> torch.Tensor:
    """Images whose spectra are multiplied by what ``(n, m)`` responses are at `RADII`."""
    ky, kx = (k.numpy() for k in frequencies(images.shape[1:]))
    radius = np.sqrt(ky**2 + kx**2)
    spectra = [
        np.fft.rfft2(image) * np.interp(radius, RADII, row)
        for image, row in zip(images, responses, strict=True)
    ]
    return torch.from_numpy(np.fft.irfft2(np.stack(spectra), s=images.shape[1:]).astype(np.float32))


def reconstructed(images: torch.Tensor, size: int) -> torch.Tensor:
    """The middle of a reconstruction that is larger than the cube."""
    geometry = TiltGeometry(tilt_deg=SPARSE, image_shape_yx=images.shape[1:], pixel_size_A=1.0)
    wide = fbp(images, geometry, 3 * size)
    return wide[size : 2 * size, size : 2 * size, 2 * size : 3 * size]


def bins(predicted: np.ndarray, values: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of both in ten bins of equally many frequencies, by what is predicted."""
    parts = np.array_split(np.argsort(predicted[where]), 10)
    return tuple(np.array([array[where][part].mean() for part in parts]) for array in (predicted, values))


def test_planes_without_gaps_all_alike_are_the_mask_of_the_missing_wedge():
    tilts, n, width = np.arange(-60, 60.05, 0.15), 31, 300
    k = frequencies((n, n, n))
    passed, noise = (of(planes(tilts), width, *k).numpy() for of in (transfer_at, noise_at))
    kz, _, kx = (axis.numpy() for axis in k)
    mask = wedge_mask((n, n, n), TiltRange(-60, 60)).numpy()
    # Frequencies a plane's thickness from the edge of the wedge, or at the tilt axis, are neither in nor out.
    edges = [np.abs(kz * np.cos(a) - kx * np.sin(a)) for a in np.radians([-60.075, 60.075])]
    clear = np.broadcast_to((np.minimum(*edges) > 8 / width) & (np.hypot(kz, kx) > 0.03), mask.shape)
    assert clear.mean() > 0.85
    np.testing.assert_allclose(passed[clear], mask[clear], atol=0.03)
    ramp = np.radians(0.15) * np.broadcast_to(np.hypot(kz, kx), mask.shape)
    np.testing.assert_allclose(noise[clear] / ramp[clear], mask[clear], atol=0.03)


def test_the_transfer_is_that_of_imaged_matter():
    """Regression of the reconstruction on matter in the cube, whose images fade, over many specimens."""
    size, generator = 24, torch.Generator().manual_seed(0)
    measured = simulated_planes()
    predicted = transfer_at(measured, size, *frequencies((size,) * 3)).numpy()
    common = power = 0
    for _ in range(60):
        matter = torch.zeros(3 * size, 3 * size, 3 * size)
        cube = torch.randn(size, size, size, generator=generator)
        matter[size : 2 * size, size : 2 * size, size : 2 * size] = cube
        images = project(matter, SPARSE, (3 * size, 5 * size)).numpy()
        found = torch.fft.rfftn(reconstructed(filtered(images, measured.signal), size))
        truth = torch.fft.rfftn(cube)
        common += (found * truth.conj()).real.numpy()
        power += truth.abs().square().numpy()
    radius = sum(k.numpy() ** 2 for k in frequencies((size,) * 3)) ** 0.5
    expected, slope = bins(predicted, common / power, (radius > 0.08) & (radius < 0.22))
    assert expected[-1] > 3 * expected[0]
    # Interpolation takes away up to a tenth.
    np.testing.assert_allclose(slope, expected, rtol=0.1, atol=0.05)


def test_the_noise_is_that_of_images_of_nothing():
    size, generator = 24, np.random.default_rng(0)
    measured = simulated_planes()
    predicted = noise_at(measured, size, *frequencies((size,) * 3)).numpy()
    power = 0
    for _ in range(40):
        images = generator.standard_normal((SPARSE.size, 3 * size, 5 * size))
        found = torch.fft.rfftn(reconstructed(filtered(images, np.sqrt(measured.noise)), size), norm="ortho")
        power += found.abs().square().numpy() / 40
    radius = sum(k.numpy() ** 2 for k in frequencies((size,) * 3)) ** 0.5
    expected, found = bins(predicted, power, (radius > 0.08) & (radius < 0.22))
    assert expected[-1] > 3 * expected[0]
    np.testing.assert_allclose(found, expected, rtol=0.2, atol=0.05 * expected.max())


def test_the_table_is_relative_to_the_mean_in_each_shell():
    size = 24
    passed = Transfer(simulated_planes(), size).at(torch.eye(3), size)
    within = wedge_mask((size,) * 3, TiltRange(-54, 54)).bool()
    radius = sum(k.square() for k in frequencies((size,) * 3)).sqrt()
    for low in (0.15, 0.25, 0.35):
        shell = within & (radius >= low) & (radius < low + 0.1)
        assert float(passed[shell].mean()) == pytest.approx(1, abs=0.05)
    # Between planes 12 degrees apart there is next to nothing.
    assert float(passed[within & (radius > 0.4)].quantile(0.1)) < 0.2


def test_the_table_holds_what_is_computed_at_rotated_frequencies():
    size, measured = 24, simulated_planes()
    rotation = torch.from_numpy(random_rotation(np.random.default_rng(3))).float()
    kz, ky, kx = frequencies((size,) * 3)
    turned = [kz * r[0] + ky * r[1] + kx * r[2] for r in rotation.T.tolist()]
    computed = transfer_at(measured, size, *turned)
    found = Transfer(measured, size).at(rotation, size)
    radius = (kz.square() + ky.square() + kx.square()).sqrt()
    for low in (0.1, 0.2, 0.3, 0.4):
        shell = (radius >= low) & (radius < low + 0.02)
        assert float(torch.corrcoef(torch.stack([found[shell], computed[shell]]))[0, 1]) > 0.98


def test_they_may_be_tilted_about_x():
    """Then they reach where the mask of such a tilt range says."""
    size, tilts = 24, np.arange(-60, 61, 2.0)
    mask = wedge_mask((size,) * 3, TiltRange(-60, 60, 20))
    outer = sum(k.square() for k in frequencies((size,) * 3)).sqrt() > 0.25
    alike = {}
    for tilt_deg in (-20, 0, 20):
        passed = Transfer(planes(tilts), size, tilt_deg).at(torch.eye(3), size)
        alike[tilt_deg] = float(torch.corrcoef(torch.stack([passed[outer], mask[outer]]))[0, 1])
    assert alike[20] > 0.93
    assert max(alike[-20], alike[0]) < 0.85


@pytest.mark.parametrize("number", range(0, 24, 5))
def test_they_turn_with_the_cube(number):
    """What an object sends through the turned transfer is the turned object's share."""
    size = 15
    rotation = cube_rotations()[number]
    volume = torch.randn(1, 1, size, size, size, generator=torch.Generator().manual_seed(number))

    def sent(v: torch.Tensor, response: torch.Tensor) -> torch.Tensor:
        centred = torch.fft.ifftshift(v, dim=(-3, -2, -1))
        return torch.fft.fftshift(cut_wedge(centred, response), dim=(-3, -2, -1))

    transfer = Transfer(simulated_planes(), size)
    turn = torch.tensor(rotation)[None].float()
    turned_after = rotate_cubes(sent(volume, transfer.at(torch.eye(3), size)), turn, size)
    turned_before = sent(rotate_cubes(volume, turn, size), transfer.at(turn[0], size))
    torch.testing.assert_close(turned_before, turned_after, atol=2e-3, rtol=0)


def test_planes_survive_json_and_refuse_what_cannot_be():
    measured = simulated_planes()
    again = MeasuredPlanes.from_dict(json.loads(json.dumps(measured.as_dict())))
    for name, values in vars(measured).items():
        np.testing.assert_array_equal(getattr(again, name), values)
    with pytest.raises(InputError, match="different tilt angles"):
        planes(np.zeros(3))
    with pytest.raises(InputError, match="none below zero"):
        planes(SPARSE, noise=-1.0)
    with pytest.raises(InputError, match="expected"):
        MeasuredPlanes(SPARSE, constant(SPARSE)[:, :5], constant(SPARSE))
    with pytest.raises(InputError, match="measured planes"):
        MeasuredPlanes.from_dict({"tilt_deg": [1, 2]})
