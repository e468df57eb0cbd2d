"""What the same fit makes of specimens without structure."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dewedge.geometry import Floats
from dewedge.report.slices import slices_figure
from dewedge.report.trust.part import Lengths, Picture
from dewedge.scores.extra_wedge import TrustShell
from dewedge.scores.spectra import listed
from dewedge.simulate.controls import ControlName

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE_INCHES = (8.0, 3.6)
LEAST = 0.001  # of a share that is told
SAME_FIT, RUN = "same fit", "run's network"
NAMES: Mapping[ControlName, str] = {"ice": "pure noise", "randomised": "random phases"}


@dataclass(frozen=True, eq=False)
class Control:
    """Power that a network made of a specimen without structure, in units of the specimen's by the run's.

    Parameters
    ----------
    inside, outside
        ``(s,)`` power in the missing wedge and elsewhere, by shells.
    total
        Power in the wedge over all shells.
    block
        ``(z, y, x)`` part of it, to be looked at.
    """

    inside: Floats
    outside: Floats
    total: float
    block: NDArray[np.float32]

    def as_dict(self) -> dict[str, Any]:
        """Powers of the control, fit for JSON."""
        return {"inside": listed(self.inside), "outside": listed(self.outside), "total": self.total}


@dataclass(frozen=True, eq=False)
class Controls:
    """Powers that the run's network, and fits like it, make of specimens without structure.

    Parameters
    ----------
    voxel_size_A
        None if it is not known.
    edges_per_voxel
        ``(s + 1,)`` of the shells in cycles per voxel.
    specimen
        ``(z, y, x)`` block of what the run's network makes of the specimen.
    fitted, applied
        Of pure noise, and of the same with a signal of random phases: what networks make that were fitted to
        them, and what the run's network makes.
    told
        What is estimated of the latter's wedge, as the network fitted to it fills it.
    """

    heading: ClassVar[str] = "Asked of specimens without structure"
    meaning: ClassVar[str] = (
        "Pure noise has the spectrum of what the half-sets do not share, with its wedge and its planes; "
        "random phases have, besides, the spectrum of what they share. Neither holds any object, nor "
        "anything that could be known of its wedge, so a fit that invents nothing leaves it empty. "
        "Networks are fitted to both by the settings of the run (same fit), and that of the run is applied "
        "to both: it has learnt what objects look like, and may see some. All sections have the same greys."
    )

    voxel_size_A: float | None
    edges_per_voxel: tuple[float, ...]
    specimen: NDArray[np.float32]
    fitted: Mapping[ControlName, Control]
    applied: Mapping[ControlName, Control]
    told: Sequence[TrustShell]

    def sentences(self, lengths: Lengths) -> list[str]:
        found = []
        for name, what in NAMES.items():
            fitted, applied = self.fitted[name], self.applied[name]
            found.append(
                f"Out of {what} the same fit makes {percent(fitted.total)} of the power that it put into "
                f"the wedge of the specimen, and at no resolution more than {bound(fitted.inside)}; the "
                f"network of the run makes {percent(applied.total)}, and at no resolution more than "
                f"{bound(applied.inside)}."
            )
        told = [
            f"{shell.correlation:.2f} at {lengths.span(*shell.edges_per_voxel)}"
            for shell in self.told
            if shell.correlation is not None
        ]
        if told:
            found.append(
                "Of random phases, of whose wedge nothing can be known, the estimate on top would be "
                f"{', '.join(told)}: so much of an estimate means nothing."
            )
        return found

    def pictures(self, lengths: Lengths) -> list[Picture]:
        blocks = {"specimen": self.specimen}
        for how, made in ((SAME_FIT, self.fitted), (RUN, self.applied)):
            blocks |= {f"{NAMES[name]}, {how}": control.block for name, control in made.items()}
        return [
            Picture(
                lambda: power_figure(self, lengths),
                "Power put into the wedge of specimens without structure over that of the specimen",
            ),
            Picture(
                lambda: slices_figure(blocks, self.voxel_size_A, same_greys=True),
                "Sections of what networks make of the specimen and of specimens without structure",
            ),
        ]

    def as_dict(self) -> dict[str, Any]:
        return {
            "edges_per_voxel": list(self.edges_per_voxel),
            **{
                name: {"fitted": self.fitted[name].as_dict(), "applied": self.applied[name].as_dict()}
                for name in NAMES
            },
            "estimated_correlation": [shell.correlation for shell in self.told],
        }


def percent(share: float) -> str:
    """Share in percent, as fine as it means anything."""
    return f"less than {LEAST:.1%}" if share < LEAST else f"{share:.1%}" if share < 0.02 else f"{share:.0%}"


def bound(shares: Floats) -> str:
    """Greatest of ``(s,)`` shares, by shells, in percent."""
    return percent(max(float(np.nanmax(shares)), LEAST))


def power_figure(controls: Controls, lengths: Lengths) -> Figure:
    """Power in the wedge of the controls over that of the specimen, by frequency."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=FIGURE_INCHES, layout="constrained", facecolor="white")
    axes = figure.subplots()
    edges = controls.edges_per_voxel
    middles = [(low + high) / 2 for low, high in itertools.pairwise(edges)]
    for made, style, how in ((controls.fitted, "o-", SAME_FIT), (controls.applied, "o--", RUN)):
        for i, (name, what) in enumerate(NAMES.items()):
            shares = 100 * made[name].inside.clip(LEAST)
            axes.semilogy(middles, shares, style, color=f"C{i}", label=f"{what}, {how}")
    axes.axhline(100, color="0.4", linewidth=0.8, linestyle="--")
    axes.set_xticks(edges, [f"{lengths.of(edge):.0f}" for edge in edges])
    axes.set(xlim=(edges[0], edges[-1]), ylim=(70 * LEAST, 200))
    axes.set_yticks([100 * LEAST, 1, 10, 100], [f"under {100 * LEAST:g}", "1", "10", "100"])
    axes.set_xlabel(f"resolution ({lengths.unit})")
    axes.set_ylabel("power in the wedge (% of the specimen's)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure
