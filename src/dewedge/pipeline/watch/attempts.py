"""Attempts at the tomograms of a watch: where one fails, its record says so, and the watch goes on."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from dewedge.errors import InputError, UnwritableError, reason
from dewedge.pipeline.watch.records import Record, write_record
from dewedge.runtime.faults import Faults

logger = logging.getLogger(__name__)

# So often a tomogram at which the process ended, or the program failed, is begun again after a restart.
ATTEMPTS = 3
# Unexpected faults of so many tomograms in a row are the machine's.
IN_A_ROW = 5
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class Attempts:
    """Attempts at tomograms, and the records of all that were begun.

    Parameters
    ----------
    output
        Folder of the watch.
    records
        Of the tomograms that were begun before, by name.
    """

    def __init__(self, output: Path, records: dict[str, Record]) -> None:
        self.output, self.records = output, records
        self._unexpected = 0

    @property
    def not_wanted(self) -> list[str]:
        """Names of the tomograms whose input is not to be read again."""
        return [record.name for record in self.records.values() if not _is_wanted(record)]

    def fail_killers(self) -> None:
        """Give up tomograms at which the process ended time and again."""
        for record in list(self.records.values()):
            if _is_given_up(record) and record.state != "failed":
                self._failed(record, f"{record.name}: the process ended {ATTEMPTS} times while it was done")

    @contextmanager
    def at(self, known: Record, shown: AbstractContextManager[None]) -> Iterator[Record]:
        """Work at one tomogram: what goes wrong is put on its record, unless it is the disk's fault.

        Parameters
        ----------
        known
            Its record before.
        shown
            Entered while it is worked at.
        """
        record = replace(known, attempts=known.attempts + 1, reason="")
        begun = time.monotonic()
        try:
            with shown:
                write_record(self.output, record)
                self.records[record.name] = record
                yield replace(record, attempts=0)
        except UnwritableError:
            raise
        except InputError as error:
            self._failed(replace(record, attempts=0), str(error))
        except Exception as error:
            self._unexpected += 1
            if is_full(error) or self._unexpected >= IN_A_ROW:
                raise
            logger.debug("traceback", exc_info=True)
            self._failed(record, f"unexpected {type(error).__name__}: {reason(error)}")
        except BaseException:
            # It was interrupted on purpose, which is not its fault.
            with suppress(InputError):
                write_record(self.output, known)
            raise
        else:
            self._unexpected = 0
        ended = self.records[record.name]
        self.keep(replace(ended, seconds=ended.seconds + time.monotonic() - begun))

    def keep(self, record: Record) -> None:
        """Put a record in the place of the one before, with the time if it is done or failed."""
        if record.state in ("done", "failed") and record != self.records.get(record.name):
            record = replace(record, finished=datetime.now().isoformat(timespec="seconds"))
        self.records[record.name] = record
        write_record(self.output, record)

    def _failed(self, record: Record, why: str) -> None:
        logger.info("left out: %s", why)
        why = why if record.name in why else f"{record.name}: {why}"
        self.keep(replace(record, state="failed", reason=why))

    def require_done(self) -> None:
        """Raise what went wrong with tomograms, if anything, and tell how many are done.

        Raises
        ------
        InputError
            If a tomogram failed.
        """
        failed = [record for record in self.records.values() if record.state == "failed"]
        done = sum(record.state == "done" for record in self.records.values())
        logger.info("%d tomograms are done: %s", done, self.output)
        faults = Faults(InputError(record.reason) for record in failed)
        if faults:
            raise faults.summary(len(self.records))


def _is_wanted(record: Record) -> bool:
    """True if the input of a tomogram is to be read again."""
    is_there = record.is_reconstructed and record.state != "failed"
    return not is_there and not _is_given_up(record)


def _is_given_up(record: Record) -> bool:
    return record.attempts >= ATTEMPTS


def is_full(error: Exception) -> bool:
    """True for a disk that takes nothing more."""
    return isinstance(error, OSError) and error.errno in _FULL
