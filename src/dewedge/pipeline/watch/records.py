"""What a watch knows of each tomogram and each fit, kept in their folders: all that outlives the process."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from dewedge.errors import reason
from dewedge.geometry import TiltRange, TiltRangeLike
from dewedge.io.files import files_and_folders, remove_all, write_text_atomic
from dewedge.io.nested import parse_json
from dewedge.io.text_files import read_text
from dewedge.runtime.folder import ResultFolder

logger = logging.getLogger(__name__)

FITS = "fits"
# begun: being reconstructed, or interrupted at that.
State = Literal["begun", "reconstructed", "done", "failed"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """Record of one tomogram.

    Parameters
    ----------
    name
        Of its folder.
    state
        How far it is.
    attempts
        How often it was begun without coming to an end that it had a part in: a killed process, a fault of
        the program.
    reason
        Why it failed.
    tilt_range_deg
        Lowest and highest tilt of the reconstruction in degrees, from when there is one.
    of_series
        Whether it was reconstructed here, not given as half tomograms.
    network
        Number of the fit that refined it.
    finished
        When it was done or failed, by ISO 8601.
    seconds
        What it took, but for the fit.
    warnings
        Number of those about its input.
    """

    name: str
    state: State = "begun"
    attempts: int = 0
    reason: str = ""
    tilt_range_deg: TiltRangeLike | None = None
    of_series: bool = True
    network: int | None = None
    finished: str = ""
    seconds: float = 0.0
    warnings: int = 0

    @property
    def is_reconstructed(self) -> bool:
        """True if there is a reconstruction."""
        return self.tilt_range_deg is not None

    @property
    def tilt_range(self) -> TiltRange:
        """Tilt range of a reconstruction that is there.

        Raises
        ------
        ValueError
            If there is none.
        """
        if self.tilt_range_deg is None:
            raise ValueError(f"{self.name} is not reconstructed")
        return TiltRange(*self.tilt_range_deg)


def read_records(output: Path) -> dict[str, Record]:
    """Read all records in an output folder, by name; one that is damaged is as if it were not there.

    Raises
    ------
    UnreadableError
        If the folder cannot be read.
    """
    records = {}
    for path in files_and_folders(output)[1] if output.is_dir() else ():
        file = ResultFolder(path).status
        if not file.is_file():
            continue
        try:
            record = TypeAdapter(Record).validate_python(parse_json(file, read_text(file)))
        except Exception as error:
            logger.warning("%s: damaged (%s): the tomogram is done again", file, reason(error))
            continue
        if record.name == path.name:
            records[record.name] = record
    return records


def write_record(output: Path, record: Record) -> None:
    """Write the record of one tomogram into its folder; errors as `dewedge.io.files.atomic_path`."""
    write_text_atomic(ResultFolder(output / record.name).status, json.dumps(asdict(record)) + "\n")


@dataclass(frozen=True, kw_only=True, eq=False)
class FitFolder(ResultFolder):
    """Folder of one of the fits of a watch, which are counted from 1.

    Parameters
    ----------
    number
        Which of them.
    """

    number: int

    @property
    def names(self) -> list[str]:
        """Names of the tomograms that it is of; none if it was never begun.

        Raises
        ------
        InputError
            If the file that tells is damaged.
        """
        if not self.status.is_file():
            return []
        return TypeAdapter(list[str]).validate_python(parse_json(self.status, read_text(self.status)))

    def begin(self, names: Sequence[str]) -> None:
        """Write down of which tomograms it is, so that it goes on when it is interrupted.

        Errors as `dewedge.io.files.atomic_path`.
        """
        write_text_atomic(self.status, json.dumps(list(names)) + "\n")

    @property
    def is_begun(self) -> bool:
        """True if it was begun, and has no model yet."""
        return self.status.is_file() and not self.model.is_file()

    def give_up(self) -> None:
        """Remove what there is of it; errors as `dewedge.io.files.remove_all`."""
        remove_all([*self.of_fit, self.report, self.status])


def fits(output: Path) -> list[FitFolder]:
    """Folders of all fits that were begun, the last of which may not be finished."""
    found: list[FitFolder] = []
    while (fit := FitFolder(output / FITS / str(len(found) + 1), number=len(found) + 1)).status.is_file():
        found.append(fit)
    return found


def next_fit(output: Path) -> FitFolder:
    """Folder of a fit that is to begin."""
    number = len(fits(output)) + 1
    return FitFolder(output / FITS / str(number), number=number)
