"""Tables of tilts kept back of a real series, in defaults.md, empiar-10499.md and transfer.md.

A row is one fit. Its figures were first typed into a page by hand, so all that is known of its code is the
commit that brought them there.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from comparison.markers import markdown
from notebook_tables.rows import RESULTS, Row

FILE = RESULTS / "withheld.json"
# Fields of four shells or five, and single figures.
TITLES = {
    "correlation": "correlation",
    "explained": "explained power",
    "explained_with_tv": "explained power with `--tv-share 0.3`",
    "side": "one side kept back",
    "ten_A": "voxels of 10 A",
    "slope": "slope",
    "z_to_x": "z : x",
    "z_to_x_all_tilts": "z : x, all tilts",
    "weave": "weave",
    "cell": "cell, in the wedge",
    "cell_z_to_x": "cell, z : x",
    "cell_scores": "cell: CC, inside, FSC inside (A)",
    "lamella_scores": "lamella",
    "purified_scores": "purified",
    "easy": "easy: CC all, outside, inside",
    "easy_z_to_x": "easy, z : x",
}
FIELDS = {
    "dropped_real": ("explained",),
    "second_screen": ("explained", "explained_with_tv"),
    "coarse_screen": ("explained",),
    "today": ("correlation", "explained"),
    "wrong": ("correlation", "explained", "z_to_x", "weave"),
    "hints": ("correlation", "explained", "slope", "z_to_x", "z_to_x_all_tilts"),
    "amplitude": ("explained", "z_to_x", "easy", "easy_z_to_x"),
    "amplitude_aligned": ("explained", "cell_scores", "easy"),
    "measured": ("explained", "z_to_x", "cell", "cell_z_to_x", "easy"),
    "tv": ("explained", "z_to_x"),
    "wedge_weight": ("explained", "side", "ten_A", "cell_scores", "lamella_scores", "purified_scores"),
    "tv_aligned": ("explained", "side", "cell_scores", "lamella_scores", "purified_scores"),
}


def read_rows() -> list[dict[str, Any]]:
    """The figures as texts, with the digits that they were noted with."""
    return json.loads(FILE.read_text(), parse_float=str)["rows"]


def table(name: str) -> str:
    """A line for each change, its fits beside each other."""
    rows = [row for row in read_rows() if row["table"] == name]
    fits = [list(group) for _, group in itertools.groupby(rows, key=lambda row: row["change"])]
    lines = [
        [
            label(group[0]),
            distinct(row["seed"] for row in group),
            distinct(row["sub_tomograms"] for row in group),
            *(cell(group, field) for field in FIELDS[name]),
            distinct(row.get("commit", row.get("recorded")) for row in group),
        ]
        for group in fits
    ]
    titles = ["change", "seed", "sub-tomograms", *(TITLES[field] for field in FIELDS[name]), "commit"]
    return f"{markdown(titles, lines)}\n\n{caption(rows)}"


def label(row: Row) -> str:
    return f"**{row['change']}**" if row.get("default") else row["change"]


def cell(group: Sequence[Row], field: str) -> str:
    """The figures of all fits that have some."""
    values = [row[field] for row in group if field in row]
    return "; ".join(
        " ".join(short(str(figure)) for figure in x) if isinstance(x, list) else str(x) for x in values
    )


def short(figure: str) -> str:
    """Without the zero before the point: -.08. What has one decimal or none, as a slope, stays as it is."""
    size = figure.lstrip("-")
    return figure.replace("0.", ".", 1) if size.startswith("0.") and len(size) > len("0.1") else figure


def distinct(values: Iterable[int | str | None]) -> str:
    there = dict.fromkeys(value for value in values if value is not None)
    return ", ".join(f"{value:,}" if isinstance(value, int) else value for value in there)


def caption(rows: Sequence[Row]) -> str:
    """What is known of where the rows come from: of transcribed ones no machine."""
    measured = [row for row in rows if "commit" in row]
    days = sorted({row["date"] for row in rows if "commit" not in row})
    machines = ", ".join(sorted({row["machine"] for row in measured}))
    parts = [f"{len(measured)} fits measured on {machines}"] if measured else []
    if days:
        span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
        parts.append(
            f"{len(rows) - len(measured)} fits transcribed from this page: machines and commits were not "
            f"noted; the commit is the one that brought the figures, {span}"
        )
    return f"Rows: `withheld.json` ({'; '.join(parts)})."


def tables(*names: str) -> Mapping[str, Callable[[], str]]:
    return {name: partial(table, name) for name in names}


DEFAULTS = tables("dropped_real", "second_screen", "coarse_screen")
EMPIAR = tables("today", "wrong", "hints")
TRANSFER = tables("wedge_weight", "amplitude", "amplitude_aligned", "measured", "tv", "tv_aligned")
