"""Reprojection at withheld tilts: a specimen correlates by what noise leaves, a back-projection does not."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from dewedge.errors import InputError
from dewedge.geometry import TiltGeometry
from dewedge.physics.projection import project
from dewedge.physics.reconstruction import fbp
from dewedge.scores.reprojection import mean_correlation, reprojection_scores

SHAPE = (40, 96, 160)
TILTS = np.arange(-60.0, 61, 5)
GIVEN, WITHHELD = TILTS[np.abs(TILTS) <= 40], TILTS[np.abs(TILTS) > 40]
EDGES = (0.12, 0.18, 0.25)


def specimen() -> torch.Tensor:
    volume = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.avg_pool3d(volume[None, None], 3, stride=1, padding=1)[0, 0]


@pytest.fixture(scope="module")
def clean() -> torch.Tensor:
    """Images of a slab at all tilts."""
    return project(specimen(), TILTS, SHAPE[1:])


def at(images: torch.Tensor, tilts: np.ndarray) -> torch.Tensor:
    return images[torch.from_numpy(np.flatnonzero(np.isin(TILTS, tilts)))]


def test_the_specimen_itself_correlates_wholly(clean: torch.Tensor):
    for score in reprojection_scores(
        {"truth": specimen()}, at(clean, WITHHELD), WITHHELD, GIVEN, edges=EDGES
    ):
        np.testing.assert_allclose(score.correlation["truth"], 1, atol=1e-5)
        assert score.distance_deg == abs(score.tilt_deg) - 40


def test_with_noise_the_specimen_reaches_the_ceiling_of_the_frames(clean: torch.Tensor):
    images = at(clean, WITHHELD)
    generator = torch.Generator().manual_seed(1)
    frames = [images + images.std() * torch.randn(images.shape, generator=generator) for _ in range(2)]
    noisy = (frames[0] + frames[1]) / 2
    scores = reprojection_scores(
        {"truth": specimen()}, noisy, WITHHELD, GIVEN, frames=[f.numpy() for f in frames], edges=EDGES
    )
    means = mean_correlation(scores)
    assert means["ceiling"].min() > 0.3 and means["ceiling"].max() < 0.98
    np.testing.assert_allclose(means["truth"], means["ceiling"], atol=0.06)


def test_the_back_projection_of_the_given_tilts_fades_with_the_distance(clean: torch.Tensor):
    geometry = TiltGeometry(tilt_deg=GIVEN, image_shape_yx=SHAPE[1:], pixel_size_A=10)
    given = fbp(at(clean, GIVEN), geometry, SHAPE[0])
    scores = reprojection_scores({"given": given}, at(clean, WITHHELD), WITHHELD, GIVEN, edges=EDGES)
    near = [s.correlation["given"] for s in scores if s.distance_deg == 5]
    far = [s.correlation["given"] for s in scores if s.distance_deg == 20]
    assert np.mean(near) > 0.4 and np.abs(np.mean(far)) < 0.2
    at_given = reprojection_scores({"given": given}, at(clean, GIVEN), GIVEN, GIVEN, edges=EDGES)
    assert mean_correlation(at_given)["given"].min() > 0.9


def test_contrast_and_noise_of_another_specimen(clean: torch.Tensor):
    other = torch.randn(SHAPE, generator=torch.Generator().manual_seed(7))
    scores = reprojection_scores(
        {"negative": -5 * specimen() + 3, "other": other}, at(clean, WITHHELD), WITHHELD, GIVEN, edges=EDGES
    )
    means = mean_correlation(scores)
    np.testing.assert_allclose(means["negative"], -1, atol=1e-3)
    values = np.array([score.correlation["other"] / score.chance for score in scores])
    assert np.sqrt(np.mean(values**2)) == pytest.approx(1, abs=0.5)
    found = scores[0].as_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_images_that_do_not_fit_are_wrong_input(clean: torch.Tensor):
    with pytest.raises(InputError, match="one image a tilt"):
        reprojection_scores({"truth": specimen()}, clean, WITHHELD, GIVEN)
    with pytest.raises(InputError, match="expected at least 16 to compare"):
        reprojection_scores({"thin": specimen()[:, :, :10]}, clean, TILTS, GIVEN)
