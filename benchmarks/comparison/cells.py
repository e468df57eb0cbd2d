"""Cells of the tables: what several seeds gave, in one text."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from jobs import Job
from markers import markdown

from dewedge.scores.withheld import EDGES

Rows = Mapping[Job, dict[str, Any]]

SCORES = {"cc": 3, "cc_outside": 3, "cc_inside": 3, "fsc": 1, "fsc_inside": 1}  # decimals
REALISTIC_SCORES = SCORES | {"z_to_x": 2}
TITLES = {
    "cc": "CC",
    "cc_outside": "CC outside",
    "cc_inside": "CC inside",
    "fsc": "FSC (A)",
    "fsc_inside": "FSC inside (A)",
    "z_to_x": "z : x",
}

SHELLS = [f"{low:.2f}-{high:.2f}" for low, high in itertools.pairwise(EDGES)]  # cycles per voxel


def values(rows: Rows, jobs: Iterable[Job], score: str) -> list[Any]:
    """What the rows that exist say of a score; a resolution can be missing."""
    found = [rows[job][score] for job in jobs if job in rows]
    return [value for value in found if value is not None]


def shell_values(rows: Rows, jobs: Iterable[Job], score: str, shell: int) -> list[float]:
    """What the rows that exist say of a score in one shell, in which nothing may have been measured."""
    found = [shells[shell] for shells in values(rows, jobs, score)]
    return [value for value in found if value is not None]


def mean_sd(numbers: Sequence[float], expected: int, decimals: int) -> str:
    """Mean and standard deviation over seeds; their number where it is not the expected one."""
    if not numbers:
        return ""
    text = f"{statistics.fmean(numbers):.{decimals}f}"
    if len(numbers) > 1:
        text += f" ± {statistics.stdev(numbers):.{decimals}f}"
    if len(numbers) != expected:
        text += f" ({len(numbers)} seed{'s' if len(numbers) > 1 else ''})"
    return text


def mean(numbers: Sequence[float]) -> str:
    return f"{statistics.fmean(numbers):,.0f}" if numbers else ""


def scores_table(
    titles: Sequence[str],
    groups: Iterable[tuple[Sequence[str], Sequence[Job]]],
    rows: Rows,
    decimals: Mapping[str, int] = SCORES,
) -> str:
    """A line for each group of jobs that has rows: its labels, scores over seeds, samples and seconds."""
    lines = []
    for labels, jobs in groups:
        if any(job in rows for job in jobs):
            scores = [
                mean_sd(values(rows, jobs, score), len(jobs), places) for score, places in decimals.items()
            ]
            costs = [mean(values(rows, jobs, cost)) for cost in ("samples", "seconds")]
            lines.append([*labels, *scores, *costs])
    return markdown([*titles, *(TITLES[score] for score in decimals), "samples", "seconds"], lines)


def shells_table(groups: Iterable[tuple[str, Sequence[Job]]], rows: Rows) -> str:
    """A line for each group of jobs that has rows: its label, and the correlation in each shell."""
    parts = ("outside", "inside")
    lines = []
    for label, jobs in groups:
        if any(job in rows for job in jobs):
            columns = [
                shell_values(rows, jobs, f"shells_{part}", i) for part in parts for i in range(len(SHELLS))
            ]
            lines.append([label, *(mean_sd(column, len(jobs), 2) for column in columns)])
    return markdown(["method", *(f"{part} {shell}" for part in parts for shell in SHELLS)], lines)


def withheld_table(
    titles: Sequence[str], groups: Iterable[tuple[Sequence[str], Sequence[Job]]], rows: Rows
) -> str:
    """A line for each group of jobs that has rows: its labels, and scores of withheld tilts in each shell."""
    lines = []
    for labels, jobs in groups:
        if any(job in rows for job in jobs):
            scores = [
                mean_sd(shell_values(rows, jobs, score, i), len(jobs), 2)
                for score in ("explained", "correlation")
                for i in range(len(SHELLS))
            ]
            costs = [mean(values(rows, jobs, cost)) for cost in ("samples", "seconds")]
            lines.append([*labels, *scores, *costs])
    names = [f"{score} {shell}" for score in ("explained", "correlation") for shell in SHELLS]
    return markdown([*titles, *names, "samples", "seconds"], lines)


def snr_name(snr: float) -> str:
    return str(Fraction(snr).limit_denominator(100))
