"""Contrast transfer function of tilt images, its correction, and exposure weighting."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dewedge.geometry import CtfParameters, TiltGeometry
from dewedge.physics.ctf import (
    SignalToNoise,
    correct_images,
    deconvolve,
    electron_wavelength_A,
    filter_strips,
    first_zero_A,
    image_ctf,
    phase_flip,
    strips,
    wiener,
)
from dewedge.physics.exposure import (
    balanced_weights,
    critical_exposure_e_per_A2,
    weight_by_exposure,
)
from dewedge.physics.fourier import frequencies
from dewedge.physics.projection import project
from dewedge.physics.reconstruction import fbp
from dewedge.scores.fsc import fourier_shell_correlation
from dewedge.simulate.ctf import project_with_ctf


def geometry(
    tilts: np.ndarray, shape: tuple[int, int], defocus_um: float = 0.1, pixel_size_A: float = 1.0, **ctf: Any
) -> TiltGeometry:
    """At 100 kV a small field has a steep defocus gradient, in units of the depth of field."""
    values = {
        "voltage_kV": 100,
        "spherical_aberration_mm": 0,
        "amplitude_contrast": 0.1,
        "defocus_hand": -1,
        "defocus_u_um": np.full(len(tilts), defocus_um),
    } | ctf
    return TiltGeometry(
        tilt_deg=tilts,
        image_shape_yx=shape,
        pixel_size_A=pixel_size_A,
        ctf=CtfParameters(**values),  # type: ignore[arg-type]
    )


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# --- the CTF ---


def formula(
    ctf: CtfParameters, i: int, offset_um: float, shape: tuple[int, int], pixel_size_A: float
) -> Tensor:
    """The CTF in float64, from the constants of nature; direction in degrees from x towards larger y."""
    charge, mass, light, planck = 1.602176634e-19, 9.1093837015e-31, 299792458.0, 6.62607015e-34
    assert ctf.voltage_kV is not None
    assert ctf.spherical_aberration_mm is not None and ctf.amplitude_contrast is not None
    energy = charge * ctf.voltage_kV * 1e3
    wavelength = 1e10 * planck / math.sqrt(2 * mass * energy * (1 + energy / (2 * mass * light**2)))
    ky = torch.fft.fftfreq(shape[0], pixel_size_A, dtype=torch.float64)[:, None]
    kx = torch.fft.rfftfreq(shape[1], pixel_size_A, dtype=torch.float64)
    k2 = ky**2 + kx**2
    turned = torch.atan2(ky, kx) - math.radians(ctf.astigmatism_deg[i])
    u, v = (1e4 * (d[i] + offset_um) for d in (ctf.defocus_u_um, ctf.defocus_v_um))
    defocus = u * torch.cos(turned) ** 2 + v * torch.sin(turned) ** 2
    phase = math.pi * wavelength * defocus * k2
    phase -= math.pi / 2 * ctf.spherical_aberration_mm * 1e7 * wavelength**3 * k2**2
    return torch.sin(phase + math.asin(ctf.amplitude_contrast) + math.radians(ctf.phase_shift_deg[i]))


@settings(deadline=None)  # the first call imports the library
@given(
    u=st.floats(-3, 5),
    v=st.floats(-3, 5),
    direction=st.floats(-180, 180),
    phase=st.sampled_from([0.0, 30.0, 90.0]),
    voltage=st.sampled_from([100.0, 200.0, 300.0]),
    offset=st.floats(-1, 1),
)
def test_the_library_s_ctf_is_the_formula_s(
    u: float, v: float, direction: float, phase: float, voltage: float, offset: float
) -> None:
    ctf = CtfParameters(
        defocus_u_um=np.array([u]),
        defocus_v_um=np.array([v]),
        astigmatism_deg=np.array([direction]),
        phase_shift_deg=np.array([phase]),
        voltage_kV=voltage,
        spherical_aberration_mm=2.7,
        amplitude_contrast=0.07,
    )
    got = image_ctf(ctf, 0, torch.tensor([offset]), (30, 41), 4.0)[0]
    torch.testing.assert_close(got, formula(ctf, 0, offset, (30, 41), 4.0).float(), atol=2e-3, rtol=0)


def test_wavelengths() -> None:
    assert electron_wavelength_A(300) == pytest.approx(0.019687, abs=1e-6)
    assert electron_wavelength_A(200) == pytest.approx(0.025079, abs=1e-6)


def test_protein_keeps_its_contrast() -> None:
    """The CTF is positive at zero frequency, so nothing inverts the sign of low frequencies."""
    g = geometry(np.array([0.0]), (32, 32))
    assert g.ctf is not None
    assert image_ctf(g.ctf, 0, torch.zeros(1), (32, 32), 1.0)[0, 0, 0] == pytest.approx(0.1, abs=1e-6)


def test_a_ctf_without_its_constants_is_a_mistake() -> None:
    g = geometry(np.array([0.0]), (32, 32), voltage_kV=None)
    with pytest.raises(ValueError, match="expected voltage"):
        correct_images(noise(1, 32, 32), g)


# --- strips ---


@given(
    tilt=st.floats(-70, 70),
    width=st.integers(8, 130),
    pixel_size_A=st.floats(0.5, 15),
    hand=st.sampled_from([1, -1]),
)
def test_strips_interpolate_the_defocus_of_every_column(
    tilt: float, width: int, pixel_size_A: float, hand: int
) -> None:
    g = geometry(np.array([tilt]), (8, width), pixel_size_A=pixel_size_A, defocus_hand=hand)
    offsets_um, weights = strips(g, 0)
    torch.testing.assert_close(weights.sum(0), torch.ones(width))
    assert weights.min() >= 0
    # The plane z = 0: a column x_p lies at x = x_p / cos(a), whose height is -x sin(a).
    x = (np.arange(width) - width // 2) * pixel_size_A / np.cos(np.radians(tilt))
    expected = hand * -x * np.sin(np.radians(tilt)) * 1e-4
    # Less than 1 % of pi at Nyquist makes no second strip.
    tolerance_um = 0.01 * (2 * pixel_size_A) ** 2 / electron_wavelength_A(100) * 1e-4
    columns = offsets_um.double() @ weights.double()
    np.testing.assert_allclose(columns, expected, atol=tolerance_um + 1e-5 * np.ptp(expected))


def test_neighbouring_strips_differ_by_a_quarter_of_pi_at_most() -> None:
    g = geometry(np.array([60.0]), (8, 400))
    offsets_um, _ = strips(g, 0)
    assert len(offsets_um) > 10
    difference = math.pi * electron_wavelength_A(100) * float(offsets_um.diff().max()) * 1e4 * 0.5**2
    assert difference <= math.pi / 4 * (1 + 1e-4)
    assert difference > math.pi / 5


def test_the_hand_is_that_of_relion_and_imod() -> None:
    """Hand -1, RELION's default: at a positive tilt the right side is more underfocused, as IMOD expects."""
    g = geometry(np.array([50.0]), (8, 64), defocus_hand=-1)
    offsets_um, weights = strips(g, 0)
    columns = offsets_um @ weights
    assert columns[-1] > 0 > columns[0]
    assert columns[32] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("shape", [(40, 64), (41, 65)])
