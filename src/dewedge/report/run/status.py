"""The page of a folder that is watched: what has arrived, where it stands, what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from urllib.parse import quote

from dewedge.report.page import filled, part
from dewedge.report.run.index import NOTHING, head_html, row_html
from dewedge.report.run.page import refresh
from dewedge.runtime.log import duration

COLUMNS = ("tomogram", "state", "since", "took", "network", "warnings")


@dataclass(frozen=True)
class StatusRow:
    """Row of one tomogram, there or still to come.

    Parameters
    ----------
    name
        Of the tomogram.
    state
        In a word or two.
    what
        Which step, why it waits, why it failed; empty if there is nothing to tell.
    is_wrong
        Whether somebody should look.
    page
        Path of its page, seen from this one; None if it has none.
    thumbnail
        Address that holds a picture; empty if there is none.
    since
        When it came into that state.
    seconds
        What it took; None while it is not done.
    network
        Number of the fit that refined it.
    warnings
        Number of them; None before its input was looked at.
    """

    name: str
    state: str
    what: str = ""
    is_wrong: bool = False
    page: str | None = None
    thumbnail: str = ""
    since: datetime | None = None
    seconds: float | None = None
    network: int | None = None
    warnings: int | None = None


@dataclass(frozen=True)
class Status:
    """Contents of the page.

    Parameters
    ----------
    title
        Name of the output folder.
    sentence, advice
        Where it stands, and what to do or to expect.
    fits
        Path of the page of each fit, seen from this one, the first one first.
    rows
        In the order in which they are shown.
    goes_on
        Whether the page is to load itself again.
    """

    title: str
    sentence: str
    advice: str
    fits: Sequence[str]
    rows: Sequence[StatusRow]
    goes_on: bool


def status_page(status: Status) -> str:
    """The page as HTML, which holds everything and needs nothing else to be read."""
    return filled(
        "index_page.html",
        title=escape(status.title),
        facts=_fits(status.fits),
        refresh=refresh(status.goes_on),
        state=(
            f'<div class="verdict going"><p class="sentence">{escape(status.sentence)}</p>'
            f"<p>{escape(status.advice)}</p></div>"
        ),
        head=head_html(COLUMNS),
        rows="\n".join(map(_row, status.rows)),
        script=part("index.js"),
    )


def _fits(paths: Sequence[str]) -> str:
    if not paths:
        return "No network is fitted yet."
    links = [f'<a href="{quote(path)}">{i}</a>' for i, path in enumerate(paths, start=1)]
    return f"Fits: {', '.join(links)}"


def _row(row: StatusRow) -> str:
    state = f'<span class="{"wrong" if row.is_wrong else ""}">{row.state}</span>'
    if row.what:
        state += f"<br>{escape(row.what)}"
    since = took = ("", NOTHING)
    if row.since is not None:
        since = f"{row.since.timestamp():.0f}", f"{row.since:%d %b %H:%M}"
    if row.seconds is not None:
        took = f"{row.seconds:.1f}", duration(row.seconds)
    network, warnings = (
        ("", NOTHING) if number is None else (str(number), str(number))
        for number in (row.network, row.warnings)
    )
    cells = [
        (row.state, state, "state"),
        (*since, "number"),
        (*took, "number"),
        (*network, "number"),
        (*warnings, "number"),
    ]
    return row_html(row.name, row.page, row.thumbnail, cells)
