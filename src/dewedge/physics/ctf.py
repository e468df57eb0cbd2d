"""Contrast transfer function (CTF) of tilt images, and its correction.

The defocus of a point is that of its image at the tilt axis plus ``defocus_hand`` times the point's height
along the beam, z cos(a) - x sin(a). On the plane z = 0 a column x_p = x cos(a) of the image has the height
-x_p tan(a): with hand -1 the side of larger x is the more underfocused at positive tilts. Where a point lies
within the specimen's thickness is not known, and not corrected for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from torch import Tensor

from dewedge.geometry import CtfParameters, TiltGeometry
from dewedge.physics.fourier import frequencies

# Phase by which the CTFs of neighbouring strips differ at Nyquist, in units of pi; less than the other does
# not make a second strip.
_STRIP_PHASE, _NO_PHASE = 0.25, 0.01
# The Wiener filter's high-pass, as a fraction of Nyquist.
_HIGH_PASS = 0.02
# Frequencies up to Nyquist at which the filter of a tomogram is tabulated.
_TABLE = 4096


class SignalToNoise(NamedTuple):
    """Assumed spectral SNR: ``10**strength * exp(-100 falloff x / p) * (1 - cos(pi min(1, x / 0.02)))``.

    x is the frequency as a fraction of Nyquist and p the pixel size in Angstrom. tom_deconv's strength is a
    third of this one.
    """

    strength: float = 1.0
    falloff: float = 1.0

    def at(self, fraction_of_nyquist: Tensor, pixel_size_A: float) -> Tensor:
        """SNR at frequencies of any shape, as fractions of Nyquist."""
        high_pass = 1 - torch.cos(torch.pi * (fraction_of_nyquist / _HIGH_PASS).clamp(max=1))
        fall = torch.exp(-100 * self.falloff / pixel_size_A * fraction_of_nyquist)
        return 10**self.strength * fall * high_pass


def phase_flip(ctf: Tensor) -> Tensor:
    """Sign of a CTF of any shape, float32: 1 where it is positive or zero, -1 where it is negative.

    Examples
    --------
    >>> phase_flip(torch.tensor([0.07, 0.0, -0.5]))
    tensor([ 1.,  1., -1.])
    """
    return torch.where(ctf < 0, -1.0, 1.0)


def wiener(ctf: Tensor, snr: Tensor) -> Tensor:
    """Wiener filter CTF / (CTF^2 + 1 / SNR), broadcast; 0 where the SNR is 0, as at zero frequency.

    Source: the deconvolution of Warp (tom_deconv) and IsoNet.
    """
    return snr * ctf / (snr * ctf.square() + 1)


def electron_wavelength_A(voltage_kV: float) -> float:
    """Relativistic wavelength of the electron in Angstrom.

    Examples
    --------
    >>> electron_wavelength_A(300)
    0.0197
    """
    from torch_ctf import calculate_relativistic_electron_wavelength

    return float(calculate_relativistic_electron_wavelength(voltage_kV * 1e3)) * 1e10


def first_zero_A(ctf: CtfParameters) -> NDArray[np.float64]:
    """``(n,)`` resolution in Angstrom at which the CTF of each image is zero for the first time.

    By the mean defocus, without astigmatism; 0 where it never is.

    Raises
    ------
    ValueError
        If a constant of the microscope is not known.

    Examples
    --------
    >>> microscope = {"voltage_kV": 300.0, "spherical_aberration_mm": 2.7, "amplitude_contrast": 0.07}
    >>> first_zero_A(CtfParameters(defocus_u_um=[2.0, 4.0], **microscope)).tolist()
    [20.1, 28.4]
    """
    voltage_kV, aberration_mm, amplitude_contrast = _microscope(ctf)
    wavelength_A = electron_wavelength_A(voltage_kV)
    # The phase pi (a q - b q^2) + phase at the square q of the frequency is a multiple of pi at a zero.
    a = wavelength_A * ctf.defocus_um * 1e4
    b = wavelength_A**3 * aberration_mm * 1e7 / 2
    start = math.asin(amplitude_contrast) / math.pi + ctf.phase_shift_deg / 180
    zeros = []
    for a_i, start_i in zip(a, start, strict=True):
        levels = (math.floor(start_i), math.floor(start_i) + 1)
        squares = [q for level in levels for q in _roots(-b, float(a_i), float(start_i - level)) if q > 1e-12]
        zeros.append(1 / math.sqrt(min(squares)) if squares else 0.0)
    return np.array(zeros)


def _roots(a: float, b: float, c: float) -> list[float]:
    """Real roots of a q^2 + b q + c, also where a is (nearly) zero."""
    discriminant = b * b - 4 * a * c
    if discriminant < 0:
        return []
    sum_of_both = -b - math.copysign(math.sqrt(discriminant), b)
    return [
        *([sum_of_both / (2 * a)] if a else []),
        *([2 * c / sum_of_both] if sum_of_both else []),
    ]


def image_ctf(
    ctf: CtfParameters, index: int, defocus_offset_um: Tensor, shape_yx: tuple[int, int], pixel_size_A: float
) -> Tensor:
    """CTF of one image at several offsets from its defocus.

    It is +amplitude contrast at zero frequency: flipped or not, protein keeps its contrast.

    Parameters
    ----------
    ctf
        Parameters of the series; voltage, spherical aberration and amplitude contrast are known.
    index
        The image.
    defocus_offset_um
        ``(...)`` micrometres, positive is more underfocus; the result is on its device.
    shape_yx
        Shape of the image.

    Returns
    -------
    Tensor
        ``(..., y, x // 2 + 1)`` float32 on the half-spectrum.

    Raises
    ------
    ValueError
        If a constant of the microscope is not known.
    """
    from torch_ctf import calculate_ctf_2d

    voltage_kV, aberration_mm, amplitude_contrast = _microscope(ctf)
    astigmatism_um = float(ctf.defocus_u_um[index] - ctf.defocus_v_um[index]) / 2
    # torch-ctf takes the square root of the astigmatism, and its angle 0 is the x axis, as ours.
    turn_deg = 90.0 if astigmatism_um < 0 else 0.0
    return calculate_ctf_2d(
        defocus=float(ctf.defocus_um[index]) + defocus_offset_um,
        astigmatism=abs(astigmatism_um),
        astigmatism_angle=float(ctf.astigmatism_deg[index]) + turn_deg,
        voltage=voltage_kV,
        spherical_aberration=aberration_mm,
        amplitude_contrast=amplitude_contrast,
        phase_shift=float(ctf.phase_shift_deg[index]),
        pixel_size=pixel_size_A,
        image_shape=shape_yx,
        rfft=True,
        fftshift=False,
    )


def correct_images(
    images: Tensor,
    geometry: TiltGeometry,
    correction: SignalToNoise | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Correct aligned tilt images for their CTF in strips parallel to the tilt axis.

    Each strip has the defocus at its own place; neighbouring strips blend linearly. They are as many as keep
    their CTFs within a quarter of pi of each other at Nyquist. Past its edges an image goes on as its mirror
    image.

    Parameters
    ----------
    images
        ``(n, y, x)`` images, float32, on any device; the tilt axis is y.
    geometry
        Their geometry, aligned, with all CTF parameters and the defocus hand.
    correction
        Wiener filter with this SNR; else the phases are flipped.
    device
        The device on which each image is corrected; that of the images if not given.

    Returns
    -------
    Tensor
        ``(n, y, x)`` corrected images, on the device of the images. Phase flipping keeps their mean, the
        Wiener filter removes it.

    Raises
    ------
    ValueError
        If the geometry is not aligned, lacks CTF parameters or the defocus hand, or is of other images.
    """
    ctf = geometry.ctf
    if not geometry.is_aligned or ctf is None or ctf.defocus_hand is None:
        raise ValueError("expected an aligned geometry with CTF parameters and defocus hand")
    if tuple(images.shape) != (geometry.n_tilts, *geometry.image_shape_yx):
        raise ValueError(f"images: got shape {tuple(images.shape)} for a geometry of other images")
    height, width = geometry.image_shape_yx
    corrected = torch.empty_like(images)
    for i, image in enumerate(images):
        top, bottom = _margins(height, geometry, i)
        left, right = _margins(width, geometry, i)
        wide = image.to(device or images.device)
        wide = F.pad(wide[None], (left, right, top, bottom), mode="reflect")[0]
        offsets_um, weights = strips(geometry, i, wide.device)
        responses = _responses(geometry, i, offsets_um, (wide.shape[0], wide.shape[1]), correction)
        weights = F.pad(weights[None], (left, right), mode="replicate")[0]
        filtered = filter_strips(wide, responses, weights)
        corrected[i] = filtered[top : top + height, left : left + width]
    return corrected


def strips(geometry: TiltGeometry, index: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Strips of an aligned image parallel to the tilt axis, as `correct_images` takes them.

    Returns
    -------
    offsets_um
        ``(m,)`` defocus of each strip's middle minus that at the tilt axis, in micrometres.
    weights
        ``(m, x)`` share of each strip in each column; they add up to 1.
    """
    assert geometry.ctf is not None and geometry.ctf.defocus_hand is not None
    width = geometry.image_shape_yx[1]
    slope = -geometry.ctf.defocus_hand * math.tan(math.radians(float(geometry.tilt_deg[index])))
    x_um = (torch.arange(width, device=device) - width // 2) * (geometry.pixel_size_A * 1e-4)
    offset_um = slope * x_um
    low, high = float(offset_um.min()), float(offset_um.max())
    wavelength_A = electron_wavelength_A(_microscope(geometry.ctf)[0])
    # pi wavelength step / (2 pixels)^2 is the phase by which two strips differ at Nyquist.
    step_um = _STRIP_PHASE * (2 * geometry.pixel_size_A) ** 2 / wavelength_A * 1e-4
    if high - low < _NO_PHASE / _STRIP_PHASE * step_um:
        return offset_um.new_zeros(1), offset_um.new_ones((1, width))
    count = min(1 + math.ceil((high - low) / step_um), width)
    strip = torch.arange(count, device=device)
    position = (offset_um - low) * ((count - 1) / (high - low))
    weights = (1 - (position - strip[:, None]).abs()).clamp(min=0)
    return low + strip * ((high - low) / (count - 1)), weights


def filter_strips(image: Tensor, responses: Iterable[Tensor], weights: Tensor) -> Tensor:
    """Filter a periodic ``(y, x)`` image, each strip by its own response.

    Parameters
    ----------
    responses
        The response of each strip, ``(y, x // 2 + 1)`` on the half-spectrum; one is held at a time.
    weights
        ``(m, x)`` share of each strip in each column.
    """
    spectrum = torch.fft.rfft2(image)
    filtered = torch.zeros_like(image)
    for response, weight in zip(responses, weights, strict=True):
        filtered += weight * torch.fft.irfft2(spectrum * response, s=image.shape)
    return filtered


def deconvolve(volume: Tensor, ctf: CtfParameters, voxel_size_A: float, snr: SignalToNoise) -> Tensor:
    """Wiener filter of a ``(z, y, x)`` tomogram, the same in all directions, by the CTF of the first image.

    The volume counts as periodic, and its mean is removed. Its whole spectrum is held in memory.

    Raises
    ------
    ValueError
        If a constant of the microscope is not known.

    Source: tom_deconv of Warp, as IsoNet has it.
    """
    round_ctf = replace(ctf, defocus_u_um=ctf.defocus_um, defocus_v_um=ctf.defocus_um)
    table_ctf = image_ctf(round_ctf, 0, volume.new_zeros(()), (1, 2 * _TABLE), voxel_size_A)[0]
    fraction = torch.linspace(0, 1, _TABLE + 1, device=volume.device)
    table = wiener(table_ctf, snr.at(fraction, voxel_size_A)).to(volume)
    spectrum = torch.fft.rfftn(volume)
    kz, ky, kx = frequencies(volume.shape, volume.device)
    for plane, k in zip(spectrum, kz.flatten(), strict=True):
        position = (2 * _TABLE * (k**2 + (ky**2 + kx**2)[0]).sqrt()).clamp(max=_TABLE)
        below = position.floor().clamp(max=_TABLE - 1)
        plane *= torch.lerp(table[below.int()], table[below.int() + 1], position - below)
    filtered: Tensor = torch.fft.irfftn(spectrum, s=volume.shape)
    return filtered


def mean_amplitude(geometry: TiltGeometry, radii: Tensor) -> Tensor:
    """Amplitude that the CTF leaves in each image once phases are flipped, 1 up to its first peak.

    The mean of abs(CTF) over the strips of each aligned image, which differ in defocus, without astigmatism.
    Up to the first peak, where the CTF is what gives the image its contrast, nothing counts as lost.

    Parameters
    ----------
    geometry
        With all CTF parameters and the defocus hand.
    radii
        ``(m,)`` frequencies in cycles per pixel.

    Returns
    -------
    Tensor
        ``(n, m)`` amplitudes, float64.

    Raises
    ------
    ValueError
        If the geometry has no CTF parameters, or a constant of the microscope is not known.
    """
    ctf = geometry.ctf
    if ctf is None:
        raise ValueError("expected a geometry with CTF parameters")
    round_ctf = replace(ctf, defocus_u_um=ctf.defocus_um, defocus_v_um=ctf.defocus_um)
    place = (2 * _TABLE * radii).clamp(max=_TABLE).round().long()
    rows = []
    for i in range(geometry.n_tilts):
        offsets_um, weights = strips(geometry, i)
        shares = weights.mean(dim=1).double()
        along_x = image_ctf(round_ctf, i, offsets_um, (1, 2 * _TABLE), geometry.pixel_size_A)[:, 0]
        mean = shares @ along_x.double().abs()
        rising = mean.diff() > 0
        peak = int(torch.argmin(rising.int())) if rising[0] else 0
        mean = mean / mean[peak]
        mean[:peak] = 1
        rows.append(mean[place].clamp(max=1))
    return torch.stack(rows)


def _responses(
    geometry: TiltGeometry,
    index: int,
    offsets_um: Tensor,
    shape_yx: tuple[int, int],
    correction: SignalToNoise | None,
) -> Iterator[Tensor]:
    """Response of the filter of each strip."""
    assert geometry.ctf is not None
    if correction is not None:
        ky, kx = frequencies(shape_yx, offsets_um.device)
        snr = correction.at(2 * (ky.square() + kx.square()).sqrt(), geometry.pixel_size_A)
    for offset_um in offsets_um:
        ctf = image_ctf(geometry.ctf, index, offset_um, shape_yx, geometry.pixel_size_A)
        yield phase_flip(ctf) if correction is None else wiener(ctf, snr)


def _margins(n: int, geometry: TiltGeometry, index: int) -> tuple[int, int]:
    """Pixels to add before and after ``n``: as far as the CTF at Nyquist displaces, and a fast transform."""
    assert geometry.ctf is not None
    wavelength_A = electron_wavelength_A(_microscope(geometry.ctf)[0])
    displacement_A = (
        wavelength_A * abs(float(geometry.ctf.defocus_um[index])) * 1e4 / (2 * geometry.pixel_size_A)
    )
    before = min(n - 1, math.ceil(displacement_A / geometry.pixel_size_A))
    return before, min(n - 1, next_fast_len(n + 2 * before, real=True) - n - before)


def _microscope(ctf: CtfParameters) -> tuple[float, float, float]:
    """Voltage in kV, spherical aberration in mm, amplitude contrast."""
    values = (ctf.voltage_kV, ctf.spherical_aberration_mm, ctf.amplitude_contrast)
    voltage_kV, aberration_mm, amplitude_contrast = values
    if voltage_kV is None or aberration_mm is None or amplitude_contrast is None:
        raise ValueError(f"expected voltage, spherical aberration and amplitude contrast, got {values}")
    return voltage_kV, aberration_mm, amplitude_contrast
