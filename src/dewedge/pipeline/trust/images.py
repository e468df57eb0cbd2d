"""The tilt series that a run was made of, read again, and whether its angles fit its images."""

from __future__ import annotations

import logging
from functools import lru_cache

from dewedge.check.angle_scale import measure_angle_scale
from dewedge.errors import InputError
from dewedge.inputs.read import read_all
from dewedge.inputs.run_input import SeriesInput, source_of
from dewedge.physics.angle_scale import AngleScale
from dewedge.pipeline.trust.subject import Subject
from dewedge.runtime.log import step
from dewedge.runtime.made_of import read_record

logger = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def series_of(subject: Subject) -> SeriesInput | None:
    """The series of a tomogram as the run read it; None, and a line about it, if it is not there any more."""
    try:
        inputs = read_all(subject.config)
        record = read_record(subject.run.inputs)
    except InputError as error:
        logger.warning("%s: its images cannot be asked: %s", subject.name, error)
        return None
    named = [item for item in inputs if len(inputs) == 1 or item.name == subject.name]
    if len(named) != 1:
        logger.warning("%s: its images cannot be asked: not found among those of the run", subject.name)
        return None
    item = named[0]
    if not isinstance(item, SeriesInput):
        logger.info("%s: made of half tomograms: there are no images to ask", subject.name)
        return None
    difference = record[item.name].difference(source_of(item, [])) if item.name in record else None
    if difference is not None:
        logger.warning("%s: its images cannot be asked: %s", subject.name, difference)
        return None
    return item


def angle_scale(subject: Subject) -> AngleScale | None:
    """By what the tilt angles of the run have to be multiplied; None if it cannot be told."""
    item = series_of(subject)
    if item is None:
        return None
    thickness = subject.config.reconstruct.thickness or item.thickness
    with step(f"{subject.name}: tilt angles against images"):
        return measure_angle_scale(
            [series.images for series in item.series], item.series[0].geometry, thickness
        )