def test_flipping_twice_is_the_identity_and_keeps_the_mean(shape: tuple[int, int]) -> None:
    g = geometry(np.array([0.0]), shape)
    assert g.ctf is not None
    offsets_um, weights = strips(g, 0)
    response = phase_flip(image_ctf(g.ctf, 0, offsets_um, shape, 1.0))
    assert (response < 0).any()
    image = noise(*shape) + 3
    once = filter_strips(image, response, weights)
    assert not torch.allclose(once, image, atol=0.1)
    torch.testing.assert_close(once.mean(), image.mean())
    torch.testing.assert_close(filter_strips(once, response, weights), image)


def test_without_tilt_the_whole_image_is_flipped() -> None:
    shape = (128, 192)
    g = geometry(np.array([0.0, 1e-9]), shape, defocus_um=0.03)
    assert g.ctf is not None
    image = torch.zeros(2, *shape)
    image[:, 64, 96] = 1
    response = phase_flip(image_ctf(g.ctf, 0, torch.tensor(0.0), shape, 1.0))
    assert (response < 0).any()
    whole = torch.fft.irfft2(torch.fft.rfft2(image[0]) * response, s=shape)
    corrected = correct_images(image, g)
    torch.testing.assert_close(corrected[0], corrected[1])
    # They differ by what comes round the edges of the periodic image.
    assert torch.corrcoef(torch.stack([corrected[0].flatten(), whole.flatten()]))[0, 1] > 0.98


def test_a_series_is_its_images_one_by_one() -> None:
    tilts = np.array([-40.0, 3.0, 55.0])
    g = geometry(tilts, (20, 33))
    images = noise(3, 20, 33)
    together = correct_images(images, g, SignalToNoise())
    for i in range(3):
        torch.testing.assert_close(
            correct_images(images[i : i + 1], g.select([i]), SignalToNoise())[0], together[i]
        )


def test_mirrored_tilts_and_images_are_corrected_alike() -> None:
    """Turning the tilt round and mirroring x leaves the defocus of every point of the image."""
    g = geometry(np.array([50.0]), (30, 87))
    images = noise(1, 30, 87)
    mirrored = correct_images(images.flip(-1), replace(g, tilt_deg=-g.tilt_deg))
    torch.testing.assert_close(mirrored.flip(-1), correct_images(images, g), atol=2e-3, rtol=0)


