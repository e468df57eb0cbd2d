"""The pages of docs/notebook/ that show the rows: what lies between two markers (`markers`) is made anew.

Seconds of one machine are not those of another, so a table has a part for each machine that has rows of it,
the one with most rows first; the figures are of the one with most rows of each of their tables. A dropped
idea is compared with the rows of its own commit. Rows of realistic specimens, whose size is their own, lie in
a file beside that of the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tables
import verdicts
from cells import Rows
from jobs import JOBS, OTHER_SIZES, Job, real_size, realistic_size
from markers import with_blocks
from pictures import methods_figure, realistic_figure, slices_figure, snr_figure, time_figure
from rows import job_of, read_rows

EMPTY = "No rows yet."
REALISTIC_FILE = "comparison_realistic.json"
WIDTH = 1600  # of a figure, in pixels

PAGES: Mapping[str, Mapping[str, Callable[[str, Rows], str]]] = {
    "comparison.md": {
        "figure5": tables.figure5,
        "figure7": tables.figure7,
        "splitting": tables.splitting,
        "joint": tables.joint,
        "specimens": tables.specimens,
        "realistic": tables.realistic,
        "longer": tables.longer,
        "converged": tables.converged,
        "withheld": tables.withheld,
        "time": tables.time_to_quality,
        "hour": tables.hour,
    },
    "ablation.md": {
        "screen": verdicts.screen,
        "confirm": verdicts.confirm,
        "departures": verdicts.departures,
        "chosen": verdicts.chosen,
        "dropped": verdicts.dropped,
        "init": verdicts.init,
        "settings": verdicts.settings,
    },
}
CAPTIONS = {
    "comparison_snr": "Scores of each method against the SNR",
    "comparison_methods": "Scores of each method on realistic specimens, and on the cell after an hour",
    "comparison_slices": "Sections of the volume of each method",
    "comparison_realistic": "Sections of the volume of each method, realistic cell",
    "time_to_quality": "Scores of the real series and of the realistic cell against the seconds of the fit",
}


def write_pages(size: str, rows_file: Path, data: Path, docs: Path) -> None:
    """Write the tables and figures of the rows of a size into the pages of a folder."""
    groups = grouped(rows_file, (size,), "machine")
    dropped = grouped(rows_file.with_stem(f"{rows_file.stem}_dropped"), (size,), "machine", "commit")
    sizes = (realistic_size(size), real_size(size), "real 10 A")
    realistic = grouped(rows_file.with_name(REALISTIC_FILE), sizes, "machine")
    of_table = {"dropped": dropped} | dict.fromkeys(OTHER_SIZES, realistic)
    rows = fullest("figure5", size, groups)
    realistic_and_hour = {
        job_of(row): row
        for name in ("realistic", "converged")
        for row in rows_of(name, size, fullest(name, size, realistic))
    }
    figures = {
        "comparison_snr": snr_figure(size, rows),
        "comparison_methods": methods_figure(size, realistic_and_hour),
        "comparison_slices": slices_figure(size, rows, data),
        "comparison_realistic": realistic_figure(size, fullest("realistic", size, realistic), data),
        "time_to_quality": time_figure(size, fullest("time", size, realistic)),
    }
    for name, figure in figures.items():
        if figure is not None:
            (docs / "images").mkdir(exist_ok=True)
            figure.savefig(docs / "images" / f"{name}.png", dpi=WIDTH / figure.get_figwidth())
    for page, tables_of_page in PAGES.items():
        blocks = {
            name: made(name, table, size, of_table.get(name, groups))
            for name, table in tables_of_page.items()
        }
        if page == "comparison.md":
            blocks |= {name: picture(docs, name) for name in figures}
        path = docs / page
        path.write_text(with_blocks(path, blocks))


def grouped(path: Path, sizes: Sequence[str], *keys: str) -> list[Rows]:
    """The rows of some sizes that have the same values of ``keys``, by their jobs."""
    groups: dict[tuple[str, ...], dict[Job, dict[str, Any]]] = defaultdict(dict)
    for row in read_rows(path):
        if row["size"] in sizes:
            groups[tuple(row[key] for key in keys)][job_of(row)] = row
    return list(groups.values())


def fullest(name: str, size: str, groups: Sequence[Rows]) -> Rows:
    """The group that has most rows of a table."""
    return max(groups, key=lambda group: len(rows_of(name, size, group)), default={})


def rows_of(name: str, size: str, rows: Rows) -> list[dict[str, Any]]:
    """The rows of a table, each once."""
    return [rows[job] for job in dict.fromkeys(JOBS[name](size)) if job in rows]


def made(name: str, table: Callable[[str, Rows], str], size: str, groups: Sequence[Rows]) -> str:
    """A table of each group of rows, the budget of its fits, and which machine and code it is of."""
    if name not in JOBS:
        return table(size, {})
    parts = []
    for group in sorted(groups, key=lambda group: -len(rows_of(name, size, group))):
        rows = rows_of(name, size, group)
        text = table(size, group) if rows else ""
        if text:
            budgets = " or ".join(f"{budget_s:g} s" for budget_s in sorted({row["budget_s"] for row in rows}))
            commits = ", ".join(sorted({row["commit"] for row in rows}))
            parts.append(
                f"{text}\n\nBudget of a fit: {budgets}. Machine: {rows[0]['machine']}. Rows: {len(rows)}. "
                f"Commits: {commits}."
            )
    return "\n\n".join(parts) or EMPTY


def picture(docs: Path, name: str) -> str:
    """A link to a figure, if it was ever made: the volumes of a figure may lie on another machine."""
    path = Path("images") / f"{name}.png"
    return f"![{CAPTIONS[name]}]({path})" if (docs / path).exists() else EMPTY
