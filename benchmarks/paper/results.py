"""The rows: one for each tomogram and method, in OUT/rows.json."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dewedge.io.files import write_text_atomic
from dewedge.pipeline.compare.report import environment
from paper.runs import Outcome, Variant
from paper.scoring import Scores
from paper.settings import Settings

ROWS = "rows.json"
Row = dict[str, Any]


@dataclass(frozen=True)
class RowsFile:
    """The rows of one folder of results."""

    path: Path

    def read(self) -> list[Row]:
        """All rows; none if there is no file."""
        return json.loads(self.path.read_text())["rows"] if self.path.exists() else []

    def add(self, rows: Sequence[Row]) -> None:
        """Add rows, each in the place of an earlier one of the same tomogram and method."""
        new = {_key(row) for row in rows}
        kept = [row for row in self.read() if _key(row) not in new]
        lines = ",\n".join(json.dumps(row, allow_nan=False) for row in [*kept, *rows])
        write_text_atomic(self.path, f'{{"rows": [\n{lines}\n]}}\n')

    def has(self, variant: Variant, method: str, settings: Sequence[Settings]) -> bool:
        """True if there are rows of all tomograms of a method, computed with these very settings."""
        here = {
            row["tomogram"]: row["settings"]
            for row in self.read()
            if (row["variant"], row["method"]) == (variant.name, method)
        }
        return all(here.get(entry.name) == list(settings) for entry in variant.entries)


def row_of(
    outcome: Outcome, variant: Variant, method: str, scores: Scores, wall_s: float, folder: Path
) -> Row:
    """The row of one tomogram; ``seconds`` are those of the fits, ``wall_s`` of all that was done now.

    ``folder`` is that of the results, from which the name of its volume counts.
    """
    last = [stage.model.details["epochs"][-1] for stage in outcome.stages]
    return {
        "variant": variant.name,
        "method": method,
        "tomogram": outcome.name,
        "experiment": variant.experiment,
        "figures": list(variant.figures),
        **variant.labels,
        "cube": outcome.stages[-1].config.fit.cube_size if outcome.stages else None,
        "scores": scores,
        "samples": sum(row["samples"] for row in last),
        "seconds": round(sum(row["seconds"] for row in last), 1),
        "wall_s": round(wall_s, 1),
        "volume": outcome.full.relative_to(folder.absolute()).as_posix(),
        "settings": outcome.settings,
        **environment(),
        "commit": _commit(),
    }


def _key(row: Row) -> tuple[str, str, str]:
    return row["variant"], row["method"], row["tomogram"]


def _commit() -> str:
    """The commit of this code, with ``-dirty`` if the package or this benchmark was changed since."""
    root = Path(__file__).parents[2]

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--", "src", "benchmarks/paper")
    return git("rev-parse", "--short", "HEAD") + ("-dirty" if changed else "")
