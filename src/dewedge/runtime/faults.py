"""Inputs among several that cannot be used: they are left out and reported, and the others go on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dewedge.errors import InputError, UnwritableError, of_input, printable

logger = logging.getLogger(__name__)

# The log holds the rest.
_NAMED = 3


class Faults(list[InputError]):
    """Errors of those of several inputs that cannot be used, one of each.

    Examples
    --------
    >>> faults = Faults()
    >>> with faults.collected():
    ...     raise InputError("TS_01: no tilt angles")
    >>> print(faults.summary(total=3))
    1 of 3 inputs could not be used: TS_01: no tilt angles
    """

    @contextmanager
    def collected(self, name: str = "") -> Iterator[None]:
        """Keep what is wrong with one input, whose name may be known, instead of raising it.

        A file that cannot be written is raised: that is no input's fault.
        """
        try:
            with of_input(name):
                yield
        except UnwritableError:
            raise
        except InputError as error:
            self.append(error)

    @contextmanager
    def left_out(self, name: str = "") -> Iterator[None]:
        """Do as `collected`, and log that the input is left out."""
        before = len(self)
        with self.collected(name):
            yield
        self.log("left out", before)

    def log(self, what: str, start: int = 0) -> None:
        """Log, a line each, what became of the inputs whose faults are kept from ``start`` on."""
        for fault in self[start:]:
            logger.info("%s: %s", what, fault)

    def by_name(self) -> dict[str, str]:
        """Faults of the inputs: by the name of each, or of the file that the message begins with.

        A message does not begin with the name again.
        """
        told: dict[str, str] = {}
        for fault in self:
            text = str(fault)
            name = printable(fault.input_name) or Path(text.partition(": ")[0]).name
            told.setdefault(name, text.removeprefix(f"{name}: "))
        return told

    def require_some(self, usable: Sequence[object]) -> None:
        """Refuse to go on if something is wrong and nothing is left to go on with.

        Raises
        ------
        InputError
            That of `summary`.
        """
        if self and not usable:
            raise self.summary(len(self))

    def require_none(self, total: int) -> None:
        """Refuse to call it done if something was wrong with any of ``total`` inputs.

        Raises
        ------
        InputError
            That of `summary`.
        """
        if self:
            raise self.summary(total)

    def summary(self, total: int) -> InputError:
        """Make one error of all that went wrong with ``total`` inputs."""
        if total == 1:
            return self[0]
        texts = [str(fault) for fault in self[:_NAMED]]
        if len(self) > _NAMED:
            texts.append(f"and {len(self) - _NAMED} more")
        return InputError(f"{len(self)} of {total} inputs could not be used: {'; '.join(texts)}")
