"""Half tomograms: relation of the half-sets, and the wedge in their spectrum."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from dewedge.check.halves import best_match, check_halves, correlation_by_frequency, half_set
from dewedge.check.wedge import check_wedge, measure_wedge, wedge_spectrum
from dewedge.check.x_tilt import check_x_tilt, measure_x_tilt
from dewedge.geometry import TiltRange


def found_in(half0, half1) -> list:
    return check_halves("T", half_set(half0), half_set(half1))


class TestHalves:
    def test_good_ones(self, halves):
        assert found_in(halves.even, halves.odd) == []
        assert found_in(halves.odd * 30 + 1000, halves.even) == []

    def test_little_signal_is_no_evidence_of_a_shift(self):
        rng = np.random.default_rng(0)
        for _ in range(5):
            specimen = ndimage.gaussian_filter(rng.normal(size=(32, 64, 64)), 2)
            noisy = [specimen + 8 * specimen.std() * rng.normal(size=specimen.shape) for _ in range(2)]
            assert found_in(*(half.astype(np.float32) for half in noisy)) == []

    @pytest.mark.parametrize("axes", [(0,), (1,), (0, 2)])
    def test_mirrored(self, halves, axes: tuple[int, ...]):
        [found] = found_in(halves.even, np.flip(halves.odd, axes))
        names = " and ".join("zyx"[axis] for axis in axes)
        assert found.severity == "error" and f"mirrored along {names} against" in found.what

    @pytest.mark.parametrize(
        "shift, text",
        [((0, 0, 1), "by 1 in x"), ((0, -3, 5), "by -3 in y, 5 in x"), ((2, 0, 0), "by 2 in z")],
    )
    def test_shifted(self, halves, shift: tuple[int, int, int], text: str):
        [found] = found_in(halves.even, np.roll(halves.odd, shift, (0, 1, 2)))
        assert found.severity == "error" and f"shifted {text} voxels" in found.what

    def test_identical(self, halves):
        [found] = found_in(halves.even, halves.even * 2 + 5)
        assert found.severity == "error" and "same" in found.what

    def test_dependent(self, halves):
        [found] = found_in(halves.even, halves.even + 0.05 * halves.odd)
        assert "at every frequency" in found.what

    @pytest.mark.parametrize("value, text", [(0.0, "black"), (np.nan, "NaN")])
    def test_black(self, halves, value: float, text: str):
        [found] = found_in(halves.even, np.full_like(halves.odd, value))
        assert (found.severity, found.where) == ("error", "half-set 1") and text in found.what

    def test_inverted(self, halves):
        [found] = found_in(halves.even, -halves.odd)
        assert "inverted" in found.what

    def test_unrelated(self, halves):
        noise = np.random.default_rng(0).normal(size=halves.odd.shape).astype(np.float32)
        [found] = found_in(halves.even, noise)
        assert found.severity == "warning" and "nothing in common" in found.what

    def test_a_symmetric_specimen_is_not_called_mirrored(self):
        rng = np.random.default_rng(0)
        half = rng.normal(size=(32, 48, 24))
        specimen = np.concatenate([half, half[:, :, ::-1]], axis=2)
        noisy = [(specimen + rng.normal(size=specimen.shape)).astype(np.float32) for _ in range(2)]
        assert found_in(*noisy) == []

    def test_match_undoes_what_was_done(self):
        rng = np.random.default_rng(0)
        volume = rng.normal(size=(16, 21, 24)).astype(np.float32)
        match = best_match(volume, np.roll(volume, (2, -3, 4), (0, 1, 2)), (0, 1, 2))
        assert (match.flipped, match.shift) == ((), (-2, 3, -4))

    def test_correlation_falls_with_frequency(self, halves):
        curve = correlation_by_frequency(half_set(halves.even), half_set(halves.odd)).correlation
        assert curve[2] > 0.8 and curve[-5:].max() < 0.5


class TestWedge:
    @pytest.mark.parametrize(
        "tilts, low, high",
        [
            (slice(None), -60, 60),
            (slice(0, None, 2), -60, 60),
            (slice(8, None), -36, 60),
            (slice(3, 30), -51, 27),
        ],
    )
    def test_is_measured(self, halves, tilts: slice, low: int, high: int):
        volume = halves.of(tilts)
        measured = measure_wedge(volume)
        assert measured is not None
        assert (measured.tilt_axis, measured.beam_axis) == (1, 0)
        assert np.abs(np.subtract(measured.tilt_range[:2], (low, high))).max() <= 5
        assert check_wedge("T", volume, TiltRange(low, high), "half-set 0") == []

    @pytest.mark.parametrize(
        "order, axes", [((1, 0, 2), "y (tilt axis), z (beam), x"), ((0, 2, 1), "z (beam), x, y (tilt axis)"),
                        ((2, 1, 0), "x, y (tilt axis), z (beam)"), ((2, 0, 1), "x, z (beam), y (tilt axis)")],
    )  # fmt: skip
    def test_swapped_axes_are_named(self, halves, order: tuple[int, int, int], axes: str):
        [found] = check_wedge("T", halves.even.transpose(order), TiltRange(-60, 60), "half-set 0")
        assert found.severity == "error" and axes in found.what

    def test_wrong_sign_is_named(self, halves):
        volume = halves.of(slice(8, None))
        for wrong, given in ((volume, TiltRange(-60, 36)), (volume[::-1], TiltRange(-36, 60))):
            [found] = check_wedge("T", wrong, given, "half-set 0")
            assert found.severity == "error" and "sign opposite" in found.what

    @pytest.mark.parametrize("given", [(-50, 50), (-75, 75), (-60, 40)])
    def test_wrong_range_is_named(self, halves, given: tuple[float, float]):
        [found] = check_wedge("T", halves.even, TiltRange(*given), "half-set 0")
        assert found.severity == "warning" and f"given are {given[0]} to {given[1]}" in found.what

    def test_bytes_are_enough(self, halves):
        scaled = np.clip(np.round(halves.even / halves.even.std() * 20), -127, 127).astype(np.int8)
        assert check_wedge("T", scaled, TiltRange(-60, 60), "half-set 0") == []

    def test_says_nothing_of_a_filled_one(self):
        noise = np.random.default_rng(0).normal(size=(48, 64, 64))
        assert measure_wedge(noise) is None
        [found] = check_wedge("T", noise, TiltRange(-60, 60), "half-set 0")
        assert found.severity == "note"


class TestTiltAboutX:
    def levelled(self, volume, x_tilt_deg: float):
        turn = Rotation.from_euler("x", x_tilt_deg, degrees=True).as_matrix()[::-1, ::-1]
        middle = np.array(volume.shape) // 2
        return ndimage.affine_transform(volume, turn, middle - turn @ middle, mode="reflect")

    @pytest.mark.parametrize("x_tilt", [0, 5, -9])
    def test_is_measured(self, halves, x_tilt: float):
        volume = self.levelled(halves.even, x_tilt)
        measured = measure_x_tilt(wedge_spectrum(volume), TiltRange(-60, 60))
        assert measured is not None and abs(measured - x_tilt) < 1.2
        assert check_x_tilt("T", volume, TiltRange(-60, 60, x_tilt), "half-set 0") == []

    @pytest.mark.parametrize(("told", "shown"), [(0, "none"), (-6, "-6 degrees")])
    def test_another_one_is_named(self, halves, told: float, shown: str):
        [found] = check_x_tilt("T", self.levelled(halves.even, 6), TiltRange(-60, 60, told), "half-set 0")
        assert found.severity == "warning" and found.what.endswith(f"told is {shown}")
        assert float(found.do.removeprefix("Give it: --x-tilt ").split()[0]) == pytest.approx(6, abs=1.2)

    def test_says_nothing_of_a_filled_one_or_of_a_wrong_range(self, halves):
        noise = np.random.default_rng(0).normal(size=(48, 64, 64))
        assert check_x_tilt("T", noise, TiltRange(-60, 60), "half-set 0") == []
        assert check_x_tilt("T", halves.even, TiltRange(-30, 30), "half-set 0") == []
