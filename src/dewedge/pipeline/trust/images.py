"""The tilt series that a run was made of, read again, and whether its angles fit its images."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from dewedge.check.angle_scale import measure_angle_scale
from dewedge.errors import InputError
from dewedge.inputs.read import read_all
from dewedge.inputs.run_input import SeriesInput, source_of
from dewedge.physics.angle_scale import AngleScale
from dewedge.pipeline.trust.subject import Subject
from dewedge.runtime.folder import ResultFolder
from dewedge.runtime.log import step
from dewedge.runtime.made_of import Record, read_records
from dewedge.settings.sections import Config

logger = logging.getLogger(__name__)


def series_of(run: ResultFolder, config: Config, folders: Sequence[ResultFolder]) -> dict[str, SeriesInput]:
    """The series of tomograms as the run read them, by name of their folder.

    What is not there any more, or has changed, is left out, with a line.
    """
    try:
        inputs = read_all(config)
        record = read_records(run.inputs, *(folder.inputs for folder in folders))
    except InputError as error:
        logger.warning("%s: its images cannot be asked: %s", run.name, error)
        return {}
    # The folder of a single tomogram has the run's name.
    items = {folders[0].name: inputs[0]} if len(inputs) == 1 else {item.name: item for item in inputs}
    found = {}
    for folder in folders:
        item = items.get(folder.name)
        if item is None:
            logger.warning("%s: its images cannot be asked: not found among those of the run", folder.name)
        elif not isinstance(item, SeriesInput):
            logger.info("%s: made of half tomograms: there are no images to ask", folder.name)
        elif (difference := _difference(record, item)) is not None:
            logger.warning("%s: its images cannot be asked: %s", folder.name, difference)
        else:
            found[folder.name] = item
    return found


def _difference(record: Mapping[str, Record], item: SeriesInput) -> str | None:
    """What has changed since the run, in words; None if nothing."""
    return record[item.name].difference(source_of(item, [])) if item.name in record else None


def angle_scale(subject: Subject) -> AngleScale | None:
    """Measure by what factor the tilt angles of the run have to be multiplied; None if it cannot be told.

    Errors as `dewedge.check.angle_scale.measure_angle_scale`.
    """
    item = subject.series
    if item is None:
        return None
    thickness = subject.config.reconstruct.thickness or item.thickness
    with step(f"{subject.name}: tilt angles against images"):
        return measure_angle_scale(
            [series.images for series in item.series], item.series[0].geometry, thickness
        )
