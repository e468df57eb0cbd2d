"""The pages of docs/ that show the rows: what lies between two markers is made anew, the rest is kept.

<!-- table NAME -->
...
<!-- end -->
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tables
import verdicts
from cells import Rows
from jobs import JOBS, Job
from pictures import slices_figure, snr_figure
from rows import job_of, read_rows

BLOCK = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
EMPTY = "No rows yet."
WIDTH = 1600  # of a figure, in pixels

PAGES: Mapping[str, Mapping[str, Callable[[str, Rows], str]]] = {
    "comparison.md": {
        "figure5": tables.figure5,
        "figure7": tables.figure7,
        "splitting": tables.splitting,
        "joint": tables.joint,
        "specimens": tables.specimens,
        "hour": tables.hour,
    },
    "ablation.md": {
        "screen": verdicts.screen,
        "confirm": verdicts.confirm,
        "departures": verdicts.departures,
        "dropped": verdicts.dropped,
        "init": verdicts.init,
        "settings": verdicts.settings,
    },
}
CAPTIONS = {
    "comparison_snr": "Scores of each method against the SNR",
    "comparison_slices": "Sections of the volume of each method",
}


def write_pages(size: str, rows_file: Path, data: Path, docs: Path) -> None:
    """Write the tables and figures of the rows of a size into the pages of a folder."""
    rows = rows_by_job(rows_file, size)
    dropped = rows_by_job(rows_file.with_stem(f"{rows_file.stem}_dropped"), size)
    figures = {"comparison_snr": snr_figure(size, rows), "comparison_slices": slices_figure(size, rows, data)}
    for name, figure in figures.items():
        if figure is not None:
            (docs / "images").mkdir(exist_ok=True)
            figure.savefig(docs / "images" / f"{name}.png", dpi=WIDTH / figure.get_figwidth())
    for page, tables_of_page in PAGES.items():
        blocks = {
            name: made(name, table, size, dropped if name == "dropped" else rows)
            for name, table in tables_of_page.items()
        }
        if page == "comparison.md":
            blocks |= {name: picture(docs, name) for name in figures}
        path = docs / page
        path.write_text(with_blocks(path, blocks))


def rows_by_job(path: Path, size: str) -> dict[Job, dict[str, Any]]:
    return {job_of(row): row for row in read_rows(path) if row["size"] == size}


def made(name: str, table: Callable[[str, Rows], str], size: str, rows: Rows) -> str:
    """A table, the budget of its fits, and which machine and code its rows are of."""
    text = table(size, rows)
    jobs = [job for job in (JOBS[name](size) if name in JOBS else []) if job in rows]
    if not jobs:
        return text or EMPTY
    budgets = " or ".join(f"{budget_s:g} s" for budget_s in sorted({job.budget_s for job in jobs}))
    commits = ", ".join(sorted({rows[job]["commit"] for job in jobs}))
    machines = "; ".join(sorted({rows[job]["machine"] for job in jobs}))
    return (
        f"{text}\n\nBudget of a fit: {budgets}. Machine: {machines}. Rows: {len(jobs)}. Commits: {commits}."
    )


def picture(docs: Path, name: str) -> str:
    """A link to a figure, if it was ever made: the volumes of a figure may lie on another machine."""
    path = Path("images") / f"{name}.png"
    return f"![{CAPTIONS[name]}]({path})" if (docs / path).exists() else EMPTY


def with_blocks(path: Path, blocks: Mapping[str, str]) -> str:
    """The text of a page with the content between its markers replaced."""
    text = path.read_text()
    names = [match[2] for match in BLOCK.finditer(text)]
    if sorted(names) != sorted(blocks):
        raise SystemExit(
            f"{path}: expected markers for {', '.join(sorted(blocks))}; got {', '.join(sorted(names))}"
        )
    return BLOCK.sub(lambda match: f"{match[1]}\n{blocks[match[2]]}\n\n{match[3]}", text)
