"""Tilt series: nothing is found in good ones, and what was done to bad ones is named."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dewedge.check.alignment import check_order, find_tilt_axis, resemblance
from dewedge.check.angles import check_angles, check_lengths
from dewedge.check.axis_position import check_axis_position, describe_move, measure_axis, put_right
from dewedge.check.binning import binned_geometry, binned_image, binned_volume
from dewedge.check.images import check_images, summarise_images
from dewedge.check.shifts import check_shifts, measure_shifts
from dewedge.geometry import TiltGeometry
from dewedge.inputs.run_input import SeriesInput
from dewedge.io.tilt_series import TiltSeries, read_tilt_series
from dewedge.physics.alignment import align_images
from dewedge.physics.tilt_axis import AxisEstimate, unexplained, with_axis
from dewedge.pipeline.half_sets import measured_axis, with_refined_axis
from dewedge.settings.sections import ReconstructSection
from dewedge.simulate.builtin import builtin_molecules
from dewedge.simulate.specimen import simulate_specimen
from dewedge.simulate.tilt_series import dose_symmetric_order, simulate_tilt_series, tilt_geometry

TILTS = np.arange(-60.0, 61.0, 3.0)


def severities(findings) -> list[str]:
    return [finding.severity for finding in findings]


class TestGoodSeries:
    def test_the_real_one(self, real: TiltSeries, findings_of):
        assert findings_of(real) == []

    def test_the_axis_of_the_real_one_is_displaced(self, real: TiltSeries, findings_of):
        # Four beads followed through the aligned images fit an axis 6 to 10 pixels beside the middle.
        [found] = findings_of(real, axis_position=True)
        assert found.severity == "warning" and found.where == "tilt axis" and "--refine-axis" in found.do
        measured = measure_axis([real.images], real.geometry, 200)
        assert measured is not None
        assert 6 < measured.shift_px < 10 and measured.shift_error_px < 2 and measured.gain > 0.06
        angle_deg, shift_px = put_right(measured)
        assert "--axis-shift" in describe_move(angle_deg, shift_px)
        moved = with_axis(real.geometry, angle_deg, shift_px)
        assert check_axis_position("TS", measure_axis([real.images], moved, 200), moved, 2) == []

    def test_the_real_one_in_order_of_acquisition(self, real: TiltSeries, findings_of):
        order = np.argsort(dose_symmetric_order(real.geometry.tilt_deg))
        changed = real.geometry.select(order)
        shifts = {"linear_yx": changed.linear_yx, "shift_yx": changed.shift_yx}
        assert findings_of(real, real.images[order], tilt_deg=changed.tilt_deg, **shifts) == []

    def test_the_needle_whose_axis_lies_along_x(self, shared_data: Path, findings_of):
        stack = shared_data / "haadf-needle" / "HAADF.mrc"
        size, shifts = findings_of(read_tilt_series(stack, axis_angle_deg=90))
        assert size.where == "header" and "1 A" in size.what  # it is 33.6 A
        assert shifts.where == "alignment" and "--xf" in shifts.do  # etspy ships it as it was taken
        _, axis = findings_of(read_tilt_series(stack))
        assert "tilt axis lies along x" in axis.what

    @pytest.mark.parametrize(
        "seed, snr, axis, low", [(0, 0.25, 0.0, -60.0), (1, 0.02, 85.0, -39.0), (7, 0.02, 85.0, -39.0)]
    )
    def test_simulated_ones(
        self, real: TiltSeries, findings_of, seed: int, snr: float, axis: float, low: float
    ):
        rng = np.random.default_rng(seed)
        shape = (32, 96, 80)
        specimen = simulate_specimen(shape, builtin_molecules(20.0), rng, n_membranes=0)
        geometry = tilt_geometry(TILTS[low <= TILTS], shape, 20.0, rng, axis_angle_deg=axis, jitter_A=40.0)
        images = simulate_tilt_series(specimen.volume, geometry, snr, rng).noisy
        series = replace(real, images=images, geometry=geometry)
        found = findings_of(series)
        assert found == []


class TestWrongVariantsOfTheRealSeries:
    def test_angles_shifted_by_one_line(self, real: TiltSeries, findings_of):
        [found] = findings_of(real, tilt_deg=np.roll(real.geometry.tilt_deg, 1))
        assert "image 1 at 59.98" in found.where and "resembles image 2 at -60" in found.what

    def test_shuffled_angles(self, real: TiltSeries, findings_of):
        tilts = np.random.default_rng(0).permutation(real.geometry.tilt_deg)
        [error] = [f for f in findings_of(real, tilt_deg=tilts) if f.severity == "error"]
        assert (error.where == "tilt angles" and "(41, 40, 39" in error.what) or "(1, 2, 3" in error.what

    def test_angles_sorted_but_the_stack_in_order_of_acquisition(self, real: TiltSeries, findings_of):
        order = np.argsort(dose_symmetric_order(real.geometry.tilt_deg))
        [error] = [f for f in findings_of(real, real.images[order]) if f.severity == "error"]
        assert error.where == "tilt angles"

    @pytest.mark.parametrize("level", [0.0, 1.0])
    def test_black_image(self, real: TiltSeries, findings_of, level: float):
        images = real.images.copy()
        images[7] = np.random.default_rng(0).normal(2, level, images[7].shape)
        found = findings_of(real, images)
        assert {f.where for f in found} == {"image 8 at -39 degrees"}
        assert ("error" if level == 0 else "warning") in severities(found)

    def test_duplicated_image(self, real: TiltSeries, findings_of):
        images = real.images.copy()
        images[9] = images[8]
        [found] = findings_of(real, images)
        assert (found.severity, found.where, found.what) == (
            "error",
            "image 9, 10",
            "two images are the same",
        )

    def test_nan_and_saturation(self, real: TiltSeries, findings_of):
        images = real.images.copy()
        images[3, 5, 5] = np.nan
        images[20] = np.minimum(images[20], np.percentile(images[20].astype(np.float32), 90))
        error, warning = findings_of(real, images)
        assert "NaN" in error.what and "image 4" in error.where
        assert "saturated" in warning.what and "image 21" in warning.where

    def test_transposed_images(self, real: TiltSeries, findings_of):
        [found] = findings_of(real, real.images.transpose(0, 2, 1))
        assert found.where == "alignment" and "transposed" in found.do

    @pytest.mark.parametrize("axis", [1, 2])
    def test_mirrored_images(self, real: TiltSeries, findings_of, axis: int):
        [found] = findings_of(real, np.flip(real.images, axis))
        assert found.where == "alignment" and "mirrored" in found.do

    def test_axis_angle_of_the_wrong_sign(self, real: TiltSeries, findings_of):
        linear = real.geometry.linear_yx * [[1, -1], [-1, 1]]
        [found] = findings_of(real, linear_yx=linear)
        assert found.where == "alignment"

    @pytest.mark.parametrize("known_axis", [True, False])
    def test_without_its_alignment(self, real: TiltSeries, findings_of, known_axis: bool):
        linear = real.geometry.linear_yx if known_axis else np.broadcast_to(np.eye(2), (41, 2, 2))
        [found] = findings_of(
            real, axis_position=True, linear_yx=linear, shift_yx=np.zeros_like(real.geometry.shift_yx)
        )
        assert (found.severity, found.where) == ("warning", "alignment")
        assert "--xf" in found.do
        # The alignment moves images by 27 pixels of 10 A and less.
        size_A = float(re.search(r"([0-9]+) A \(root mean square", found.what)[1])
        assert 60 < size_A < 100

    def test_angles_in_radians(self, real: TiltSeries, findings_of):
        [found] = findings_of(real, tilt_deg=np.radians(real.geometry.tilt_deg))
        assert (found.severity, found.where) == ("error", "tilt angles") and "radians" in found.why

    def test_angles_that_are_all_too_small(self, real: TiltSeries, findings_of):
        [found] = findings_of(real, tilt_deg=0.85 * real.geometry.tilt_deg)
        assert found.severity == "warning" and found.where == "tilt angles"
        assert "images fit best with 1.1" in found.what

    def test_negated_angles_cannot_be_found(self, real: TiltSeries, findings_of):
        # The mirror image of the specimen has these very images.
        assert findings_of(real, tilt_deg=-real.geometry.tilt_deg) == []

    def test_another_angle_for_all_cannot_be_found(self, real: TiltSeries, findings_of):
        # It is the specimen turned about the tilt axis.
        assert findings_of(real, tilt_deg=real.geometry.tilt_deg + 3) == []


class TestAngles:
    def test_regular_ones(self):
        assert check_angles("TS", TILTS) == []
        assert check_angles("TS", TILTS[::-1]) == []

    @pytest.mark.parametrize(
        "tilts, severity, text",
        [
            (np.radians(TILTS), "error", "radians"),
            (np.append(TILTS, 0.0), "warning", "share"),
            (np.delete(TILTS, [10, 11, 12]), "warning", "second missing wedge"),
            (TILTS / 3, "warning", "only 40 degrees"),
            (np.roll(TILTS, 3), "note", "order of acquisition"),
        ],
    )
    def test_what_is_found(self, tilts, severity: str, text: str):
        found = check_angles("TS", tilts)
        assert any(text in str(finding) and finding.severity == severity for finding in found)

    def test_single_missing_tilts_are_usual(self):
        assert check_angles("TS", np.delete(TILTS, [5, 20])) == []

    @pytest.mark.parametrize(
        "size, thickness, text", [(1.0, 100, "1 A"), (0.1, 100, "nm"), (10.0, 5, "thickness")]
    )
    def test_lengths(self, size: float, thickness: int, text: str):
        [found] = check_lengths("TS", size, thickness)
        assert text in str(found)
        assert check_lengths("TS", 10.0, 200) == []


class TestAxisPutRight:
    section = ReconstructSection(thickness=200, bin=2)

    def test_where_check_tells_of_it(self, real: TiltSeries):
        item = SeriesInput("TS", (real,))
        _, shift_px = measured_axis(item, self.section)
        assert 6 < shift_px < 10
        moved = with_refined_axis(item, self.section)
        assert measured_axis(moved, self.section) == (0, 0)
        # No place in the specimen explains the shifts, so none moves.
        change = moved.series[0].geometry.shift_yx - real.geometry.shift_yx
        angles = np.radians(real.geometry.tilt_deg)
        assert np.ptp(change[:, 1]) > 3
        assert abs(np.vdot(change[:, 1], np.cos(angles))) + abs(np.vdot(change[:, 1], np.sin(angles))) < 4

    def test_not_of_images_that_do_not_fit_their_angles(self, real: TiltSeries):
        mixed = np.random.default_rng(0).permutation(real.geometry.tilt_deg)
        wrong = replace(real, geometry=replace(real.geometry, tilt_deg=mixed))
        assert measured_axis(SeriesInput("TS", (wrong,)), self.section) == (0, 0)


class TestAxisPosition:
    def found(self, shift: float, angle: float = 0.0, error: float = 0.5) -> AxisEstimate:
        return AxisEstimate(shift, error, angle, 0.2, 0.1, 0.0, 1.0)

    def geometry(self) -> TiltGeometry:
        return TiltGeometry(tilt_deg=TILTS, image_shape_yx=(400, 400), pixel_size_A=5.0)

    @pytest.mark.parametrize(
        "shift, angle, binning, count",
        [(8, 0, 2, 1), (8, 0, 8, 0), (1.2, 0, 1, 0), (0, 2, 1, 1), (0, 0.5, 1, 0), (-8, -2, 2, 1)],
    )
    def test_only_what_is_certain_and_blurs_is_told(self, shift, angle, binning: int, count: int):
        found = check_axis_position("TS", self.found(shift, angle), self.geometry(), binning)
        assert len(found) == count
        assert ("pixels beside" in str(found)) == (count == 1 and shift != 0)

    def test_nothing_is_told_where_nothing_was_measured(self):
        assert check_axis_position("TS", None, self.geometry(), 1) == []
        noise = np.random.default_rng(0).normal(size=(41, 40, 60)).astype(np.float32)
        small = TiltGeometry(tilt_deg=TILTS, image_shape_yx=(40, 60), pixel_size_A=5.0)
        assert measure_axis([noise], small, 20) is None

    @pytest.mark.parametrize("shift, angle, moved", [(8, 2, True), (0.9, 0.3, False)])
    def test_what_is_within_its_error_is_left(self, shift: float, angle: float, moved: bool):
        found = put_right(self.found(shift, angle))
        geometry, done = with_axis(self.geometry(), *found), describe_move(*found)
        assert geometry.is_aligned != moved
        assert ("left as it is" in done) != moved
        if moved:
            assert geometry.axis_angle_deg == pytest.approx(angle)
            along_x = shift * unexplained(TILTS)
            np.testing.assert_allclose(geometry.shift_yx, np.stack([np.zeros(41), along_x], axis=1))
            assert abs(along_x.mean()) < 0.05 * shift

    def test_shifts_are_in_pixels_of_the_raw_images(self):
        rng = np.random.default_rng(1)
        volume = simulate_specimen((24, 136, 136), builtin_molecules(20.0), rng).volume
        wide = TiltGeometry(tilt_deg=TILTS, image_shape_yx=(136, 136), pixel_size_A=20.0)
        clean = simulate_tilt_series(volume, wide, 1.0, rng).noisy
        large = np.roll(clean.repeat(2, 1).repeat(2, 2), -8, axis=2)[:, 16:-16, 16:-16]
        geometry = TiltGeometry(tilt_deg=TILTS, image_shape_yx=large.shape[1:], pixel_size_A=10.0)
        # In two stacks, as frames are: their mean is looked at.
        found = measure_axis([large, large], geometry, 48)
        assert found is not None and found.shift_px == pytest.approx(8, abs=1)


class TestShifts:
    def series(self, snr: float, jitter_A: float, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
        """Images that are taken as aligned, and their true shifts in pixels."""
        rng = np.random.default_rng(seed)
        volume = simulate_specimen((32, 96, 96), builtin_molecules(20.0), rng).volume
        geometry = tilt_geometry(TILTS, volume.shape, 20.0, rng, jitter_A=jitter_A)
        return simulate_tilt_series(volume, geometry, snr, rng).noisy, geometry.shift_yx

    def test_size_is_that_of_the_truth(self):
        images, shift_yx = self.series(0.25, 60.0)
        found = measure_shifts(images, TILTS)
        angles = np.radians(TILTS)
        along_x = np.stack([np.ones(41), np.cos(angles), np.sin(angles)], axis=1)
        left = -shift_yx
        for axis, movable in enumerate((along_x[:, :1], along_x)):
            left[:, axis] -= movable @ np.linalg.lstsq(movable, left[:, axis], rcond=None)[0]
        assert found is not None and found.rms_px > 3
        assert np.sqrt(np.square(found.shift_yx - left).mean()) < 0.5
        assert len(check_shifts("TS", found, 20.0)) == 1

    def test_an_image_of_noise_does_not_count(self):
        images, _ = self.series(0.25, 0.0)
        images[7] = np.random.default_rng(0).normal(size=images[7].shape)
        found = measure_shifts(images, TILTS)
        assert found is not None and len(found.shift_yx) == 40
        assert check_shifts("TS", found, 20.0) == []

    def test_noise_and_single_tilts_tell_nothing(self):
        noise = np.random.default_rng(0).normal(size=(41, 64, 80)).astype(np.float32)
        assert measure_shifts(noise, TILTS) is None
        assert measure_shifts(noise[:3], np.array([-40.0, 0.0, 40.0])) is None


class TestParts:
    @pytest.mark.parametrize("factor, shape", [(2, (41, 50)), (3, (40, 47))])
    def test_binned_geometry_is_that_of_binned_images(self, factor: int, shape: tuple[int, int]):
        # A ramp keeps its values under averaging, so where a value lies tells the geometry.
        y, x = np.indices(shape, dtype=np.float32)
        linear = [[0.9, -0.2], [0.2, 0.9]]
        geometry = TiltGeometry(
            tilt_deg=np.zeros(1),
            image_shape_yx=shape,
            pixel_size_A=1.0,
            linear_yx=np.array([linear]),
            shift_yx=np.array([[3.0, -2.0]]),
        )
        binned = binned_geometry(geometry, factor)
        p = np.array([binned_image(y, factor)[4, 7], binned_image(x, factor)[4, 7]]) - [n // 2 for n in shape]
        q = np.array([4, 7]) - [n // 2 for n in binned.image_shape_yx]
        raw = geometry.linear_yx[0] @ p + geometry.shift_yx[0]
        np.testing.assert_allclose(factor * (binned.linear_yx[0] @ q + binned.shift_yx[0]), raw, atol=1e-4)

    def test_binned_volume_keeps_the_mean(self):
        volume = np.random.default_rng(0).normal(size=(9, 12, 15)).astype(np.float32)
        assert binned_volume(volume, 3).shape == (3, 4, 5)
        assert binned_volume(volume, 3).mean() == pytest.approx(volume.mean(), abs=1e-6)

    @pytest.mark.parametrize("angle", [30.0, 88.0])
    def test_tilt_axis_has_the_sign_of_the_geometry(self, real: TiltSeries, angle: float):
        """Raw images whose axis lies at an angle show it at that angle."""
        images, geometry = align_images(real.images, real.geometry, 5)
        cos, sin = np.cos(np.radians(-angle)), np.sin(np.radians(-angle))
        # Aligning by -angle turns images whose axis is along y into such with an axis at +angle.
        turned = replace(geometry, linear_yx=np.tile([[cos, -sin], [sin, cos]], (41, 1, 1)))
        raw = align_images(images.numpy(), turned)[0].numpy()
        found = find_tilt_axis(raw, geometry.tilt_deg).angle_deg
        assert abs((found - angle + 90) % 180 - 90) <= 3

    def test_resemblance_bears_shifts(self):
        image = np.random.default_rng(0).normal(size=(1, 64, 64)).astype(np.float32)
        stack = np.concatenate([image, np.roll(image, (4, -4), (1, 2))])
        alike = resemblance(stack.repeat(2, 1).repeat(2, 2))
        np.testing.assert_allclose(alike, alike.T)
        assert alike[0, 1] > 0.6

    def test_noise_alone_says_nothing(self):
        noise = np.random.default_rng(0).normal(size=(41, 64, 64)).astype(np.float32)
        assert check_order("TS", noise, TILTS, np.arange(41)) == []
        assert check_images("TS", summarise_images(noise), TILTS) == []
