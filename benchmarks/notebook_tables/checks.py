"""The tables of check.md in docs/notebook/."""

from __future__ import annotations

import statistics

from comparison.markers import markdown
from notebook_tables.rows import read, several, table


def x_tilt() -> str:
    """A line for each tilt about x and what was told of it: means over seeds, and half their range."""
    rows = read("x_tilt")["rows"]
    lines = []
    for key in dict.fromkeys((row["x_tilt_deg"], row["told_deg"]) for row in rows):
        x_tilt_deg, told_deg = key
        these = [row for row in rows if (row["x_tilt_deg"], row["told_deg"]) == key]
        told = {x_tilt_deg: "it", 0.0: "nothing"}.get(told_deg, "the opposite")
        lines.append([f"{x_tilt_deg:g}", told, *(spread([row[part] for row in these]) for part in PARTS)])
    head = ["tilt about x (degrees)", "told", *PARTS.values()]
    return table(markdown(head, lines), {"x_tilt": several(rows)})


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.3f} ± {(max(values) - min(values)) / 2:.3f}"


PARTS = {
    "inside": "CC in the wedge",
    "outside": "outside",
    "turned": "in the part turned into it",
}
CHECK = {"x_tilt": x_tilt}
