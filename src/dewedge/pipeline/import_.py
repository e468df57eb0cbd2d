"""A list of what lies in files and folders, as a table and as a dataset file."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.inputs.open_files import allow_many_files
from dewedge.io.dataset_file import tilt_stars, write_dataset
from dewedge.io.entries import Entry, SeriesEntry
from dewedge.io.find import find_series
from dewedge.io.names import names_apart
from dewedge.io.programs.aretomo_metrics import Bound, read_metrics, require_columns
from dewedge.io.programs.relion import Optics
from dewedge.runtime.faults import Faults
from dewedge.runtime.folder import claimed

logger = logging.getLogger(__name__)

COLUMNS = ("name", "program", "kind", "shape", "tilts (deg)", "pixel (A)", "halves")


def import_files(
    paths: Sequence[Path],
    output: Path,
    pixel_size_A: float | None,
    axis_angle_deg: float | None,
    tilt_range: tuple[float, float] | None,
    *,
    metrics: Path | None = None,
    bounds: Sequence[Bound] = (),
    optics: Optics | None = None,
    overwrite: bool = False,
) -> None:
    """Find tilt series and half tomograms, print them, and write those that can be read as a dataset file.

    Parameters
    ----------
    pixel_size_A, axis_angle_deg
        Of raw images, and of raw stacks, instead of what the files tell.
    tilt_range
        Of half tomograms in degrees, instead of what the files tell.
    metrics
        AreTomo3's TiltSeries_Metrics.csv of the tilt series.
    bounds
        What a series must have there to be written.
    optics
        What is given of microscope, movies and group of optics, instead of the files'.

    Raises
    ------
    InputError
        If there is nothing to read or to write, the output cannot be used or, after the others are written,
        an input.
    """
    if bounds and metrics is None:
        raise InputError("--at-least, --at-most: expected --metrics, the TiltSeries_Metrics.csv of AreTomo3")
    movie_A = None if optics is None else optics.movie_pixel_size_A
    if movie_A is not None and not 0 < movie_A < math.inf:
        raise InputError(f"--movie-pixel-size {movie_A:g}: expected a positive number of Angstrom")
    if not paths:
        raise InputError("nothing to read: expected files or folders")
    if output.suffix.lower() != ".star":
        raise InputError(f"{output}: expected the name of a dataset file that ends in .star")
    allow_many_files()
    faults = Faults()
    notes: list[str] = []
    found = find_series(
        *paths,
        pixel_size_A=pixel_size_A,
        axis_angle_deg=axis_angle_deg,
        tilt_range=None if tilt_range is None else TiltRange(*tilt_range),
        faults=faults,
        notes=notes,
    )
    for note in notes:
        logger.warning(note)
    rows, entries = [], []
    for entry in found if metrics is None else chosen(found, metrics, bounds):
        with faults.collected():
            rows.append(described(entry))
            entries.append(entry if optics is None else with_optics(entry, optics))
    faults.require_some(entries)
    with claimed([output, *tilt_stars(output, entries)], overwrite=overwrite):
        print_entries(rows, entries)
        write_dataset(output, entries)
    faults.log("left out")
    logger.info("done: %d inputs in %s", len(entries), output)
    if faults:
        raise faults.summary(len(entries) + len(faults))


def chosen(entries: Sequence[Entry], path: Path, bounds: Sequence[Bound]) -> list[Entry]:
    """The entries that are within all bounds by a file of metrics; the others are logged.

    Raises
    ------
    InputError
        If the file cannot be read or lacks a column, or no entry is left.
    """
    metrics = read_metrics(path)
    require_columns(path, metrics, bounds)
    kept = []
    for entry in entries:
        own = metrics.get(entry.name.removesuffix("_Vol"), {})
        faults = [fault for bound in bounds if (fault := bound.fault(own)) is not None]
        if faults:
            logger.info("%s: not taken: %s by %s", entry.name, "; ".join(faults), path.name)
        else:
            kept.append(entry)
    if not kept:
        raise InputError(f"{path}: none of {len(entries)} series is within the bounds: give wider ones")
    return kept


def with_optics(entry: Entry, optics: Optics) -> Entry:
    """A tilt series with what is given of its optics; half tomograms as they are."""
    if not isinstance(entry, SeriesEntry):
        return entry
    geometry = entry.geometry
    microscope = optics.microscope.completed(geometry.microscope)
    ctf = None if geometry.ctf is None else replace(geometry.ctf, **asdict(microscope))
    return replace(
        entry,
        geometry=replace(geometry, ctf=ctf, told=microscope),
        movie_pixel_size_A=optics.movie_pixel_size_A or entry.movie_pixel_size_A,
        optics_group=optics.optics_group or entry.optics_group,
    )


def described(entry: Entry) -> list[str]:
    """An entry by the columns of the table.

    Raises
    ------
    InputError
        If half tomograms cannot be read or differ in shape.
    """
    tilt_range: TiltRange | None
    size: float | None
    if isinstance(entry, SeriesEntry):
        geometry = entry.geometry
        kind, shape = "tilt series", (geometry.n_tilts, *geometry.image_shape_yx)
        tilt_range, size = geometry.tilt_range, geometry.pixel_size_A
        halves = "frames" if entry.has_frames else "tilts"
    else:
        half0, half1, _ = entry.open()
        kind, shape = "half tomograms", half0.data.shape
        tilt_range, size = entry.tilt_range, half0.voxel_size_A
        halves = ", ".join(names_apart([half0.path, half1.path]))
    return [
        entry.name,
        entry.program,
        kind,
        " x ".join(map(str, shape)),
        "not known" if tilt_range is None else str(tilt_range).replace(" degrees", ""),
        "not known" if size is None else f"{size:.4g}",
        halves,
    ]


def print_entries(rows: Sequence[Sequence[str]], entries: Sequence[Entry]) -> None:
    """Print a table to stdout, and below it the notes of each entry."""
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*map(Text, row))  # names may look like rich's markup
    console = Console(highlight=False, markup=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 160
    console.print(table)
    for entry in entries:
        for note in entry.notes:
            console.print(f"{entry.name}: {note}")
