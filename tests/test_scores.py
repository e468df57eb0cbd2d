"""Scores: identities, known cases, and another program's FSC."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch_fourier_shell_correlation import fourier_shell_correlation as other_fsc

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.physics.wedge import wedge_mask
from dewedge.scores import (
    ShellCorrelation,
    correlation,
    correlation_outside_inside,
    evaluate,
    fourier_shell_correlation,
    particle_fsc,
    resolution_at,
)

SHAPES = [(16, 16, 16), (15, 17, 21), (12, 31, 20), (24, 10, 13)]
RANGE = TiltRange(-60, 60)
tilt_ranges = st.tuples(st.floats(-80, 0), st.floats(10, 80)).map(lambda limits: TiltRange(*limits))


def noise(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(shape)


def filtered(volume: NDArray[np.float64], mask: torch.Tensor) -> NDArray[np.float64]:
    spectrum = torch.fft.rfftn(torch.from_numpy(volume)) * mask
    return torch.fft.irfftn(spectrum, s=volume.shape).numpy()


def low_passed(volume: NDArray[np.float64], cutoff: float) -> NDArray[np.float64]:
    """Frequencies up to ``cutoff`` cycles per voxel, by numpy and on the whole spectrum."""
    k = np.sqrt(sum(axis**2 for axis in np.meshgrid(*map(np.fft.fftfreq, volume.shape), indexing="ij")))
    return np.fft.ifftn(np.fft.fftn(volume) * (k <= cutoff)).real


class TestCorrelation:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_is_that_of_numpy(self, shape):
        a, b = noise(shape), noise(shape, 1)
        b += 0.5 * a
        assert correlation(a, b) == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1], abs=1e-12)

    def test_does_not_see_grey_scale(self):
        a, b = noise((15, 17, 21)), noise((15, 17, 21), 1) + noise((15, 17, 21))
        expected = correlation(a, b)
        assert correlation(a, a) == pytest.approx(1)
        assert correlation(a, -a) == pytest.approx(-1)
        assert correlation(1e-6 * a + 5, -1e6 * b + 1e5) == pytest.approx(-expected, abs=1e-9)

    def test_blocks_do_not_matter(self, monkeypatch):
        a, b = noise((6, 25, 8)), noise((6, 25, 8), 1) + 0.3 * noise((6, 25, 8))
        expected = correlation(a, b), correlation_outside_inside(a, b, RANGE)
        monkeypatch.setattr("dewedge.scores.volumes.BLOCK_VOXELS", 6 * 8 * 7)
        assert correlation(a, b) == pytest.approx(expected[0], abs=1e-12)
        assert correlation_outside_inside(a, b, RANGE) == pytest.approx(expected[1], abs=1e-7)

    def test_reads_memory_mapped_integers(self, tmp_path: Path):
        a = (100 * noise((8, 9, 10))).astype(np.int16)
        np.save(tmp_path / "a.npy", a)
        mapped = np.load(tmp_path / "a.npy", mmap_mode="r", allow_pickle=False)
        assert correlation(mapped, a) == pytest.approx(1)
        assert correlation_outside_inside(mapped, a, RANGE) == pytest.approx((1, 1))


class TestOutsideInside:
    @given(shape=st.sampled_from(SHAPES), tilt_range=tilt_ranges, seed=st.integers(0, 99))
    @settings(max_examples=30, deadline=None)
    def test_is_the_correlation_of_volumes_cut_by_the_whole_mask(self, shape, tilt_range, seed):
        a, b = noise(shape, seed) + 3, noise(shape, seed + 1) + 0.5 * noise(shape, seed)
        measured = wedge_mask(shape, tilt_range).double()
        outside, inside = correlation_outside_inside(a, b, tilt_range)
        assert outside == pytest.approx(correlation(filtered(a, measured), filtered(b, measured)), abs=1e-6)
        assert inside == pytest.approx(
            correlation(filtered(a, 1 - measured), filtered(b, 1 - measured)), abs=1e-6
        )

    @given(shape=st.sampled_from(SHAPES), tilt_range=tilt_ranges)
    @settings(max_examples=30, deadline=None)
    def test_parts_make_up_the_whole(self, shape, tilt_range):
        """Pythagoras: energies and products outside and inside the wedge add up to those of the volumes."""
        a, b = noise(shape), noise(shape, 1) + 0.5 * noise(shape)
        a, b = a - a.mean(), b - b.mean()
        measured = wedge_mask(shape, tilt_range).double()
        product = 0.0
        for part, mask in zip(
            correlation_outside_inside(a, b, tilt_range), (measured, 1 - measured), strict=True
        ):
            product += part * np.linalg.norm(filtered(a, mask)) * np.linalg.norm(filtered(b, mask))
        assert product / (np.linalg.norm(a) * np.linalg.norm(b)) == pytest.approx(correlation(a, b), abs=1e-6)

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("tilt_range", [RANGE, TiltRange(-40, 62.5)])
    def test_wedge_cut_truth_is_perfect_outside_and_empty_inside(self, shape, tilt_range):
        truth = noise(shape)
        estimate = filtered(truth, wedge_mask(shape, tilt_range)).astype(np.float32)
        outside, inside = correlation_outside_inside(estimate, truth, tilt_range)
        assert outside == pytest.approx(1, abs=1e-6)
        assert inside == 0

    def test_noise_in_the_wedge_lowers_only_the_inside(self):
        truth, shape = noise((20, 20, 20)), (20, 20, 20)
        estimate = truth + filtered(noise(shape, 1), 1 - wedge_mask(shape, RANGE))
        outside, inside = correlation_outside_inside(estimate, truth, RANGE)
        assert outside == pytest.approx(1, abs=1e-6)
        assert inside == pytest.approx(np.sqrt(0.5), abs=0.05)

    def test_mean_counts_neither_inside_nor_outside(self):
        a, b = noise((9, 10, 11)), noise((9, 10, 11), 1)
        expected = correlation_outside_inside(a, b, RANGE)
        assert correlation_outside_inside(a + 1e5, b - 1e5, RANGE) == pytest.approx(expected, abs=1e-6)

    def test_without_a_wedge_the_outside_is_all(self):
        a, b = noise((9, 10, 11)), noise((9, 10, 11), 1)
        assert correlation_outside_inside(a, b, TiltRange(-90, 90)) == pytest.approx((correlation(a, b), 0))


class TestFourierShellCorrelation:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_of_a_volume_with_itself_is_one(self, shape):
        a = noise(shape)
        curve = fourier_shell_correlation(a, 3 * a + 7)
        n = min(shape)
        np.testing.assert_allclose(curve.frequency_per_voxel, np.arange(1, n // 2 + 1) / n)
        np.testing.assert_allclose(curve.correlation, 1, atol=1e-6)
        np.testing.assert_allclose(fourier_shell_correlation(a, -a).correlation, -1, atol=1e-6)

    @pytest.mark.parametrize("shape", SHAPES)
    def test_is_the_sum_over_the_whole_spectrum(self, shape):
        """Against the definition on numpy's full spectrum: the multiplicities are right."""
        a, b = noise(shape), noise(shape, 1) + 0.7 * noise(shape)
        spectra = np.fft.fftn(a - a.mean()), np.fft.fftn(b - b.mean())
        k = np.sqrt(sum(axis**2 for axis in np.meshgrid(*map(np.fft.fftfreq, shape), indexing="ij")))
        shell = np.round(k * min(shape)).astype(int)
        curve = fourier_shell_correlation(a, b)
        for i, (value, count) in enumerate(zip(curve.correlation, curve.count, strict=True), start=1):
            fa, fb = (spectrum[shell == i] for spectrum in spectra)
            assert count == fa.size
            expected = np.vdot(fb, fa).real / np.sqrt(np.vdot(fa, fa).real * np.vdot(fb, fb).real)
            assert value == pytest.approx(expected, abs=1e-5)

    @pytest.mark.parametrize("shape", [(32, 32, 32), (31, 31, 31), (24, 40, 33)])
    def test_agrees_with_torch_fourier_shell_correlation(self, shape):
        """That package shares frequencies between neighbouring shells, so only smooth curves can agree."""
        a = low_passed(noise(shape), 0.25) + 0.3 * noise(shape, 1)
        b = low_passed(noise(shape), 0.25) + 0.3 * noise(shape, 2)
        curve = fourier_shell_correlation(a, b)
        expected = other_fsc(torch.from_numpy(a), torch.from_numpy(b))[1:].numpy()
        assert expected.shape == curve.correlation.shape
        away = np.abs(curve.frequency_per_voxel - 0.25) > 1.5 / min(shape)
        np.testing.assert_allclose(curve.correlation[away][2:], expected[away][2:], atol=0.08)
        assert np.abs(curve.correlation - expected).mean() < 0.05

    def test_of_independent_noise_is_zero_within_its_standard_error(self):
        curve = fourier_shell_correlation(noise((40, 40, 40)), noise((40, 40, 40), 1))
        # k and -k are one independent value, a complex one: count real numbers.
        assert (np.abs(curve.correlation) < 4 / np.sqrt(curve.count)).all()
        assert np.std(curve.correlation * np.sqrt(curve.count)) == pytest.approx(1, abs=0.5)

    def test_of_signal_and_noise_is_their_energy_ratio(self):
        signal = noise((40, 40, 40))
        curve = fourier_shell_correlation(signal + noise(signal.shape, 1), signal + noise(signal.shape, 2))
        assert curve.correlation[5:].mean() == pytest.approx(0.5, abs=0.02)

    def test_mask_leaves_frequencies_out(self):
        shape = (20, 21, 22)
        measured = wedge_mask((20, 1, 22), RANGE)
        truth = noise(shape)
        estimate = filtered(truth, measured) + filtered(noise(shape, 1), 1 - measured)
        outside = fourier_shell_correlation(estimate, truth, measured)
        inside = fourier_shell_correlation(estimate, truth, 1 - measured)
        np.testing.assert_allclose(outside.correlation, 1, atol=1e-6)
        assert np.abs(inside.correlation[3:]).max() < 0.3
        np.testing.assert_array_equal(
            outside.count + inside.count, fourier_shell_correlation(truth, estimate).count
        )

    def test_no_frequency_is_nan_and_no_signal_is_zero(self):
        truth = noise((16, 16, 16))
        curve = fourier_shell_correlation(truth, truth, torch.zeros(16, 1, 9))
        assert np.isnan(curve.correlation).all()
        assert (curve.count == 0).all()
        curve = fourier_shell_correlation(low_passed(truth, 4.5 / 16), truth)
        np.testing.assert_allclose(curve.correlation, [1, 1, 1, 1, 0, 0, 0, 0], atol=1e-6)


