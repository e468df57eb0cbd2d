"""The verb import."""

from __future__ import annotations

from pathlib import Path

from dewedge.cli.flags import Folder, show_messages


def import_(
    *paths: Path,
    output: Folder,
    pixel_size_A: float | None = None,
    axis_angle_deg: float | None = None,
    tilt_range: tuple[float, float] | None = None,
    metrics: Path | None = None,
    at_least: list[str] | None = None,
    at_most: list[str] | None = None,
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
    overwrite
        Replace files that exist.
    """
    from dewedge.io.programs.aretomo_metrics import Bound
    from dewedge.pipeline.import_ import import_files

    show_messages()
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
        overwrite=overwrite,
    )
