"""The page of several tomograms: a row each, with a thumbnail, to be sorted by any column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal
from urllib.parse import quote

from dewedge.report.page import filled, part
from dewedge.report.run.page import refresh
from dewedge.report.trust.judged import Level, Verdict
from dewedge.runtime.log import duration

COLUMNS = (
    "tomogram",
    "voxel (Å)",
    "size (z, y, x)",
    "held-out loss",
    "fit",
    "all steps",
    "warnings",
    "filled wedge",
)
ORDER: Sequence[Level] = ("good", "some", "none", "unknown")
NOTHING = "-"

RowState = Literal["done", "not finished", "failed"]


@dataclass(frozen=True)
class IndexRow:
    """Row of one tomogram.

    Parameters
    ----------
    name
        Of the tomogram.
    page
        Path of its page, seen from the index; None if it has none.
    thumbnail
        Address that holds a picture.
    shape_zyx, voxel_size_A
        Of the tomogram; without a shape there is none.
    held_out_loss, fit_seconds
        At the end of its fit.
    seconds
        Of all steps that were its own.
    warnings
        Number of them.
    verdict
        None where `dewedge trust` was not asked.
    state
        Whether it is refined, or why not.
    reason
        Why it has failed, or what is to be said of one that was finished earlier.
    """

    name: str
    state: RowState
    page: str | None = None
    thumbnail: str = ""
    shape_zyx: Sequence[int] = ()
    voxel_size_A: float | None = None
    held_out_loss: float | None = None
    fit_seconds: float | None = None
    seconds: float | None = None
    warnings: int | None = None
    verdict: Verdict | None = None
    reason: str = ""

    @property
    def status(self) -> str:
        """State as people read it: what is there of an earlier run alone is told apart."""
        return "done earlier" if self.state == "done" and self.reason else self.state

    @property
    def size(self) -> str:
        """Shape (z, y, x) as people read it; empty without a tomogram."""
        return " x ".join(map(str, self.shape_zyx))


def index(title: str, rows: Sequence[IndexRow], goes_on: bool = False) -> str:
    """The page as HTML; it loads itself again while the run ``goes_on``."""
    states = [row.state for row in rows]
    failed = f", {states.count('failed')} failed" if "failed" in states else ""
    return filled(
        "index_page.html",
        title=escape(title),
        facts=f"{states.count('done')} of {len(rows)} tomograms are finished{failed}",
        refresh=refresh(goes_on),
        state="",
        head=head_html(COLUMNS),
        rows="\n".join(map(_row, rows)),
        script=part("index.js"),
    )


def _row(row: IndexRow) -> str:
    voxel, loss = ("" if value is None else f"{value:.4g}" for value in (row.voxel_size_A, row.held_out_loss))
    warnings = "" if row.warnings is None else str(row.warnings)
    cells = [
        (voxel, voxel or NOTHING, "number"),
        (row.size, row.size or NOTHING, "number"),
        (loss, loss or NOTHING, "number"),
        *(
            ("" if seconds is None else f"{seconds:.0f}", time_text(seconds), "number")
            for seconds in (row.fit_seconds, row.seconds)
        ),
        (warnings, warnings or NOTHING, "number"),
    ]
    if row.verdict is not None:
        level = row.verdict.level
        cells.append((str(ORDER.index(level)), escape(row.verdict.sentence), f"verdict {level}"))
    elif row.state == "failed":
        cells.append(("", f'<span class="wrong">failed</span>: {escape(row.reason)}', "state"))
    else:
        cells.append(("", "not asked" if row.state == "done" else row.state, "small"))
    if row.reason and row.state != "failed":
        value, text, kind = cells[-1]
        cells[-1] = (value, f'{text}<br><span class="small">{row.status}: {escape(row.reason)}</span>', kind)
    return row_html(row.name, row.page, row.thumbnail, cells)


def time_text(seconds: float | None) -> str:
    """A time as people read it, if it is known."""
    return NOTHING if seconds is None else duration(seconds)


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