class TestResolution:
    def curve(self, *values: float) -> ShellCorrelation:
        n = len(values)
        return ShellCorrelation(np.arange(1, n + 1) / (2 * n), np.array(values), np.ones(n, int))

    def test_interpolates_where_it_first_falls_below(self):
        fsc = self.curve(1, 0.243, 0.043, 0.9)
        assert resolution_at(fsc, 10) == pytest.approx(10 / ((2 + 0.5) / 8))
        assert resolution_at(fsc, 10, threshold=0.5) == pytest.approx(10 / ((1 + 0.5 / 0.757) / 8))

    def test_never_below_is_nyquist(self):
        assert resolution_at(self.curve(1, 0.9, 0.5, 0.143), 10) == 20

    def test_below_at_once_is_the_box(self):
        assert resolution_at(self.curve(0.1, 0.9, 0.9, 0.9), 10) == 80

    def test_skips_empty_shells(self):
        fsc = self.curve(1, 1, 0.143, -1)
        empty = ShellCorrelation(
            fsc.frequency_per_voxel, np.array([np.nan, 1, 0.5, -1]), np.array([0, 2, 2, 2])
        )
        assert 20 < resolution_at(empty, 10) < 80 / 3
        assert np.isnan(
            resolution_at(
                ShellCorrelation(fsc.frequency_per_voxel, fsc.correlation * np.nan, np.zeros(4, int)), 10
            )
        )

    @pytest.mark.parametrize("cutoff_shell", [4, 9, 14])
    def test_low_passed_truth_resolves_to_the_cutoff(self, cutoff_shell):
        truth = noise((32, 32, 32))
        estimate = low_passed(truth, (cutoff_shell + 0.5) / 32)
        resolution = resolution_at(fourier_shell_correlation(estimate, truth), 8)
        # From 1 in the last shell that is kept to 0 in the next.
        assert resolution == pytest.approx(8 * 32 / (cutoff_shell + 1 - 0.143), rel=1e-3)

    @given(st.lists(st.floats(-1, 1), min_size=1, max_size=20), st.floats(0.05, 0.9))
    def test_lies_between_two_voxels_and_the_box(self, values, threshold):
        resolution = resolution_at(self.curve(*values), 5, threshold)
        assert 10 - 1e-9 <= resolution <= 10 * len(values) + 1e-9


