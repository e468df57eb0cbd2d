"""The verb frames."""

from __future__ import annotations

from pathlib import Path

from dewedge.cli.output import Folder, show_messages
from dewedge.errors import InputError


def frames(
    *movies: Path,
    output: Folder,
    mdoc: Path | None = None,
    angles: Path | None = None,
    name: str | None = None,
    gain: Path | None = None,
    pixel_size_A: float | None = None,
    overwrite: bool = False,
) -> None:
    """Average the even and the odd frames of movies.

    Parameters
    ----------
    movies
        Folders or files: MRC, TIFF or EER; with --angles, files in the order of the angles. They are averaged
        as they are. Where the specimen moved, correct it first with MotionCor3, WarpTools or RELION. Give the
        even and odd averages these write to dewedge run.
    output
        Folder of NAME_EVN.mrc, NAME_ODD.mrc, NAME.tlt and NAME.mdoc.
    mdoc
        SerialEM's file of the tilt series, which names the movie of each tilt.
    angles
        Tilt angles, one a line, if there is no such file.
    name
        Beginning of the results' names, else that of the mdoc or the file of angles.
    gain
        Gain reference (MRC, TIFF) that frames are multiplied by, in their orientation.
    pixel_size_A
        Pixel size of the frames in Angstrom, instead of the mdoc's or the movies'.
    overwrite
        Replace files that exist.
    """
    from dewedge.pipeline.frames import average_frames

    show_messages()
    if not movies:
        raise InputError("no movies: expected at least one file or folder")
    if pixel_size_A is not None and not 0 < pixel_size_A < float("inf"):
        raise InputError(f"--pixel-size {pixel_size_A:g}: expected a positive number of Angstrom")
    average_frames(
        movies,
        output,
        mdoc=mdoc,
        angles=angles,
        name=name,
        gain=gain,
        pixel_size_A=pixel_size_A,
        overwrite=overwrite,
    )
