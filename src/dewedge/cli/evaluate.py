"""The verb evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from dewedge.cli.output import show_messages
from dewedge.errors import InputError


def evaluate(
    *paths: Path,
    truth: Path | None = None,
    tilt_range: tuple[float, float] | None = None,
    x_tilt: float = 0.0,
    particles: Path | None = None,
    box: int = 32,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    json: Path | None = None,
    no_check: bool = False,
) -> None:
    """Score tomograms against the truth; or, without one, tell what finished runs betray about themselves.

    With --truth: correlation outside and inside the wedge, resolution of particles. Without: roundness of
    beads and compact objects, power inside the wedge, weave, seams. Of a run also what half-set 1 says of the
    refined half-set 0, and the other way round, in the held-out region. A run's gold is left out.

    Parameters
    ----------
    paths
        Tomograms; without --truth, folders of finished runs, too.
    truth
        The true specimen.
    tilt_range
        Lowest and highest tilt angle in degrees; for --truth.
    x_tilt
        Tilt about x in degrees by which the tomograms were levelled, and their wedge turned; for --truth.
    particles
        Particle list (STAR), for the Fourier shell correlation with --truth.
    box
        Edge of the particles' boxes in voxels.
    device
        Kind of device on which half-sets of a run are refined; auto takes a CUDA GPU if there is one.
    json
        File to write the scores to.
    no_check
        Tomograms may be of another voxel size than the truth.
    """
    if not paths:
        raise InputError("nothing to score: expected at least one tomogram, or the folder of a run")
    show_messages()
    from dewedge.runtime.folder import claimed_report

    if truth is not None and tilt_range is None:
        raise InputError("--truth: expected --tilt-range, lowest and highest tilt angle in degrees")
    if truth is None and not (tilt_range is None and particles is None and x_tilt == 0):
        raise InputError("--tilt-range, --x-tilt and --particles are for --truth: expected it, too")
    sources = [*paths, *(path for path in (truth, particles) if path is not None)]
    with claimed_report(json, sources):
        if truth is None or tilt_range is None:
            from dewedge.pipeline.measures import measure, print_measures, write_measures
            from dewedge.settings.sections import DeviceSection

            measures = measure(paths, DeviceSection(device=device))
            if json is not None:
                write_measures(json, measures)
            print_measures(measures)
            return
        from dewedge.pipeline.evaluate import evaluate_files, print_scores, write_scores

        names = {str(path): path for path in paths}
        scores = evaluate_files(names, truth, (*tilt_range, x_tilt), particles, box, no_check=no_check)
        if json is not None:
            write_scores(json, scores)
        print_scores(scores)
