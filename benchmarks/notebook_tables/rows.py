"""The files of rows, and the line below a table that says which rows it is of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results"
KEYS = ("machine", "threads", "torch", "commit", "recorded")
Row = Mapping[str, Any]


def read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def caption(rows: Mapping[str, Row]) -> str:
    """Which files a table is of, and what their rows say of machine, threads and code."""
    return "\n".join(f"Rows: `{name}.json`{said(row)}." for name, row in rows.items())


def said(row: Row) -> str:
    threads = row.get("threads")
    words = [
        row.get("machine", "machine not noted"),
        f"{row['cores']} cores" if "cores" in row else "",
        "" if threads is None else f"{threads} thread{'s' if threads > 1 else ''}",
        f"torch {row['torch']}" if "torch" in row else "",
        code(row),
        f"transcribed from {row['transcribed']}" if "transcribed" in row else "",
    ]
    return f" ({'; '.join(filter(None, words))})"


def code(row: Row) -> str:
    """The commit that was measured; of older rows the one that brought them into the repository is known."""
    if "commit" in row:
        return f"commit {row['commit']}"
    return f"commit not noted, rows of {row['recorded']}"


def several(rows: Iterable[Row]) -> Row:
    """What the rows of one file say together of where they were measured."""
    there = list(rows)
    values = {key: dict.fromkeys(row[key] for row in there if key in row) for key in KEYS}
    return {
        key: next(iter(found)) if len(found) == 1 else ", ".join(map(str, found))
        for key, found in values.items()
        if found
    }


def table(text: str, rows: Mapping[str, Row]) -> str:
    return f"{text}\n\n{caption(rows)}"
