"""The tomograms of a run as a table of text, of the rows of its index."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from dewedge.report.run.index import NOTHING, IndexRow, time_text

_COLUMNS = ("tomogram", "status", "size (z, y, x)", "voxel", "all steps", "held-out loss", "warnings", "page")
# Left out where the terminal is narrow, the first of them first.
_LEFT_OUT = ("page", "size (z, y, x)", "voxel")
_GAP = "  "
# What is wrong is told in a column of at least this width.
_NARROWEST = 30


def summary(rows: Sequence[IndexRow], width: int | None) -> list[str]:
    """A line for each tomogram, then what is said of some, and failed ones with their reasons.

    ``width`` is in characters, None for any.
    """
    told = [_COLUMNS, *(_cells(row) for row in rows if row.state != "failed")]
    explained = [row for row in rows if row.state != "failed" and row.reason]
    explained += [row for row in rows if row.state == "failed"]
    widths = [max(len(cells[i]) for cells in told) for i in range(len(_COLUMNS))]
    widths[0] = max([widths[0], *(len(row.name) for row in explained)])
    shown = [i for i in range(len(_COLUMNS)) if any(cells[i] for cells in told[1:])]
    for name in _LEFT_OUT:
        if width is not None and sum(widths[i] for i in shown) + len(_GAP) * (len(shown) - 1) > width:
            shown = [i for i in shown if _COLUMNS[i] != name]
    lines = [_GAP.join(cells[i].ljust(widths[i]) for i in shown).rstrip() for cells in told]
    if len(told) == 1:
        lines = []
    for row in explained:
        start = f"{row.name.ljust(widths[0])}{_GAP}{row.status}{_GAP}"
        room = None if width is None else max(width - len(start), _NARROWEST)
        parts = [row.reason] if room is None else textwrap.wrap(row.reason, room) or [""]
        lines += [(start if i == 0 else " " * len(start)) + part for i, part in enumerate(parts)]
    return lines


def _cells(row: IndexRow) -> tuple[str, ...]:
    return (
        row.name,
        row.status,
        row.size,
        NOTHING if row.voxel_size_A is None else f"{row.voxel_size_A:.4g} A",
        time_text(row.seconds),
        NOTHING if row.held_out_loss is None else f"{row.held_out_loss:.4f}",
        NOTHING if row.warnings is None else str(row.warnings),
        row.page or "",
    )
