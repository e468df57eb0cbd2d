"""The tables of trust.md and realistic.md in docs/notebook/."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from comparison.markers import markdown
from notebook_tables.rows import Row, caption, read, several

SHOWN_DEG = (-60.0, 0.0, 36.0)  # of the images whose power is told


def trust() -> str:
    rows = read("trust")["rows"]
    return f"{calibration(rows)}\n\n{caption({'trust': several(rows)})}"


def calibration(rows: Sequence[Row]) -> str:
    """A line for each case and seed, and what they are together."""
    pairs = np.array([pair for row in rows for pair in told(row)])
    off = np.abs(pairs[:, 1] - pairs[:, 0])
    within = (pairs[:, 0] >= pairs[:, 2]) & (pairs[:, 0] <= pairs[:, 3])
    high = pairs[:, 1] - pairs[:, 0]
    said = (
        f"{len(rows)} tomograms, {len(pairs)} shells: off by at most 0.1 in {np.mean(off <= 0.1):.0%}, "
        f"within the bounds in {np.mean(within):.0%}; "
        f"too high by {max(high.max(), 0):.2f} at most, too low by {max(-high.min(), 0):.2f} at most."
    )
    lines = []
    for row in rows:
        cells = [
            f"{number(estimate)} / {number(truth)}"
            for estimate, truth in zip(row["correlation"], row["truth"], strict=True)
        ]
        lines.append([row["case"], str(row["seed"]), row["verdict"], ", ".join(cells)])
    return f"{said}\n\n{markdown(['case', 'seed', 'verdict', 'estimated / true, by shells'], lines)}"


def told(row: Row) -> list[tuple[float, float, float, float]]:
    """Truth, estimate and bounds of the shells that were told."""
    columns = zip(row["truth"], row["correlation"], row["low"], row["high"], strict=True)
    return [(t, c, low, high) for t, c, low, high in columns if c is not None]


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def realistic() -> str:
    rows = read("realistic")
    return f"{series_table(rows['at_20_A'])}\n\n{caption({'realistic': rows})}"


def without_beads() -> str:
    rows = read("realistic")
    return f"{series_table(rows['without_beads'])}\n\n{caption({'realistic': rows})}"


def series_table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The figures of tilt series, one column for each."""

    def spaced(values: Iterable[float], form: str) -> str:
        return " ".join(format(value, form) for value in values)

    columns = rows.values()
    lines = [
        ["mean, every 6 degrees", *(spaced(r["mean_over_largest"][::2], ".2f") for r in columns)],
        ["log mean over 1 / cos", *(f"{r['log_mean_over_secant']:.2f}" for r in columns)],
        *(
            [
                f"1000 x power at {tilt:g} degrees",
                *(spaced((1000 * v for v in r["power"][f"{tilt:g}"]), ".3g") for r in columns),
            ]
            for tilt in SHOWN_DEG
        ),
        ["FSC of half-sets", *(spaced(r["half_set_fsc"], ".2f") for r in columns)],
        [
            "beads: number, median and darkest",
            *(f"{r['beads']}, {r['median_bead_sigma']:.0f} and {r['darkest_sigma']:.0f}" for r in columns),
        ],
    ]
    return markdown(["", *rows], lines)


TRUST = {"trust": trust}
REALISTIC = {"realistic": realistic, "without_beads": without_beads}
