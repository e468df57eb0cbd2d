"""The part that keeps the outermost tilts back: one more run without them."""

from __future__ import annotations

import json
import logging
import math

from dewedge.pipeline.trust.subject import Subject
from dewedge.pipeline.validate.validate import FIGURES, SETTINGS, ValidationSettings, validate
from dewedge.report.trust.withheld import Withheld
from dewedge.runtime.folder import is_newer

logger = logging.getLogger(__name__)

FOLDER = "withheld"  # of the run without the outermost tilts, in the run's


def withheld(subject: Subject) -> Withheld | None:
    """Run again without the outermost tilts, or go on with that; None where none can be kept back."""
    run, config = subject.run, subject.config
    if subject.folder != run:
        logger.info("%s: of several tomograms no tilts are kept back: see dewedge validate", subject.name)
        return None
    if config.tomograms.half0:
        logger.info("%s: of half tomograms no tilts can be kept back", subject.name)
        return None
    output = run.path / FOLDER
    # One of an earlier run in this folder is none of this one.
    resume = is_newer(output / SETTINGS, run.model)
    again = config.model_copy(update={"output": output, "compute": subject.compute})
    validate(again, ValidationSettings(), resume=resume, overwrite=not resume)
    validation = json.loads((output / FIGURES).read_text("utf-8"))
    # That of the run's own seed; dewedge validate can have added others.
    scores = next(iter(validation["cone"].values()))
    correlation, explained = (
        [math.nan if value is None else value for value in scores["prediction"][name]]
        for name in ("correlation", "explained")
    )
    return Withheld(
        beyond_deg=max(abs(tilt) for tilt in validation["given_deg"]),
        edges_per_voxel=tuple(scores["edges_per_voxel"]),
        correlation=correlation,
        explained=explained,
    )
