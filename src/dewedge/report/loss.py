"""The loss curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dewedge.learn.loss_curve import EpochRow


def loss_figure(rows: Sequence[EpochRow]) -> Figure:
    """Loss of the fit, and below it that on the held-out region, against minutes or seconds."""
    from matplotlib.figure import Figure

    unit, name = (60.0, "minutes") if rows[-1].seconds > 300 else (1.0, "seconds")
    held_out = [(row.seconds / unit, row.validation_loss) for row in rows if row.validation_loss is not None]
    curves = {"fit": [(row.seconds / unit, row.fit_loss) for row in rows]}
    if held_out:
        curves["held-out region"] = held_out
    figure = Figure(figsize=(6, 2 + 2 * len(curves)), layout="constrained", facecolor="white")
    panels = figure.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
    marker = "." if len(rows) < 50 else ""
    for axes, (what, points), colour in zip(panels, curves.items(), ("0.55", "tab:blue"), strict=False):
        axes.plot(*zip(*points, strict=True), marker=marker, color=colour)
        axes.set(ylabel=f"loss, {what}")
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set(xlabel=name)
    return figure
