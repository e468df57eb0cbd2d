"""The tables of docs/notebook/comparison.md, from the rows that exist."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cells import (
    REALISTIC_SCORES,
    SCORES,
    Rows,
    markdown,
    mean_sd,
    scores_table,
    shells_table,
    snr_name,
    values,
    withheld_table,
)
from jobs import CELL, CURVES, FITTED, LINES, METHODS, OUTER, REAL, SNRS, TABLES, Job

REFERENCES = ("noise-free fbp", "oracle")
BY_TRUTH, PEER = "†", "‡"
ORDER = (*(method for method in METHODS if method not in REFERENCES), *REFERENCES)
LINES_IN_ORDER = sorted(LINES, key=lambda line: ORDER.index(line[0]))


def is_peer(method: str) -> bool:
    """Whether another program made the volume."""
    return method.startswith("topaz")


def figure5(size: str, rows: Rows) -> str:
    """CC of every method at every SNR, then all scores, a table for each SNR."""
    jobs = list(TABLES["figure5"](size))
    lines = []
    for method, change in LINES_IN_ORDER:
        cells = [
            mean_sd(values(rows, seeds, "cc"), len(seeds), SCORES["cc"])
            for seeds in (alike(jobs, method=method, change=change, snr=snr) for snr in SNRS)
        ]
        if any(cells):
            lines.append([label(method, rows, change), *cells])
    parts = [markdown(["CC", *(f"SNR {snr_name(snr)}" for snr in SNRS)], lines)]
    for snr in SNRS:
        table = scores_table(["method"], by_line(jobs, rows, snr=snr), rows)
        parts += [f"SNR {snr_name(snr)}:", table] if table else []
    return "\n\n".join(parts)


def figure7(size: str, rows: Rows) -> str:
    return by_field(size, rows, "figure7", "cube_size", "cube")


def splitting(size: str, rows: Rows) -> str:
    return by_field(size, rows, "splitting", "split", "half-sets")


def specimens(size: str, rows: Rows) -> str:
    return by_field(size, rows, "specimens", "specimen", "specimen")


def realistic(size: str, rows: Rows) -> str:
    return by_realistic_specimen(size, rows, "realistic")


def converged(size: str, rows: Rows) -> str:
    return by_realistic_specimen(size, rows, "converged")


def longer(size: str, rows: Rows) -> str:
    """A line for each method and budget, a table for each specimen."""
    jobs = list(TABLES["longer"](size))
    parts = []
    for specimen in dict.fromkeys(one.specimen for one in jobs):
        of_specimen = alike(jobs, specimen=specimen)
        groups = [
            (
                [label(method, rows), f"{budget_s:g}" if method in FITTED else ""],
                alike(of_specimen, method=method, budget_s=budget_s),
            )
            for method, budget_s in dict.fromkeys((one.method, one.budget_s) for one in of_specimen)
        ]
        table = scores_table(["method", "budget (s)"], groups, rows, REALISTIC_SCORES)
        parts += [f"{specimen}:", table] if table else []
    return "\n\n".join(parts)


def withheld(size: str, rows: Rows) -> str:
    """Every method by what it predicts of the withheld tilts, a table for each way to withhold them."""
    jobs = list(TABLES["withheld"](size))
    parts = []
    for specimen in REAL:
        table = withheld_table(["method"], by_line(jobs, rows, specimen=specimen), rows)
        parts += [f"{specimen}:", table] if table else []
    return "\n\n".join(parts)


def time_to_quality(size: str, rows: Rows) -> str:
    """The methods of the curves, a line for each budget, the real series first."""
    jobs = list(TABLES["time"](size))

    def groups(specimen: str) -> list[tuple[list[str], list[Job]]]:
        of_specimen = alike(jobs, specimen=specimen)
        return [
            (
                [label(method, rows, change), f"{budget_s:g}"],
                alike(of_specimen, method=method, change=change, budget_s=budget_s),
            )
            for method, change in CURVES
            for budget_s in sorted({one.budget_s for one in of_specimen})
        ]

    titles = ["method", "budget (s)"]
    real, cell = (
        withheld_table(titles, groups(OUTER), rows),
        scores_table(titles, groups(CELL), rows, REALISTIC_SCORES),
    )
    parts = [*([f"{OUTER}:", real] if real else []), *([f"{CELL}:", cell] if cell else [])]
    return "\n\n".join(parts)


def by_realistic_specimen(size: str, rows: Rows, table_name: str) -> str:
    """All scores of every method, then correlation by shells, two tables for each specimen."""
    jobs = list(TABLES[table_name](size))
    parts = []
    for specimen in dict.fromkeys(one.specimen for one in jobs):
        groups = by_line(jobs, rows, specimen=specimen)
        table = scores_table(["method"], groups, rows, REALISTIC_SCORES)
        shells = shells_table([(name, ones) for [name], ones in groups], rows)
        parts += [f"{specimen}:", table, shells] if table else []
    return "\n\n".join(parts)


def by_field(size: str, rows: Rows, table: str, field: str, title: str) -> str:
    """A line for each value of the field of a job that a table varies, and each method."""
    jobs = list(TABLES[table](size))
    groups = [
        ([str(value), label(method, rows)], alike(jobs, method=method, **{field: value}))
        for value in dict.fromkeys(getattr(one, field) for one in jobs)
        for method in ORDER
    ]
    return scores_table([title, "method"], groups, rows)


def joint(size: str, rows: Rows) -> str:
    """One fit for three tomograms, beside the fit of the first alone."""
    jobs = list(TABLES["joint"](size))
    single, shared = (alike(jobs, tomograms=tomograms) for tomograms in (1, 3))
    if not any(one in rows for one in shared):
        return ""
    groups: list[tuple[list[str], Sequence[Job]]] = [(["one each", "3"], single)]
    for budget_s in sorted({one.budget_s for one in shared}):
        cost = f"{budget_s / single[0].budget_s:g}"
        groups.append((["one for all", cost], alike(shared, budget_s=budget_s)))
    return scores_table(["fits for three tomograms", "budgets in all"], groups, rows)


def hour(size: str, rows: Rows) -> str:
    """A line for each budget, the short ones first."""
    jobs = list(TABLES["hour"](size))
    kinds = sorted({(one.budget_s, one.method, one.change) for one in jobs})
    groups = [
        (
            [f"{budget_s:g}", label(method, rows, change)],
            alike(jobs, budget_s=budget_s, method=method, change=change),
        )
        for budget_s, method, change in kinds
    ]
    return scores_table(["budget (s)", "method"], groups, rows)


def by_line(jobs: Sequence[Job], rows: Rows, **fields: Any) -> list[tuple[list[str], list[Job]]]:
    """The label of each method with its change, and its jobs that have these values."""
    return [
        ([label(method, rows, change)], alike(jobs, method=method, change=change, **fields))
        for method, change in LINES_IN_ORDER
    ]


def alike(jobs: Iterable[Job], **fields: Any) -> list[Job]:
    """The jobs that have these values, thus those of all seeds."""
    return [one for one in jobs if all(getattr(one, name) == value for name, value in fields.items())]


def label(method: str, rows: Rows, change: str = "") -> str:
    """The method and its change, with the marks that the page explains; references in italics."""
    text = f"*{method}*" if method in REFERENCES else ", ".join(filter(None, (method, change)))
    chosen = any(row["selected_by_truth"] for one, row in rows.items() if one.method == method)
    return text + f" {BY_TRUTH}" * chosen + f" {PEER}" * is_peer(method)
