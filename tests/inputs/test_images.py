"""Tilt images made ready: what is done to them, told, and given back."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dewedge.errors import InputError
from dewedge.geometry import TiltGeometry
from dewedge.inputs.run_input import SeriesInput
from dewedge.io.mrc import read_mrc
from dewedge.io.tilt_series import TiltSeries
from dewedge.physics.gold import projected
from dewedge.pipeline.half_sets import half_sets
from dewedge.pipeline.reconstruct import made_coarse_tv, write_beads, write_reconstruction
from dewedge.settings.sections import CtfSection, ImagesSection, ReconstructSection, SplitSection

TILTS = np.arange(-60, 61, 6.0)
SHAPE = (112, 128)
BEADS = np.array([[-8.0, -20, 10], [8, 15, -20], [6, -5, 22]])
THICKNESS = 32
SECTION = ReconstructSection(thickness=THICKNESS)
CPU = torch.device("cpu")


def series(seed: int, pixel_size_A: float = 10.0, radius: float = 5.0, level: float = 400.0) -> TiltSeries:
    """Counts that fall with tilt, with beads that take 0.4 of them away."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    images = np.empty((TILTS.size, *SHAPE), dtype=np.float32)
    for i, tilt in enumerate(TILTS):
        seen = np.ones(SHAPE)
        for bead in BEADS:
            row, column = projected(bead, TILTS, SHAPE)[i]
            square = np.clip(1 - ((y - row) ** 2 + (x - column) ** 2) / radius**2, 0, None)
            seen -= 0.4 * np.sqrt(square)
        images[i] = rng.poisson(level * np.exp(1 - 1 / np.cos(np.radians(tilt))) * seen)
    geometry = TiltGeometry(tilt_deg=TILTS, image_shape_yx=SHAPE, pixel_size_A=pixel_size_A)
    return TiltSeries("ts", Path("ts.mrc"), images, geometry, (0, 0, 0), (), ())


def sets(item: SeriesInput, images: ImagesSection, section: ReconstructSection = SECTION):
    return half_sets(item, section, CtfSection(), SplitSection(), 0, images)


KEEP = ImagesSection(gold="keep")


def test_what_was_done_is_told(caplog: pytest.LogCaptureFixture) -> None:
    each = series(0)
    each.images[3, 40, 40] += 3000
    with caplog.at_level(logging.INFO):
        *_, whole, gold = sets(SeriesInput("ts", (each,)), ImagesSection())
    assert gold is not None and len(gold.centres_zyx) == len(BEADS)
    assert "images divided by their means" in caplog.text
    assert "1 pixels of X-rays in 21 images, 0 hot pixels" in caplog.text
    assert "3 gold beads" in caplog.text and "darker" in caplog.text
    # One contrast at all tilts: the noise is that of the counts, and nothing stands out.
    for image, raw in zip(whole.images, each.images, strict=True):
        assert float(image.std()) == pytest.approx(1 / np.sqrt(np.median(raw)), rel=0.15)
        assert float(image.abs().max()) < 6 * float(image.std())


def test_everything_can_be_switched_off(caplog: pytest.LogCaptureFixture) -> None:
    each = series(1)
    off = ImagesSection(normalise="none", xrays="keep", gold="keep")
    *_, whole, gold = sets(SeriesInput("ts", (each,)), off)
    assert gold is None
    expected = each.images - each.images.mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(whole.images.numpy(), expected, atol=1e-3)


