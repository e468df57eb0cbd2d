"""The pictures: sections and spectra of every method side by side, and curves of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dewedge.report.figure import add_scale_bar, grey_limits, show_section
from dewedge.settings.recipes import read_recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]

COLUMN_INCHES = 2.6
GAP_INCHES = 0.07
TITLE_INCHES = 0.45
ROW_TITLE_INCHES = 0.3

# Colours of Okabe and Ito, which the colour-blind can tell apart.
STYLES: Mapping[str, dict[str, Any]] = {
    "fbp": {"color": "0.5", "marker": "x"},
    "cryocare": {"color": "#E69F00", "marker": "^"},
    "isonet": {"color": "#0072B2", "marker": "s"},
    "cryocare+isonet": {"color": "#0072B2", "marker": "*", "linestyle": "--"},
    "deepdewedge": {"color": "#009E73", "marker": "p"},
    "dewedge": {"color": "#D55E00", "marker": "o", "linewidth": 2.2},
}
SCORES = {
    "cc": "CC",
    "cc_outside": "CC outside the wedge",
    "cc_inside": "CC inside the wedge",
    "fsc_A": "0.143-FSC (A), low is good",
    "fsc_inside_A": "0.143-FSC inside (A), low is good",
}


class Panel(NamedTuple):
    """One preparation of the data: ``(z, y, x)`` volumes of one shape by method, and a note to each."""

    title: str
    volumes: Mapping[str, NDArray[Any]]
    notes: Mapping[str, str]
    voxel_size_A: float | None


def sections_figure(panels: Sequence[Panel]) -> Figure:
    """Volumes side by side, a panel above the other: central xy, central xz, spectrum.

    The spectrum is the logarithm of the power at ky = 0, kx to the right, kz upwards: the missing wedge is a
    dark wedge about kz, unless it was filled.
    """
    from matplotlib.figure import Figure

    depth, height, width = next(iter(panels[0].volumes.values())).shape
    columns = max(len(panel.volumes) for panel in panels)
    inches = COLUMN_INCHES / width
    heights = (height * inches, depth * inches, COLUMN_INCHES)
    row = sum(heights) + 3 * GAP_INCHES + TITLE_INCHES + ROW_TITLE_INCHES
    size = (columns * (COLUMN_INCHES + GAP_INCHES) + GAP_INCHES, len(panels) * row + GAP_INCHES)
    figure = Figure(figsize=size, facecolor="white")
    for i, panel in enumerate(panels):
        top = size[1] - i * row
        middle = (top - ROW_TITLE_INCHES / 2) / size[1]
        figure.text(GAP_INCHES / size[0], middle, panel.title, va="center", fontsize=11)
        for j, (name, volume) in enumerate(panel.volumes.items()):
            left = GAP_INCHES + j * (COLUMN_INCHES + GAP_INCHES)
            xy, xz = np.asarray(volume[depth // 2]), np.asarray(volume[:, height // 2])
            shown = {"xy": xy, "xz": xz, "kx kz": log_power(volume)}
            bottom = top - ROW_TITLE_INCHES - TITLE_INCHES
            for (label, section), tall in zip(shown.items(), heights, strict=True):
                bottom -= tall
                place = (left / size[0], bottom / size[1], COLUMN_INCHES / size[0], tall / size[1])
                axes = figure.add_axes(place)
                limits = grey_limits([section] if label == "kx kz" else [xy, xz])
                show_section(axes, section, limits, label)
                if label == "xy":
                    title = filter(None, (method_title(name), panel.notes.get(name)))
                    axes.set_title("\n".join(title), fontsize=9)
                    if i == j == 0 and panel.voxel_size_A is not None:
                        add_scale_bar(axes, panel.voxel_size_A, width)
                bottom -= GAP_INCHES
    return figure


def log_power(volume: NDArray[Any]) -> NDArray[np.float32]:
    """``(kz, kx)`` logarithm of the power of a tapered ``(z, y, x)`` volume at ky = 0, zero in the middle."""
    projection = np.asarray(volume, dtype=np.float32).mean(axis=1, dtype=np.float64)
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in projection.shape))
    spectrum = np.fft.fftshift(np.fft.fft2((projection - projection.mean()) * window))
    power = np.abs(spectrum) ** 2
    # Where nothing was measured there may be no power at all.
    return np.log10(power + 1e-8 * power.max()).astype(np.float32)


def curves_figure(rows: Sequence[Row], x: str, xlabel: str) -> Figure:
    """Scores against a label of the rows, a curve a method; mean and range over tomograms."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.2), layout="constrained", facecolor="white")
    *panels, legend = figure.subplots(2, 3).ravel()
    places = list(dict.fromkeys(row[x] for row in sorted(rows, key=lambda row: _sortable(row[x]))))
    methods = [method for method in STYLES if any(row["method"] == method for row in rows)]
    for axes, (score, title) in zip(panels, SCORES.items(), strict=True):
        for method in methods:
            found = [
                [r["scores"][score] for r in rows if (r["method"], r[x]) == (method, place)]
                for place in places
            ]
            values = [[v for v in group if v is not None] for group in found]
            drawn = [i for i, group in enumerate(values) if group]
            means = [float(np.mean(values[i])) for i in drawn]
            bars = [[m - min(values[i]) for i, m in zip(drawn, means, strict=True)],
                    [max(values[i]) - m for i, m in zip(drawn, means, strict=True)]]  # fmt: skip
            style = {"linewidth": 1.3, "markersize": 5.5, "capsize": 2} | STYLES[method]
            axes.errorbar(drawn, means, bars, label=method_title(method), **style)
        axes.set_title(title, fontsize=10)
        axes.set_xticks(
            range(len(places)), [label_text(place).replace(" ", "\n") for place in places], fontsize=8
        )
        axes.set_xlabel(xlabel)
        axes.margins(x=0.15)
        axes.grid(axis="y", linewidth=0.4, color="0.85")
        axes.spines[["top", "right"]].set_visible(False)
    legend.axis("off")
    legend.legend(*panels[0].get_legend_handles_labels(), loc="center left", frameon=False, fontsize=10)
    return figure


def method_title(name: str) -> str:
    """What a method is called under a picture."""
    return name if name == "truth" else read_recipe(name).title.replace(" as published", "")


def _sortable(value: Any) -> tuple[int, Any]:
    return (0, value) if isinstance(value, int | float) else (1, 0)


def label_text(value: Any) -> str:
    """A label of the rows as people write it: an SNR of 0.25 as 1/4."""
    return f"1/{round(1 / value)}" if isinstance(value, float) and 0 < value < 1 else str(value)
