"""The page of a tomogram, and its curve."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dewedge.check.angle_scale import describe_angle_scale
from dewedge.report.figure import image_tag, png
from dewedge.report.page import filled
from dewedge.report.trust.part import Lengths, Part, Picture
from dewedge.report.trust.verdict import LOOK, PICK, Trust
from dewedge.runtime.log import duration
from dewedge.scores.extra_wedge import DISTANCES_DEG, of_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE_INCHES = (8.0, 4.2)


def curve_figure(trust: Trust) -> Figure:
    """The estimate by frequency with its bounds, that of each azimuth, and the two levels of the verdict."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=FIGURE_INCHES, layout="constrained", facecolor="white")
    axes = figure.subplots()
    middles = np.add(trust.edges_per_voxel[1:], trust.edges_per_voxel[:-1]) / 2
    for i, found in enumerate(trust.extra_wedge.values()):
        label = "single azimuths" if i == 0 else None
        axes.plot(middles, of_whole(found.correlation), color="0.75", linewidth=1, label=label)
    told = [i for i, shell in enumerate(trust.shells) if shell.correlation is not None]
    values = {
        name: np.array([getattr(trust.shells[i], name) for i in told], dtype=np.float64)
        for name in ("correlation", "low", "high")
    }
    axes.fill_between(middles[told], values["low"], values["high"], color="C0", alpha=0.2, label="90 %")
    axes.plot(middles[told], values["correlation"], "o-", color="C0", label="estimate")
    for (low, high), shells in zip(DISTANCES_DEG, trust.by_distance, strict=False):
        label = f"{low:.0f} degrees and more" if high >= 90 else f"{low:.0f} to {high:.0f} degrees"
        estimates = np.array([shell.correlation for shell in shells], dtype=np.float64)
        axes.plot(middles, estimates, ":", marker=".", linewidth=1, label=f"{label} from measured")
    for level, text in ((LOOK, "look"), (PICK, "pick")):
        axes.axhline(level, color="0.4", linewidth=0.8, linestyle="--")
        axes.annotate(
            text, (1, level), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points"
        )
    ticks = trust.edges_per_voxel
    axes.set_xticks(ticks, [f"{trust.lengths.of(tick):.0f}" for tick in ticks])
    axes.set(ylim=(-0.1, 1.02), xlim=(ticks[0], ticks[-1]))
    axes.set_xlabel(f"resolution ({trust.lengths.unit})")
    axes.set_ylabel("correlation with the truth in the wedge")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def page(trust: Trust, slices: Picture, where: Path) -> str:
    """The page as HTML, which holds everything and needs nothing else to be read.

    Parameters
    ----------
    trust
        What was found out.
    slices
        Sections of the result and of its parts.
    where
        The page's own file, for messages.
    """
    verdict = trust.verdict()
    curve = Picture(
        lambda: curve_figure(trust),
        "Estimated correlation with the truth inside the missing wedge, by resolution",
    )
    return filled(
        "trust_page.html",
        title=escape(trust.name),
        level=verdict.level,
        sentence=escape(verdict.sentence),
        advice=escape(verdict.advice),
        unit=trust.lengths.unit,
        rows="\n".join(_row(trust, i) for i in range(len(trust.shells))),
        curve=_image(curve, where),
        slices=_image(slices, where),
        parts="\n".join(_section(part, trust.lengths, where) for part in trust.parts.values()),
        angles=escape(describe_angle_scale(trust.angle_scale)),
        costs=", ".join(f"{escape(name)} {duration(seconds)}" for name, seconds in trust.seconds.items()),
    )


def _section(part: Part, lengths: Lengths, where: Path) -> str:
    sentences = [f"<p>{escape(sentence)}</p>" for sentence in part.sentences(lengths)]
    pictures = [_image(picture, where) for picture in part.pictures(lengths)]
    return "\n".join([f"<h2>{escape(part.heading)}</h2>", *sentences, f"<p>{part.meaning}</p>", *pictures])


def _image(picture: Picture, where: Path) -> str:
    return image_tag(png(picture.draw, where), picture.shows)


def _row(trust: Trust, i: int) -> str:
    shell = trust.shells[i]
    low, high = (trust.lengths.of(edge) for edge in shell.edges_per_voxel)
    told = [shell.correlation, shell.low, shell.high]
    cells = [_number(value) for value in told] + [_number(float(trust.added[i]))]
    return (
        f'<tr><th scope="row">{low:.0f} to {high:.0f}</th>'
        + "".join(f'<td class="number">{cell}</td>' for cell in cells)
        + f'<td class="reason">{escape(shell.reason)}</td></tr>'
    )


def _number(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.2f}"
