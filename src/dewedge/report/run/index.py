"""The page of several tomograms: a row each, with a thumbnail, to be sorted by any column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from dewedge.report.page import filled, part
from dewedge.report.run.page import refresh
from dewedge.report.trust.judged import Level, Verdict
from dewedge.runtime.log import duration

COLUMNS = ("tomogram", "voxel (Å)", "size (z, y, x)", "held-out loss", "fit", "warnings", "filled wedge")
ORDER: Sequence[Level] = ("good", "some", "none", "unknown")
NOTHING = "-"


@dataclass(frozen=True)
class IndexRow:
    """Of one tomogram.

    Parameters
    ----------
    name
        Of the tomogram.
    page
        Path of its page, seen from the index; None if it has none.
    thumbnail
        Address that holds a picture.
    shape_zyx, voxel_size_A
        Of the tomogram.
    held_out_loss, fit_seconds
        At the end of its fit.
    warnings
        Number of them.
    verdict
        None where `dewedge trust` was not asked.
    is_finished
        Whether it is refined.
    """

    name: str
    page: str | None
    thumbnail: str
    shape_zyx: Sequence[int]
    voxel_size_A: float | None
    held_out_loss: float | None
    fit_seconds: float | None
    warnings: int
    verdict: Verdict | None
    is_finished: bool


def index(title: str, rows: Sequence[IndexRow], goes_on: bool = False) -> str:
    """The page as HTML; it loads itself again while the run ``goes_on``."""
    finished = sum(row.is_finished for row in rows)
    return filled(
        "index_page.html",
        title=escape(title),
        facts=f"{finished} of {len(rows)} tomograms are finished",
        refresh=refresh(goes_on),
        state="",
        head=head_html(COLUMNS),
        rows="\n".join(map(_row, rows)),
        script=part("index.js"),
    )


def _row(row: IndexRow) -> str:
    size = " x ".join(map(str, row.shape_zyx))
    voxel, loss = ("" if value is None else f"{value:.4g}" for value in (row.voxel_size_A, row.held_out_loss))
    seconds = "" if row.fit_seconds is None else f"{row.fit_seconds:.0f}"
    time = NOTHING if row.fit_seconds is None else duration(row.fit_seconds)
    cells = [
        (voxel, voxel or NOTHING, "number"),
        (size, size, "number"),
        (loss, loss or NOTHING, "number"),
        (seconds, time, "number"),
        (str(row.warnings), str(row.warnings), "number"),
    ]
    if row.verdict is not None:
        level = row.verdict.level
        cells.append((str(ORDER.index(level)), escape(row.verdict.sentence), f"verdict {level}"))
    else:
        cells.append(("", "not asked" if row.is_finished else "not finished", "small"))
    return row_html(row.name, row.page, row.thumbnail, cells)


def head_html(columns: Sequence[str]) -> str:
    """Cells of the head of a table of tomograms, by which it is sorted."""
    return "".join(
        f'<th scope="col" data-column="{i}">{name}</th>' for i, name in enumerate(columns, start=1)
    )


def row_html(name: str, page: str | None, thumbnail: str, cells: Sequence[tuple[str, str, str]]) -> str:
    """The row of a tomogram: picture, name, and cells of what they are sorted by, HTML and class."""
    name = escape(name)
    link = name if page is None else f'<a href="{quote(page)}">{name}</a>'
    image = f'<img alt="{name}: xy section in the middle" src="{thumbnail}">' if thumbnail else ""
    return (
        f'<tr><td>{image}</td><th scope="row" data-value="{name}">{link}</th>'
        + "".join(f'<td class="{kind}" data-value="{value}">{text}</td>' for value, text, kind in cells)
        + "</tr>"
    )
