"""The verbs for known truth: simulate, demo."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dewedge.cli.commands import show_messages


def simulate(
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    name: str = "simulated",
    shape: tuple[int, int, int] = (96, 256, 256),
    voxel_size_A: float = 10.0,
    molecule: list[Path] | None = None,
    particles: int | None = None,
    membranes: int | None = None,
    gold: int | None = None,
    ice_thickness_A: float | None = None,
    tilt_range: tuple[float, float] = (-60.0, 60.0),
    tilt_step_deg: float = 3.0,
    snr: float = 0.25,
    frames: bool = False,
    axis_angle_deg: float = 0.0,
    jitter_A: float = 0.0,
    exposure_e_per_A2: float = 0.0,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Simulate a specimen with known truth and its tilt series.

    Parameters
    ----------
    output
        Folder of the files.
    name
        Beginning of their names.
    shape
        Shape of the specimen in voxels: z y x.
    voxel_size_A
        Voxel size, and pixel size of the images, in Angstrom.
    molecule
        Density map (MRC) or atomic model (PDB, mmCIF); repeat for several. Built-in ones if none is given.
    particles
        Number of molecules; as crowded as in a cell if not given.
    membranes
        Number of vesicles.
    gold
        Number of gold beads.
    ice_thickness_A
        Thickness of the ice; three quarters of the specimen if not given.
    tilt_range
        Lowest and highest tilt angle in degrees.
    tilt_step_deg
        Step between tilt angles in degrees.
    snr
        Variance of the clean series over that of the noise.
    frames
        Write averages of the even and odd frames, too.
    axis_angle_deg
        Tilt-axis angle of the images; an .xf is written if it is not 0.
    jitter_A
        Standard deviation of the shifts of the images in Angstrom; an .xf is written if it is not 0.
    exposure_e_per_A2
        Exposure of each image, for the .mdoc.
    seed
        Of everything that is random.
    overwrite
        Replace files that exist.
    """
    from dewedge.pipeline.simulate import simulate_files, tilt_angles

    show_messages()
    simulate_files(
        output,
        name,
        overwrite=overwrite,
        shape_zyx=shape,
        voxel_size_A=voxel_size_A,
        molecules=molecule or [],
        n_particles=particles,
        n_membranes=membranes,
        n_gold=gold,
        ice_thickness_A=ice_thickness_A,
        tilt_deg=tilt_angles(tilt_range, tilt_step_deg),
        snr=snr,
        frames=frames,
        axis_angle_deg=axis_angle_deg,
        jitter_A=jitter_A,
        exposure_e_per_A2=exposure_e_per_A2,
        seed=seed,
    )


def demo(
    *, output: Annotated[Path, Parameter(alias="-o")] = Path("dewedge_demo"), overwrite: bool = False
) -> None:
    """Simulate, run and evaluate, in a few minutes on a CPU.

    Parameters
    ----------
    output
        Folder of the results.
    overwrite
        Replace the demo in that folder.
    """
    from dewedge.pipeline.demo import demo as run_demo

    show_messages()
    run_demo(output, overwrite=overwrite, arguments=sys.argv[1:])
