"""Tilt series as a microscope takes them, of a specimen with known truth: every effect can be left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dewedge.errors import InputError
from dewedge.geometry import TiltGeometry
from dewedge.simulate.builtin import builtin_molecules
from dewedge.simulate.cell import CrowdedSpecimen, SpecimenKind, crowded_specimen
from dewedge.simulate.detector import Camera, record
from dewedge.simulate.gold import Beads, add_beads
from dewedge.simulate.microscope import Optics, default_ctf, expected_images, specimen_shape
from dewedge.simulate.misalignment import Misalignment, Residuals, draw_residuals
from dewedge.simulate.molecules import Molecule
from dewedge.simulate.tilt_series import dose_symmetric_order, tilt_geometry

Images = NDArray[np.float32]
TiltScheme = Literal["dose-symmetric", "bidirectional"]

# Contrast of a ribosome over that of protein. RNA has 0.18 A of scattering length per A^3 (0.54 cm^3 per g):
# 8.5 V, twice as far from the 4.5 V of ice as protein has, and takes some 0.6 of a ribosome.
RIBOSOME_CONTRAST = np.float32(1.6)
# Measured in 10499: 1.6 to 2.0 um, by 0.05 um from image to image.
DEFOCUS_UM, DEFOCUS_SIGMA_UM = 2.0, 0.05
# 10499: 3 electrons per A^2 for each of 41 images, tilt axis at -4.3 degrees, shifts of some 100 A.
EXPOSURE_E_PER_A2, AXIS_ANGLE_DEG, JITTER_A = 3.0, -4.3, 80.0


@dataclass(frozen=True, kw_only=True)
class Effects:
    """Settings of a realistic simulation; each part can be switched off, gold by a number of 0 beads.

    Parameters
    ----------
    crowding
        Cells are full of small proteins (`dewedge.simulate.crowd`).
    beyond
        There is matter beyond the field of view, which tilted images see.
    loss
        Electrons are lost with the path in the specimen.
    damage
        The signal fades with the exposure.
    ctf, defocus_gradient
        Images have a CTF; each point has the defocus at its height.
    misalignment
        The alignment has errors (`dewedge.simulate.misalignment`).
    poisson
        Noise is that of electron counts; else white Gaussian noise, the same in all images.
    gain
        A gain pattern remains in the images.
    hot_pixels
        There are hot pixels and X-rays.
    """

    crowding: bool = True
    beyond: bool = True
    loss: bool = True
    damage: bool = True
    ctf: bool = True
    defocus_gradient: bool = True
    misalignment: bool = True
    poisson: bool = True
    gain: bool = True
    hot_pixels: bool = True


@dataclass(frozen=True, eq=False)
class MicroscopeSeries:
    """A realistic tilt series and its truth.

    Parameters
    ----------
    images
        ``(n, y, x)`` raw images in electrons per pixel, protein dark: the mean of ``even`` and ``odd``.
    even, odd
        Averages of the even and the odd frames.
    clean
        The electrons expected: without noise and faults of the camera.
    geometry
        What an alignment tells of the images, and their CTF.
    residuals
        What it does not tell.
    truth
        ``(z, y, x)`` density of the field of view in the frame of the aligned series: protein dark, -1 in
        solid protein, gold included.
    specimen
        The whole specimen.
    species, centres_zyx, rotations
        The large molecules whose centres lie in the truth, as in `dewedge.simulate.specimen.Specimen`.
    beads
        Gold beads that reach into the truth, in its voxels.
    """

    images: Images
    even: Images
    odd: Images
    clean: Images
    geometry: TiltGeometry
    residuals: Residuals
    truth: NDArray[np.float32]
    specimen: CrowdedSpecimen
    species: tuple[str, ...]
    centres_zyx: NDArray[np.int64]
    rotations: NDArray[np.float64]
    beads: Beads


def simulate_microscope(
    shape_zyx: tuple[int, int, int] = (100, 315, 326),
    voxel_size_A: float = 20.0,
    *,
    specimen: SpecimenKind = "cell",
    effects: Effects = Effects(),
    molecules: Sequence[Molecule] = (),
    n_particles: int | None = None,
    n_membranes: int | None = None,
    n_gold: int | None = None,
    ice_thickness_A: float | None = None,
    tilt_deg: ArrayLike = tuple(range(-60, 61, 3)),
    scheme: TiltScheme = "dose-symmetric",
    exposure_e_per_A2: float = EXPOSURE_E_PER_A2,
    defocus_um: float = DEFOCUS_UM,
    axis_angle_deg: float = AXIS_ANGLE_DEG,
    jitter_A: float = JITTER_A,
    seed: int = 0,
) -> MicroscopeSeries:
    """Simulate a specimen and the images that a microscope takes of it.

    The same seed gives the same data, and leaving out one effect changes no random number of the others.

    Parameters
    ----------
    shape_zyx
        Shape of the truth: the field of view, and the depth of the specimen.
    specimen
        See `dewedge.simulate.cell.crowded_specimen`; so for the numbers and the ice.
    molecules
        The large molecules, at ``voxel_size_A``; the built-in ones if empty.
    scheme
        Order of acquisition: outwards from the lowest tilt on both sides in turn (Hagen, Wan and Briggs
        2017), or from the lowest tilt up, then down.
    exposure_e_per_A2
        Electrons per square Angstrom for each image.
    defocus_um
        Mean defocus; positive is underfocus.
    axis_angle_deg, jitter_A
        Of the raw images, told by the geometry: see `dewedge.simulate.tilt_series.tilt_geometry`.

    Raises
    ------
    InputError
        If a value cannot be used.
    """
    if min(shape_zyx) < 1 or not 0 < voxel_size_A < np.inf:
        raise InputError(f"specimen: expected a positive size, got {shape_zyx} voxels of {voxel_size_A:g} A")
    if not 0 < exposure_e_per_A2 < np.inf:
        raise InputError(f"exposure {exposure_e_per_A2:g} e/A^2: expected a positive number")
    specimen_rng, geometry_rng, ctf_rng, error_rng, camera_rng = np.random.default_rng(seed).spawn(5)
    geometry = tilt_geometry(tilt_deg, shape_zyx, voxel_size_A, geometry_rng, axis_angle_deg, jitter_A)
    order = acquisition_order(geometry.tilt_deg, scheme)
    geometry = replace(
        geometry,
        acquisition_order=order,
        pre_exposure_e_per_A2=order * np.float64(exposure_e_per_A2),
        ctf=default_ctf(geometry.n_tilts, defocus_um, DEFOCUS_SIGMA_UM, ctf_rng),
    )
    without, with_errors = (draw_residuals(geometry, size, error_rng) for size in (None, Misalignment()))
    residuals = with_errors if effects.misalignment else without
    # Large enough for both, so that the specimen does not depend on the errors.
    shapes = [specimen_shape(geometry, errors, shape_zyx[0]) for errors in (without, with_errors)]
    whole = crowded_specimen(
        specimen,
        (shape_zyx[0], max(s[1] for s in shapes), max(s[2] for s in shapes)),
        shape_zyx[1:],
        list(molecules) or fitting_molecules(voxel_size_A, shape_zyx),
        specimen_rng,
        crowding=effects.crowding,
        beyond=effects.beyond,
        n_particles=n_particles,
        n_membranes=n_membranes,
        n_gold=n_gold,
        ice_thickness_A=ice_thickness_A,
    )
    optics = Optics(
        exposure_e_per_A2=exposure_e_per_A2,
        damage=effects.damage,
        ctf=effects.ctf,
        defocus_gradient=effects.defocus_gradient,
    )
    if not effects.loss:
        optics = replace(optics, free_path_A=None)
    camera = Camera(poisson=effects.poisson)
    if not effects.gain:
        camera = replace(camera, gain_sigma=0.0)
    if not effects.hot_pixels:
        camera = replace(camera, hot_pixels=0, xrays_per_image=0.0)
    clean = camera.efficiency * expected_images(whole, geometry, residuals, optics)
    even, odd = record(clean, voxel_size_A, camera, camera_rng)
    low = np.array([n // 2 - f // 2 for n, f in zip(whole.volume.shape, shape_zyx, strict=True)])
    centres = whole.centres_zyx - low
    within = ((centres >= 0) & (centres < shape_zyx)).all(axis=1)
    beads = _beads_within(whole.beads, low, shape_zyx, voxel_size_A)
    z, y, x = (slice(a, a + n) for a, n in zip(low.tolist(), shape_zyx, strict=True))
    truth = whole.volume[z, y, x].copy()
    add_beads(truth, beads, voxel_size_A)
    return MicroscopeSeries(
        images=np.float32(0.5) * (even + odd),
        even=even,
        odd=odd,
        clean=clean,
        geometry=geometry,
        residuals=residuals,
        truth=-truth,
        specimen=whole,
        species=tuple(name for name, kept in zip(whole.species, within, strict=True) if kept),
        centres_zyx=centres[within],
        rotations=whole.rotations[within],
        beads=beads,
    )


def acquisition_order(tilt_deg: ArrayLike, scheme: TiltScheme) -> NDArray[np.int64]:
    """``(n,)`` rank in time of each tilt.

    Examples
    --------
    >>> acquisition_order([-6, -3, 0, 3, 6], "bidirectional").tolist()
    [4, 3, 0, 1, 2]
    """
    if scheme == "dose-symmetric":
        return dose_symmetric_order(tilt_deg)
    tilts = np.asarray(tilt_deg, dtype=np.float64)
    ascending = np.argsort(tilts, kind="stable")
    start = int(np.abs(tilts[ascending]).argmin())
    order = np.empty(tilts.size, dtype=np.int64)
    order[np.concatenate([ascending[start:], ascending[:start][::-1]])] = np.arange(tilts.size)
    return order


def fitting_molecules(voxel_size_A: float, shape_zyx: tuple[int, int, int]) -> list[Molecule]:
    """The built-in molecules whose boxes a volume holds; the smallest one if none does.

    The ribosome-like one has the contrast of a ribosome.
    """
    builtin = [
        replace(m, density=RIBOSOME_CONTRAST * m.density) if m.name == "two_subunits" else m
        for m in builtin_molecules(voxel_size_A)
    ]
    return [m for m in builtin if m.density.shape[0] <= min(shape_zyx)] or builtin[:1]


def _beads_within(
    beads: Beads, low: NDArray[np.int64], shape_zyx: tuple[int, int, int], voxel_size_A: float
) -> Beads:
    """The beads that reach into a part of the volume, in its voxels."""
    centres = beads.centres_zyx - low
    reach = beads.radii_A[:, None] / voxel_size_A
    within = ((centres > -reach) & (centres < shape_zyx + reach)).all(axis=1)
    return Beads(centres[within], beads.radii_A[within])
