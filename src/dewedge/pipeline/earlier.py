"""Tomograms that an earlier run of the same folder has finished, and whose input cannot be read now."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dewedge.errors import InputError
from dewedge.pipeline.stages import is_refined
from dewedge.runtime.faults import Faults
from dewedge.runtime.folder import ResultFolder, is_newer
from dewedge.runtime.made_of import Record
from dewedge.runtime.stored import missing_halves
from dewedge.settings.sections import Config

logger = logging.getLogger(__name__)

NOT_READ = "its input cannot be read now"


@dataclass(frozen=True, eq=False)
class Earlier:
    """A tomogram that is there, though its input is not.

    Parameters
    ----------
    name
        Of its input, as the run folder has recorded it.
    folder
        Of its results.
    fault
        Why its input cannot be read.
    """

    name: str
    folder: ResultFolder
    fault: InputError


def finished_earlier(
    records: Mapping[str, Record], folders: Mapping[str, ResultFolder], names: Sequence[str], faults: Faults
) -> tuple[list[Earlier], Faults]:
    """Tomograms with a result whose recorded inputs are not among those read now.

    Parameters
    ----------
    records, folders
        What was recorded of each input of the run folder, and where its results lie, by its name.
    names
        Of the inputs that were read now.
    faults
        What is wrong with the others.

    Returns
    -------
    list, Faults
        These tomograms, and the faults that are of none of them.
    """
    found: list[Earlier] = []
    explained: list[InputError] = []
    for name, record in records.items():
        folder = folders[name]
        if name in names or not (folder.full.is_file() and folder.result.exists()):
            continue
        own = [fault for fault in faults if _is_of(fault, name, record)]
        explained += own
        missing = InputError("no input of this name is found any more")
        found.append(Earlier(name, folder, own[0] if own else missing))
    return found, Faults(fault for fault in faults if fault not in explained)


def tell_earlier(earlier: Sequence[Earlier]) -> None:
    """Log why the inputs of tomograms that are there cannot be read, as `dewedge.runtime.logged` reads it."""
    for one in earlier:
        logger.info("finished earlier: %s: %s (%s)", one.name, NOT_READ, one.fault)


def not_as_asked(earlier: Sequence[Earlier], run: ResultFolder, config: Config) -> Faults:
    """Faults of inputs that are needed after all: they have no result of this network, format and half-sets.

    Errors as `dewedge.pipeline.stages.model_of`.
    """
    faults = Faults()
    for one in earlier:
        with faults.collected(one.name):
            if not _is_as_asked(one.folder, run, config):
                raise one.fault
    return faults


def _is_as_asked(folder: ResultFolder, run: ResultFolder, config: Config) -> bool:
    model = folder.model if config.fit_each else run.model
    return (
        is_refined(folder, config, model)
        and all(is_newer(path, model) for path in folder.refined_as(config.output_format))
        and (config.files.half_sets == "drop" or not missing_halves(folder))
    )


def _is_of(fault: InputError, name: str, record: Record) -> bool:
    """True if a fault is that of an input of this name or, if it names none, of a file recorded of it."""
    if fault.input_name:
        return fault.input_name == name
    return str(Path(str(fault).partition(": ")[0]).absolute()) in record.files
