"""Gold beads: found where there are some, dark or bright, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from dewedge.io.tilt_series import read_tilt_series
from dewedge.physics.alignment import align_images
from dewedge.physics.gold import Beads, find_gold, find_more, left_over, projected
from dewedge.physics.painting import paint_over
from dewedge.physics.projection import project
from dewedge.simulate.builtin import builtin_molecules
from dewedge.simulate.specimen import simulate_specimen
from dewedge.simulate.tilt_series import simulate_tilt_series, tilt_geometry

TILTS = np.arange(-60, 61, 6.0)
SHAPE = (48, 128, 128)


def specimen(n_particles: int, gold: int, snr: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of proteins and beads at 10 A, and the beads' centres (z, y, x) from index N // 2."""
    rng = np.random.default_rng(seed)
    made = simulate_specimen(SHAPE, builtin_molecules(10.0), rng, n_particles, n_membranes=0, n_gold=gold)
    geometry = tilt_geometry(TILTS, SHAPE, 10.0, rng)
    images = simulate_tilt_series(made.volume, geometry, snr, rng).noisy
    return images, made.gold_centres_zyx - np.array(SHAPE) // 2


def cast_of(centres: np.ndarray, radius: float, depth: float) -> np.ndarray:
    """Images of dark balls alone."""
    images = np.zeros((TILTS.size, *SHAPE[1:]), dtype=np.float32)
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    for centre in centres:
        for image, (row, column) in zip(images, projected(centre, TILTS, SHAPE[1:]), strict=True):
            square = np.clip(1 - ((y - row) ** 2 + (x - column) ** 2) / radius**2, 0, None)
            image -= depth * np.sqrt(square)
    return images


CENTRES = np.array([[-12.0, -30, 20], [10, 5, -33], [14, 40, 41], [-9, 22, -50], [13, -44, -8]])


@pytest.fixture(scope="module")
def gilded() -> tuple[np.ndarray, np.ndarray, Beads]:
    images, centres = specimen(40, 4, 0.2, 1)
    beads = find_gold(images, TILTS, 10.0, counts=False)
    assert beads is not None
    return images, centres, beads


def test_beads_are_found_where_they_are(gilded: tuple[np.ndarray, np.ndarray, Beads]) -> None:
    _, centres, beads = gilded
    assert len(beads) == len(centres) and beads.sign == -1
    distance = np.linalg.norm(beads.centres_zyx[:, None] - centres, axis=2).min(axis=0)
    assert distance.max() < 1.5
    assert 3.5 < beads.radius < 5.5 and 5 < beads.reach < 9
    for i, places in enumerate(beads.places):
        expected = [projected(centre, TILTS, SHAPE[1:])[i] for centre in centres]
        inside = [e for e in expected if 0 <= e[1] < SHAPE[2]]
        assert all(np.linalg.norm(places - e, axis=1).min() < 2.5 for e in inside)


def test_bright_beads_are_found_alike(gilded: tuple[np.ndarray, np.ndarray, Beads]) -> None:
    images, _, dark = gilded
    bright = find_gold(-images, TILTS, 10.0, counts=False)
    assert bright is not None and bright.sign == 1
    np.testing.assert_array_equal(bright.centres_zyx, dark.centres_zyx)


def test_nothing_is_left_after_painting(gilded: tuple[np.ndarray, np.ndarray, Beads]) -> None:
    images, _, beads = gilded
    painted = images.copy()
    for i, (image, places) in enumerate(zip(painted, beads.places, strict=True)):
        paint_over(image, places, beads.reach, np.random.default_rng(i))
        assert left_over(image, beads).size == 0
    assert find_more(painted, TILTS, 10.0, beads) is None
    assert find_gold(painted, TILTS, 10.0, counts=False) is None


