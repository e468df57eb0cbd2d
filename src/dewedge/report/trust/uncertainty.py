"""How far off what was added inside the wedge can be, voxel by voxel, and whether that holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dewedge.report.figure import grey_limits, show_section
from dewedge.report.trust.part import Lengths, Picture
from dewedge.scores.spectra import listed
from dewedge.scores.uncertainty import QUANTILE, Calibration

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANEL_INCHES = 6.0


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Uncertainty of what was added inside the wedge, voxel by voxel.

    Parameters
    ----------
    edges_per_voxel
        Frequencies in cycles per voxel between which it is told.
    n_networks
        Whose predictions were compared.
    calibration
        How it was learnt, and whether it holds, on the grey scale of the fit.
    scale
        Of that, in grey values of the tomogram.
    refined, added, sigma
        ``(z, x)`` central sections of the result without what is finer, of its added part at these
        frequencies, and of the map.
    """

    heading: ClassVar[str] = "Uncertainty of what was added, voxel by voxel"
    meaning: ClassVar[str] = (
        "refined_uncertainty is one standard deviation of the error of refined_added, in the grey "
        "values of the tomogram, at the frequencies told of alone. It follows from how much predictions "
        "differ: of networks, of the tomogram and the same turned, of both half-sets. How much error that "
        "means was learnt in one half of the tomogram, from wedges cut where there were tilts, and checked "
        "in the other. It does not see what no prediction draws: a membrane that lies flat is nearly all in "
        "the wedge, and where the result lacks it the map is low. In the last picture the result fades where "
        "what was added is within its bounds for 90 %."
    )

    edges_per_voxel: tuple[float, float]
    n_networks: int
    calibration: Calibration
    scale: float
    refined: NDArray[np.float32]
    added: NDArray[np.float32]
    sigma: NDArray[np.float32]

    def sentences(self, lengths: Lengths) -> list[str]:
        found = self.calibration
        low, high = found.by_quarter.min(), found.by_quarter.max()
        checked = (
            f"From {lengths.span(*self.edges_per_voxel)}, {found.coverage:.0%} of the errors on held-out "
            f"space are within bounds meant for 90 % ({low:.0%} to {high:.0%} in quarters of the voxels, by "
            "how much predictions differ)"
        )
        if not found.holds:
            reason = "the half-sets are too noisy to check it" if found.is_hidden else "that is too far off"
            return [f"{checked}; {reason}: refined_uncertainty is not to be believed here."]
        return [
            f"{checked}: refined_uncertainty is calibrated. It explains {max(found.explained, 0):.0%} of "
            "how the power of the errors varies from place to place."
        ]

    def pictures(self, lengths: Lengths) -> list[Picture]:
        return [
            Picture(
                lambda: sections_figure(self),
                "Central xz sections: the result, what was added, its uncertainty, and the result fading "
                "where what was added is not sure",
            )
        ]

    def as_dict(self) -> dict[str, Any]:
        found = self.calibration
        return {
            "edges_per_voxel": list(self.edges_per_voxel),
            "networks": self.n_networks,
            "calibrated": found.holds,
            "coverage": found.coverage,
            "coverage_by_quarter": listed(found.by_quarter),
            "uncertainty_by_quarter": listed(self.scale * found.quarters),
            "a": self.scale**2 * found.floor,
            "b": found.gain,
            "explained": found.explained,
            "noise": found.noise,
        }


def sections_figure(found: Uncertainty) -> Figure:
    """Result, added part, uncertainty, and the result as far as it is sure, one below the other."""
    from matplotlib.figure import Figure

    depth, width = found.refined.shape
    figure = Figure(
        figsize=(2 * PANEL_INCHES, 2 * (PANEL_INCHES * depth / width + 0.4)),
        layout="constrained",
        facecolor="white",
    )
    panels = figure.subplots(2, 2)
    limits = grey_limits([found.refined])
    reach = (limits[1] - limits[0]) / 2
    show_section(panels[0, 0], found.refined, limits, "xz")
    panels[0, 0].set_title("result")
    # The same span of greys: what was added is as weak as it looks.
    show_section(panels[0, 1], found.added, (-reach, reach), "xz")
    panels[0, 1].set_title("added inside the wedge, same contrast")
    image = panels[1, 0].imshow(found.sigma, cmap="magma", vmin=0, origin="lower", aspect="auto")
    panels[1, 0].set(xticks=[], yticks=[], title="uncertainty of what was added (one standard deviation)")
    figure.colorbar(image, ax=panels[1, 0], shrink=0.8, pad=0.01)
    opacity = sureness(found.added, found.sigma, found.edges_per_voxel[1])
    show_section(panels[1, 1], found.refined, limits, "xz", opacity=opacity)
    panels[1, 1].set_title("result, fading where what was added is not sure")
    return figure


def sureness(added: NDArray[np.float32], sigma: NDArray[np.float32], highest: float) -> NDArray[np.float64]:
    """``(z, x)`` opacity of voxels: 1 where what was added is beyond the bounds for 90 %, less within.

    Its power is averaged over the finest wavelength, 1 / ``highest`` voxels: where it changes its sign, it is
    no less sure.

    Parameters
    ----------
    added, sigma
        ``(z, x)`` sections of what was added, and of its standard deviation.
    highest
        Frequency in cycles per voxel.
    """
    power = gaussian_filter(added.astype(np.float64) ** 2, 1 / highest, mode="nearest")
    bound = QUANTILE * np.maximum(sigma, np.finfo(np.float32).tiny)
    share: NDArray[np.float64] = np.minimum(np.sqrt(power) / bound, 1)
    return share
