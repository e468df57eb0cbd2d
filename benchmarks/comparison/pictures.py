"""The figures of docs/notebook/comparison.md."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ablation import INIT, LARGE, SAME_NETWORK
from cells import SCORES, SHELLS, TITLES, Rows, shell_values, snr_name, values
from jobs import (
    CELL,
    CURVES,
    OUTER,
    REAL,
    REALISTIC_REFINED,
    SEEDS,
    SNRS,
    TABLES,
    Job,
    as_told,
    job,
    realistic_size,
)
from rows import volume_file
from tables import LINES_IN_ORDER, alike, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours of Okabe and Ito, which the colour-blind can tell apart; shape and dashes tell once more.
STYLES: dict[str, dict[str, Any]] = {
    "fbp": {"color": "0.5", "marker": "x"},
    "sirt": {"color": "0.5", "marker": "P", "linestyle": "--"},
    "tv": {"color": "#56B4E9", "marker": "v"},
    "topaz-10a": {"color": "#CC79A7", "marker": "D"},
    "topaz-20a": {"color": "#CC79A7", "marker": "d", "linestyle": "--"},
    "cryocare": {"color": "#E69F00", "marker": "^"},
    "isonet": {"color": "#0072B2", "marker": "s"},
    "cryocare+isonet": {"color": "#0072B2", "marker": "*", "linestyle": "--"},
    "deepdewedge": {"color": "#009E73", "marker": "p"},
    "deepdewedge bf16": {"color": "#009E73", "marker": "h", "linestyle": "--"},
    "dewedge": {"color": "#D55E00", "marker": "o", "linewidth": 2.2},
    "noise-free fbp": {"color": "black", "linestyle": ":"},
    "oracle": {"color": "black", "linestyle": "-."},
}
COMMON_STYLE: dict[str, Any] = {"linewidth": 1.3, "markersize": 5.5, "elinewidth": 1, "capsize": 2}
# Of a method with a change: as without it, but for these.
CHANGED: dict[str, dict[str, Any]] = {
    SAME_NETWORK: {"linestyle": ":", "markerfacecolor": "white"},
    LARGE: {"linestyle": "--", "linewidth": 1.3, "markerfacecolor": "white"},
    INIT: {"linestyle": "--", "color": "#CC79A7"},
}
# Of a method where no lines join its marks: what width and dashes of a line would tell.
NOT_JOINED: dict[str, dict[str, Any]] = {
    "dewedge": {"markersize": 7.5},
    "oracle": {"marker": "_", "markersize": 6, "markeredgewidth": 1.5},
}
DODGE = 0.025  # between methods, in units of an SNR's step, so that error bars do not hide each other
COLUMN_WIDTH = 0.85  # of all methods of a specimen, in units of the step between specimens
HOUR = "cell, an hour"

PICTURE_SNR = 0.25
COLUMNS = 4


def snr_figure(size: str, rows: Rows) -> Figure | None:
    """Figure 5 of the paper: each score against the SNR, mean and standard deviation over seeds."""
    from matplotlib.figure import Figure

    jobs = list(TABLES["figure5"](size))
    lines = _lines(jobs, rows)
    if not lines:
        return None
    figure = Figure(figsize=(10, 6.4), layout="constrained", facecolor="white")
    *panels, legend = figure.subplots(2, 3).ravel()
    snrs = sorted(SNRS)
    for axes, score in zip(panels, SCORES, strict=True):
        for i, (method, change) in enumerate(lines):
            shift = DODGE * (i - (len(lines) - 1) / 2)
            found = {
                place + shift: values(rows, alike(jobs, method=method, change=change, snr=snr), score)
                for place, snr in enumerate(snrs)
            }
            _over_seeds(axes, found, _style(method, change, rows))
        axes.set_title(_title(score), fontsize=11)
        axes.set_xticks(range(len(snrs)), [snr_name(snr) for snr in snrs])
        axes.set_xlabel("SNR of the tilt series")
        _open_frame(axes, "y")
    legend.axis("off")
    legend.legend(*panels[0].get_legend_handles_labels(), loc="center left", frameon=False, fontsize=10)
    return figure


def methods_figure(size: str, rows: Rows) -> Figure | None:
    """Scores on the realistic specimens and, set apart, on the cell after an hour: marks as in figure 5."""
    from matplotlib.figure import Figure

    realistic, hour = (list(TABLES[name](size)) for name in ("realistic", "converged"))
    if not any(one in rows for one in realistic):
        return None
    columns = {as_told(specimen): alike(realistic, specimen=specimen) for specimen in REALISTIC_REFINED}
    columns[HOUR] = hour
    lines_of = {name: lines for name, jobs in columns.items() if (lines := _lines(jobs, rows))}
    step = COLUMN_WIDTH / max(map(len, lines_of.values()))
    marks: dict[tuple[str, str], dict[float, list[Job]]] = {
        line: {} for line in _lines([*realistic, *hour], rows)
    }
    for column, (name, lines) in enumerate(lines_of.items()):
        for i, (method, change) in enumerate(lines):
            place = column + step * (i - (len(lines) - 1) / 2)
            marks[method, change][place] = alike(columns[name], method=method, change=change)
    figure = Figure(figsize=(10, 7.4), layout="constrained", facecolor="white")
    titles = {score: _title(score) for score in ("cc", "cc_inside", "fsc_inside")}
    titles["shells_inside"] = "correlation inside, mean of four shells"
    for axes, (score, title) in zip(figure.subplots(2, 2).ravel(), titles.items(), strict=True):
        scores_of = _means_of_shells if score == "shells_inside" else values
        for (method, change), seeds_at in marks.items():
            found = {place: scores_of(rows, seeds, score) for place, seeds in seeds_at.items()}
            style = _style(method, change, rows) | NOT_JOINED.get(method, {}) | {"linestyle": "none"}
            _over_seeds(axes, found, style)
        axes.set_title(title, fontsize=11)
        axes.set_xticks(range(len(lines_of)), lines_of)
        axes.set_xlim(-0.5, len(lines_of) - 0.5)
        if HOUR in lines_of:
            axes.axvline(len(lines_of) - 1.5, color="0.6", linewidth=0.8)
        _open_frame(axes, "y")
    _legend_below(figure)
    return figure


def time_figure(size: str, rows: Rows) -> Figure | None:
    """Scores against the seconds of the fit, mean and deviation over seeds: the real series above."""
    from matplotlib.figure import Figure

    jobs = list(TABLES["time"](size))
    if not any(one in rows for one in jobs):
        return None
    figure = Figure(figsize=(12, 6.4), layout="constrained", facecolor="white")
    axes = figure.subplots(2, 4)
    real = [(f"explained power, {shell}", "explained", i) for i, shell in enumerate(SHELLS)]
    cell = [
        *((_title(score), score, None) for score in ("cc", "cc_inside", "fsc_inside")),
        (f"{TITLES['z_to_x']} of objects, 1 is round", "z_to_x", None),
    ]
    for row_of_axes, specimen, panels in zip(axes, (OUTER, CELL), (real, cell), strict=True):
        of_specimen = alike(jobs, specimen=specimen)
        budgets = sorted({one.budget_s for one in of_specimen})
        for panel, (title, score, index) in zip(row_of_axes, panels, strict=True):
            for method, change in CURVES:
                of_method = alike(of_specimen, method=method, change=change)
                found = {}
                for budget_s in budgets:
                    ones = alike(of_method, budget_s=budget_s)
                    found[budget_s] = (
                        values(rows, ones, score) if index is None else shell_values(rows, ones, score, index)
                    )
                _over_seeds(panel, found, _style(method, change, rows))
            panel.set_xscale("log")
            panel.set_xticks(budgets, [f"{budget_s:g}" for budget_s in budgets])
            panel.minorticks_off()
            panel.set_xlabel("seconds of one core for the fit", fontsize=9)
            panel.set_title(title, fontsize=10)
            _open_frame(panel, "both")
        row_of_axes[0].set_ylabel("EMPIAR-10499" if specimen in REAL else "realistic cell")
    _legend_below(figure)
    return figure


def _lines(jobs: Sequence[Job], rows: Rows) -> list[tuple[str, str]]:
    """The methods that have rows, each with its change."""
    return [
        (method, change)
        for method, change in LINES_IN_ORDER
        if any(one in rows for one in alike(jobs, method=method, change=change))
    ]


def _style(method: str, change: str, rows: Rows) -> dict[str, Any]:
    name = label(method, rows, change).replace("*", "")
    return {"label": name} | COMMON_STYLE | STYLES[method] | CHANGED.get(change, {})


def _title(score: str) -> str:
    return f"0.143-{TITLES[score]}, low is good" if score.startswith("fsc") else TITLES[score]


def _means_of_shells(rows: Rows, jobs: Iterable[Job], score: str) -> list[float]:
    """The mean of each row that exists over the shells in which something was measured."""
    measured = ([value for value in shells if value is not None] for shells in values(rows, jobs, score))
    return [statistics.fmean(shells) for shells in measured if shells]


def _over_seeds(axes: Axes, found: Mapping[float, Sequence[float]], style: Mapping[str, Any]) -> None:
    """Mean and standard deviation over seeds, at the places that have values."""
    found = {place: numbers for place, numbers in found.items() if numbers}
    if found:
        means = [statistics.fmean(numbers) for numbers in found.values()]
        bars = [statistics.stdev(numbers) if len(numbers) > 1 else 0.0 for numbers in found.values()]
        axes.errorbar(list(found), means, bars, **style)


def _open_frame(axes: Axes, grid: Literal["both", "x", "y"]) -> None:
    axes.grid(axis=grid, linewidth=0.4, color="0.85")
    axes.spines[["top", "right"]].set_visible(False)


def _legend_below(figure: Figure) -> None:
    """A legend of all panels, each name once."""
    names: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        names |= dict(zip(labels, handles, strict=True))
    figure.legend(names.values(), names.keys(), loc="outside lower center", ncols=4, frameon=False)


def slices_figure(size: str, rows: Rows, folder: Path) -> Figure | None:
    """Figure 6 of the paper: the sections of the volumes that were kept, beside the truth's."""
    return _slices(size, "shrec", PICTURE_SNR, rows, folder)


def realistic_figure(size: str, rows: Rows, folder: Path) -> Figure | None:
    """The same of the realistic cell."""
    return _slices(realistic_size(size), CELL, 0.0, rows, folder)


def _slices(size: str, specimen: str, snr: float, rows: Rows, folder: Path) -> Figure | None:
    from specimens import series_name

    from dewedge.io.mrc import read_mrc
    from dewedge.report.comparison import comparison_figure

    volumes, notes = {}, []
    for method, change in LINES_IN_ORDER:
        one = job(size, method, change=change, specimen=specimen, snr=snr, seed=SEEDS[0])
        path = volume_file(folder, one, rows[one]["machine"]) if one in rows else None
        if path is not None and path.exists():
            volumes[", ".join(filter(None, (method, change)))] = read_mrc(path).data
            notes.append(f"CC {rows[one]['cc']:.3f}")
    of_truth = job(size, "fbp", specimen=specimen, snr=snr, seed=SEEDS[0])
    path = folder / f"{series_name(of_truth, SEEDS[0])}_truth.mrc"
    if not volumes or not path.exists():
        return None
    truth = read_mrc(path)
    volumes["truth"] = truth.data
    return comparison_figure(volumes, truth.voxel_size_A, [*notes, ""], COLUMNS)
