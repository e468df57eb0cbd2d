"""The parts that keep tilts back: one more run without them each."""

from __future__ import annotations

import json
import logging
import math
from typing import Any

import numpy as np
from numpy.ma import masked_invalid

from dewedge.pipeline.trust.subject import Subject
from dewedge.pipeline.validate.folder import FIGURES, SETTINGS, ValidationSettings
from dewedge.pipeline.validate.validate import validate
from dewedge.report.trust.withheld import Inner, Withheld
from dewedge.runtime.folder import is_newer
from dewedge.scores.withholding import Withholding

logger = logging.getLogger(__name__)

# Of the runs without tilts, in the run's.
FOLDER = "withheld"
INNER_FOLDER = "withheld_inner"


def withheld(subject: Subject) -> Withheld | None:
    """Run again without the outermost tilts, or go on with that; None where none can be kept back.

    Errors as `dewedge.pipeline.validate.validate.validate`.
    """
    validation = validated(subject, "outer", FOLDER)
    return None if validation is None else Withheld(**told(validation))


def inner(subject: Subject) -> Inner | None:
    """Run again without a block of tilts, or go on with that; None where none can be kept back.

    Errors as `dewedge.pipeline.validate.validate.validate`.
    """
    validation = validated(subject, "inner", INNER_FOLDER)
    if validation is None:
        return None
    tilts = next(iter(validation["tilts"].values()))
    given, predicted = (
        masked_invalid([numbers(tilt["correlation"][name]) for tilt in tilts]).mean(axis=0).filled(np.nan)
        for name in ("given", "prediction")
    )
    return Inner(**told(validation), images_given=given, images_predicted=predicted)


def validated(subject: Subject, kind: Withholding, folder: str) -> dict[str, Any] | None:
    """Run without tilts in a folder of the run's, and read its figures; None where none can be kept back.

    Errors as `dewedge.pipeline.validate.validate.validate`.
    """
    run, config = subject.run, subject.config
    if subject.folder != run:
        logger.info("%s: of several tomograms no tilts are kept back: see dewedge validate", subject.name)
        return None
    if config.tomograms.half0:
        logger.info("%s: of half tomograms no tilts can be kept back", subject.name)
        return None
    output = run.path / folder
    # One of an earlier run in this folder is none of this one.
    resume = is_newer(output / SETTINGS, run.model)
    again = config.model_copy(update={"output": output, "compute": subject.compute})
    validate(again, ValidationSettings(withhold=kind), resume=resume, overwrite=not resume)
    found: dict[str, Any] = json.loads((output / FIGURES).read_text("utf-8"))
    return found


def told(validation: dict[str, Any]) -> dict[str, Any]:
    """Figures that both parts tell of the cone."""
    # That of the run's own seed; dewedge validate can have added others.
    scores = next(iter(validation["cone"].values()))
    of_signal = scores["of_signal"]
    return {
        "given_deg": validation["given_deg"],
        "withheld_deg": validation["withheld_deg"],
        "edges_per_voxel": tuple(scores["edges_per_voxel"]),
        "correlation": numbers(scores["prediction"]["correlation"]),
        "explained": numbers(scores["prediction"]["explained"]),
        "predicted": numbers(of_signal["explained"]),
        "error": numbers(of_signal["error"]),
    }


def numbers(values: list[float | None]) -> list[float]:
    """Numbers with NaN where JSON has null."""
    return [math.nan if value is None else value for value in values]
