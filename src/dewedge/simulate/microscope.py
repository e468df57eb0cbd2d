"""Images of a specimen as an electron microscope forms them, before they are recorded."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from dewedge.geometry import CtfParameters, TiltGeometry
from dewedge.physics.ctf import electron_wavelength_A, image_ctf
from dewedge.physics.exposure import critical_exposure_e_per_A2
from dewedge.physics.fourier import frequencies
from dewedge.simulate.cell import CrowdedSpecimen
from dewedge.simulate.fourier_slice import project_slices
from dewedge.simulate.gold import PHASE_CONTRAST, TRANSMISSION, bead_image
from dewedge.simulate.misalignment import Residuals, turn_matrix_yx

Images = NDArray[np.float32]

# Phase that an electron of 300 kV gains in a volt times Angstrom (Kirkland 2010, Advanced Computing in
# Electron Microscopy, equation 5.6).
PHASE_PER_VOLT_A = 6.53e-4
# Inner potential of protein less that of ice: from 0.135 A of electron scattering length per A^3 of protein
# (dewedge.simulate.molecules), 6.5 V, and 4.5 V for ice of 0.93 g per cm^3 (Vulovic et al. 2013, J. Struct.
# Biol. 183, 19).
PROTEIN_VOLT = 2.0
# Exposure after which the contrast of 10499's cell has fallen to 1 / e of its power, at all frequencies, in
# addition to the critical exposures of Grant and Grigorieff: first images, 0.01 to 0.04 per A.
FADING_E_PER_A2 = 200.0
# Phases of neighbouring CTFs differ by at most this, in units of pi, at Nyquist.
_STEP_PHASE = 0.15
# Contrast without a CTF, over that of twice the phase: what the CTF of 2 um passes at 1 / 75 A.
_WITHOUT_CTF = 0.25
# The least that is left of the beam.
_DARKEST = 0.01


@dataclass(frozen=True, kw_only=True)
class Optics:
    """Settings of the image formation, besides the CTF parameters of the geometry.

    Parameters
    ----------
    exposure_e_per_A2
        Electrons per square Angstrom that fall on the specimen for each image.
    free_path_A
        Path in ice that leaves 1 / e of the electrons in the image; None for no loss. Log means of 10499 go
        as -0.81 / cos(a): with ice of 1800 A, 2200 A. (Inelastic losses alone: some 3000 to 3900 A at
        300 kV; Rice et al. 2018, J. Struct. Biol. 204, 38.)
    protein_loss
        Loss in protein over that in ice. With the 7 % amplitude contrast it makes the cell of 10499 6 %
        darker than the ice beside it.
    contrast_path_A
        Path that leaves 1 / e of the contrast, as electrons that were scattered more than once carry none; it
        counts beyond that of the untilted specimen. Chosen for 10499, where what damage leaves of the
        contrast at 60 degrees is 0.7 of that untilted.
    damage
        The signal of all but gold fades with the exposure, as Grant and Grigorieff 2015 measured and, at all
        frequencies, by `FADING_E_PER_A2`.
    ctf
        Images have the CTF of their geometry; else they show the projected density itself.
    defocus_gradient
        Each point of the specimen has the defocus at its own height; else all have that of the tilt axis.
    blur_A
        Standard deviation of a Gaussian blur, for motion within an exposure.
    """

    exposure_e_per_A2: float = 3.0
    free_path_A: float | None = 2200.0
    protein_loss: float = 1.2
    contrast_path_A: float = 6000.0
    damage: bool = True
    ctf: bool = True
    defocus_gradient: bool = True
    blur_A: float = 0.0


def expected_images(
    specimen: CrowdedSpecimen, geometry: TiltGeometry, residuals: Residuals, optics: Optics
) -> Images:
    """Electrons that are expected in each pixel of the raw images, on a perfect camera.

    An image is N exp(-loss) (1 - contrast), with N the electrons in a pixel's area. Loss is that along the
    path in ice, protein and gold. Contrast is twice the phase shift by the projected potential, less that of
    ice, filtered by the CTF and by radiation damage (weak phase object; Kirkland 2010, section 3.1); the
    phase of gold counts as at most half a period.

    Parameters
    ----------
    geometry
        The geometry that is told of the images. A pixel is as wide as a voxel.
    residuals
        What it does not tell.

    Returns
    -------
    Images
        ``(n, y, x)`` float32.

    Raises
    ------
    ValueError
        If the specimen does not reach beyond the images at the steepest tilt.
    """
    pixel_A = geometry.pixel_size_A
    shape = wide_shape(geometry, residuals)
    if not reaches_beyond(specimen.volume.shape, shape, residuals):
        raise ValueError(f"specimen of {specimen.volume.shape}: too small for images of {shape}")
    depth = specimen.volume.shape[0]
    gradient = optics.ctf and optics.defocus_gradient
    z_A, slabs = _slabs(depth, geometry, gradient)
    volume = torch.from_numpy(specimen.volume)
    electrons = optics.exposure_e_per_A2 * pixel_A**2
    middle = np.array(specimen.volume.shape) // 2
    images = np.empty((geometry.n_tilts, *geometry.image_shape_yx), dtype=np.float32)
    parts = project_slices(volume, residuals.tilt_deg, shape, slabs) * pixel_A
    for i, tilt_deg in enumerate(residuals.tilt_deg):
        angle = math.radians(tilt_deg)
        path_A = parts[:, i].sum(dim=0).clone()
        height = (specimen.beads.centres_zyx - middle) @ [math.sin(angle), 0.0, math.cos(angle)]
        centres = np.stack([specimen.beads.centres_zyx[:, 1] - middle[1], height], axis=1)
        gold = bead_image(shape, centres, specimen.beads.radii_A, pixel_A)
        if optics.free_path_A is not None:
            thicker_A = specimen.ice_thickness_A * (1 / math.cos(angle) - 1)
            parts[:, i] *= math.exp(-thicker_A / optics.contrast_path_A)
        contrast = _contrast(parts[:, i], PHASE_CONTRAST * gold, i, angle, z_A, geometry, shape, optics)
        passed = 1 - (1 - TRANSMISSION) * gold
        if optics.free_path_A is not None:
            ice_A = _ice_thickness_A(specimen, shape, angle) / math.cos(angle)
            loss = (ice_A + (optics.protein_loss - 1) * path_A) / optics.free_path_A
            passed = passed * torch.exp(-loss)
        image = electrons * passed * (1 - contrast).clamp(min=_DARKEST)
        images[i] = _raw(image.numpy(), geometry, residuals, i)
    return images


def _ice_thickness_A(specimen: CrowdedSpecimen, shape: tuple[int, int], angle: float) -> Tensor:
    """``(y, x)`` thickness of the ice where the rays of an aligned image's pixels cross its middle."""
    y_A, x_A = ((torch.arange(n) - n // 2)[:, None] * specimen.voxel_size_A for n in shape)
    slope_y, slope_x = specimen.ice_slope_yx.tolist()
    change_A = slope_y * y_A + slope_x * x_A.T / math.cos(angle)
    return (specimen.ice_thickness_A + change_A).clamp(min=specimen.ice_thickness_A / 2)


def wide_shape(geometry: TiltGeometry, residuals: Residuals) -> tuple[int, int]:
    """Shape of the aligned image, centred on the tilt axis, that holds all raw images of the series."""
    half = np.array(geometry.image_shape_yx) / 2
    reach = np.zeros(2)
    for i in range(geometry.n_tilts):
        linear, shift = _to_aligned(geometry, residuals, i)
        corners = [linear @ (half * [a, b]) + shift for a in (-1, 1) for b in (-1, 1)]
        reach = np.maximum(reach, np.abs(corners).max(axis=0))
    height, width = (2 * int(math.ceil(r) + 4) for r in reach)
    return height, width


def specimen_shape(geometry: TiltGeometry, residuals: Residuals, depth: int) -> tuple[int, int, int]:
    """Shape of the specimen that the images see, at the steepest tilt, too."""
    height, width = wide_shape(geometry, residuals)
    steepest = math.radians(float(np.abs(residuals.tilt_deg).max()))
    # At the ends, half of the shear on both sides is filled from the other one.
    needed = width / math.cos(steepest) + depth * math.tan(steepest) + 8
    return depth, height, 2 * math.ceil(needed / 2)


def reaches_beyond(shape_zyx: tuple[int, ...], image_shape_yx: tuple[int, int], residuals: Residuals) -> bool:
    """True if a specimen of this shape fills images of that shape at every tilt."""
    steepest = math.radians(float(np.abs(residuals.tilt_deg).max()))
    needed = image_shape_yx[1] / math.cos(steepest) + shape_zyx[0] * math.tan(steepest)
    return shape_zyx[1] >= image_shape_yx[0] and shape_zyx[2] >= needed


def _slabs(depth: int, geometry: TiltGeometry, gradient: bool) -> tuple[Tensor, Tensor]:
    """Heights in A of slabs of the untilted specimen, and ``(m, z)`` weights that fade into each other."""
    z_A = (torch.arange(depth, dtype=torch.float64) - depth // 2) * geometry.pixel_size_A
    steepest = math.radians(float(np.abs(geometry.tilt_deg).max()))
    middles = (
        _steps(float(z_A[0]), float(z_A[-1]), geometry, math.cos(steepest)) if gradient else z_A.new_zeros(1)
    )
    return middles, _fading(z_A, middles)


def _steps(low: float, high: float, geometry: TiltGeometry, scale: float = 1.0) -> Tensor:
    """Defoci in A between two, near enough for their CTFs to be alike; one if all are."""
    assert geometry.ctf is not None and geometry.ctf.voltage_kV is not None
    wavelength_A = electron_wavelength_A(geometry.ctf.voltage_kV)
    step_A = scale * _STEP_PHASE * (2 * geometry.pixel_size_A) ** 2 / wavelength_A
    count = math.ceil((high - low) / step_A)
    if count <= 1:
        return torch.tensor([(low + high) / 2], dtype=torch.float64)
    return torch.linspace(low, high, count + 1, dtype=torch.float64)


def _fading(position: Tensor, middles: Tensor) -> Tensor:
    """``(m, n)`` share of each middle in each position, linear between neighbours; they add up to 1."""
    if middles.numel() == 1:
        return torch.ones(1, position.numel(), dtype=torch.float64)
    return (1 - (position - middles[:, None]).abs() / (middles[1] - middles[0])).clamp(min=0)


def _contrast(
    parts_A: Tensor,
    gold: Tensor,
    index: int,
    angle: float,
    z_A: Tensor,
    geometry: TiltGeometry,
    shape: tuple[int, int],
    optics: Optics,
) -> Tensor:
    """``(y, x)`` contrast of an aligned image from the ``(m, y, x)`` projections of its slabs."""
    phase = 2 * PROTEIN_VOLT * PHASE_PER_VOLT_A * parts_A
    kept = _kept_by_damage(index, geometry, shape, optics)
    if not optics.ctf:
        seen = torch.fft.irfft2(torch.fft.rfft2(phase.sum(dim=0)) * kept, s=shape) + gold
        return _WITHOUT_CTF * seen
    ctf = geometry.ctf
    assert ctf is not None
    if not optics.defocus_gradient:
        response = image_ctf(ctf, index, torch.zeros(()), shape, geometry.pixel_size_A)
        spectrum = torch.fft.rfft2(phase.sum(dim=0)) * kept + torch.fft.rfft2(gold)
        return torch.fft.irfft2(spectrum * response, s=shape)
    assert ctf.defocus_hand is not None
    x_A = (torch.arange(shape[1], dtype=torch.float64) - shape[1] // 2) * geometry.pixel_size_A
    # A point at z that projects to x_p has the height z / cos(a) - x_p tan(a).
    height_A = -x_A * math.tan(angle)
    middles = _steps(float(height_A.min()), float(height_A.max()), geometry)
    shares = _fading(height_A, middles).float()
    total = torch.zeros(shape[0], shape[1] // 2 + 1, dtype=torch.complex64)
    for slab, z in enumerate(z_A):
        for middle, share in zip(middles, shares, strict=True):
            offset_um = ctf.defocus_hand * (float(z) / math.cos(angle) + middle.float()) * 1e-4
            response = image_ctf(ctf, index, offset_um, shape, geometry.pixel_size_A)
            spectrum = torch.fft.rfft2(phase[slab] * share) * kept
            if slab == len(z_A) // 2:
                spectrum += torch.fft.rfft2(gold * share)
            total += spectrum * response
    return torch.fft.irfft2(total, s=shape)


def _kept_by_damage(index: int, geometry: TiltGeometry, shape: tuple[int, int], optics: Optics) -> Tensor:
    """Amplitude that radiation damage, and blur, leave at each frequency of an image's half-spectrum."""
    ky, kx = frequencies(shape)
    per_A = (ky.square() + kx.square()).sqrt() / geometry.pixel_size_A
    # The volume is smoothed by a Gaussian of half a voxel (`dewedge.simulate.molecules`); images are not.
    smoothed_A2 = (geometry.pixel_size_A / 2) ** 2
    within = per_A.clamp(max=1 / (2 * geometry.pixel_size_A))
    kept = torch.exp(2 * math.pi**2 * (smoothed_A2 * within.square() - (optics.blur_A * per_A) ** 2))
    if optics.damage:
        exposures = geometry.pre_exposure_e_per_A2
        assert exposures is not None
        exposure = float(exposures[index]) + optics.exposure_e_per_A2 / 2
        kept = kept * torch.exp(-exposure / 2 * (1 / critical_exposure_e_per_A2(per_A) + 1 / FADING_E_PER_A2))
    return kept


def _to_aligned(
    geometry: TiltGeometry, residuals: Residuals, index: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``linear @ p + shift``: where a raw pixel p truly lies in the aligned image, both from the centre."""
    back = turn_matrix_yx(-residuals.turn_deg)
    linear = back @ geometry.linear_yx[index]
    return linear, back @ (geometry.shift_yx[index] - residuals.shift_yx[index])


def _raw(image: Images, geometry: TiltGeometry, residuals: Residuals, index: int) -> Images:
    """The raw image from the wide aligned one, by quintic splines."""
    linear, shift = _to_aligned(geometry, residuals, index)
    raw_centre = np.array(geometry.image_shape_yx) // 2
    centre = np.array(image.shape) // 2
    offset = centre + shift - linear @ raw_centre
    if np.array_equal(linear, np.eye(2)) and np.array_equal(offset, np.round(offset)):
        y, x = offset.astype(int)
        return image[y : y + geometry.image_shape_yx[0], x : x + geometry.image_shape_yx[1]]
    raw = ndimage.affine_transform(
        image, linear, offset, output_shape=geometry.image_shape_yx, order=5, mode="mirror", output=np.float32
    )
    return np.maximum(raw, _DARKEST)


def default_ctf(n_tilts: int, defocus_um: float, sigma_um: float, rng: np.random.Generator) -> CtfParameters:
    """CTF parameters of a 300 kV microscope: a defocus for each image, spherical aberration 2.7 mm.

    7 % amplitude contrast is what the published processing of 10499 takes. The hand is -1, the usual one.

    The defocus is normally distributed about ``defocus_um``. Errors as `CtfParameters`.
    """
    defocus = defocus_um + sigma_um * rng.standard_normal(n_tilts)
    return CtfParameters(
        defocus_u_um=defocus,
        voltage_kV=300.0,
        spherical_aberration_mm=2.7,
        amplitude_contrast=0.07,
        defocus_hand=-1,
    )
