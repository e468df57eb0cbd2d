"""The exceptions a user is told of in one line, and what such a line may hold."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from contextlib import contextmanager

from dewedge.limits import MESSAGE, SHOWN

# What torch's RuntimeError says where memory is short: its own allocator, the library's, oneDNN's.
_OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "bad_alloc",
    "create a memory",
)


class InputError(Exception):
    """Input that cannot be used.

    The message is one line: what was expected, what came, in which file, and what to do.
    The command line prints it and exits with a non-zero status, without a traceback.
    """

    # Name of the input among several whose fault it is, where that is known.
    input_name = ""

    def __str__(self) -> str:
        """The message, whatever names of files or values it holds, as one line that is safe on a terminal."""
        return printable(super().__str__()[:MESSAGE])


class UnwritableError(InputError):
    """A file that cannot be written: the fault of the disk or the folder, not of one input among several."""


class UnreadableError(InputError):
    """A file or folder that the system does not let be read: closed to this user, or on a broken disk."""


@contextmanager
def of_input(name: str) -> Iterator[None]:
    """Tell an error within the block which input's fault it is, unless it knows that already."""
    try:
        yield
    except InputError as error:
        error.input_name = error.input_name or name
        raise


class LostProcessError(Exception):
    """Another process of a divided run has ended; the message tells how to continue."""


class _Shown(reprlib.Repr):
    """Of containers a few items, of numbers and text what fits."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxdict, self.maxlist, self.maxtuple, self.maxset = 2, 4, 6, 6, 6
        self.maxstring = self.maxlong = self.maxother = SHOWN

    def repr_int(self, value: int, level: int) -> str:
        # Python refuses to write out a number of thousands of digits.
        return f"a number of {value.bit_length()} bits" if value.bit_length() > 4 * SHOWN else repr(value)


_SHOWN = _Shown()


def shown(value: object) -> str:
    """A value of a file as a message tells it: quoted, escaped, cut to `dewedge.limits.SHOWN` characters.

    Examples
    --------
    >>> shown("  TS_01 ")
    "'TS_01'"
    >>> shown(list(range(100)))
    '[0, 1, 2, 3, 4, 5, ...]'
    """
    if isinstance(value, str):
        value = value.strip()
        text = repr(value if len(value) <= SHOWN else value[: SHOWN - 3] + "...")
    else:
        text = _SHOWN.repr(value)
    return printable(text)[: SHOWN + 2]


def reason(error: BaseException) -> str:
    """Text of a library's error on a file, as part of a message."""
    return printable(" ".join(str(error)[: 4 * SHOWN].split()))[: 2 * SHOWN] or type(error).__name__


def printable(text: str) -> str:
    r"""Text in one line, with escapes for whatever a terminal would not just show.

    Examples
    --------
    >>> printable("two\nlines and a bell\a")
    'two lines and a bell\\x07'
    """
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    return " " if character == "\n" else character.encode("unicode_escape").decode("ascii")


def is_out_of_memory(error: BaseException) -> bool:
    """True for a MemoryError, and for what torch raises instead, on a GPU and on a CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)