# --- the Wiener filter ---


def test_snr_and_wiener_filter_are_those_of_tom_deconv() -> None:
    x = torch.tensor([0.0, 0.01, 0.02, 0.5, 1.0])
    expected = [0.0, 10 * math.exp(-0.1), 20 * math.exp(-0.2), 20 * math.exp(-5), 20 * math.exp(-10)]
    torch.testing.assert_close(SignalToNoise(1, 1).at(x, 10.0), torch.tensor(expected))
    ctf, snr = torch.tensor([0.5, -0.8, 0.0]), torch.tensor([4.0, 2.0, 3.0])
    torch.testing.assert_close(wiener(ctf, snr), ctf / (ctf**2 + 1 / snr))
    assert wiener(torch.tensor(0.7), torch.tensor(0.0)) == 0


@pytest.mark.parametrize("shape", [(8, 24, 32), (9, 25, 33)])
def test_a_tomogram_is_deconvolved_as_an_image_is_in_its_plane(shape: tuple[int, int, int]) -> None:
    """And alike in all directions: of a cube turned about an axis."""
    g = geometry(np.array([0.0]), shape[1:], defocus_um=0.05, defocus_v_um=np.array([0.07]))
    assert g.ctf is not None
    snr = SignalToNoise(1, 0.01)
    volume = noise(*shape)
    filtered = deconvolve(volume, g.ctf, 1.0, snr)
    ky, kx = frequencies(shape[1:])
    mean = replace(g.ctf, defocus_u_um=g.ctf.defocus_um, defocus_v_um=g.ctf.defocus_um)
    response = wiener(
        image_ctf(mean, 0, torch.tensor(0.0), shape[1:], 1.0), snr.at(2 * torch.hypot(ky, kx), 1.0)
    )
    before, after = torch.fft.rfftn(volume)[0], torch.fft.rfftn(filtered)[0]
    inside = torch.hypot(ky, kx) < 0.5
    torch.testing.assert_close(after[inside], (before * response)[inside], atol=2e-2, rtol=2e-3)
    cube = noise(16, 16, 16)
    turned = deconvolve(cube.transpose(0, 2), g.ctf, 1.0, snr).transpose(0, 2)
    torch.testing.assert_close(turned, deconvolve(cube, g.ctf, 1.0, snr), atol=1e-5, rtol=0)


# --- what it is for ---


