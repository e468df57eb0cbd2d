"""Volumes side by side: one a column, xy above, xz below."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from dewedge.report.figure import add_scale_bar, grey_limits, show_section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN_INCHES = 3.6
GAP_INCHES = 0.08
TITLE_INCHES = 0.5


def comparison_figure(
    volumes: Mapping[str, NDArray[Any]],
    voxel_size_A: float | None,
    notes: Sequence[str] | None = None,
    columns: int | None = None,
) -> Figure:
    """Central xy section of each ``(z, y, x)`` volume above its xz section, with titles and a scale bar.

    Parameters
    ----------
    volumes
        Volumes of one shape, by title.
    voxel_size_A
        Voxel size in Angstrom; without it there is no scale bar.
    notes
        A line below each title.
    columns
        Most volumes side by side; all if not given.
    """
    from matplotlib.figure import Figure

    depth, height, width = next(iter(volumes.values())).shape
    columns = min(columns or len(volumes), len(volumes))
    rows = math.ceil(len(volumes) / columns)
    inches = COLUMN_INCHES / width
    column = COLUMN_INCHES + GAP_INCHES
    row = (height + depth) * inches + 3 * GAP_INCHES + TITLE_INCHES
    size = (columns * column + GAP_INCHES, rows * row)
    figure = Figure(figsize=size, facecolor="white")
    for i, (title, volume) in enumerate(volumes.items()):
        xy, xz = volume[depth // 2], volume[:, height // 2]
        limits = grey_limits([xy, xz])
        left = (GAP_INCHES + i % columns * column) / size[0]
        lower = depth * inches / size[1]
        gap = GAP_INCHES / size[1]
        bottom = gap + (rows - 1 - i // columns) * row / size[1]
        upper = (left, bottom + lower + gap, COLUMN_INCHES / size[0], height * inches / size[1])
        top = figure.add_axes(upper)
        show_section(top, xy, limits, "xy")
        note = f"\n{notes[i]}" if notes is not None and notes[i] else ""
        top.set_title(f"{title}{note}", fontsize=11)
        below = figure.add_axes((left, bottom, COLUMN_INCHES / size[0], lower))
        show_section(below, xz, limits, "xz")
        if i == 0 and voxel_size_A is not None:
            add_scale_bar(top, voxel_size_A, width)
    return figure
