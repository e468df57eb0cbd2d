from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import ndimage

from dewedge.errors import InputError
from dewedge.geometry import TiltGeometry
from dewedge.simulate.builtin import builtin_molecules
from dewedge.simulate.specimen import Specimen, simulate_specimen
from dewedge.simulate.tilt_series import dose_symmetric_order, simulate_tilt_series, tilt_geometry

SHAPE = (48, 90, 101)
TILTS = np.arange(-60, 61, 6)


@pytest.fixture(scope="module")
def specimen() -> Specimen:
    molecules = [m for m in builtin_molecules(10.0) if m.density.shape[0] <= 29]
    return simulate_specimen(SHAPE, molecules, np.random.default_rng(0), 30, n_membranes=0, n_gold=1)


@pytest.fixture(scope="module")
def geometry() -> TiltGeometry:
    return tilt_geometry(TILTS, SHAPE, 10.0, np.random.default_rng(0))


def marker(*offset_zyx: int) -> np.ndarray:
    """A blob at that offset from index N // 2 of each axis."""
    axes = [np.exp(-((np.arange(n) - n // 2 - d) ** 2) / 5) for n, d in zip(SHAPE, offset_zyx, strict=True)]
    return (axes[0][:, None, None] * axes[1][:, None] * axes[2]).astype(np.float32)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.mark.parametrize("snr", [0.5, 0.25, 1 / 6])
def test_the_snr_is_as_asked(specimen: Specimen, geometry: TiltGeometry, snr: float) -> None:
    series = simulate_tilt_series(specimen.volume, geometry, snr, np.random.default_rng(1))
    noise = series.noisy.astype(np.float64) - series.clean
    assert series.clean.var(dtype=np.float64) / noise.var() == pytest.approx(snr, rel=0.01)
    assert series.noisy.shape == (TILTS.size, 90, 101)
    assert series.noisy.dtype == np.float32
    assert series.even is None


def test_the_noise_is_white(specimen: Specimen, geometry: TiltGeometry) -> None:
    series = simulate_tilt_series(specimen.volume, geometry, 0.25, np.random.default_rng(2))
    noise = series.noisy - series.clean
    noise = noise / noise.std()
    standard_error = 1 / np.sqrt(noise.size)
    assert abs(noise.mean()) < 4 * standard_error
    for axis in range(3):
        neighbours = (noise * np.roll(noise, 1, axis=axis)).mean()
        assert abs(neighbours) < 4 * standard_error
    assert (
        abs((noise * (series.clean - series.clean.mean())).mean()) < 4 * standard_error * series.clean.std()
    )
    power = np.abs(np.fft.fft2(noise, norm="ortho")) ** 2
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(90), np.fft.fftfreq(101), indexing="ij"))
    for low in (0.0, 0.125, 0.25, 0.375):
        ring = (radius >= low) & (radius < low + 0.125)
        values = power[:, ring]
        assert values.mean() == pytest.approx(1, abs=6 / np.sqrt(values.size))
    assert (noise**4).mean() == pytest.approx(3, abs=0.1)


def test_frame_halves_have_independent_noise_of_twice_the_variance(
    specimen: Specimen, geometry: TiltGeometry
) -> None:
    series = simulate_tilt_series(specimen.volume, geometry, 0.25, np.random.default_rng(3), frames=True)
    assert series.even is not None and series.odd is not None
    np.testing.assert_allclose(series.noisy, (series.even + series.odd) / 2, atol=1e-4)
    even, odd = series.even - series.clean, series.odd - series.clean
    assert abs(correlation(even, odd)) < 4 / np.sqrt(even.size)
    variance = series.clean.var(dtype=np.float64)
    assert variance / even.var(dtype=np.float64) == pytest.approx(0.125, rel=0.01)
    assert variance / odd.var(dtype=np.float64) == pytest.approx(0.125, rel=0.01)
    assert variance / (series.noisy - series.clean).var(dtype=np.float64) == pytest.approx(0.25, rel=0.01)


def test_protein_is_dark_and_the_untilted_image_is_the_sum_along_z(
    specimen: Specimen, geometry: TiltGeometry
) -> None:
    clean = simulate_tilt_series(specimen.volume, geometry, 1.0, np.random.default_rng(4)).clean
    np.testing.assert_allclose(clean[TILTS.size // 2], -specimen.volume.sum(axis=0), atol=1e-3)
    assert clean.min() < -5
    assert clean.max() < 0.5


def test_a_marker_moves_as_the_convention_says(geometry: TiltGeometry) -> None:
    volume = marker(15, 20, -10)
    clean = simulate_tilt_series(volume, geometry, 1.0, np.random.default_rng(5)).clean
    for image, tilt in zip(-clean.astype(np.float64), np.radians(TILTS), strict=True):
        y, x = ndimage.center_of_mass(image)
        assert y == pytest.approx(45 + 20, abs=1e-3)
        assert x == pytest.approx(50 - 10 * np.cos(tilt) + 15 * np.sin(tilt), abs=0.02)


@pytest.mark.parametrize("axis_angle_deg", [0.0, 5.0, -86.0, 90.0])
def test_a_misaligned_series_shows_the_marker_where_its_transforms_say(axis_angle_deg: float) -> None:
    rng = np.random.default_rng(6)
    geometry = tilt_geometry(TILTS, SHAPE, 10.0, rng, axis_angle_deg=axis_angle_deg, jitter_A=20)
    assert geometry.axis_angle_deg == pytest.approx(axis_angle_deg)
    assert geometry.aligned_shape_yx == (90, 101)
    assert geometry.shift_yx.std() == pytest.approx(2, rel=0.4)
    volume = marker(8, 12, -10)
    clean = simulate_tilt_series(volume, geometry, 1.0, rng).clean.astype(np.float64)
    centre = np.array(geometry.image_shape_yx) // 2
    for i, tilt in enumerate(np.radians(TILTS)):
        image = -clean[i]
        raw_yx = np.array(ndimage.center_of_mass(image)) - centre
        aligned_yx = geometry.linear_yx[i] @ raw_yx + geometry.shift_yx[i]
        np.testing.assert_allclose(aligned_yx, [12, -10 * np.cos(tilt) + 8 * np.sin(tilt)], atol=0.03)


def test_the_order_of_acquisition_is_dose_symmetric() -> None:
    tilts = np.arange(-12, 13, 3)
    order = dose_symmetric_order(tilts)
    assert tilts[np.argsort(order)].tolist() == [0, 3, -3, -6, 6, 9, -9, -12, 12]
    asymmetric = np.arange(-30, 61, 10)
    assert asymmetric[np.argsort(dose_symmetric_order(asymmetric))].tolist() == [
        0, 10, -10, -20, 20, 30, -30, 40, 50, 60
    ]  # fmt: skip
    assert dose_symmetric_order([7.0]).tolist() == [0]
    geometry = tilt_geometry(tilts[::-1], SHAPE, 10.0, np.random.default_rng(0), exposure_e_per_A2=3.0)
    assert geometry.tilt_deg.tolist() == sorted(tilts)
    assert geometry.pre_exposure_e_per_A2 is not None
    assert geometry.pre_exposure_e_per_A2[4] == 0
    assert geometry.pre_exposure_e_per_A2.max() == 24


def test_mistakes_are_refused(specimen: Specimen, geometry: TiltGeometry) -> None:
    rng = np.random.default_rng(0)
    for snr in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="SNR"):
            simulate_tilt_series(specimen.volume, geometry, snr, rng)
    with pytest.raises(InputError, match="holds nothing"):
        simulate_tilt_series(np.zeros(SHAPE, dtype=np.float32), geometry, 1.0, rng)
    for tilts in ([], [0, np.nan], [0, 90]):
        with pytest.raises(InputError, match="tilt angle"):
            tilt_geometry(tilts, SHAPE, 10.0, rng)
    with pytest.raises(InputError, match="jitter"):
        tilt_geometry(TILTS, SHAPE, 10.0, rng, jitter_A=-1)


def test_it_is_fast() -> None:
    start = time.perf_counter()
    rng = np.random.default_rng(0)
    shape = (96, 128, 128)
    specimen = simulate_specimen(shape, builtin_molecules(10.0), rng)
    simulate_tilt_series(specimen.volume, tilt_geometry(range(-60, 61, 3), shape, 10.0, rng), 0.25, rng)
    # A quarter of a specimen of 96 x 256 x 256, which may take a minute.
    assert time.perf_counter() - start < 15
