"""One call from nothing to the files of a realistic tilt series."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dewedge.io.angles import write_tilt_angles
from dewedge.io.ctf_files import write_ctffind
from dewedge.io.mdoc import write_mdoc
from dewedge.io.mrc import write_mrc
from dewedge.io.particles import write_particles
from dewedge.io.xf import geometry_arrays_to_xf, write_xf
from dewedge.simulate.files import SimulatedFiles, check_name_and_seed
from dewedge.simulate.molecules import load_molecules
from dewedge.simulate.realistic import EXPOSURE_E_PER_A2, MicroscopeSeries, simulate_microscope


def simulate_realistic(
    output_folder: Path,
    name: str = "simulated",
    *,
    voxel_size_A: float = 20.0,
    molecules: Sequence[Path] = (),
    frames: bool = False,
    exposure_e_per_A2: float = EXPOSURE_E_PER_A2,
    seed: int = 0,
    **options: Any,
) -> SimulatedFiles:
    """Simulate a series with `simulate_microscope` and write it; the same seed gives the same data.

    The files are those of `dewedge.simulate.files.simulate`, and NAME_beads.star, the gold beads in the truth
    with their radii, and NAME_ctf.txt, the defocus of each image as CTFFIND writes it. NAME.xf and NAME.tlt
    tell what an alignment would; not its errors.

    Parameters
    ----------
    molecules
        Density maps (MRC) and atomic models (PDB, mmCIF); if empty, the built-in molecules that fit.
    frames
        Write averages of the even and odd frames, too.
    options
        Others of `simulate_microscope`.

    Raises
    ------
    InputError
        If a value or a molecule cannot be used or a file cannot be written.
    """
    check_name_and_seed(name, seed)
    kinds = load_molecules(molecules, voxel_size_A) if molecules else []
    series = simulate_microscope(
        voxel_size_A=voxel_size_A,
        molecules=kinds,
        exposure_e_per_A2=exposure_e_per_A2,
        seed=seed,
        **options,
    )
    return write_series(Path(output_folder), name, series, voxel_size_A, exposure_e_per_A2, frames)


def write_series(
    folder: Path,
    name: str,
    series: MicroscopeSeries,
    voxel_size_A: float,
    exposure_e_per_A2: float,
    frames: bool,
) -> SimulatedFiles:
    """Write a series and its truth; the files are those of `simulate_realistic`.

    Raises
    ------
    InputError
        If a file cannot be written.
    """
    geometry = series.geometry
    stack, xf = folder / f"{name}.mrc", folder / f"{name}.xf"
    even, odd = folder / f"{name}_even.mrc", folder / f"{name}_odd.mrc"
    beads, ctf = folder / f"{name}_beads.star", folder / f"{name}_ctf.txt"
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
        n_particles=len(series.species),
        beads=beads,
        ctf=ctf,
    )
    write_mrc(stack, series.images, voxel_size_A, stack=True, what="simulate")
    # Left from an earlier run, these would be taken for this one's.
    for optional in (xf, even, odd):
        optional.unlink(missing_ok=True)
    write_mrc(files.clean, series.clean, voxel_size_A, stack=True, what="simulate")
    if frames:
        write_mrc(even, series.even, voxel_size_A, stack=True, what="simulate")
        write_mrc(odd, series.odd, voxel_size_A, stack=True, what="simulate")
    write_mrc(files.truth, series.truth, voxel_size_A, what="simulate")
    write_tilt_angles(files.angles, geometry.tilt_deg)
    write_mdoc(files.mdoc, geometry, stack.name, exposure_e_per_A2)
    if files.xf is not None:
        matrices, shifts_xy = geometry_arrays_to_xf(
            geometry.linear_yx, geometry.shift_yx, geometry.image_shape_yx
        )
        write_xf(xf, matrices, shifts_xy)
    assert geometry.ctf is not None
    write_ctffind(ctf, geometry.ctf)
    write_particles(
        files.particles,
        series.centres_zyx,
        series.species,
        voxel_size_A=voxel_size_A,
        tomogram_name=name,
        rotations=series.rotations,
    )
    write_particles(
        beads,
        series.beads.centres_zyx,
        ["gold"] * len(series.beads.radii_A),
        voxel_size_A=voxel_size_A,
        tomogram_name=name,
        radii_A=series.beads.radii_A,
    )
    return files
