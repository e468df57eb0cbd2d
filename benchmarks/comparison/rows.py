"""The file of the rows, and the volumes that are kept for the pictures."""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from jobs import CELL, LINES, SEEDS, SNRS, Job, job

PICTURED = {"shrec": SNRS, CELL: (0.0,)}  # specimens, and the SNRs of which volumes are kept


def read_rows(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())["rows"] if path.exists() else []


def job_of(row: dict[str, Any]) -> Job:
    return Job(**{field.name: row[field.name] for field in fields(Job)})


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes from what they do under the lock of the same path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def add_row(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a file that others may be adding to as well; it replaces an earlier one of its machine."""
    with locked(path):
        rows = [*(other for other in read_rows(path) if key(other) != key(row)), row]
        temporary = path.with_suffix(".new")
        lines = ",\n".join(json.dumps(row) for row in rows)
        temporary.write_text(f'{{"rows": [\n{lines}\n]}}\n')
        temporary.replace(path)


def key(row: dict[str, Any]) -> tuple[Job, str]:
    """What there is one row of."""
    return job_of(row), row["machine"]


def volume_file(folder: Path, one: Job, machine: str) -> Path | None:
    """Where the volume of a row is kept for the pictures; None for rows that need none."""
    same = {"change": one.change, "specimen": one.specimen, "snr": one.snr}
    plain = job(one.size, one.method, seed=SEEDS[0], **same)
    known = one.snr in PICTURED.get(one.specimen, ()) and (one.method, one.change) in LINES
    if one != plain or not known:
        return None
    specimen = "" if one.specimen == "shrec" else one.specimen
    line = "_".join(filter(None, (specimen, one.method, one.change)))
    name = f"{one.size}_{line}_{one.snr:.3f}_{one.seed}_{machine}.mrc"
    return folder / "volumes" / re.sub(r"[^\w.]+", "-", name)
