"""What a half-set measured, from geometry, counts, exposure and CTF."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dewedge.errors import InputError
from dewedge.geometry import CtfParameters, TiltGeometry, TiltRange
from dewedge.inputs.ctf import correct
from dewedge.inputs.images import AlignedImages
from dewedge.inputs.planes import planes_of, read_planes, write_planes
from dewedge.inputs.run_input import SeriesInput
from dewedge.io.tilt_series import TiltSeries
from dewedge.physics.fourier import frequencies
from dewedge.physics.reconstruction import fbp
from dewedge.physics.transfer import RADII, MeasuredPlanes, Transfer
from dewedge.physics.wedge import wedge_mask
from dewedge.settings.sections import CtfSection, ReconstructSection
from dewedge.simulate.cell import CrowdedSpecimen
from dewedge.simulate.gold import Beads
from dewedge.simulate.microscope import FADING_E_PER_A2, Optics, expected_images, specimen_shape
from dewedge.simulate.misalignment import draw_residuals

TILTS = np.array([-40.0, 0, 40])


def planes(noise=(2.0, 1, 2), ctf: CtfParameters | None = None, pre=None, **section):
    geometry = TiltGeometry(
        tilt_deg=TILTS, image_shape_yx=(32, 64), pixel_size_A=5.0, ctf=ctf, pre_exposure_e_per_A2=pre
    )
    return planes_of_series(geometry, np.array(noise), CtfSection(**section))


def planes_of_series(geometry: TiltGeometry, noise: np.ndarray, section: CtfSection) -> MeasuredPlanes:
    images = np.zeros((geometry.n_tilts, *geometry.image_shape_yx), dtype=np.float32)
    series = TiltSeries("ts", Path("ts.mrc"), images, geometry, (0, 0, 0), (), ())
    aligned = AlignedImages(torch.from_numpy(images), geometry, noise)
    found = planes_of(aligned, SeriesInput("ts", (series,)), section, ReconstructSection())
    assert found is not None
    sirt = ReconstructSection(algorithm="sirt")
    assert planes_of(aligned, SeriesInput("ts", (series,)), section, sirt) is None
    return found


def test_without_exposure_or_ctf_only_the_noise_differs():
    measured = planes()
    np.testing.assert_array_equal(measured.tilt_deg, TILTS)
    np.testing.assert_array_equal(measured.signal, 1)
    np.testing.assert_array_equal(measured.noise, np.outer([2, 1, 2], np.ones(RADII.size)))


def test_the_signal_fades_with_the_exposure_by_frequency():
    signal = planes(pre=[60.0, 0.0, 100.0]).signal
    np.testing.assert_array_equal(signal[1], 1)
    at = int(np.searchsorted(RADII, 0.25))  # 20 A
    critical = 0.245 * (1 / 20) ** -1.665 + 2.81
    np.testing.assert_allclose(signal[:, at], np.exp(-np.array([60, 0, 100]) / (2 * critical)), rtol=1e-6)
    assert (np.diff(signal[0]) <= 0).all()


def test_images_weighted_by_exposure_have_their_signal_alike_and_more_noise():
    plain, weighted = (planes((1.0, 1, 1), pre=[60.0, 0.0, 60.0], dose_weight=w) for w in (False, True))
    at = int(np.searchsorted(RADII, 0.1))
    assert weighted.signal[0, at] / weighted.signal[1, at] > plain.signal[0, at] / plain.signal[1, at]
    assert weighted.noise[0, at] > weighted.noise[1, at]


def test_flipped_phases_leave_the_amplitude_beyond_the_first_peak():
    ctf = CtfParameters(
        defocus_u_um=np.full(3, 3.0), voltage_kV=300.0, spherical_aberration_mm=2.7,
        amplitude_contrast=0.07, defocus_hand=-1,
    )  # fmt: skip
    signal = planes(ctf=ctf).signal
    wavelength = 0.019687
    peak = np.sqrt(0.5 / (wavelength * 3e4)) * 5  # cycles per pixel, without the small terms
    zero = np.sqrt(1.0 / (wavelength * 3e4)) * 5
    untilted = signal[1]
    np.testing.assert_array_equal(untilted[0.95 * peak > RADII], 1)
    assert untilted[np.abs(RADII - zero).argmin()] < 0.15
    assert untilted.max() <= 1


def imaged_transfer(geometry: TiltGeometry, size: int, count: int) -> np.ndarray:
    """Regression, over many specimens, of what is reconstructed of a cube of matter on that matter.

    The images are those of the simulated microscope, their phases flipped afterwards.
    """
    rng, optics, nothing = np.random.default_rng(0), Optics(free_path_A=None), np.zeros((0, 3))
    without_errors = draw_residuals(geometry, None, rng)
    shape = specimen_shape(geometry, without_errors, size)
    electrons = optics.exposure_e_per_A2 * geometry.pixel_size_A**2
    common = power = 0
    for _ in range(count):
        volume = np.zeros(shape, dtype=np.float32)
        cube = volume[middle(shape, size)] = 0.05 * rng.standard_normal((size,) * 3).astype(np.float32)
        specimen = CrowdedSpecimen(
            volume, geometry.pixel_size_A, 1000.0, np.zeros(2), (), nothing, np.zeros((0, 3, 3)),
            Beads(nothing, np.zeros(0)),
        )  # fmt: skip
        contrast = 1 - expected_images(specimen, geometry, without_errors, optics) / electrons
        images = correct(torch.from_numpy(contrast), geometry, CtfSection(ctf="phase-flip"))
        wide = fbp(images, geometry, 3 * size, "radial").numpy()
        found, truth = (np.fft.rfftn(v) for v in (wide[middle(wide.shape, size)], cube))
        common = common + (found * truth.conj()).real
        power = power + np.abs(truth) ** 2
    return common / power


def middle(shape: tuple[int, ...], size: int) -> tuple[slice, ...]:
    return tuple(slice(n // 2 - size // 2, n // 2 - size // 2 + size) for n in shape)


def test_their_transfer_is_that_of_a_simulated_microscope():
    """In each shell, with CTF and its correction, damage and gaps; the planes alone tell less of it."""
    size, tilts = 24, np.arange(-54, 55, 12.0)
    ctf = CtfParameters(
        defocus_u_um=np.linspace(3, 4.5, 10), voltage_kV=300.0, spherical_aberration_mm=2.7,
        amplitude_contrast=0.07, defocus_hand=-1,
    )  # fmt: skip
    exposures = 10.0 * np.argsort(np.argsort(np.abs(tilts), kind="stable"))
    geometry = TiltGeometry(
        tilt_deg=tilts, image_shape_yx=(3 * size, 5 * size), pixel_size_A=8.0, ctf=ctf,
        pre_exposure_e_per_A2=exposures,
    )  # fmt: skip
    measured = planes_of_series(geometry, np.ones(10), CtfSection(ctf="phase-flip"))
    # The simulated damage has a part that is alike at all frequencies, on top of the published one.
    measured = replace(measured, signal=measured.signal * np.exp(-exposures / (2 * FADING_E_PER_A2))[:, None])
    alike = replace(measured, signal=np.ones_like(measured.signal))
    passed, geometry_alone = (Transfer(p, size).at(torch.eye(3), size).numpy() for p in (measured, alike))
    found = imaged_transfer(geometry, size, 30)
    radius = np.sqrt(sum(k.numpy() ** 2 for k in frequencies((size,) * 3)))
    within = wedge_mask((size,) * 3, TiltRange(-54, 54)).numpy() > 0
    correlations, errors = [], []
    for low in np.arange(0.06, 0.4, 0.05):  # the CTF's first zero is at 0.29
        shell = (radius >= low) & (radius < low + 0.05)
        relative = found[shell] / found[shell & within].mean()
        correlations.append(np.corrcoef(passed[shell], relative)[0, 1])
        errors.append([np.sqrt(np.mean((v[shell] - relative) ** 2)) for v in (passed, geometry_alone)])
    assert min(correlations) > 0.85
    by_planes, by_geometry = np.mean(errors, axis=0)
    assert by_planes < 0.8 * by_geometry


def test_they_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "planes.json"
    assert read_planes(path) is None
    first, second = planes(), planes((3.0, 1, 3))
    write_planes(path, [first, second])
    write_planes(tmp_path / "unknown.json", [first, None])
    assert not (tmp_path / "unknown.json").exists()
    again = read_planes(path)
    assert again is not None
    np.testing.assert_array_equal(again[1].noise, second.noise)
    for damage in ("{", "[]", '{"half0": {}}'):
        path.write_text(damage)
        with pytest.raises(InputError, match="damaged"):
            read_planes(path)
    write_planes(path, [first, None])
    assert not path.exists()
