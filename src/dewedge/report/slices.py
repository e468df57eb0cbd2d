"""Orthogonal sections of volumes, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from dewedge.report.figure import add_scale_bar, grey_limits, show_section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANEL_INCHES = 5.0
GAP_INCHES = 0.06
TITLE_INCHES = 0.35


def slices_figure(
    volumes: Mapping[str, NDArray[Any]],
    voxel_size_A: float | None,
    title: str = "",
    *,
    same_greys: bool = False,
) -> Figure:
    """Central xy, yz and xz sections of each volume, in true proportions, volumes from left to right.

    The xz section lies below xy and shares its x; the yz section lies beside xy and shares its y. All
    sections of a volume have the same greys, with ``same_greys`` those of the first one. x and y point
    right and up.

    Parameters
    ----------
    volumes
        ``(z, y, x)`` volumes of one shape, by title, in memory or memory-mapped.
    voxel_size_A
        For the scale bar; none is drawn if it is not known.
    """
    from matplotlib.figure import Figure

    depth, height, width = next(iter(volumes.values())).shape
    inches = PANEL_INCHES / (width + depth)
    panel = (PANEL_INCHES + GAP_INCHES, inches * (height + depth) + GAP_INCHES)
    top = 2 * TITLE_INCHES if title else TITLE_INCHES
    margin = 0.1
    total_width = len(volumes) * (panel[0] + 2 * margin)
    total_height = panel[1] + top + margin
    figure = Figure(figsize=(total_width, total_height), facecolor="white")
    if title:
        figure.text(0.5, 1 - 0.25 / total_height, title, ha="center", va="center", fontsize=12)
    for i, (name, volume) in enumerate(volumes.items()):
        sections = {
            "xy": volume[depth // 2],
            "yz": volume[:, :, width // 2].T,
            "xz": volume[:, height // 2],
        }
        if i == 0 or not same_greys:
            limits = grey_limits(list(sections.values()))
        left = i * (panel[0] + 2 * margin) + margin
        place = {
            "xy": (left, margin + depth * inches + GAP_INCHES, width * inches, height * inches),
            "yz": (
                left + width * inches + GAP_INCHES,
                margin + depth * inches + GAP_INCHES,
                depth * inches,
                height * inches,
            ),
            "xz": (left, margin, width * inches, depth * inches),
        }
        for label, section in sections.items():
            x, y, w, h = place[label]
            axes = figure.add_axes((x / total_width, y / total_height, w / total_width, h / total_height))
            show_section(axes, section, limits, label)
            if label == "xy":
                axes.set_title(name, fontsize=11)
                if voxel_size_A is not None:
                    add_scale_bar(axes, voxel_size_A, width)
    return figure
