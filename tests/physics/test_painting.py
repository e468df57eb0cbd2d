"""Discs painted over, and balls cut out."""

from __future__ import annotations

import numpy as np
import pytest

from dewedge.physics.painting import cut_to_balls, discs, paint_over


def noise(seed: int, smooth: bool = False, shape: tuple[int, int] = (200, 220)) -> np.ndarray:
    """Noise of standard deviation 1: white, or with neighbours alike."""
    rng = np.random.default_rng(seed)
    image = rng.standard_normal(shape)
    if smooth:
        image = image + np.roll(image, 1, 0) + np.roll(image, 1, 1) + np.roll(image, (1, 1), (0, 1))
    return (image / image.std()).astype(np.float32)


def grid(step: int = 40) -> np.ndarray:
    return np.array([(y, x) for y in range(20, 200, step) for x in range(20, 220, step)], dtype=float)


def test_what_is_taken_makes_the_image_whole_again_and_lies_in_the_discs() -> None:
    image = noise(0)
    places = np.array([[50.3, 60.0], [54.0, 64.0], [-3.0, 100.0], [199.0, 219.0]])
    painted = image.copy()
    patches = paint_over(painted, places, 7.0, np.random.default_rng(0))
    mask = discs(places, 7.0, image.shape)
    np.testing.assert_array_equal(painted[~mask], image[~mask])
    assert (painted[mask] != image[mask]).all()
    for patch in patches:
        painted[patch.rows, patch.columns] += patch.values
    np.testing.assert_allclose(painted, image, atol=1e-5)


@pytest.mark.parametrize("smooth", [False, True])
def test_painted_discs_have_the_noise_of_their_surroundings(smooth: bool) -> None:
    image, places = noise(1, smooth), grid()
    mask = discs(places, 8.0, image.shape)
    image[:, 110:] *= 3
    painted = image.copy()
    painted[mask] -= 50
    paint_over(painted, places, 8.0, np.random.default_rng(0))
    for side in (np.s_[:, :76], np.s_[:, 164:]):
        inside, outside = painted[side][mask[side]], painted[side][~mask[side]]
        assert 0.85 < inside.std() / outside.std() < 1.15
        # No rim and no grain of its own: neighbours are as alike as elsewhere.
        pairs = (painted[side][:, 1:] * painted[side][:, :-1], mask[side][:, 1:] & mask[side][:, :-1])
        alike = [pairs[0][which].mean() / outside.var() for which in (pairs[1], ~mask[side][:, 1:])]
        assert abs(alike[0] - alike[1]) < 0.12


def test_the_smooth_part_goes_on_without_a_step() -> None:
    y, x = np.mgrid[:200, :220]
    scene = (40 * np.sin(x / 40) + 0.2 * y).astype(np.float32)
    image, places = scene + noise(2), grid()
    mask = discs(places, 8.0, image.shape)
    image[mask] -= 100
    paint_over(image, places, 8.0, np.random.default_rng(0))
    assert abs((image - scene)[mask].mean()) < 0.15
    assert (image - scene)[mask].std() < 1.4


def test_two_paintings_have_no_noise_in_common_and_one_seed_gives_one() -> None:
    image, places = noise(3), grid()
    mask = discs(places, 8.0, image.shape)
    results = []
    for seed in (0, 1, 0):
        painted = image.copy()
        paint_over(painted, places, 8.0, np.random.default_rng(seed))
        results.append(painted[mask])
    assert abs(np.corrcoef(results[0], results[1])[0, 1]) < 0.15
    np.testing.assert_array_equal(results[0], results[2])


def test_a_cluster_larger_than_the_window_is_filled_too() -> None:
    image = noise(4) + 5
    y, x = np.mgrid[80:130:5, 80:130:5]
    places = np.stack([y.ravel(), x.ravel()], axis=1).astype(float)
    image[discs(places, 4.0, image.shape)] -= 100
    paint_over(image, places, 4.0, np.random.default_rng(0))
    assert np.isfinite(image).all() and image.min() > -5


def test_balls_keep_their_middle_and_lose_all_else() -> None:
    volume = np.ones((21, 30, 40), dtype=np.float32)
    cut_to_balls(volume, np.array([[0.0, 0, 0], [9.0, 14, -19.5]]), 5.0)
    z, y, x = np.ogrid[:21, :30, :40]
    distance = np.sqrt((z - 10) ** 2 + (y - 15) ** 2 + (x - 20) ** 2)
    assert (volume[distance <= 4] == 1).all()
    near_other = np.sqrt((z - 19) ** 2 + (y - 29) ** 2 + (x - 0.5) ** 2) < 6
    assert (volume[(distance >= 6) & ~near_other] == 0).all()
    assert volume[19, 29, 0] == 1 and ((volume >= 0) & (volume <= 1)).all()