@pytest.mark.parametrize("hand", [1, -1])
def test_phase_flipping_restores_what_lies_beyond_the_first_zero(hand: int) -> None:
    """With the right hand; the wrong one, and one defocus for the whole image, restore less."""
    shape, margin = (16, 32, 256), 32
    canvas = (shape[1] + 2 * margin, shape[2] + 2 * margin)
    inside = [((n / 2 - (torch.arange(n) - n // 2).abs()) / 6).clamp(0, 1) for n in shape]
    volume = noise(*shape) * inside[0][:, None, None] * inside[1][:, None] * inside[2]
    g = geometry(np.arange(-60, 61, 8.0), canvas, defocus_hand=hand)
    assert g.ctf is not None
    images = project_with_ctf(volume, g, slab=8)

    def reconstruct(aligned: Tensor) -> np.ndarray:
        return fbp(aligned, g, shape[0], volume_shape_yx=shape[1:]).numpy()

    truth = reconstruct(project(volume, g.tilt_deg, canvas))
    first_zero = 1 / math.sqrt(electron_wavelength_A(100) * 0.1e4)

    def beyond_first_zero(aligned: Tensor) -> float:
        fsc = fourier_shell_correlation(reconstruct(aligned), truth)
        return float(fsc.correlation[fsc.frequency_per_voxel > first_zero].mean())

    wrong = replace(g, ctf=replace(g.ctf, defocus_hand=-hand))
    untilted = replace(g, tilt_deg=g.tilt_deg * 1e-6)
    affected, right, other_hand, one_defocus = (
        beyond_first_zero(aligned)
        for aligned in (
            images,
            correct_images(images, g),
            correct_images(images, wrong),
            correct_images(images, untilted),
        )
    )
    assert affected < 0.1
    assert right > 0.93
    assert other_hand < right - 0.2
    assert other_hand + 0.1 < one_defocus < right - 0.05
    assert beyond_first_zero(correct_images(images, g, SignalToNoise(3, 0))) > affected + 0.5


# --- exposure ---


def test_critical_exposures_of_the_paper() -> None:
    """The curve at 1/20, 1/10, 1/5 and 1/3 per Angstrom, worked out by hand."""
    frequency = torch.tensor([1 / 20, 1 / 10, 1 / 5, 1 / 3])
    expected = torch.tensor([38.73, 14.14, 6.383, 4.336])
    torch.testing.assert_close(critical_exposure_e_per_A2(frequency), expected, rtol=2e-3, atol=0)
    torch.testing.assert_close(critical_exposure_e_per_A2(frequency, 200), 0.8 * expected, rtol=2e-3, atol=0)
    assert critical_exposure_e_per_A2(torch.tensor(0.0)).isinf()
    with pytest.raises(ValueError, match="expected one of"):
        critical_exposure_e_per_A2(frequency, 120)


@pytest.mark.parametrize("shape", [(32, 48), (33, 47)])
def test_exposure_weighs_a_wave_and_keeps_the_mean(shape: tuple[int, int]) -> None:
    exposures = np.array([0.0, 30.0])
    g = replace(geometry(np.array([0.0, 10.0]), shape, pixel_size_A=2), pre_exposure_e_per_A2=exposures)
    cycles = 6
    wave = torch.cos(2 * torch.pi * cycles / shape[1] * torch.arange(shape[1])).expand(2, *shape)
    weighted = weight_by_exposure(wave + 5, g)
    critical = critical_exposure_e_per_A2(torch.tensor(cycles / shape[1] / 2))
    weights = balanced_weights(torch.exp(-torch.from_numpy(exposures) / (2 * critical)))
    assert weights[0] < 0.9 < weights[1]
    expected = wave * weights[:, None, None].float() + 5
    torch.testing.assert_close(weighted, expected, atol=2e-4, rtol=1e-5)
    unexposed = replace(g, pre_exposure_e_per_A2=np.zeros(2))
    torch.testing.assert_close(weight_by_exposure(wave + 5, unexposed), wave + 5)


def test_exposure_weights_balance_the_planes_at_the_noise_of_the_published_weights() -> None:
    kept = torch.exp(-torch.linspace(0, 1, 41, dtype=torch.float64)[:, None] * torch.linspace(0, 9, 50))
    weights = balanced_weights(kept)
    torch.testing.assert_close(weights.square().sum(dim=0), kept.square().sum(dim=0))
    torch.testing.assert_close(weights[:, 0], torch.ones(41, dtype=torch.float64))
    # Of the plane that lost most over that which lost least: as published it is the square of what was kept.
    arrives = (weights * kept)[-1] / (weights * kept)[0]
    balanced = kept[-1] > 0.35
    assert (arrives[balanced] > 0.75).all() and (arrives >= kept[-1].square()).all()
    # Where hardly anything was kept, weights are in proportion to that: noise is not blown up.
    lost = kept[-1] < 0.002
    assert (weights[-1, lost] < 0.06 * weights[0, lost]).all()
    assert torch.equal(balanced_weights(torch.zeros(3, 1)), torch.zeros(3, 1))


@pytest.mark.parametrize("defocus, expected_A", [(2.0, 20.1), (3.0, 24.6), (5.0, 31.7)])
def test_first_zeros_of_the_usual_microscope(defocus: float, expected_A: float) -> None:
    ctf = CtfParameters(
        defocus_u_um=np.full(2, defocus),
        voltage_kV=300.0,
        spherical_aberration_mm=2.7,
        amplitude_contrast=0.07,
    )
    np.testing.assert_allclose(first_zero_A(ctf), expected_A, atol=0.06)


@given(
    defocus=st.integers(-3000, 5000).map(lambda nm: nm / 1000),
    phase_deg=st.integers(0, 120),
    voltage=st.sampled_from([100.0, 200.0, 300.0]),
    aberration=st.integers(0, 30).map(lambda tenths: tenths / 10),
)
@settings(max_examples=30, deadline=None)
def test_the_ctf_is_zero_at_its_first_zero_and_not_before(
    defocus: float, phase_deg: float, voltage: float, aberration: float
) -> None:
    ctf = CtfParameters(
        defocus_u_um=np.array([defocus]),
        phase_shift_deg=np.array([phase_deg]),
        voltage_kV=voltage,
        spherical_aberration_mm=aberration,
        amplitude_contrast=0.1,
        defocus_hand=-1,
    )
    [zero_A] = first_zero_A(ctf)
    wavelength = electron_wavelength_A(voltage)

    def value(k: np.ndarray) -> np.ndarray:
        q = np.square(k)
        phase = np.pi * wavelength * defocus * 1e4 * q - np.pi / 2 * aberration * 1e7 * wavelength**3 * q**2
        return np.sin(phase + np.arcsin(0.1) + np.radians(phase_deg))

    if zero_A == 0:
        assert (value(np.linspace(0, 1, 1000)) > 0).all()
        return
    assert abs(value(np.array([1 / zero_A]))[0]) < 1e-5
    assert (value(np.linspace(0, 0.999 / zero_A, 1000)) > 0).all()
