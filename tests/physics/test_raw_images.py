"""X-rays, hot pixels and transmission of raw images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dewedge.io.mrc import read_mrc
from dewedge.physics.outliers import deviations, find_xrays, replaced
from dewedge.physics.raw_images import PreparedImages, outliers_of, survey
from dewedge.physics.transmission import Transmission, robust_mean, transmission

SHAPE = (160, 200)


def xrays_of(image: np.ndarray) -> np.ndarray:
    return find_xrays(image, *deviations(image))


def disc(centre: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.ogrid[: SHAPE[0], : SHAPE[1]]
    return np.asarray((y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2)


def counts(rng: np.random.Generator, mean: float, n: int = 8) -> np.ndarray:
    return rng.poisson(mean, (n, *SHAPE)).astype(np.float32)


def test_xrays_are_found_with_the_pixels_they_spread_to_and_nothing_else() -> None:
    image = counts(np.random.default_rng(0), 20, 1)[0]
    image[40, 50] += 150
    image[80, 90:92] += 150
    image[0, 0] += 200  # in the corner
    found = {divmod(int(i), SHAPE[1]) for i in xrays_of(image)}
    assert found == {(40, 50), (80, 90), (80, 91), (0, 0)}


@pytest.mark.parametrize("mean", [0.2, 1, 20, 400])
def test_counts_without_xrays_have_next_to_none(mean: float) -> None:
    found = survey(counts(np.random.default_rng(1), mean))
    assert found.n_xray_pixels <= 3 and found.hot_pixels.size == 0


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("radius", [1.5, 2.5, 5.0])
def test_beads_dark_or_bright_are_left_alone(sign: int, radius: float) -> None:
    images = counts(np.random.default_rng(2), 100)
    images[:, disc((60, 70), radius)] += sign * 70
    images[:, disc((110, 120.5), radius)] *= 3 if sign > 0 else 0.1
    found = survey(images)
    assert found.n_xray_pixels == 0 and found.hot_pixels.size == 0


def test_hot_and_dead_pixels_are_found_across_the_images() -> None:
    images = counts(np.random.default_rng(3), 30)
    images[:, 20, 30] += 25  # five deviations of the noise: no outlier of any one image
    images[:, 100, 7] = 0
    images[4, 70, 70] += 500
    found = survey(images)
    assert found.hot_pixels.tolist() == [20 * SHAPE[1] + 30, 100 * SHAPE[1] + 7]
    assert [x.size for x in found.xrays] == [0, 0, 0, 0, 1, 0, 0, 0]
    assert outliers_of(found)[4].size == 3


def test_replaced_pixels_have_the_mean_and_the_noise_of_their_surroundings() -> None:
    rng = np.random.default_rng(4)
    image = rng.normal(100, 10, SHAPE).astype(np.float32)
    image[:, 100:] += 400
    flat = np.sort(rng.choice(image.size, 3000, replace=False))
    spoilt = image.copy()
    spoilt.flat[flat] = 1e6
    mended = replaced(spoilt, flat, np.random.default_rng(0))
    columns = flat % SHAPE[1]
    for side, mean in ((columns < 96, 100), (columns > 104, 500)):
        values = mended.flat[flat[side]]
        assert abs(values.mean() - mean) < 1 and 9 < values.std() < 11
    untouched = np.setdiff1d(np.arange(image.size), flat)
    np.testing.assert_array_equal(mended.flat[untouched], image.flat[untouched])
    np.testing.assert_array_equal(mended, replaced(spoilt, flat, np.random.default_rng(0)))
    assert (spoilt.flat[flat] == 1e6).all()


def decide(images: np.ndarray) -> Transmission:
    found = survey(images)
    return transmission(found.level, found.std, found.lowest, found.noise)


def tilted(rng: np.random.Generator) -> np.ndarray:
    """Counts of a specimen that takes away as much as its slant thickness, with structure of 5 %."""
    through = 50 * np.exp(-0.8 / np.cos(np.radians(np.linspace(-60, 60, 9))))
    structure = 1 - 0.05 * np.sin(np.arange(SHAPE[1]) / 3)
    return rng.poisson(through[:, None, None] * structure, (9, *SHAPE)).astype(np.float32)


def test_divided_counts_have_one_mean_and_one_contrast_at_all_tilts() -> None:
    images = tilted(np.random.default_rng(5))
    decided = decide(images)
    assert decided.divisors is not None and "divided by their means" in decided.note
    prepared = PreparedImages(images, None, decided.divisors)
    assert prepared.shape == images.shape and len(list(prepared)) == 9
    contrast = []
    for image in prepared:
        assert abs(robust_mean(image) - 1) < 1e-5
        wave = np.sin(np.arange(SHAPE[1]) / 3)
        contrast.append(-2 * (image.mean(axis=0) * (wave - wave.mean())).mean())
    np.testing.assert_allclose(contrast, 0.05, atol=0.004)


@pytest.mark.parametrize(
    "change, note",
    [
        (lambda x: x - x.mean(axis=(1, 2), keepdims=True), "zero mean"),
        (lambda x: x - 31_900, "hold an offset"),
        (lambda x: x + 32_768, "seem to hold an offset of about 3"),
        (lambda x: x - 0.7 * x.mean(), "hold an offset"),
    ],
)
def test_values_that_are_no_counts_stay_as_they_are(change: Any, note: str) -> None:
    decided = decide(change(tilted(np.random.default_rng(6))))
    assert decided.divisors is None and note in decided.note


def test_fine_structure_of_a_crowd_is_no_offset() -> None:
    """Its variance falls with the square of the counts, and with the damage done to what is tilted last."""
    rng = np.random.default_rng(9)
    tilts = np.linspace(-60, 60, 9)
    through = np.exp(-0.8 / np.cos(np.radians(tilts)))
    crowd = 1 + (0.1 - np.abs(tilts)[:, None, None] / 1200) * rng.standard_normal((9, *SHAPE))
    images = rng.poisson(1000 * through[:, None, None] * crowd).astype(np.float32)
    variance, level = images.var(axis=(1, 2)), images.mean(axis=(1, 2))
    slope, intercept = np.polyfit(level, variance, 1)
    assert -intercept / slope > 0.7 * level.min()  # what an offset of counts would look like
    assert decide(images).divisors is not None


def test_a_blocked_image_is_not_blown_up() -> None:
    images = counts(np.random.default_rng(7), 50)
    images[3] = np.random.default_rng(8).poisson(0.1, SHAPE)
    decided = decide(images)
    assert decided.divisors is not None and "1 dark" in decided.note
    assert decided.divisors[3] == pytest.approx(0.1 * decided.divisors.max())


def test_the_robust_mean_does_not_see_a_grid_bar_nor_an_empty_border() -> None:
    image = np.full((480, 480), 7, dtype=np.float32)
    image[:100] = 0
    image[:, 400:] = 0
    assert robust_mean(image) == pytest.approx(7)


def test_real_series(shared_data: Path) -> None:
    cryo = decide(read_mrc(shared_data / "empiar-10499-00254" / "00254.mrc", stack=True).data[::4])
    assert cryo.divisors is not None and 0.35 < cryo.divisors.min() / cryo.divisors.max() < 0.45
    needle = decide(read_mrc(shared_data / "haadf-needle" / "HAADF.mrc", stack=True).data[::8])
    assert needle.divisors is None and "hold an offset" in needle.note
