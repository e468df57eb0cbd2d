"""The page of a comparison: one HTML file that holds everything, and needs nothing else to be read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from dewedge.geometry import TiltRange
from dewedge.learn.loss_curve import EpochRow, convergence
from dewedge.report.figure import image_tag
from dewedge.report.page import filled
from dewedge.scores.fsc import ShellCorrelation, resolution_at
from dewedge.scores.half_sets import HalfSetScores, highest_against_raw
from dewedge.settings.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

THRESHOLD = 0.143
NOTHING = "-"
FSC_INCHES = (12.0, 4.8)


@dataclass(frozen=True, eq=False)
class ComparedMethod:
    """A method and what came of it.

    Parameters
    ----------
    recipe
        Its name and what it is.
    detail
        How it was done here, in a few words.
    fitted_to
        What its networks have seen; empty for a reconstruction.
    scores
        From the half-sets.
    samples, fit_seconds
        Sub-tomograms drawn and seconds taken by all its fits; None without a fit.
    stages
        Settings of each network, by the names of its stages.
    losses
        Loss curve of each network, by the names of its stages.
    """

    recipe: Recipe
    detail: str
    fitted_to: str
    scores: HalfSetScores
    samples: int | None
    fit_seconds: float | None
    stages: Mapping[str, Mapping[str, object]]
    losses: Mapping[str, Sequence[EpochRow]]

    def titled(self, stage: str) -> str:
        """Title of a stage: that of its method, where that has no other."""
        return self.recipe.title if len(self.stages) == 1 else f"{self.recipe.title}: {stage}"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several methods on one input; the first is the raw tomogram.

    Parameters
    ----------
    name, notes
        The input, and what was read and assumed of it.
    shape_zyx, voxel_size_A, tilt_range
        Of its tomograms.
    methods
        In the order in which they are shown.
    command
        The command line.
    environment
        Versions and machine, by name.
    """

    name: str
    notes: Sequence[str]
    shape_zyx: Sequence[int]
    voxel_size_A: float | None
    tilt_range: TiltRange
    methods: Sequence[ComparedMethod]
    command: str
    environment: Mapping[str, str]

    @property
    def unit(self) -> str:
        """Unit of the resolutions in the table."""
        return "voxels" if self.voxel_size_A is None else "Å"

    @property
    def losses(self) -> dict[str, Sequence[EpochRow]]:
        """Loss curves of all networks, by their titles."""
        return {
            method.titled(stage): rows for method in self.methods for stage, rows in method.losses.items()
        }

    def resolution(self, curve: ShellCorrelation) -> float:
        """Resolution at which an FSC falls below 0.143, in Angstrom, or in voxels if that is not known."""
        return resolution_at(curve, self.voxel_size_A or 1.0, THRESHOLD)

    def resolution_text(self, curve: ShellCorrelation) -> str:
        """Resolution at which an FSC falls below 0.143, as people read it: at Nyquist as a bound."""
        value = self.resolution(curve)
        at_nyquist = value <= 2 * (self.voxel_size_A or 1.0)
        return NOTHING if math.isnan(value) else f"{'≤ ' if at_nyquist else ''}{value:.1f}"

    def as_dict(self) -> dict[str, Any]:
        """Figures of all methods, fit for JSON."""
        frequency = self.methods[0].scores.half_sets.frequency_per_voxel / (self.voxel_size_A or 1.0)
        unit = "voxels" if self.voxel_size_A is None else "A"
        return {
            "input": self.name,
            "shape_zyx": [int(n) for n in self.shape_zyx],
            "voxel_size_A": self.voxel_size_A,
            "tilt_range": self.tilt_range.plain,
            f"frequency_per_{unit.removesuffix('s')}": frequency.tolist(),
            "methods": [
                {
                    "name": method.recipe.name,
                    "detail": method.detail,
                    "fitted_to": method.fitted_to,
                    "samples": method.samples,
                    "fit_seconds": method.fit_seconds,
                    "cc_signal": _number(method.scores.cc_signal),
                    f"against_raw_{unit}": _number(self.resolution(method.scores.against_raw)),
                    f"half_sets_{unit}": _number(self.resolution(method.scores.half_sets)),
                    "against_raw_fsc": _numbers(method.scores.against_raw),
                    "half_sets_fsc": _numbers(method.scores.half_sets),
                    "convergence": {name: convergence(rows) for name, rows in method.losses.items()},
                    "stages": {name: dict(stage) for name, stage in method.stages.items()},
                }
                for method in self.methods
            ],
            "command": self.command,
            "environment": dict(self.environment),
        }


