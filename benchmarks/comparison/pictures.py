"""The figures of docs/notebook/comparison.md."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablation import INIT, LARGE, SAME_NETWORK
from cells import SCORES, SHELLS, TITLES, Rows, shell_values, snr_name, values
from jobs import CELL, CURVES, OUTER, REAL, SEEDS, SNRS, TABLES, job, realistic_size
from rows import volume_file
from tables import LINES_IN_ORDER, alike, label

if TYPE_CHECKING:
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
    LARGE: {"linestyle": "--", "linewidth": 1.3},
    INIT: {"linestyle": "--", "color": "#CC79A7"},
}
DODGE = 0.025  # between methods, in units of an SNR's step, so that error bars do not hide each other

PICTURE_SNR = 0.25
COLUMNS = 4


def snr_figure(size: str, rows: Rows) -> Figure | None:
    """Figure 5 of the paper: each score against the SNR, mean and standard deviation over seeds."""
    from matplotlib.figure import Figure

    jobs = list(TABLES["figure5"](size))
    lines = [
        (method, change)
        for method, change in LINES_IN_ORDER
        if any(one in rows for one in alike(jobs, method=method, change=change))
    ]
    if not lines:
        return None
    figure = Figure(figsize=(10, 6.4), layout="constrained", facecolor="white")
    *panels, legend = figure.subplots(2, 3).ravel()
    snrs = sorted(SNRS)
    for axes, score in zip(panels, SCORES, strict=True):
        for i, (method, change) in enumerate(lines):
            shift = DODGE * (i - (len(lines) - 1) / 2)
            places, means, bars = [], [], []
            for place, snr in enumerate(snrs):
                found = values(rows, alike(jobs, method=method, change=change, snr=snr), score)
                if found:
                    places.append(place + shift)
                    means.append(statistics.fmean(found))
                    bars.append(statistics.stdev(found) if len(found) > 1 else 0.0)
            style = COMMON_STYLE | STYLES[method] | CHANGED.get(change, {})
            axes.errorbar(places, means, bars, label=label(method, rows, change).replace("*", ""), **style)
        resolution = score.startswith("fsc")
        axes.set_title(f"0.143-{TITLES[score]}, low is good" if resolution else TITLES[score], fontsize=11)
        axes.set_xticks(range(len(snrs)), [snr_name(snr) for snr in snrs])
        axes.set_xlabel("SNR of the tilt series")
        axes.grid(axis="y", linewidth=0.4, color="0.85")
        axes.spines[["top", "right"]].set_visible(False)
    legend.axis("off")
    legend.legend(*panels[0].get_legend_handles_labels(), loc="center left", frameon=False, fontsize=10)
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
        (TITLES["cc"], "cc", None),
        (TITLES["cc_inside"], "cc_inside", None),
        (f"0.143-{TITLES['fsc_inside']}, low is good", "fsc_inside", None),
        (f"{TITLES['z_to_x']} of objects, 1 is round", "z_to_x", None),
    ]
    for row_of_axes, specimen, panels in zip(axes, (OUTER, CELL), (real, cell), strict=True):
        of_specimen = alike(jobs, specimen=specimen)
        budgets = sorted({one.budget_s for one in of_specimen})
        for panel, (title, score, index) in zip(row_of_axes, panels, strict=True):
            for method, change in CURVES:
                of_method = alike(of_specimen, method=method, change=change)
                seconds, means, bars = [], [], []
                for budget_s in budgets:
                    ones = alike(of_method, budget_s=budget_s)
                    found = (
                        values(rows, ones, score) if index is None else shell_values(rows, ones, score, index)
                    )
                    if found:
                        seconds.append(budget_s)
                        means.append(statistics.fmean(found))
                        bars.append(statistics.stdev(found) if len(found) > 1 else 0.0)
                if seconds:
                    style = COMMON_STYLE | STYLES[method] | CHANGED.get(change, {})
                    panel.errorbar(seconds, means, bars, label=label(method, rows, change), **style)
            panel.set_xscale("log")
            panel.set_xticks(budgets, [f"{budget_s:g}" for budget_s in budgets])
            panel.minorticks_off()
            panel.set_xlabel("seconds of one core for the fit", fontsize=9)
            panel.set_title(title, fontsize=10)
            panel.grid(linewidth=0.4, color="0.85", which="both")
            panel.spines[["top", "right"]].set_visible(False)
        row_of_axes[0].set_ylabel("EMPIAR-10499" if specimen in REAL else "realistic cell")
    names: dict[str, Any] = {}
    for panel in axes.ravel():
        handles, labels = panel.get_legend_handles_labels()
        names |= dict(zip(labels, handles, strict=True))
    figure.legend(names.values(), names.keys(), loc="outside lower center", ncols=4, frameon=False)
    return figure


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
