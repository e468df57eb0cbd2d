"""How the measured part of the result agrees with the images that it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dewedge.report.trust.part import Lengths, Picture
from dewedge.scores.consistency import ImageAgreement
from dewedge.scores.spectra import listed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE_INCHES = (8.0, 3.6)
# Of residual over noise: as far from one as the noise is known.
KEPT, LEFT_OUT = 0.85, 1.3


@dataclass(frozen=True, eq=False)
class Consistency:
    """Agreement of the measured part of the result with the images that it was made of.

    Parameters
    ----------
    agreement
        By tilt and ring.
    numbers
        ``(n,)`` numbers of the images in their stack, from 1.
    of_frames
        Whether the noise was told from even and odd frames; else from neighbouring tilts.
    """

    heading: ClassVar[str] = "The measured part against the images"
    meaning: ClassVar[str] = (
        "The measured part, without gold, is projected at each tilt and held against the image there. It was "
        "made of that image, so agreement alone says little: noise agrees with itself. What is left of the "
        "image when the projection is subtracted tells: as much as its noise is right, more is structure "
        "left out, less is noise that was kept. A tilt that stands out is shifted, blocked, charged, or of "
        "other ice than its neighbours."
    )

    agreement: ImageAgreement
    numbers: Sequence[int]
    of_frames: bool

    def sentences(self, lengths: Lengths) -> list[str]:
        agrees, holds = self.agreement.reach()
        if holds is None:
            return ["Single images hold too little beside noise to be held against the measured part."]
        said = "nowhere" if agrees is None else f"down to {lengths.text(agrees)}"
        return [
            f"Measured part and images agree {said}; single images hold structure down to "
            f"{lengths.text(holds)}.",
            self._residual(),
            self._outliers(),
        ]

    def _residual(self) -> str:
        rings = self.agreement.holds_structure
        ratio = float(np.mean(self.agreement.mean_over_noise[rings]))
        meaning = "as it should be"
        if ratio > LEFT_OUT:
            meaning = "structure is left out"
        elif ratio < KEPT:
            meaning = "noise is kept"
        return f"What is left of the images there is {ratio:.2f} times their noise: {meaning}."

    def _outliers(self) -> str:
        out = self.agreement.outliers()
        if not out:
            return "No image agrees less than its neighbours in angle."
        images = ", ".join(f"{self.numbers[i]} ({self.agreement.tilt_deg[i]:.0f} degrees)" for i in out)
        numbers = ",".join(str(self.numbers[i]) for i in out)
        return (
            f"Images that agree far less than their neighbours in angle: {images}. Look at them, and leave "
            f"out what is bad (--exclude-tilts {numbers})."
        )

    def pictures(self, lengths: Lengths) -> list[Picture]:
        return [
            Picture(
                lambda: agreement_figure(self.agreement, lengths),
                "Residual over noise by tilt and resolution; correlation of projections with the images",
            )
        ]

    def as_dict(self) -> dict[str, Any]:
        agreement = self.agreement
        agrees, holds = agreement.reach()
        return {
            "agrees_to_per_voxel": agrees,
            "structure_to_per_voxel": holds,
            "outlying_images": [self.numbers[i] for i in agreement.outliers()],
            "noise_from": "frames" if self.of_frames else "neighbouring tilts",
            "edges_per_voxel": list(agreement.edges_per_voxel),
            "correlation": listed(agreement.mean_correlation),
            "ceiling": listed(agreement.ceiling),
            "residual_over_noise": listed(agreement.mean_over_noise),
            "tilts": [
                {
                    "image": number,
                    "tilt_deg": float(tilt),
                    "correlation": listed(correlation),
                    "residual_over_noise": listed(ratio),
                }
                for number, tilt, correlation, ratio in zip(
                    self.numbers,
                    agreement.tilt_deg,
                    agreement.correlation,
                    agreement.over_noise,
                    strict=True,
                )
            ],
        }


def agreement_figure(agreement: ImageAgreement, lengths: Lengths) -> Figure:
    """Residual over noise of each tilt and ring, and the mean correlation below its ceiling."""
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    figure = Figure(figsize=FIGURE_INCHES, layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    edges = np.array(agreement.edges_per_voxel)
    order = np.argsort(agreement.tilt_deg, kind="stable")
    rows = np.arange(len(order) + 1) - 0.5
    # Rings that are empty stay white.
    shown = np.ma.masked_invalid(agreement.over_noise[order])
    mesh = left.pcolormesh(edges, rows, shown, cmap="RdBu_r", norm=LogNorm(0.25, 4))
    ticks = np.unique(np.linspace(0, len(order) - 1, 9).round().astype(int))
    left.set_yticks(ticks, [f"{agreement.tilt_deg[order[i]]:.0f}" for i in ticks])
    for i in agreement.outliers():
        place = int(np.flatnonzero(order == i)[0])
        left.annotate("◂", (1, place), xycoords=("axes fraction", "data"), va="center", color="C3")
    left.set_ylabel("tilt (degrees)")
    left.set_title("what is left, over noise", fontsize=10)
    bar = figure.colorbar(mesh, ax=left, ticks=[0.25, 0.5, 1, 2, 4], pad=0.06)
    bar.ax.set_yticklabels(["¼ noise kept", "½", "1", "2", "4 left out"])
    bar.ax.minorticks_off()
    middles = (edges[1:] + edges[:-1]) / 2
    right.plot(middles, agreement.mean_correlation, "o-", markersize=3, color="C0", label="measured part")
    right.plot(
        middles, agreement.ceiling, color="0.4", linestyle="--", label="what images hold\nbeside noise"
    )
    right.set(ylim=(0, 1.02))
    right.set_title("correlation with the images", fontsize=10)
    right.spines[["top", "right"]].set_visible(False)
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        places = edges[1::4]
        axes.set_xticks(places, [f"{lengths.of(place):.0f}" for place in places])
        axes.set(xlim=(edges[0], edges[-1]), xlabel=f"resolution ({lengths.unit})")
    return figure
