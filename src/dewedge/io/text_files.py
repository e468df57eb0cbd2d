"""Text that other programs or users wrote, and the numbers in it, believed within `dewedge.limits`.

Every failure is an `InputError` that names the file.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dewedge import limits
from dewedge.errors import InputError, shown
from dewedge.io.files import StrPath, open_input

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def read_text(path: StrPath, most_bytes: int = limits.TEXT_BYTES) -> str:
    """Text of a small file: UTF-8 or UTF-16, with or without byte order mark, or, failing that, Latin-1.

    Raises
    ------
    InputError
        If it cannot be read, is binary, or larger than any text that is believed (`dewedge.limits`).
    """
    with open_input(path) as file:
        raw = file.read(most_bytes + 1)
    if len(raw) > most_bytes:
        raise InputError(f"{path}: expected a text file of at most {most_bytes} bytes, this one is larger")
    text = _decoded(raw)
    if text is None:
        raise InputError(f"{path}: expected a text file, this one is binary")
    if text.count("\n") > limits.LINES or _count_words(text) > limits.WORDS:
        raise InputError(
            f"{path}: expected a text file of at most {limits.LINES} lines and {limits.WORDS} words, this "
            "one has more"
        )
    return text


def _decoded(raw: bytes) -> str | None:
    """Text of bytes; None if they hold NUL, as no text does."""
    encoding = "utf-8-sig"
    if raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        encoding = "utf-16"
    elif raw[1::2].count(0) > len(raw) // 4:
        encoding = "utf-16-le"  # most letters of any program's file are of ASCII
    elif raw[::2].count(0) > len(raw) // 4:
        encoding = "utf-16-be"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        text = "\0" if encoding.startswith("utf-16") else raw.decode("latin-1")
    return None if "\0" in text else text


def _count_words(text: str) -> int:
    """Words, not split: a million of them would take a hundred times the memory of the text."""
    import numpy as np  # which a command line must not wait for

    is_space = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8) <= ord(" ")
    return int(np.count_nonzero(is_space[1:] < is_space[:-1])) + 1


def number(text: str) -> float | None:
    """The number that a file holds as text, with a point or a comma for the decimals; None if it is none.

    It is None, too, for what is not finite or beyond `dewedge.limits.NUMBER`.

    Examples
    --------
    >>> number("3,5"), number("1e99"), number("three")
    (3.5, None, None)
    """
    if len(text) > limits.NUMBER_CHARACTERS:
        return None
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return None
    return value if abs(value) <= limits.NUMBER else None


def numbers(words: Iterable[str]) -> list[float] | None:
    """Numbers of words, each as `number` has it; None if one of them is none.

    Examples
    --------
    >>> numbers(["1", "-2.5"]), numbers(["1", "two"])
    ([1.0, -2.5], None)
    """
    values = []
    for word in words:
        value = number(word)
        if value is None:
            return None
        values.append(value)
    return values


def read_numbers(path: StrPath, columns: int, expected: str) -> tuple[NDArray[np.float64], list[int]]:
    """``(n, columns)`` numbers of a text file and the line number of each row; blank lines do not count.

    Parameters
    ----------
    expected
        What a line should hold, for the error message.

    Raises
    ------
    InputError
        If a line holds something else, there are more than `dewedge.limits.TILTS`, or no line holds anything.
    """
    import numpy as np  # which a command line must not wait for

    rows: list[list[float]] = []
    line_numbers: list[int] = []
    for place, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split(maxsplit=columns)
        if not words:
            continue
        row = numbers(words)
        if row is None or len(row) != columns:
            raise InputError(f"{path}, line {place}: expected {expected}, got {shown(line)}")
        if len(rows) == limits.TILTS:
            raise InputError(f"{path}: expected {expected} on at most {limits.TILTS} lines, there are more")
        rows.append(row)
        line_numbers.append(place)
    if not rows:
        raise InputError(f"{path}: expected {expected} on every line, the file is empty")
    return np.array(rows), line_numbers
