"""One call from nothing to the files of a simulated tilt series."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from dewedge.errors import InputError
from dewedge.io.angles import write_tilt_angles
from dewedge.io.mdoc import write_mdoc
from dewedge.io.mrc import write_mrc
from dewedge.io.names import plain_name
from dewedge.io.particles import write_particles
from dewedge.io.xf import geometry_arrays_to_xf, write_xf
from dewedge.simulate.builtin import builtin_molecules
from dewedge.simulate.molecules import load_molecules
from dewedge.simulate.specimen import simulate_specimen
from dewedge.simulate.tilt_series import simulate_tilt_series, tilt_geometry


@dataclass(frozen=True)
class SimulatedFiles:
    """Files that `simulate` wrote; protein is dark in every image and volume.

    Parameters
    ----------
    stack, clean
        The tilt series with and without noise.
    even, odd
        Averages of the even and odd movie frames, where asked for.
    angles, mdoc, xf
        Sidecars of the stack; ``xf`` only where the images are not aligned.
    truth
        The specimen, in the frame of the aligned tilt series.
    particles
        The molecules' species, centres and rotations in the truth.
    n_particles
        How many molecules found room.
    beads, ctf
        Of a realistic series only: centres and radii of the gold beads in the truth, and the defocus of each
        image.
    """

    stack: Path
    clean: Path
    even: Path | None
    odd: Path | None
    angles: Path
    mdoc: Path
    xf: Path | None
    truth: Path
    particles: Path
    n_particles: int
    beads: Path | None = None
    ctf: Path | None = None


def simulate(
    output_folder: Path,
    name: str = "simulated",
    *,
    shape_zyx: tuple[int, int, int] = (96, 256, 256),
    voxel_size_A: float = 10.0,
    molecules: Sequence[Path] = (),
    n_particles: int | None = None,
    n_membranes: int | None = None,
    n_gold: int | None = None,
    ice_thickness_A: float | None = None,
    tilt_deg: ArrayLike = tuple(range(-60, 61, 3)),
    snr: float = 0.25,
    frames: bool = False,
    axis_angle_deg: float = 0.0,
    jitter_A: float = 0.0,
    exposure_e_per_A2: float = 0.0,
    seed: int = 0,
) -> SimulatedFiles:
    """Simulate a specimen and its tilt series and write them; the same seed gives the same data.

    In ``output_folder``: NAME.mrc with NAME.tlt, NAME.mrc.mdoc and, where the images are not aligned,
    NAME.xf; NAME_clean.mrc, NAME_truth.mrc, NAME_particles.star; with ``frames`` NAME_even.mrc, NAME_odd.mrc.

    Parameters
    ----------
    molecules
        Density maps (MRC) and atomic models (PDB, mmCIF); if empty, the built-in molecules that fit.
    n_particles, n_membranes, n_gold, ice_thickness_A
        See `dewedge.simulate.specimen.simulate_specimen`.
    snr, frames
        See `dewedge.simulate.tilt_series.simulate_tilt_series`.
    tilt_deg, axis_angle_deg, jitter_A, exposure_e_per_A2
        See `dewedge.simulate.tilt_series.tilt_geometry`.

    Raises
    ------
    InputError
        If a value or a molecule cannot be used or a file cannot be written.
    """
    if min(shape_zyx) < 1 or not 0 < voxel_size_A < np.inf:
        raise InputError(f"specimen: expected a positive size, got {shape_zyx} voxels of {voxel_size_A:g} A")
    check_name_and_seed(name, seed)
    specimen_rng, geometry_rng, noise_rng = np.random.default_rng(seed).spawn(3)
    geometry = tilt_geometry(
        tilt_deg, shape_zyx, voxel_size_A, geometry_rng, axis_angle_deg, jitter_A, exposure_e_per_A2
    )
    if molecules:
        kinds = load_molecules(molecules, voxel_size_A)
    else:
        builtin = builtin_molecules(voxel_size_A)
        kinds = [m for m in builtin if m.density.shape[0] <= min(shape_zyx)] or builtin[:1]
    specimen = simulate_specimen(
        shape_zyx, kinds, specimen_rng, n_particles, n_membranes, n_gold, ice_thickness_A
    )
    series = simulate_tilt_series(specimen.volume, geometry, snr, noise_rng, frames)

    folder = Path(output_folder)
    stack, xf = folder / f"{name}.mrc", folder / f"{name}.xf"
    even, odd = folder / f"{name}_even.mrc", folder / f"{name}_odd.mrc"
    files = SimulatedFiles(
        stack=stack,
        clean=folder / f"{name}_clean.mrc",
        even=even if frames else None,
        odd=odd if frames else None,
        angles=folder / f"{name}.tlt",
        mdoc=folder / f"{name}.mrc.mdoc",
        xf=None if geometry.is_aligned else xf,
        truth=folder / f"{name}_truth.mrc",
        particles=folder / f"{name}_particles.star",
        n_particles=len(specimen.species),
    )
    write_mrc(stack, series.noisy, voxel_size_A, stack=True, what="simulate")
    # Left from an earlier run, these would be taken for this one's.
    for optional in (xf, even, odd):
        optional.unlink(missing_ok=True)
    write_mrc(files.clean, series.clean, voxel_size_A, stack=True, what="simulate")
    if series.even is not None and series.odd is not None:
        write_mrc(even, series.even, voxel_size_A, stack=True, what="simulate")
        write_mrc(odd, series.odd, voxel_size_A, stack=True, what="simulate")
    write_mrc(files.truth, -specimen.volume, voxel_size_A, what="simulate")
    write_tilt_angles(files.angles, geometry.tilt_deg)
    write_mdoc(files.mdoc, geometry, stack.name, exposure_e_per_A2)
    if files.xf is not None:
        matrices, shifts_xy = geometry_arrays_to_xf(
            geometry.linear_yx, geometry.shift_yx, geometry.image_shape_yx
        )
        write_xf(files.xf, matrices, shifts_xy)
    write_particles(
        files.particles,
        specimen.centres_zyx,
        specimen.species,
        voxel_size_A=voxel_size_A,
        tomogram_name=name,
        rotations=specimen.rotations,
    )
    return files


def check_name_and_seed(name: str, seed: int) -> None:
    """Refuse a name that cannot be in a STAR file, and a seed that is none.

    Raises
    ------
    InputError
        If it is one.
    """
    plain_name(name, "--name")
    if not re.fullmatch(r"[\w.+-]+", name):
        raise InputError(f"name {name!r}: expected letters, digits and . _ + - only")
    if seed < 0:
        raise InputError(f"seed {seed}: expected at least 0")
