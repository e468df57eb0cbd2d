"""What can be said of how far the filled wedge of a tomogram is to be believed: verdict, figures, page."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dewedge.geometry import Floats
from dewedge.report.figure import image_tag
from dewedge.report.page import filled
from dewedge.scores.extra_wedge import Azimuth, ExtraWedge, TrustShell, of_whole
from dewedge.scores.spectra import listed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Correlations with the truth: as much signal as the usual resolution criterion asks for (Rosenthal and
# Henderson 2003, J. Mol. Biol. 333, 721: C_ref 0.5), and more signal than error (its square is a half).
LOOK = 0.5
PICK = math.sqrt(0.5)
NOT_WITHHELD = "No tilts were kept back."
OF_WITHHELD = (
    "This is measured, not estimated, but of a harder task: that fit had fewer tilts and a wider wedge to "
    "fill. Noise cannot be explained, so even the specimen itself would not reach 100 %. More of it is in "
    "the folder <code>withheld</code>."
)
FIGURE_INCHES = (8.0, 4.2)

Level = Literal["good", "some", "none", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """One sentence, what to do, and the colour of both."""

    level: Level
    sentence: str
    advice: str


@dataclass(frozen=True, eq=False)
class Withheld:
    """What a fit without the outermost tilts knows of them, in the directions that only they measured.

    Parameters
    ----------
    beyond_deg
        The steepest tilt it was given.
    edges_per_voxel
        ``(s + 1,)`` of the shells in cycles per voxel.
    correlation, explained
        ``(s,)`` with their reconstruction, whose noise is in it, and the share of its power that vanishes
        when the prediction is subtracted (`dewedge.scores.withheld.ConeScore`).
    """

    beyond_deg: float
    edges_per_voxel: tuple[float, ...]
    correlation: Sequence[float]
    explained: Sequence[float]

    def sentence(self, trust: Trust) -> str:
        """The figures in words, of every shell that was judged."""
        unit = trust.unit.replace("A", "Å")
        parts = [
            f"{explained:.0%} at {trust.length(low):.0f} to {trust.length(high):.0f} {unit} "
            f"(correlation {correlation:.2f})"
            for (low, high), correlation, explained in zip(
                itertools.pairwise(self.edges_per_voxel), self.correlation, self.explained, strict=True
            )
            if math.isfinite(explained)
        ]
        return (
            f"Of what the tilts beyond {self.beyond_deg:.0f} degrees hold, noise included, a fit without "
            f"them explains {', '.join(parts)}."
        )


@dataclass(frozen=True, eq=False)
class Trust:
    """What was found out about one tomogram.

    Parameters
    ----------
    name
        Of the tomogram.
    voxel_size_A
        None if it is not known; then lengths are in voxels.
    edges_per_voxel
        ``(s + 1,)`` of the shells in cycles per voxel.
    shells
        The estimate in each shell.
    extra_wedge
        What it is made of, by azimuth.
    added
        ``(s,)`` mean power of the result inside the wedge, in units of that outside.
    withheld
        What a fit without the outermost tilts knows of them; None if there was none.
    """

    name: str
    voxel_size_A: float | None
    edges_per_voxel: tuple[float, ...]
    shells: Sequence[TrustShell]
    extra_wedge: Mapping[Azimuth, ExtraWedge]
    added: Floats
    withheld: Withheld | None = None

    @property
    def unit(self) -> str:
        return "voxels" if self.voxel_size_A is None else "A"

    def length(self, per_voxel: float) -> float:
        """Resolution of a frequency, in Angstrom, or in voxels if the voxel size is not known."""
        return (self.voxel_size_A or 1.0) / per_voxel

    def reaches(self, least: float) -> float | None:
        """Resolution down to which the lower bound is at least so high; None if nowhere.

        From coarse to fine over the shells that can be judged; the first that is lower ends it, and so does
        one that cannot be judged beyond others that could.
        """
        found = None
        for shell in self.shells:
            if shell.low is None:
                if found is not None:
                    break
                continue
            if shell.low < least:
                break
            found = self.length(shell.edges_per_voxel[1])
        return found

    def verdict(self) -> Verdict:
        """The sentence on top of the page."""
        if all(shell.correlation is None for shell in self.shells):
            reasons = dict.fromkeys(shell.reason for shell in self.shells)
            return Verdict(
                "unknown",
                "How far the filled wedge is to be believed cannot be told.",
                f"Treat it as unknown ({'; '.join(reasons)}). refined_measured.mrc holds what was measured.",
            )
        look, pick = (self.reaches(least) for least in (LOOK, PICK))
        if look is None:
            return Verdict(
                "none",
                "What fills the missing wedge is not to be trusted at any resolution that can be judged.",
                "Fit for longer, or to more tomograms; until then use refined_measured.mrc, and look at xy "
                "sections alone.",
            )
        if pick is None:
            return Verdict(
                "some",
                f"Inside the missing wedge structure may be looked at down to {self._text(look)}; none of it "
                "is sure enough to pick from.",
                "Look at xz sections low-passed to that. Pick, average and match templates in "
                "refined_measured.mrc.",
            )
        fine = "" if pick == look else f" and looked at down to {self._text(look)}"
        return Verdict(
            "good",
            f"Inside the missing wedge structure may be picked from down to {self._text(pick)}{fine}; what "
            "is finer is not to be trusted.",
            "Low-pass xz sections to that before reading them. Average and match templates in "
            "refined_measured.mrc.",
        )

    def as_dict(self) -> dict[str, Any]:
        """All figures, fit for JSON."""
        verdict = self.verdict()
        return {
            "name": self.name,
            "voxel_size_A": self.voxel_size_A,
            "verdict": {"level": verdict.level, "sentence": verdict.sentence, "advice": verdict.advice},
            "wedge": [
                {
                    "resolution_A": None
                    if self.voxel_size_A is None
                    else self.length(shell.edges_per_voxel[1]),
                    "edges_per_voxel": list(shell.edges_per_voxel),
                    "correlation": shell.correlation,
                    "low": shell.low,
                    "high": shell.high,
                    "reason": shell.reason,
                }
                for shell in self.shells
            ],
            "extra_wedge": [
                {
                    "middle": azimuth.middle,
                    "axis": azimuth.axis,
                    "correlation_of_half": listed(found.correlation),
                    "half_sets": listed(found.halves.correlation),
                }
                for azimuth, found in self.extra_wedge.items()
            ],
            "added_power": listed(self.added),
            "withheld": None
            if self.withheld is None
            else {
                "beyond_deg": self.withheld.beyond_deg,
                "edges_per_voxel": list(self.withheld.edges_per_voxel),
                "correlation": listed(self.withheld.correlation),
                "explained": listed(self.withheld.explained),
            },
        }

    def _text(self, resolution: float) -> str:
        return f"{resolution:.0f} {self.unit.replace('A', 'Å')}"


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
    for level, text in ((LOOK, "look"), (PICK, "pick")):
        axes.axhline(level, color="0.4", linewidth=0.8, linestyle="--")
        axes.annotate(
            text, (1, level), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points"
        )
    ticks = trust.edges_per_voxel
    axes.set_xticks(ticks, [f"{trust.length(tick):.0f}" for tick in ticks])
    axes.set(ylim=(-0.1, 1.02), xlim=(ticks[0], ticks[-1]))
    axes.set_xlabel(f"resolution ({trust.unit.replace('A', 'Å')})")
    axes.set_ylabel("correlation with the truth in the wedge")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def page(trust: Trust, curve_png: bytes, slices_png: bytes) -> str:
    """The page as HTML, which holds everything and needs nothing else to be read."""
    verdict = trust.verdict()
    return filled(
        "trust_page.html",
        title=escape(trust.name),
        level=verdict.level,
        sentence=escape(verdict.sentence),
        advice=escape(verdict.advice),
        unit=trust.unit.replace("A", "Å"),
        withheld=_withheld(trust),
        rows="\n".join(_row(trust, i) for i in range(len(trust.shells))),
        curve=image_tag(
            curve_png, "Estimated correlation with the truth inside the missing wedge, by resolution"
        ),
        slices=image_tag(slices_png, "Sections of the result, of its measured part and of what was added"),
    )


def _withheld(trust: Trust) -> str:
    if trust.withheld is None:
        return f"<p>{NOT_WITHHELD}</p>"
    return f"<p>{escape(trust.withheld.sentence(trust))}</p>\n<p>{OF_WITHHELD}</p>"


def _row(trust: Trust, i: int) -> str:
    shell = trust.shells[i]
    low, high = (trust.length(edge) for edge in shell.edges_per_voxel)
    told = [shell.correlation, shell.low, shell.high]
    cells = [_number(value) for value in told] + [_number(float(trust.added[i]))]
    return (
        f'<tr><th scope="row">{low:.0f} to {high:.0f}</th>'
        + "".join(f'<td class="number">{cell}</td>' for cell in cells)
        + f'<td class="reason">{escape(shell.reason)}</td></tr>'
    )


def _number(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.2f}"
