"""Inputs among several that cannot be used: they are left out and reported, and the others go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dewedge.errors import InputError, UnwritableError

# The log holds the rest.
_NAMED = 3


@contextmanager
def collected(faults: list[InputError]) -> Iterator[None]:
    """Append what is wrong with one input to ``faults`` instead of raising it.

    A file that cannot be written is raised: that is no input's fault.
    """
    try:
        yield
    except UnwritableError:
        raise
    except InputError as error:
        faults.append(error)


def expect_some(usable: Sequence[object], faults: Sequence[InputError]) -> None:
    """Raise what is wrong if nothing is left to go on with."""
    if not usable and faults:
        raise summary(faults, len(faults))


def summary(faults: Sequence[InputError], total: int) -> InputError:
    """One line for all that went wrong with ``total`` inputs."""
    if total == 1:
        return faults[0]
    texts = [str(fault) for fault in faults[:_NAMED]]
    if len(faults) > _NAMED:
        texts.append(f"and {len(faults) - _NAMED} more")
    return InputError(f"{len(faults)} of {total} inputs could not be used: {'; '.join(texts)}")
