"""What the same fit makes of specimens without structure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dewedge.geometry import Floats
from dewedge.report.slices import slices_figure
from dewedge.report.trust.part import Lengths, Picture
from dewedge.scores.extra_wedge import TrustShell
from dewedge.scores.spectra import listed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE_INCHES = (8.0, 3.6)
LEAST = 0.001  # of a share that is told


@dataclass(frozen=True, eq=False)
class Control:
    """What a network made of a specimen without structure, in units of what the run's made of the specimen.

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
        return {"inside": listed(self.inside), "outside": listed(self.outside), "total": self.total}


@dataclass(frozen=True, eq=False)
class Controls:
    """What the run's network, and fits like it, make of specimens without structure.

    Parameters
    ----------
    voxel_size_A
        None if it is not known.
    edges_per_voxel
        ``(s + 1,)`` of the shells in cycles per voxel.
    specimen
        ``(z, y, x)`` block of what the run's network makes of the specimen.
    applied
        The run's network, applied to pure noise.
    ice, randomised
        Networks fitted to pure noise, and to the same with a signal of random phases.
    told
        What is estimated of the latter from wedges cut elsewhere.
    """

    heading: ClassVar[str] = "Asked of specimens without structure"
    meaning: ClassVar[str] = (
        "Pure noise has the spectrum of what the half-sets do not share, with its wedge and its planes; the "
        "specimen of random phases has, besides, the spectrum of what they share. Neither holds any object, "
        "nor anything that could be known of its wedge, so a fit that invents nothing leaves it empty. All "
        "sections have the same greys."
    )

    voxel_size_A: float | None
    edges_per_voxel: tuple[float, ...]
    specimen: NDArray[np.float32]
    applied: Control
    ice: Control
    randomised: Control
    told: Sequence[TrustShell]

    def sentences(self, lengths: Lengths) -> list[str]:
        found = [
            f"Out of pure noise the same fit makes {percent(self.ice.total)} of the power that it put into "
            f"the wedge of the specimen, and at no resolution more than {bound(self.ice.inside)}.",
            f"The network of the run makes {percent(self.applied.total)} of it out of that noise, and at no "
            f"resolution more than {bound(self.applied.inside)}.",
            "Out of a specimen of the same spectrum, but of no objects, the same fit makes "
            f"{percent(self.randomised.total)}, and at no resolution more than "
            f"{bound(self.randomised.inside)}.",
        ]
        told = [
            f"{shell.correlation:.2f} at {lengths.span(*shell.edges_per_voxel)}"
            for shell in self.told
            if shell.correlation is not None
        ]
        if told:
            found.append(
                "Of that one, of whose wedge nothing can be known, the estimate on top would be "
                f"{', '.join(told)}: so much of an estimate means nothing."
            )
        return found

    def pictures(self, lengths: Lengths) -> list[Picture]:
        blocks = {
            "specimen": self.specimen,
            "pure noise, same fit": self.ice.block,
            "random phases, same fit": self.randomised.block,
            "pure noise, the run's network": self.applied.block,
        }
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
            "applied_to_ice": self.applied.as_dict(),
            "ice": self.ice.as_dict(),
            "randomised": self.randomised.as_dict()
            | {"estimated_correlation": [shell.correlation for shell in self.told]},
        }


def percent(share: float) -> str:
    """A share in percent, as fine as it means anything."""
    return f"less than {LEAST:.1%}" if share < LEAST else f"{share:.1%}" if share < 0.02 else f"{share:.0%}"


def bound(shares: Floats) -> str:
    """The greatest of all shells."""
    return percent(max(float(np.nanmax(shares)), LEAST))


def power_figure(controls: Controls, lengths: Lengths) -> Figure:
    """Power in the wedge of the controls over that of the specimen, by frequency."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=FIGURE_INCHES, layout="constrained", facecolor="white")
    axes = figure.subplots()
    edges = controls.edges_per_voxel
    middles = [(low + high) / 2 for low, high in itertools.pairwise(edges)]
    for control, label in (
        (controls.ice, "pure noise, same fit"),
        (controls.randomised, "random phases, same fit"),
        (controls.applied, "pure noise, the run's network"),
    ):
        axes.semilogy(middles, 100 * control.inside.clip(LEAST), "o-", label=label)
    axes.axhline(100, color="0.4", linewidth=0.8, linestyle="--")
    axes.set_xticks(edges, [f"{lengths.of(edge):.0f}" for edge in edges])
    axes.set(xlim=(edges[0], edges[-1]), ylim=(70 * LEAST, 200))
    axes.set_yticks([100 * LEAST, 1, 10, 100], [f"under {100 * LEAST:g}", "1", "10", "100"])
    axes.set_xlabel(f"resolution ({lengths.unit})")
    axes.set_ylabel("power in the wedge (% of the specimen's)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure
