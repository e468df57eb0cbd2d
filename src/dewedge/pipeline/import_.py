"""A list of what lies in files and folders, as a table and as a dataset file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
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
    overwrite: bool = False,
) -> None:
    """Find tilt series and half tomograms, print them, and write those that can be read as a dataset file.

    Raises
    ------
    InputError
        If there is nothing to read, the output cannot be used or, after the others are written, an input.
    """
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
    for entry in found:
        with faults.collected():
            rows.append(described(entry))
            entries.append(entry)
    faults.require_some(entries)
    with claimed([output, *tilt_stars(output, entries)], overwrite=overwrite):
        print_entries(rows, entries)
        write_dataset(output, entries)
    faults.log("left out")
    logger.info("done: %d inputs in %s", len(entries), output)
    if faults:
        raise faults.summary(len(entries) + len(faults))


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
        halves = f"{half0.path.name}, {half1.path.name}"
    return [
        entry.name,
        entry.program,
        kind,
        " x ".join(map(str, shape)),
        "not known" if tilt_range is None else f"{tilt_range.min_deg:g} to {tilt_range.max_deg:g}",
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