def without_gold(kind: str) -> np.ndarray:
    if kind == "noise":
        return np.random.default_rng(0).standard_normal((TILTS.size, *SHAPE[1:]), dtype=np.float32)
    if kind == "crowded":
        # A cell full of small matter of all sizes, nearly without noise.
        rng = np.random.default_rng(1)
        matter = sum(
            ndimage.gaussian_filter(rng.exponential(size=SHAPE), sigma) * sigma**1.5 for sigma in (1, 2, 4)
        )
        images = project(torch.from_numpy(matter.astype(np.float32)), TILTS, SHAPE[1:]).numpy()
        images -= images.mean()
        return -images + 0.3 * images.std() * rng.standard_normal(images.shape, dtype=np.float32)
    n_particles, snr = {"few": (12, 2.0), "some": (40, 0.2), "clear": (40, 2.0)}[kind]
    return specimen(n_particles, 0, snr, 2)[0]


@pytest.mark.parametrize("kind", ["noise", "crowded", "few", "some", "clear"])
def test_no_gold_no_beads(kind: str) -> None:
    # As counts, the deepest shadow takes a twentieth away.
    images = without_gold(kind)
    assert find_gold(images, TILTS, 10.0, counts=False) is None
    assert find_gold(1 + 0.05 * images / np.abs(images).max(), TILTS, 10.0, counts=True) is None


@pytest.mark.parametrize("depth, found", [(0.4, True), (0.03, False)])
def test_in_counts_beads_must_be_as_deep_as_gold(depth: float, found: bool) -> None:
    images = 1 + cast_of(CENTRES, 5.0, depth)
    images += np.random.default_rng(0).normal(scale=depth / 4, size=images.shape).astype(np.float32)
    beads = find_gold(images, TILTS, 10.0, counts=True)
    assert (beads is not None and len(beads) == len(CENTRES)) == found
    assert find_gold(images, TILTS, 10.0, counts=False) is not None


def test_beads_hidden_by_others_are_found_once_these_are_gone() -> None:
    images = cast_of(CENTRES[:4], 5.0, 4.0) + cast_of(CENTRES[4:], 5.0, 3.0)
    images += np.random.default_rng(0).standard_normal(images.shape).astype(np.float32)
    beads = find_gold(images, TILTS, 10.0, counts=False)
    assert beads is not None
    later = cast_of(np.array([[0.0, 0, 0]]), 5.0, 3.5)
    for i, (image, places) in enumerate(zip(images, beads.places, strict=True)):
        paint_over(image, places, beads.reach, np.random.default_rng(i))
    more = find_more(images + later, TILTS, 10.0, beads)
    assert more is not None and len(more) == 1
    assert np.linalg.norm(more.centres_zyx[0]) < 1.5


def test_real_series(shared_data: Path) -> None:
    series = read_tilt_series(shared_data / "empiar-10499-00254" / "00254.mrc")
    index = np.arange(0, 41, 3)
    normalised = np.stack([np.asarray(series.images[i], np.float32) for i in index])
    normalised /= np.median(normalised, axis=(1, 2), keepdims=True)
    images, geometry = align_images(normalised, series.geometry.select(index), 2)
    beads = find_gold(images.numpy(), geometry.tilt_deg, 20.0, counts=True)
    assert beads is not None and 22 <= len(beads) <= 28 and beads.sign == -1
    assert 0.3 < beads.depth < 0.5
    # On both surfaces, as the beads focus there.
    heights = beads.centres_zyx[:, 0]
    assert ((heights > 20) | (heights < -30)).mean() > 0.9


def test_what_is_no_cryo_series_does_no_harm(shared_data: Path) -> None:
    series = read_tilt_series(shared_data / "haadf-needle" / "HAADF.mrc")
    images, geometry = align_images(series.images[::6], series.geometry.select(np.arange(0, 77, 6)))
    # Its header says 1 A, the truth is 33.6.
    for pixel_size_A in (10.0, 33.6):
        assert find_gold(images.numpy(), geometry.tilt_deg, pixel_size_A, counts=False) is None
