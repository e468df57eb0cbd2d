"""What a half-set measured, from geometry, counts, exposure and CTF."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dewedge.errors import InputError
from dewedge.geometry import CtfParameters, TiltGeometry
from dewedge.inputs.images import AlignedImages
from dewedge.inputs.planes import planes_of, read_planes, write_planes
from dewedge.inputs.run_input import SeriesInput
from dewedge.io.tilt_series import TiltSeries
from dewedge.physics.transfer import RADII
from dewedge.settings.sections import CtfSection, ReconstructSection

TILTS = np.array([-40.0, 0, 40])


def planes(noise=(2.0, 1, 2), ctf: CtfParameters | None = None, pre=None, **section):
    geometry = TiltGeometry(
        tilt_deg=TILTS, image_shape_yx=(32, 64), pixel_size_A=5.0, ctf=ctf, pre_exposure_e_per_A2=pre
    )
    images = np.zeros((3, 32, 64), dtype=np.float32)
    series = TiltSeries("ts", Path("ts.mrc"), images, geometry, (0, 0, 0), (), ())
    aligned = AlignedImages(torch.from_numpy(images), geometry, np.array(noise))
    found = planes_of(aligned, SeriesInput("ts", (series,)), CtfSection(**section), ReconstructSection())
    assert found is not None
    sirt = ReconstructSection(algorithm="sirt")
    assert planes_of(aligned, SeriesInput("ts", (series,)), CtfSection(**section), sirt) is None
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