# Beads of 10 nm, and of 5 nm in smaller pixels.
@pytest.mark.parametrize("binning, pixel_size_A", [(1, 10.0), (2, 5.0), (1, 4.5)])
def test_images_and_gold_make_up_the_original(binning: int, pixel_size_A: float) -> None:
    """Also where beads are looked for in coarser images than those that are painted."""
    item = SeriesInput("ts", (series(2, pixel_size_A=pixel_size_A),))
    section = ReconstructSection(thickness=THICKNESS, bin=binning)
    *_, original, none = sets(item, KEEP, section)
    *_, painted, gold = sets(item, ImagesSection(), section)
    assert none is None and gold is not None
    np.testing.assert_allclose(
        gold.centres_zyx, BEADS[_order(gold.centres_zyx * binning)] / binning, atol=1.5
    )
    beads = gold.images(painted.images.shape)
    torch.testing.assert_close(painted.images + beads, original.images, atol=1e-5, rtol=0)
    share = float((beads != 0).float().mean())
    assert 0 < share < 0.4
    assert float(painted.images.min()) > 0.6 * float(original.images.min())


def _order(centres: np.ndarray) -> np.ndarray:
    distance = np.linalg.norm(BEADS[None] - centres[:, None], axis=2)
    return np.asarray(distance.argmin(axis=1))


def test_frames_are_painted_at_the_same_places_with_noise_of_their_own() -> None:
    item = SeriesInput("ts", (series(3), series(4)))
    even, odd, whole, gold = sets(item, ImagesSection())
    assert gold is not None
    taken = gold.images(whole.images.shape).numpy() != 0
    noise = [half.images.numpy()[taken] for half in (even, odd)]
    assert abs(np.corrcoef(*noise)[0, 1]) < 0.2
    outside = [half.images.numpy()[~taken] for half in (even, odd)]
    assert 0.85 < noise[0].std() / outside[0].std() < 1.15
    *_, original, _ = sets(item, KEEP)
    rebuilt = whole.images + gold.images(whole.images.shape)
    torch.testing.assert_close(rebuilt, original.images, atol=1e-5, rtol=0)


def test_frames_that_are_copies_are_refused_before_painting_makes_them_differ() -> None:
    even = series(6)
    odd = replace(even, images=3 * even.images)
    with pytest.raises(InputError, match="ts: both half-sets are the same"):
        sets(SeriesInput("ts", (even, odd)), ImagesSection())


def test_within_the_beads_both_tomograms_together_are_the_original_one(tmp_path: Path) -> None:
    item = SeriesInput("ts", (series(5),))
    ctf = CtfSection()
    *_, original, _ = sets(item, KEEP)
    *_, painted, gold = sets(item, ImagesSection())
    assert gold is not None
    write_reconstruction(tmp_path / "original.mrc", original, item, SECTION, ctf, CPU)
    write_reconstruction(tmp_path / "painted.mrc", painted, item, SECTION, ctf, CPU)
    write_beads(tmp_path / "beads.mrc", gold, painted.geometry, item, SECTION, ctf, CPU)
    volumes = {name: read_mrc(tmp_path / f"{name}.mrc").data for name in ("original", "painted", "beads")}
    z, y, x = np.ogrid[:THICKNESS, : SHAPE[0], : SHAPE[1]]
    inside = np.zeros(volumes["beads"].shape, dtype=bool)
    for centre in gold.centres_zyx + np.array(inside.shape) // 2:
        distance = np.sqrt((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2)
        inside |= distance < gold.reach - 1
    together = volumes["painted"] + volumes["beads"]
    np.testing.assert_allclose(together[inside], volumes["original"][inside], atol=1e-5)
    assert (volumes["beads"] != 0).sum() < 3 * inside.sum()
    # Gold is all that stood out.
    noise = volumes["painted"].std()
    assert volumes["original"].min() < -10 * noise and volumes["painted"].min() > -7 * noise


def test_total_variation_is_made_of_back_projected_series() -> None:
    item = SeriesInput("ts", (series(0),))
    *_, whole, _ = sets(item, KEEP)
    made = made_coarse_tv(whole, item, SECTION, CtfSection(ctf="none"), CPU)
    assert made is not None and made.shape == (THICKNESS // 2, SHAPE[0] // 2, SHAPE[1] // 2)
    sirt = SECTION.model_copy(update={"algorithm": "sirt"})
    assert made_coarse_tv(whole, item, sirt, CtfSection(ctf="none"), CPU) is None