class TestParticles:
    def test_each_box_has_its_own_resolution(self):
        """Truth in the boxes of two particles: one low-passed there, one replaced by noise."""
        truth = noise((40, 40, 80))
        estimate = truth.copy()
        estimate[8:32, 8:32, 8:32] = low_passed(truth[8:32, 8:32, 8:32], 6.5 / 24)
        estimate[:, :, 40:] = noise((40, 40, 40), 1)
        centres = [[20, 20, 20.2], [20, 20, 59.8], [20, 20, 5], [35, 20, 20]]
        scores = particle_fsc(estimate, truth, centres, 24, RANGE, 10)
        assert scores.n_left_out == 2
        assert scores.all_A[0] == pytest.approx(240 / (7 - 0.143), rel=1e-3)
        assert scores.inside_A[0] == pytest.approx(scores.all_A[0], rel=1e-3)
        assert scores.all_A[1] > 100

    @pytest.mark.parametrize("box", [15, 16])
    def test_box_centre_is_at_half_the_edge(self, box):
        truth = noise((box, box, box))
        at_centre = particle_fsc(truth, truth, [[box // 2] * 3], box, RANGE, 10)
        assert at_centre.all_A == pytest.approx([20])
        with pytest.raises(InputError, match="none of 1 lies inside"):
            particle_fsc(truth, truth, [[box // 2, box // 2, box // 2 + 1]], box, RANGE, 10)

    def test_inside_sees_only_the_wedge(self):
        truth = noise((32, 32, 32))
        measured = wedge_mask((32, 1, 32), RANGE)
        estimate = filtered(truth, measured) + filtered(noise(truth.shape, 1), 1 - measured)
        scores = particle_fsc(estimate, truth, [[16, 16, 16]], 32, RANGE, 10)
        assert scores.all_A[0] == 20
        assert scores.inside_A[0] > 40
        swapped = filtered(truth, 1 - measured) + filtered(noise(truth.shape, 1), measured)
        assert particle_fsc(swapped, truth, [[16, 16, 16]], 32, RANGE, 10).inside_A[0] == 20


class TestEvaluate:
    def test_perfect_estimate(self):
        truth = noise((24, 30, 36))
        scores = evaluate(2 * truth + 1, truth, RANGE, 10, [[12, 15, 18], [12, 12, 12], [1, 1, 1]], box=20)
        assert scores.as_dict() == pytest.approx(
            {
                "cc": 1,
                "cc_outside": 1,
                "cc_inside": 1,
                "fsc_A": 20,
                "fsc_inside_A": 20,
                "n_particles": 2,
                "n_particles_left_out": 1,
            }
        )

    def test_is_json_without_particles_and_without_a_wedge(self):
        a, b = noise((12, 12, 12)), noise((12, 12, 12), 1)
        for scores in (
            evaluate(a, b, RANGE, 10),
            evaluate(a, b, TiltRange(-90, 90), 10, [[6, 6, 6]], box=12),
        ):
            again = json.loads(json.dumps(scores.as_dict(), allow_nan=False))
            assert again["cc"] == scores.cc
            assert again["fsc_inside_A"] is None

    def test_wrong_input_is_named(self):
        good = noise((12, 12, 12))
        bad = good.copy()
        bad[3, 4, 5] = np.nan
        with pytest.raises(InputError, match="estimate: holds NaN"):
            evaluate(bad, good, RANGE, 10)
        with pytest.raises(InputError, match=r"truth: all voxels are 0\.1"):
            evaluate(good, np.full(good.shape, 0.1), RANGE, 10)
        with pytest.raises(InputError, match=r"\(12, 12, 12\).*\(12, 12, 11\)"):
            evaluate(good, good[:, :, :-1], RANGE, 10)
        with pytest.raises(InputError, match="three axes"):
            evaluate(good[0], good[0], RANGE, 10)
        with pytest.raises(InputError, match="tilt range"):
            evaluate(good, good, TiltRange(60, -60), 10)
        with pytest.raises(InputError, match="rows of"):
            evaluate(good, good, RANGE, 10, [1, 2, 3], box=8)
        with pytest.raises(InputError, match="at least 4"):
            evaluate(good, good, RANGE, 10, [[6, 6, 6]], box=2)
