"""The verb trust."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from dewedge.cli.output import show_messages
from dewedge.report.trust.part import PartName


def trust(
    path: Path,
    /,
    *,
    quick: bool = False,
    only: list[Literal["wedge"] | PartName] | None = None,
    budget: str | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> None:
    """Tell how far the filled wedge of a finished run is to be believed: docs/guide/trust.md.

    A second wedge is cut where there were tilts, and the network fills it. What it put there is held against
    the half-set that it was not given: a minute or less. The measured part is projected at every tilt and
    held against the images, and the images are asked whether the tilt angles are right. The run is made again
    without its outermost tilts, and the result held against them: as long as the run. Two networks fitted to
    a half of the tomogram each are compared: as long as the fit. It is mapped how far off what fills the
    wedge can be. The same fit is made to pure noise and to a specimen without objects: half as
    long as the fit.

    Written into the run's folder: trust.html (a verdict, figures and pictures) and trust.json.
    refined_measured is the result at measured frequencies, safe for averaging and template matching.
    refined_added is what the network put inside the wedge, refined_uncertainty one standard deviation
    of its error. refined_difference is that of the two fits. The fits lie in the folders withheld,
    independent and controls.

    Parameters
    ----------
    path
        Folder of a finished run; of several tomograms all are judged.
    quick
        Only what takes no fit.
    only
        Only this, and the wedges cut elsewhere (wedge), which are always; repeat for several.
    budget
        Time of every fit, such as 10min; that of the run's if not given.
    device
        Kind of device; auto takes a CUDA GPU if there is one.
    """
    show_messages()
    from dewedge.pipeline.trust.trust import QUICK, USUAL, print_trust, trust
    from dewedge.settings.sections import ComputeSection

    parts = QUICK if quick else USUAL if only is None else tuple(part for part in only if part != "wedge")
    print_trust(trust(path, ComputeSection(device=device), parts=parts, budget=budget))
