"""Power spectra of xz sections, with the missing wedge drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dewedge.geometry import Floats, TiltRange
from dewedge.scores.spectra import taper_window

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCHES = (4.4, 4.0)
DECADES = 5.0  # of power, from black to white
LINE = "#e69f00"  # of Okabe and Ito, seen by all on grey


def power_of_sections(sections: NDArray[Any]) -> Floats:
    """``(kz, kx)`` mean power of ``(n, z, x)`` sections, zero frequency at N // 2 of both axes.

    Each is tapered; the tilt axis y is the one across which they lie, so the missing wedge shows in full.
    """
    _, depth, width = sections.shape
    window = taper_window(depth)[:, None] * taper_window(width)
    power = np.zeros((depth, width))
    for section in sections:
        values = np.asarray(section, np.float64)
        power += np.abs(np.fft.fft2((values - values.mean()) * window)) ** 2
    return np.fft.fftshift(power / len(sections))


def spectra_figures(
    sections: Mapping[str, NDArray[Any]], tilt_range: TiltRange, voxel_size_A: float | None
) -> dict[str, Figure]:
    """Spectra of the xz sections of volumes, all in the same greys, each with the wedge's edges.

    Parameters
    ----------
    sections
        ``(n, z, x)`` sections by title.
    tilt_range
        Measured tilt angles.
    voxel_size_A
        For the axes, which are in cycles per voxel if it is not known.
    """
    powers = {title: power_of_sections(values) for title, values in sections.items()}
    highest = math.log10(max(float(np.percentile(power, 99.9)) for power in powers.values()))
    edge, unit = (0.5, "voxel") if voxel_size_A is None else (0.5 / voxel_size_A, "Å")
    figures = {}
    for title, power in powers.items():
        figures[title] = _spectrum(power, highest, edge, unit)
        axes = figures[title].axes[0]
        axes.set_title(title, fontsize=11)
        _draw_wedge(axes, tilt_range, edge)
    return figures


def _spectrum(power: Floats, highest: float, edge: float, unit: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, layout="constrained", facecolor="white")
    axes = figure.subplots()
    axes.imshow(
        np.log10(np.maximum(power, 1e-300)),
        cmap="gray",
        vmin=highest - DECADES,
        vmax=highest,
        origin="lower",
        extent=(-edge, edge, -edge, edge),
        interpolation="nearest",
    )
    axes.set(xlabel=f"kx (1/{unit})", ylabel=f"kz (1/{unit})")
    return figure


def _draw_wedge(axes: Axes, tilt_range: TiltRange, edge: float) -> None:
    """The planes of the steepest tilts, and the word for what lies between them."""
    for tilt_deg in tilt_range[:2]:
        tilt = math.radians(tilt_deg)
        reach = edge / max(abs(math.cos(tilt)), abs(math.sin(tilt)))
        x, z = reach * math.cos(tilt), reach * math.sin(tilt)
        axes.plot((-x, x), (-z, z), color="black", linewidth=2.5)
        axes.plot((-x, x), (-z, z), color=LINE, linewidth=1.3)
    axes.annotate(
        "missing",
        (0, 0.9 * edge),
        ha="center",
        va="center",
        color=LINE,
        fontsize=9,
        bbox={"boxstyle": "round,pad=0.2", "facecolor": "black", "edgecolor": "none", "alpha": 0.7},
    )
    axes.set(xlim=(-edge, edge), ylim=(-edge, edge))
