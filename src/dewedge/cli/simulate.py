"""The verb simulate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from dewedge.cli.output import Folder, show_messages


def simulate(
    *,
    output: Folder,
    name: str = "simulated",
    shape: tuple[int, int, int] | None = None,
    voxel_size_A: float | None = None,
    molecule: list[Path] | None = None,
    particles: int | None = None,
    membranes: int | None = None,
    gold: int | None = None,
    ice_thickness_A: float | None = None,
    tilt_range: tuple[float, float] = (-60.0, 60.0),
    tilt_step_deg: float = 3.0,
    snr: float | None = None,
    frames: bool = False,
    axis_angle_deg: float | None = None,
    jitter_A: float | None = None,
    exposure_e_per_A2: float | None = None,
    realistic: bool = False,
    specimen: Literal["cell", "lamella", "purified"] | None = None,
    scheme: Literal["dose-symmetric", "bidirectional"] | None = None,
    defocus_um: float | None = None,
    crowding: Annotated[bool | None, Parameter(negative="--no-crowding")] = None,
    beyond: Annotated[bool | None, Parameter(negative="--no-beyond")] = None,
    loss: Annotated[bool | None, Parameter(negative="--no-loss")] = None,
    damage: Annotated[bool | None, Parameter(negative="--no-damage")] = None,
    ctf: Annotated[bool | None, Parameter(negative="--no-ctf")] = None,
    defocus_gradient: Annotated[bool | None, Parameter(negative="--no-defocus-gradient")] = None,
    misalignment: Annotated[bool | None, Parameter(negative="--no-misalignment")] = None,
    poisson: Annotated[bool | None, Parameter(negative="--no-poisson")] = None,
    gain: Annotated[bool | None, Parameter(negative="--no-gain")] = None,
    hot_pixels: Annotated[bool | None, Parameter(negative="--no-hot-pixels")] = None,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Simulate a specimen with known truth and its tilt series.

    With --realistic the images are those of a microscope, with all effects that are not switched off. With
    single effects, such as --ctf, they have these only.

    Parameters
    ----------
    output
        Folder of the files.
    name
        Beginning of their names.
    shape
        Shape of the specimen in voxels, z y x: 96 256 256 if not given, realistic 100 315 326.
    voxel_size_A
        Voxel size, and pixel size of the images, in Angstrom: 10 if not given, realistic 20.
    molecule
        Density map (MRC) or atomic model (PDB, mmCIF); repeat for several. Built-in ones if none is given.
    particles
        Number of molecules; as crowded as in a cell if not given.
    membranes
        Number of vesicles.
    gold
        Number of gold beads; 0 for none.
    ice_thickness_A
        Thickness of the ice; three quarters of the specimen if not given, realistic 1800 A.
    tilt_range
        Lowest and highest tilt angle in degrees.
    tilt_step_deg
        Step between tilt angles in degrees.
    snr
        Variance of the clean series over that of the noise, 1/4 if not given; not of a realistic series.
    frames
        Write averages of the even and odd frames, too.
    axis_angle_deg
        Tilt-axis angle of the images, 0 if not given, realistic -4.3; an .xf is written if it is not 0.
    jitter_A
        Standard deviation of the shifts of the images in Angstrom, 0 if not given, realistic 80; an .xf is
        written if it is not 0.
    exposure_e_per_A2
        Exposure of each image: for the .mdoc, and realistic for the counts, 3 if not given.
    realistic
        Image as a microscope does, with all of the effects below.
    specimen
        A cell in ice (the default), a lamella, or purified molecules.
    scheme
        Order of acquisition: outwards on both sides in turn (the default), or one side after the other.
    defocus_um
        Mean defocus in micrometres, 2 if not given.
    crowding
        Small proteins fill the cell.
    beyond
        Tilted images see matter beyond the field of view.
    loss
        Electrons are lost with the path through the specimen.
    damage
        High frequencies fade with the exposure.
    ctf
        Images have a contrast transfer function.
    defocus_gradient
        Each point has the defocus at its own height.
    misalignment
        The .xf and .tlt have errors: shifts, a displaced and turned axis, tilt angles.
    poisson
        The noise is that of electron counts.
    gain
        A gain pattern remains.
    hot_pixels
        There are hot pixels and X-rays.
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
        realistic=realistic,
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
        specimen=specimen,
        scheme=scheme,
        defocus_um=defocus_um,
        crowding=crowding,
        beyond=beyond,
        loss=loss,
        damage=damage,
        ctf=ctf,
        defocus_gradient=defocus_gradient,
        misalignment=misalignment,
        poisson=poisson,
        gain=gain,
        hot_pixels=hot_pixels,
        seed=seed,
    )
