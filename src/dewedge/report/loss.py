"""The loss curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dewedge.learn.state import EpochRow


def loss_figure(rows: Sequence[EpochRow]) -> Figure:
    """Loss of the fit and on the held-out region against minutes or seconds; the best epoch is marked."""
    from matplotlib.figure import Figure

    unit, name = (60.0, "minutes") if rows[-1].seconds > 300 else (1.0, "seconds")
    figure = Figure(figsize=(6, 4), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    times = [row.seconds / unit for row in rows]
    marker = "." if len(rows) < 50 else ""
    axes.plot(times, [row.fit_loss for row in rows], marker=marker, color="0.55", label="fit")
    held_out = [(row.seconds / unit, row.validation_loss) for row in rows if row.validation_loss is not None]
    if held_out:
        axes.plot(*zip(*held_out, strict=True), marker=marker, color="tab:blue", label="held-out region")
        best = min(held_out, key=lambda point: point[1])
        axes.plot(*best, marker="o", color="tab:red", linestyle="", label=f"lowest, {best[1]:.4f}")
    axes.set(xlabel=name, ylabel="loss")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