def fsc_figure(comparison: Comparison) -> Figure:
    """FSC with the raw other half-set, and that of the half-sets, of every method."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=FSC_INCHES, layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, sharey=True)
    _draw(left, comparison, lambda scores: scores.against_raw)
    raw = comparison.methods[0].scores.half_sets
    frequency = raw.frequency_per_voxel / (comparison.voxel_size_A or 1.0)
    left.plot(frequency, highest_against_raw(raw), color="black", linewidth=1, linestyle=":", label="signal")
    left.set_title("with the raw tomogram of the other half-set", fontsize=11)
    left.set_ylabel("FSC outside the missing wedge")
    _draw(right, comparison, lambda scores: scores.half_sets)
    right.set_title("of both half-sets (too high for networks and priors)", fontsize=11)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", frameon=False, ncols=5)
    return figure


def _draw(axes: Axes, comparison: Comparison, curve_of: Callable[[HalfSetScores], ShellCorrelation]) -> None:
    for i, method in enumerate(comparison.methods):
        curve = curve_of(method.scores)
        axes.plot(
            curve.frequency_per_voxel / (comparison.voxel_size_A or 1.0),
            curve.correlation,
            color=f"C{i}",
            linestyle="-" if method.fitted_to else "--",
            label=method.recipe.title,
        )
    axes.axhline(THRESHOLD, color="0.7", linewidth=0.8)
    axes.set(ylim=(-0.1, 1.02), xlim=(0, None))
    axes.set_xlabel("frequency (1/voxel)" if comparison.voxel_size_A is None else "frequency (1/Å)")
    axes.spines[["top", "right"]].set_visible(False)


def losses_figure(curves: Mapping[str, Sequence[EpochRow]]) -> Figure:
    """Loss of each fit, and below it that on its held-out region, against minutes: a column a network."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * len(curves), 4), layout="constrained", facecolor="white")
    panels = figure.subplots(2, len(curves), sharex="col", squeeze=False)
    for column, (title, rows) in enumerate(curves.items()):
        fit, held_out = panels[:, column]
        minutes = [row.seconds / 60 for row in rows]
        told = [(at, row.validation_loss) for at, row in zip(minutes, rows, strict=True)]
        told = [(at, loss) for at, loss in told if loss is not None]
        marker = "." if len(rows) < 50 else ""
        fit.plot(minutes, [row.fit_loss for row in rows], marker=marker, color="0.55")
        if told:
            held_out.plot(*zip(*told, strict=True), marker=marker, color="tab:blue")
        else:
            held_out.set_yticks([])
            where = {"ha": "center", "va": "center", "transform": held_out.transAxes}
            held_out.text(0.5, 0.5, "nothing held out", **where)
        fit.set_title(title, fontsize=11)
        held_out.set_xlabel("minutes")
    for panel, name in zip(panels[:, 0], ("loss, fit", "loss, held-out region"), strict=True):
        panel.set_ylabel(name)
    for panel in panels.flat:
        panel.spines[["top", "right"]].set_visible(False)
    return figure


def page(comparison: Comparison, pictures_png: bytes, curves_png: bytes, losses_png: bytes) -> str:
    """The page as HTML; without a picture of losses where no network was fitted."""
    voxel = comparison.voxel_size_A
    size = "voxel size not known" if voxel is None else f"{voxel:.4g} Å per voxel"
    shape = " x ".join(str(n) for n in comparison.shape_zyx)
    return filled(
        "compare_page.html",
        title=escape(comparison.name),
        facts=escape(f"{shape} voxels (z, y, x), {size}, tilts {comparison.tilt_range}"),
        unit=comparison.unit,
        rows="\n".join(_row(comparison, method) for method in comparison.methods),
        pictures=image_tag(pictures_png, "Central sections of every method's tomogram: xy above, xz below"),
        curves=image_tag(curves_png, "Fourier shell correlations of every method"),
        losses=image_tag(losses_png, "Loss curves of every network") if losses_png else "",
        settings=_settings_table(comparison.methods),
        about="\n".join(
            f"<tr><th scope=row>{escape(name)}</th><td>{escape(text)}</td></tr>"
            for name, text in [("command", comparison.command), *comparison.environment.items()]
        ),
        notes="\n".join(f"<li>{escape(note)}</li>" for note in comparison.notes),
    )


def _row(comparison: Comparison, method: ComparedMethod) -> str:
    scores = method.scores
    cc = NOTHING if math.isnan(scores.cc_signal) else f"{scores.cc_signal:.3f}"
    too_high = "" if method.recipe.name in ("fbp", "sirt") else "<sup>*</sup>"
    cells = [
        NOTHING if method.samples is None else f"{method.samples:,}",
        NOTHING if method.fit_seconds is None else _time(method.fit_seconds),
        cc,
        comparison.resolution_text(scores.against_raw),
        comparison.resolution_text(scores.half_sets) + too_high,
    ]
    details = [
        method.detail,
        *(
            text if len(method.losses) == 1 else f"{stage}: {text}"
            for stage, text in ((stage, convergence(rows)) for stage, rows in method.losses.items())
        ),
    ]
    small = "".join(f'<br><span class="small">{escape(text)}</span>' for text in details)
    summary = f"{escape(method.recipe.summary)}{small}"
    return (
        f'<tr><th scope="row">{escape(method.recipe.title)}</th><td class="summary">{summary}</td>'
        f"<td>{escape(method.fitted_to or 'nothing')}</td>"
        + "".join(f'<td class="number">{cell}</td>' for cell in cells)
        + "</tr>"
    )


def _settings_table(methods: Sequence[ComparedMethod]) -> str:
    """The settings in which the networks differ, a row each."""
    columns = [(method.titled(name), stage) for method in methods for name, stage in method.stages.items()]
    if len(columns) < 2:
        return "<p>One network at most was fitted.</p>"
    keys = [key for key in columns[0][1] if len({str(stage[key]) for _, stage in columns}) > 1]
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title, _ in columns)
    rows = [
        f'<tr><th scope="row">{escape(key)}</th>'
        + "".join(f"<td>{escape(setting_text(stage[key]))}</td>" for _, stage in columns)
        + "</tr>"
        for key in keys
    ]
    return (
        f'<div class="wide"><table><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def setting_text(value: object) -> str:
    """The value of a setting for people."""
    return "none" if value is None else str(value)


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def _numbers(curve: ShellCorrelation) -> list[float | None]:
    return [_number(float(value)) for value in np.round(curve.correlation, 5)]
