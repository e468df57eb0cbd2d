"""Measures of anisotropy: on volumes of known shape they give that shape."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.physics.wedge import wedge_mask
from dewedge.scores.anisotropy import anisotropy, border_step, weave, wedge_power
from dewedge.scores.objects import elongation, find_beads, find_objects, full_width

SHAPE = (48, 72, 80)
FWHM = 2 * math.sqrt(2 * math.log(2))
Volume = NDArray[np.float64]


def noise(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Volume:
    return np.random.default_rng(seed).standard_normal(shape)


def blobs(centres: NDArray[np.int64], sigma_zyx: tuple[float, float, float], height: float) -> Volume:
    """Gaussians of one shape and height."""
    volume = np.zeros(SHAPE)
    grid = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    for centre in centres:
        distance = sum(((g - c) / s) ** 2 for g, c, s in zip(grid, centre, sigma_zyx, strict=True))
        volume += height * np.exp(-distance / 2)
    return volume


PLACES = np.array([(24, y, x) for y in (20, 36, 52) for x in (20, 40, 60)])


class TestObjects:
    @pytest.mark.parametrize("sigma", [(2.0, 2.0, 2.0), (3.0, 2.0, 2.0), (2.1, 2.4, 1.5)])
    @pytest.mark.parametrize("sign", [-1, 1])
    def test_mean_of_gaussians_has_their_width(self, sigma, sign):
        found = elongation(blobs(PLACES, sigma, sign), PLACES, sign=sign)
        assert found is not None and found.n == 9
        np.testing.assert_allclose(found.fwhm_zyx, FWHM * np.array(sigma), rtol=0.02)
        assert found.ratio == pytest.approx(sigma[0] / sigma[2], rel=0.02)

    def test_offset_and_contrast_do_not_matter(self):
        volume = blobs(PLACES, (3, 2, 2), -1)
        a, b = elongation(volume, PLACES), elongation(1e3 * volume + 50, PLACES)
        np.testing.assert_allclose(a.fwhm_zyx, b.fwhm_zyx)

    def test_beads_are_found_dark_or_bright_and_once_each(self):
        for sign in (-1, 1):
            beads = find_beads(blobs(PLACES, (2, 2, 2), sign * 60.0) + noise())
            assert sorted(map(tuple, beads.tolist())) == sorted(map(tuple, PLACES.tolist()))

    def test_noise_holds_no_beads(self):
        assert find_beads(noise()).shape == (0, 3)

    def test_objects_are_the_strongest_and_no_beads(self):
        beads, others = PLACES[:3], PLACES[3:]
        volume = blobs(beads, (2, 2, 2), -60) + blobs(others, (3, 2, 2), -6) + noise()
        found, sign = find_objects(volume, find_beads(volume), count=6)
        assert sign == -1
        distance = np.linalg.norm(found[:, None] - others, axis=2)
        assert (distance.min(axis=1) <= 2).all() and (distance.min(axis=0) <= 2).all()

    def test_without_beads_the_skewed_side_counts(self):
        for sign in (-1.0, 1.0):
            assert find_objects(sign * blobs(PLACES, (3, 2, 2), 6) + noise())[1] == sign

    def test_the_whole_measure_finds_the_shape(self):
        found = anisotropy(blobs(PLACES, (4, 2, 2), -80) + noise())
        assert found.beads is not None and found.beads.n == 9
        assert found.beads.ratio == pytest.approx(2, rel=0.05)
        volume = blobs(PLACES, (3, 2, 2), -8) + 0.5 * noise()
        places, sign = find_objects(volume, count=9)
        assert elongation(volume, places, sign=sign).ratio == pytest.approx(1.5, rel=0.1)

    def test_a_handful_is_too_few(self):
        assert elongation(blobs(PLACES, (2, 2, 2), -1), PLACES[:4]) is None

    def test_full_width_is_interpolated(self):
        assert full_width([0, 1, 2, 1, 0]) == pytest.approx(2)
        assert full_width([0, 0, 4, 3, 0]) == pytest.approx(0.5 + 1 + 1 / 3)
        assert math.isnan(full_width([2, 2, 2, 2, 2]))

    def test_without_noise_there_is_no_measure_of_a_bead(self):
        assert find_beads(np.zeros(SHAPE)).shape == (0, 3)

    def test_a_constant_volume_is_wrong_input(self):
        with pytest.raises(InputError, match="all voxels are 0"):
            anisotropy(np.zeros(SHAPE))


class TestWedgePower:
    EDGES = (0.15, 0.35, 0.5)

    @staticmethod
    def weakened(volume: Volume, amplitude: float) -> Volume:
        """Directions beyond 60 degrees about y at this amplitude."""
        mask = wedge_mask(volume.shape, TiltRange(-60, 60)).double()
        spectrum = torch.fft.rfftn(torch.from_numpy(volume))
        return torch.fft.irfftn(spectrum * (amplitude + (1 - amplitude) * mask), s=volume.shape).numpy()

    def test_noise_of_all_directions_is_round(self):
        found = wedge_power(noise(), self.EDGES)
        np.testing.assert_allclose(found.inside, 1, atol=0.12)
        np.testing.assert_allclose(found.rotated, 1, atol=0.12)

    @pytest.mark.parametrize("amplitude", [0.0, 0.5, 0.8])
    def test_a_weakened_wedge_has_the_square_of_the_amplitude(self, amplitude: float):
        found = wedge_power(self.weakened(noise(), amplitude), self.EDGES)
        np.testing.assert_allclose(found.inside, amplitude**2, atol=0.08)
        assert (found.rotated > found.inside).all()

    def test_a_wedge_about_x_is_a_fake(self):
        found = wedge_power(self.weakened(noise(), 0.3).transpose(0, 2, 1), self.EDGES)
        np.testing.assert_allclose(found.rotated, 0.09, atol=0.06)
        assert (found.inside > 0.4).all()


class TestWeave:
    EDGES = (0.1, 0.2, 0.3, 0.4, 0.5)

    def test_noise_has_none(self):
        found = weave(noise(), self.EDGES)
        np.testing.assert_allclose(found.axes, 1, atol=0.2)

    def test_a_grid_along_the_axes_raises_its_shell_alone(self):
        x = np.arange(SHAPE[2])
        stripes = 0.5 * np.cos(2 * np.pi * 0.35 * x)
        before, after = weave(noise(), self.EDGES), weave(noise() + stripes, self.EDGES)
        assert after.axes[2] > 2 * before.axes[2]
        np.testing.assert_allclose(after.axes[[0, 3]], before.axes[[0, 3]], rtol=0.1)
        assert after.x[2] > 2 * before.x[2]
        assert after.y[2] == pytest.approx(before.y[2], rel=0.1)

    def test_a_grid_along_the_diagonals_lowers_it(self):
        y, x = np.meshgrid(np.arange(SHAPE[1]), np.arange(SHAPE[2]), indexing="ij")
        stripes = 0.5 * np.cos(2 * np.pi * 0.25 * (x + y))
        assert weave(noise() + stripes, self.EDGES).axes[2] < 0.7 * weave(noise(), self.EDGES).axes[2]


class TestSteps:
    def test_without_seams_borders_are_as_other_places(self):
        assert border_step(noise(), 2, [20, 40, 60]) == pytest.approx(1, abs=0.05)

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_a_step_shows_at_its_border_alone(self, axis: int):
        volume, border = noise(), SHAPE[axis] // 2
        np.moveaxis(volume, axis, 0)[border:] += 2.0
        # Differences of white noise have a mean square of 2, and the step adds 4.
        assert border_step(volume, axis, [border]) == pytest.approx(math.sqrt(3), rel=0.05)
        assert border_step(volume, axis, [border + 10]) == pytest.approx(1, abs=0.05)

    def test_no_border_has_no_step(self):
        assert math.isnan(border_step(noise(), 0, []))
        assert math.isnan(border_step(noise(), 0, [2]))


def test_is_fit_for_json():
    found = anisotropy(noise(), borders={"x": [40]}).as_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["beads"] is None and found["steps"]["x"] == pytest.approx(1, abs=0.05)
