"""The verb import."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from dewedge.cli.output import Folder, show_messages


def import_(
    *paths: Path,
    output: Folder,
    pixel_size_A: float | None = None,
    axis_angle_deg: float | None = None,
    tilt_range: tuple[float, float] | None = None,
    metrics: Path | None = None,
    at_least: list[str] | None = None,
    at_most: list[str] | None = None,
    voltage_kV: float | None = None,
    cs_mm: float | None = None,
    amplitude_contrast: float | None = None,
    defocus_hand: Literal[1, -1] | None = None,
    movie_pixel_size_A: float | None = None,
    optics_group: str | None = None,
    overwrite: bool = False,
) -> None:
    """List what lies in files and folders, and write it as a dataset file.

    Parameters
    ----------
    paths
        As of dewedge run: stacks, folders, files of AreTomo, RELION 5, Warp, SerialEM, IsoNet2, DeepDeWedge.
    output
        Dataset file (.star) in RELION 5's columns, for dewedge run. Each tilt series has a file
        tilt_series/NAME.star beside it.
    pixel_size_A
        Pixel size of the raw images in Angstrom, instead of the files'.
    axis_angle_deg
        Tilt-axis angle of raw stacks, degrees from y, instead of an .xf.
    tilt_range
        Lowest and highest tilt angle of half tomograms, instead of the files'.
    metrics
        TiltSeries_Metrics.csv of AreTomo3, by which series are chosen.
    at_least
        Leave out series that have less there, such as CTF_Score=0.1; may be given several times.
    at_most
        Leave out series that have more there, such as CTF_Res=12.
    voltage_kV
        Voltage of tilt series (rlnVoltage), instead of the files'.
    cs_mm
        Their spherical aberration in mm (rlnSphericalAberration).
    amplitude_contrast
        Their amplitude contrast (rlnAmplitudeContrast).
    defocus_hand
        1 if defocus grows with height, -1 if it falls (rlnTomoHand).
    movie_pixel_size_A
        Pixel size of the movies in Angstrom (rlnMicrographOriginalPixelSize).
    optics_group
        Name of RELION's group of optics (rlnOpticsGroupName).
    overwrite
        Replace files that exist.
    """
    from dewedge.geometry import Microscope
    from dewedge.io.programs.aretomo_metrics import Bound
    from dewedge.io.programs.relion import Optics
    from dewedge.pipeline.import_ import import_files

    show_messages()
    optics = Optics(
        microscope=Microscope(
            voltage_kV=voltage_kV,
            spherical_aberration_mm=cs_mm,
            amplitude_contrast=amplitude_contrast,
            defocus_hand=defocus_hand,
        ),
        movie_pixel_size_A=movie_pixel_size_A,
        optics_group=optics_group,
    )
    bounds = [Bound.parsed(text, is_least=True) for text in at_least or []]
    bounds += [Bound.parsed(text, is_least=False) for text in at_most or []]
    import_files(
        paths,
        output,
        pixel_size_A,
        axis_angle_deg,
        tilt_range,
        metrics=metrics,
        bounds=bounds,
        optics=optics,
        overwrite=overwrite,
    )
