"""Withheld tilts: what is judged has the score that the truth says it must have."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dewedge.errors import InputError
from dewedge.geometry import TiltGeometry, TiltRange
from dewedge.io.tilt_series import read_tilt_series
from dewedge.physics.alignment import align_images
from dewedge.physics.projection import project
from dewedge.physics.reconstruction import fbp
from dewedge.physics.wedge import wedge_mask
from dewedge.scores.withheld import planes_overlap_to, withheld_cone, withheld_scores, withheld_tilts

SHAPE = (56, 72, 80)
TILTS = np.arange(-60.0, 61, 3)
GIVEN, WITHHELD = TILTS[np.abs(TILTS) <= 43], TILTS[np.abs(TILTS) > 43]
# Wide shells, for a small volume has few frequencies in the cone.
EDGES = (0.15, 0.35, 0.5)
Volume = NDArray[np.float64]


def noise(seed: int) -> Volume:
    return np.random.default_rng(seed).standard_normal(SHAPE)


def cut(volume: Volume, low: float, high: float) -> Volume:
    """What tilts without gaps between two angles measure."""
    mask = wedge_mask(SHAPE, TiltRange(low, high)).double()
    return torch.fft.irfftn(torch.fft.rfftn(torch.from_numpy(volume)) * mask, s=SHAPE).numpy()


def scores(prediction: Volume, whole: Volume, **options):
    given = cut(whole, -43.5, 43.5)
    return withheld_scores(
        prediction, cut(whole, -61.5, 61.5), given, GIVEN, WITHHELD, edges=EDGES, **options
    )


def test_the_truth_explains_the_signals_share_of_the_power():
    truth, ratio = noise(0), 0.7
    found = scores(truth, truth + np.sqrt(ratio) * noise(1))
    np.testing.assert_allclose(found.prediction.explained, 1 / (1 + ratio), atol=0.06)
    np.testing.assert_allclose(found.prediction.correlation, np.sqrt(1 / (1 + ratio)), atol=0.05)
    np.testing.assert_allclose(found.prediction.slope, 1, atol=0.06)


def test_without_noise_the_truth_explains_all():
    truth = noise(0)
    found = scores(truth, truth)
    np.testing.assert_allclose(found.prediction.explained, 1, atol=0.01)
    np.testing.assert_allclose(found.prediction.correlation, 1, atol=0.01)


@pytest.mark.parametrize("amplitude", [0.5, 1.5, 2.0])
def test_amplitude_is_judged_by_the_data_outside_the_cone(amplitude: float):
    """A prediction that is right where tilts are given, and too weak or too strong in the cone."""
    truth = noise(0)
    kept = cut(truth, -43.5, 43.5)
    found = scores(kept + amplitude * (truth - kept), truth)
    np.testing.assert_allclose(found.prediction.explained, 2 * amplitude - amplitude**2, atol=0.04)
    np.testing.assert_allclose(found.prediction.slope, 1 / amplitude, rtol=0.04)
    np.testing.assert_allclose(found.prediction.correlation, 1, atol=0.01)


def test_what_predicts_nothing_explains_nothing():
    truth = noise(0)
    found = scores(cut(truth, -43.5, 43.5), truth)
    for score in (found.prediction, found.given):
        np.testing.assert_allclose(score.explained, 0, atol=0.03)


@pytest.mark.parametrize("power", [0.5, 2.0])
def test_what_is_made_up_explains_less_than_nothing(power: float):
    truth = noise(0)
    found = scores(cut(truth, -43.5, 43.5) + np.sqrt(power) * noise(3), truth)
    np.testing.assert_allclose(found.prediction.explained, -power, atol=0.25 * power + 0.1)
    assert (np.abs(found.prediction.correlation) < 4 * found.chance).all()


def test_grey_scale_of_the_given_tilts_does_not_matter():
    truth = noise(0)
    whole = truth + 0.5 * noise(1)
    expected = scores(truth, whole)
    whole_cut, given = cut(whole, -61.5, 61.5), cut(whole, -43.5, 43.5)
    found = withheld_scores(3 * truth + 7, whole_cut, 3 * given - 5, GIVEN, WITHHELD, edges=EDGES)
    assert expected.scale == pytest.approx(1, abs=0.01)
    assert found.scale == pytest.approx(expected.scale / 3)
    np.testing.assert_allclose(found.prediction.explained, expected.prediction.explained, atol=1e-4)
    np.testing.assert_allclose(found.given.correlation, expected.given.correlation, atol=1e-4)


def test_chance_is_the_spread_of_the_correlation_of_noise():
    whole = noise(0)
    found = [scores(noise(seed), whole) for seed in range(1, 9)]
    values = np.array([score.prediction.correlation / score.chance for score in found])
    assert np.sqrt(np.mean(values**2)) == pytest.approx(1, abs=0.4)


def test_half_sets_of_the_whole_tell_what_the_truth_reaches():
    truth = noise(0)
    halves = [cut(truth + noise(seed), -61.5, 61.5) for seed in (1, 2)]
    found = scores(truth, truth + (noise(1) + noise(2)) / 2, whole_halves=halves)
    assert found.ceiling is not None
    np.testing.assert_allclose(found.ceiling.correlation, found.prediction.correlation, atol=0.06)
    np.testing.assert_allclose(found.ceiling.explained, found.prediction.explained, atol=0.08)


def halves_and_prediction(seed: int, level: float) -> tuple[list[Volume], Volume]:
    """Half-sets of a noisy series, and a prediction that is a little wrong."""
    halves = [cut(noise(0) + level * noise(10 * seed + half), -61.5, 61.5) for half in (1, 2)]
    return halves, 0.7 * noise(0) + 0.3 * noise(3)


def test_of_the_signal_it_explains_what_it_explains_of_the_truth():
    """Over realisations of the noise, and by as much as the error says."""
    halves, prediction = halves_and_prediction(1, 0)
    true = scores(prediction, halves[0]).prediction
    off, spread = [], []
    for seed in range(1, 9):
        halves, _ = halves_and_prediction(seed, 1.2)
        found = scores(prediction, np.mean(halves, axis=0), whole_halves=halves).of_signal
        assert found is not None
        off.append((found.explained - true.explained) / found.error)
        spread.append(found.correlation - true.correlation)
    assert np.abs(np.mean(off, axis=0)).max() < 1.1  # of 8
    assert 0.5 < np.sqrt(np.mean(np.square(off))) < 1.6
    assert np.abs(np.mean(spread, axis=0)).max() < 0.05


def test_nothing_is_told_of_a_signal_that_is_not_there_or_where_planes_are_apart():
    halves = [cut(noise(seed), -61.5, 61.5) for seed in (1, 2)]
    found = scores(noise(0), np.mean(halves, axis=0), whole_halves=halves).of_signal
    assert found is not None and np.isnan(found.explained).all()
    tilts = [TILTS[::2], TILTS[1::2]]
    halves, prediction = halves_and_prediction(1, 0.5)
    found = scores(prediction, np.mean(halves, axis=0), whole_halves=halves, halves_deg=tilts)
    assert found.of_signal is not None and found.ceiling is not None
    assert np.isnan(found.of_signal.explained).all() and np.isnan(found.ceiling.explained).all()


def test_planes_overlap_as_far_as_the_slab_is_thin():
    tilts = [TILTS[::2], TILTS[1::2]]
    reach = planes_overlap_to(tilts, WITHHELD, 100)
    assert reach == pytest.approx(1 / (100 * np.radians(6)))
    assert planes_overlap_to(tilts, WITHHELD, 200) == pytest.approx(reach / 2)
    assert planes_overlap_to(tilts, [60.0], 100) == 0


def test_back_projection_of_the_given_tilts_holds_leakage_only():
    """Real projections and planes with gaps between them: the truth is told from the back-projection."""
    truth = torch.from_numpy(np.asarray(noise(4), dtype=np.float32))
    truth = torch.nn.functional.avg_pool3d(truth[None, None], 3, stride=1, padding=1)[0, 0]
    shape = (SHAPE[1], 2 * SHAPE[2])
    geometry = TiltGeometry(tilt_deg=TILTS, image_shape_yx=shape, pixel_size_A=10)
    images = project(truth, TILTS, shape)
    kept = np.flatnonzero(np.abs(TILTS) <= 43)
    whole = fbp(images, geometry, SHAPE[0], volume_shape_yx=SHAPE[1:])
    given = fbp(images[torch.from_numpy(kept)], geometry.select(kept), SHAPE[0], volume_shape_yx=SHAPE[1:])
    found = withheld_scores(truth, whole, given, GIVEN, WITHHELD, edges=(0.08, 0.15, 0.22))
    assert found.scale == pytest.approx(1, abs=0.05)
    assert found.prediction.correlation.min() > 0.9
    assert found.prediction.explained.min() > 0.75
    assert np.abs(found.given.explained).max() < 0.1
    assert found.prediction.explained.min() > found.given.explained.max() + 0.7


def test_the_real_series_leaks_as_another_program_found(shared_data: Path):
    """Figures of a script written apart from this one: EMPIAR-10499, tilts within 43 degrees given."""
    folder = shared_data / "empiar-10499-00254"
    series = read_tilt_series(folder / "00254.mrc", angles=folder / "00254.tlt", xf=folder / "00254.xf")
    tilts = series.geometry.tilt_deg
    withheld = withheld_tilts(tilts, "outer", [43])
    kept = np.flatnonzero(~withheld)
    raw = np.asarray(series.images, dtype=np.float32)
    for images, expected in (
        (raw, [0.12, 0.05, 0.01, 0.01]),
        (raw / raw.mean(axis=(1, 2), keepdims=True), [0.01, 0.02, 0, 0]),
    ):
        aligned, geometry = align_images(images, series.geometry, 2)
        whole = fbp(aligned, geometry, 100, "hamming")
        given = fbp(aligned[torch.from_numpy(kept)], geometry.select(kept), 100, "hamming")
        found = withheld_scores(given, whole, given, tilts[kept], tilts[withheld])
        np.testing.assert_allclose(found.given.explained, expected, atol=0.01)


class TestDirections:
    def test_outer_tilts_leave_a_cone_on_both_sides(self):
        cone = withheld_cone(GIVEN, WITHHELD)
        np.testing.assert_allclose(cone.parts_deg, [(-61, -53), (53, 61)])
        assert cone.gap_deg == (11, 11)
        angles = torch.tensor([-61.5, -60.0, -52.0, 0.0, 50.0, 53.5, 60.9, 62.0, 90.0])
        assert cone.holds(angles).tolist() == [False, True, False, False, False, True, True, False, False]

    def test_one_side(self):
        withheld = withheld_tilts(TILTS, "side", [24])
        cone = withheld_cone(TILTS[~withheld], TILTS[withheld])
        np.testing.assert_allclose(cone.parts_deg, [(35, 61)])

    def test_an_inner_block_keeps_a_third_of_its_width_from_each_side(self):
        withheld = withheld_tilts(TILTS, "inner", [12, 27])
        assert TILTS[withheld].tolist() == [12, 15, 18, 21, 24, 27]
        cone = withheld_cone(TILTS[~withheld], TILTS[withheld])
        np.testing.assert_allclose(cone.parts_deg, [(16, 23)])
        np.testing.assert_allclose(cone.gap_deg, [7])

    def test_given_tilts_across_90_degrees_are_near(self):
        cone = withheld_cone([-84.0, -60, 0, 60], [78.0, 84])
        np.testing.assert_allclose(cone.parts_deg, [(77, 85)])

    def test_defaults(self):
        assert np.array_equal(withheld_tilts(TILTS, "outer"), np.abs(TILTS) > 43)
        assert np.array_equal(withheld_tilts(TILTS, "side"), TILTS > 30)
        inner = withheld_tilts(TILTS, "inner")
        assert np.array_equal(inner, (TILTS >= 6) & (TILTS <= 36))
        np.testing.assert_allclose(withheld_cone(TILTS[~inner], TILTS[inner]).parts_deg, [(14, 28)])

    @pytest.mark.parametrize(
        "kind, limits, message",
        [
            ("outer", [70], "none of 41 tilts"),
            ("outer", [1], "at least 4"),
            ("outer", [20, 30], "expected one angle"),
            ("inner", [20], "expected two angles"),
            ("inner", [45, 80], "on both sides"),
        ],
    )
    def test_what_cannot_be_withheld(self, kind, limits, message):
        with pytest.raises(InputError, match=message):
            withheld_tilts(TILTS, kind, limits)

    def test_a_gap_that_leaves_nothing(self):
        with pytest.raises(InputError, match="no direction keeps a distance of 20 degrees"):
            withheld_cone(GIVEN, WITHHELD, 20)


def test_is_fit_for_json():
    truth = noise(0)
    found = scores(truth, truth).as_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["prediction"]["explained"][0] == pytest.approx(1, abs=0.01)


def test_wrong_volumes_are_wrong_input():
    truth = noise(0)
    with pytest.raises(InputError, match="expected the same"):
        scores(truth[1:], truth)
    with pytest.raises(InputError, match="nothing in common"):
        withheld_scores(truth, truth, -truth, GIVEN, WITHHELD, edges=EDGES)
