"""The realistic simulator: each effect does what it says, and none changes the others."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dewedge.cli import main
from dewedge.errors import InputError
from dewedge.io.ctf_files import read_ctf_file
from dewedge.io.mrc import read_mrc
from dewedge.io.particles import read_particles
from dewedge.io.tilt_series import read_tilt_series
from dewedge.physics.alignment import align_images
from dewedge.physics.reconstruction import fbp
from dewedge.pipeline.simulate import simulate_files
from dewedge.simulate.cell import CrowdedSpecimen
from dewedge.simulate.crowd import small_proteins
from dewedge.simulate.ctf import project_with_ctf
from dewedge.simulate.detector import Camera, record
from dewedge.simulate.gold import TRANSMISSION, Beads, bead_image, bead_mask
from dewedge.simulate.microscope import (
    PHASE_PER_VOLT_A,
    PROTEIN_VOLT,
    Optics,
    default_ctf,
    expected_images,
    specimen_shape,
)
from dewedge.simulate.misalignment import Misalignment, Residuals, draw_residuals
from dewedge.simulate.molecules import Molecule
from dewedge.simulate.realistic import Effects, MicroscopeSeries, acquisition_order, simulate_microscope
from dewedge.simulate.tilt_series import tilt_geometry

NONE = {field.name: False for field in fields(Effects)}
TILTS = range(-60, 61, 12)


def molecule() -> Molecule:
    """A bent rod, so that its mirror image differs."""
    grid = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"))
    density = np.zeros((9, 9, 9), dtype=np.float32)
    for centre in ((-2, 0, 0), (0, 0, 0), (2, 0, 0), (2, 2, 0), (2, 2, 2)):
        density += np.exp(-((grid - np.reshape(centre, (3, 1, 1, 1))) ** 2).sum(axis=0) / 2.0)
    return Molecule("rod", density.clip(0, 1).astype(np.float32), 20.0)


def small(effects: dict[str, bool] | None = None, **changes: Any) -> MicroscopeSeries:
    options: dict[str, Any] = {"shape_zyx": (32, 56, 60), "n_gold": 2, "tilt_deg": TILTS, "seed": 3} | changes
    chosen = Effects() if effects is None else Effects(**(NONE | effects))
    return simulate_microscope(effects=chosen, molecules=[molecule()], **options)


@pytest.fixture(scope="module")
def everything() -> MicroscopeSeries:
    return small()


def test_the_same_seed_gives_the_same_series_and_another_one_another(everything: MicroscopeSeries) -> None:
    np.testing.assert_array_equal(small().images, everything.images)
    other = small(seed=4)
    assert np.corrcoef(other.truth.ravel(), everything.truth.ravel())[0, 1] < 0.9


@pytest.mark.parametrize("name", sorted(NONE))
def test_every_effect_can_be_left_out_and_leaves_the_others_as_they_are(
    everything: MicroscopeSeries, name: str
) -> None:
    others = {key: key != name for key in NONE}
    without = small(others)
    assert not np.array_equal(without.images, everything.images)
    np.testing.assert_array_equal(without.geometry.shift_yx, everything.geometry.shift_yx)
    np.testing.assert_array_equal(without.beads.centres_zyx, everything.beads.centres_zyx)
    np.testing.assert_array_equal(without.centres_zyx, everything.centres_zyx)
    if name != "crowding":
        np.testing.assert_array_equal(without.truth, everything.truth)
    if name in ("poisson", "gain", "hot_pixels"):
        np.testing.assert_array_equal(without.clean, everything.clean)
    else:
        assert not np.array_equal(without.clean, everything.clean)


def test_the_mean_of_an_empty_specimen_falls_with_its_thickness() -> None:
    empty = small({"loss": True}, n_gold=0, n_particles=0, n_membranes=0, specimen="purified", jitter_A=0.0)
    secant = 1 / np.cos(np.radians(empty.geometry.tilt_deg))
    means = empty.clean.mean(axis=(1, 2))
    slope = np.polyfit(secant, np.log(means), 1)[0]
    thickness_A = empty.specimen.ice_thickness_A
    assert slope == pytest.approx(-thickness_A / Optics().free_path_A, rel=0.02)
    assert means.max() == pytest.approx(0.85 * 3 * 400 * np.exp(slope), rel=0.02)
    np.testing.assert_allclose(
        small({}, n_gold=0, n_particles=0, n_membranes=0, specimen="purified").clean,
        0.85 * 3 * 400,
        rtol=1e-5,
    )


def test_the_truth_is_in_the_frame_of_the_aligned_series() -> None:
    series = small({}, n_gold=0, axis_angle_deg=20.0, jitter_A=60.0, tilt_deg=range(-60, 61, 4))
    images, geometry = align_images(series.clean, series.geometry)
    volume = fbp(images, geometry, 32).numpy()

    def agreement(truth: np.ndarray) -> float:
        inner = np.s_[4:-4, 12:-12, 12:-12]
        return float(np.corrcoef(truth[inner].ravel(), volume[inner].ravel())[0, 1])

    assert agreement(series.truth) > 0.6
    moved = [np.roll(series.truth, shift, axis) for axis in range(3) for shift in (-1, 1)]
    mirrored = [np.flip(series.truth, axis) for axis in range(3)]
    assert max(map(agreement, [*moved, *mirrored])) < agreement(series.truth) - 0.05


def test_a_defocus_gradient_is_that_of_another_simulator() -> None:
    rng = np.random.default_rng(0)
    # So fine and at so low a voltage that the field spans a good part of a period of the CTF.
    geometry = tilt_geometry([-50.0, 50.0], (12, 40, 240), 2.0, rng)
    ctf = replace(default_ctf(2, 0.3, 0.0, rng), voltage_kV=20.0)
    geometry = replace(geometry, ctf=ctf, pre_exposure_e_per_A2=np.zeros(2))
    exact = Residuals(geometry.tilt_deg, 0.0, np.zeros((2, 2)))
    shape = specimen_shape(geometry, exact, 12)
    middle_y, middle_x = shape[1] // 2, shape[2] // 2
    volume = np.zeros(shape, dtype=np.float32)
    # Far from the tilt axis.
    volume[2:10, middle_y - 10 : middle_y + 10, middle_x + 75 : middle_x + 110] = (
        rng.uniform(size=(8, 20, 35)) / 9
    )
    empty = Beads(np.zeros((0, 3)), np.zeros(0))
    none = np.zeros((0, 3), dtype=np.int64)
    specimen = CrowdedSpecimen(volume, 2.0, 20.0, np.zeros(2), (), none, np.zeros((0, 3, 3)), empty)
    optics = Optics(free_path_A=None, damage=False)
    contrast = torch.from_numpy(1 - expected_images(specimen, geometry, exact, optics) / (3 * 4))
    inner = volume[:, middle_y - 20 : middle_y + 20, middle_x - 120 : middle_x + 120]
    frequency = torch.hypot(torch.fft.fftfreq(40)[:, None], torch.fft.rfftfreq(240)[None])
    band = (frequency > 0.15) & (frequency < 0.25)

    def against(hand: int) -> float:
        other = replace(geometry, ctf=replace(geometry.ctf, defocus_hand=hand))
        expected = project_with_ctf(torch.from_numpy(inner.copy()), other, slab=2)
        expected *= 2 * PROTEIN_VOLT * PHASE_PER_VOLT_A * 2
        spectra = [torch.fft.rfft2(images)[:, band] for images in (contrast, expected)]
        return float((spectra[0] * spectra[1].conj()).real.sum() / (spectra[0].norm() * spectra[1].norm()))

    assert against(-1) > 0.95
    assert against(1) < 0.9


def test_damage_takes_high_frequencies_of_late_images() -> None:
    with_damage, without = (
        small({"damage": on}, n_gold=0, jitter_A=0.0, axis_angle_deg=0.0, exposure_e_per_A2=9.0)
        for on in (1, 0)
    )
    order = with_damage.geometry.acquisition_order
    assert order is not None
    frequency = torch.hypot(torch.fft.fftfreq(56)[:, None], torch.fft.rfftfreq(60)[None])

    def kept(index: int, band: torch.Tensor) -> float:
        powers = [
            torch.fft.rfft2(torch.from_numpy(s.clean[index]))[band].abs().square().sum()
            for s in (with_damage, without)
        ]
        return float(powers[0] / powers[1])

    first, last = int(order.argmin()), int(order.argmax())
    low, high = (frequency > 0) & (frequency < 0.1), frequency > 0.3
    assert kept(first, high) > 0.85
    assert kept(last, high) < 0.65 * kept(last, low)


def test_what_a_shift_of_the_specimen_does_is_no_misalignment() -> None:
    geometry = tilt_geometry(TILTS, (32, 56, 60), 20.0, np.random.default_rng(0))
    residuals = draw_residuals(geometry, Misalignment(), np.random.default_rng(1))
    angles = np.radians(residuals.tilt_deg)
    for movable in (np.cos(angles), np.sin(angles)):
        assert residuals.shift_yx[:, 1] @ movable == pytest.approx(0, abs=1e-9)
    assert residuals.shift_yx[:, 0].mean() == pytest.approx(0, abs=1e-12)
    assert (residuals.tilt_deg - geometry.tilt_deg).mean() == pytest.approx(0, abs=1e-12)
    only_axis = draw_residuals(
        geometry, Misalignment(shift_yx_A=(0, 0), tilt_deg=0, axis_shift_A=80), np.random.default_rng(1)
    )
    # 80 A less 80 A x sum cos / sum cos^2 x cos(a), at the untilted and at the steepest image.
    middle, end = np.abs(only_axis.shift_yx[[5, 0], 1]) * 20
    assert 8 < middle < 20 and 20 < end < 40


def test_counts_are_poisson_and_halves_independent() -> None:
    expected = np.full((1, 200, 200), 50.0, dtype=np.float32)
    quiet = Camera(gain_sigma=0, hot_pixels=0, xrays_per_image=0)
    even, odd = record(expected, 10.0, quiet, np.random.default_rng(0))
    assert even.var() == pytest.approx(100, rel=0.03) and even.mean() == pytest.approx(50, rel=0.005)
    assert abs(np.corrcoef(even.ravel(), odd.ravel())[0, 1]) < 0.02
    assert np.array_equal(even, 2 * np.round(even / 2))
    gaussian = record(expected, 10.0, replace(quiet, poisson=False), np.random.default_rng(0))[0]
    assert gaussian.var() == pytest.approx(100, rel=0.03)
    shared = record(expected, 10.0, replace(quiet, gain_sigma=0.3), np.random.default_rng(0))
    assert np.corrcoef(shared[0].ravel(), shared[1].ravel())[0, 1] > 0.5
    hot = record(expected, 10.0, replace(quiet, hot_pixels=2), np.random.default_rng(0))
    assert ((hot[0] - even) > 49).sum() == 2
    struck = record(expected, 10.0, replace(quiet, xrays_per_image=5), np.random.default_rng(0))
    assert 2 <= ((struck[0] + struck[1] - even - odd) > 99).sum() <= 12


def test_beads_saturate_and_are_marked() -> None:
    image = bead_image((40, 44), np.array([[3.0, -5.0]]), np.array([60.0]), 10.0).numpy()
    assert image[20 + 3, 22 - 5] == pytest.approx(1, abs=0.1)
    assert image.sum() == pytest.approx(np.pi * 36, rel=0.06)
    assert abs(np.average(np.arange(40), weights=image.sum(axis=1)) - 23) < 0.05
    beads = Beads(np.array([[5.0, 8.0, 9.0]]), np.array([40.0]))
    mask = bead_mask((10, 20, 20), beads, 20.0, 20.0)
    assert mask[5, 8, 9] and mask[5, 8, 12] and not mask[5, 8, 13]
    dark = small({}, n_gold=1, n_particles=0, n_membranes=0, specimen="purified")
    assert dark.clean.min() / np.median(dark.clean) < TRANSMISSION


def test_the_crowd_is_as_dense_as_asked_and_more_even_than_chance() -> None:
    rng = np.random.default_rng(0)
    room = np.ones((48, 48, 48), dtype=bool)
    inner = np.s_[6:-6, 6:-6, 6:-6]
    dense = small_proteins(room, 20.0, 0.2, rng)[inner]
    assert dense.mean() == pytest.approx(0.2, rel=0.06)
    assert dense.max() < 1.25  # none within another
    thin = small_proteins(room, 20.0, 0.01, rng)[inner]
    power = [np.abs(np.fft.fftn(d - d.mean())) ** 2 / d.mean() for d in (dense, thin)]
    frequency = np.sqrt(sum(k**2 for k in np.meshgrid(*[np.fft.fftfreq(36)] * 3, indexing="ij")))
    low, high = (frequency > 0) & (frequency < 0.06), frequency > 0.3
    assert power[0][low].mean() < 0.4 * power[1][low].mean()
    assert power[0][high].mean() == pytest.approx(power[1][high].mean(), rel=0.2)
    assert not small_proteins(room, 20.0, 0.0, rng).any()


def test_orders_of_acquisition() -> None:
    assert acquisition_order([-20, -10, 0, 10, 20], "bidirectional").tolist() == [4, 3, 0, 1, 2]
    assert acquisition_order([-20, -10, 0, 10, 20], "dose-symmetric").tolist() == [3, 2, 0, 1, 4]


@pytest.mark.parametrize("kind", ["lamella", "purified"])
def test_other_specimens(kind: Any) -> None:
    series = small(specimen=kind, n_gold=None)
    assert (len(series.beads.radii_A) == 0) == (kind == "lamella")
    assert len(series.species) > 3


def test_files_fit_each_other(tmp_path: Path) -> None:
    options = {"shape_zyx": (32, 56, 60), "n_gold": 2, "n_particles": 4, "tilt_deg": TILTS, "realistic": True}
    files = simulate_files(tmp_path, "ts", frames=True, **options)
    series = read_tilt_series(files.stack)
    assert series.geometry.pre_exposure_e_per_A2 is not None
    assert series.geometry.pre_exposure_e_per_A2.max() == 30
    assert series.geometry.axis_angle_deg == pytest.approx(-4.3, abs=1e-3)
    assert files.ctf is not None and files.beads is not None and files.even is not None
    assert read_ctf_file(files.ctf, 11).defocus_um.mean() == pytest.approx(2.0, abs=0.1)
    beads = read_particles(files.beads)
    assert beads.radii_A is not None and len(beads.species) >= 2
    truth = read_mrc(files.truth).data
    inside = beads.centre_zyx[
        ((beads.centre_zyx > 1) & (beads.centre_zyx < np.array(truth.shape) - 2)).all(axis=1)
    ]
    assert len(inside) and all(truth[tuple(np.round(c).astype(int))] < -5 for c in inside)
    assert len(read_particles(files.particles).species) == files.n_particles
    assert 100 < read_mrc(files.stack, stack=True).data.mean() < 1200
    with pytest.raises(InputError, match="exists already"):
        simulate_files(tmp_path, "ts", **options)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"snr": 0.5, "realistic": True}, "--snr: expected without --realistic"),
        ({"specimen": "cell"}, "--specimen: expected with --realistic"),
        ({"defocus_um": 2.0}, "--defocus-um: expected with --realistic"),
        ({"ctf": True, "exposure_e_per_A2": 0.0}, "exposure 0 e/A"),
        ({"ctf": True, "ice_thickness_A": 1e5}, "ice thickness"),
        ({"ctf": True, "n_gold": -1}, "counts of"),
    ],
)
def test_what_cannot_be_simulated_is_told(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        simulate_files(tmp_path, "ts", **({"shape_zyx": (32, 40, 40), "tilt_deg": TILTS} | options))


def test_the_command_line_switches_single_effects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "simulate",
        "-o",
        str(tmp_path),
        "--shape",
        "32",
        "40",
        "40",
        "--tilt-step",
        "30",
        "--gold",
        "0",
    ]
    assert main([*command, "--name", "plain", "--loss", "--voxel-size", "20"]) == 0
    assert main([*command, "--name", "thick", "--realistic", "--no-loss", "--defocus-um", "3"]) == 0
    means = [
        read_mrc(tmp_path / f"{n}_clean.mrc", stack=True).data.mean(axis=(1, 2)) for n in ("plain", "thick")
    ]
    assert means[0][0] / means[0][2] < 0.8 < 0.9 < means[1][0] / means[1][2]
    assert read_ctf_file(tmp_path / "thick_ctf.txt", 5).defocus_um.mean() == pytest.approx(3, abs=0.2)
    assert main([*command, "--name", "odd", "--defocus-um", "3"]) == 2
    assert "--realistic" in capsys.readouterr().err
