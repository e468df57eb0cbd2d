"""Images of a tilt series by their numbers, as people write them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from dewedge.errors import InputError


def image_numbers(texts: Sequence[str]) -> list[int]:
    """Numbers from 1 in lists such as ``1-3,41``, sorted, each once.

    Raises
    ------
    InputError
        If a text is no such list.
    """
    numbers: set[int] = set()
    for part in ",".join(texts).split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        first, last = (0, 0) if match is None else (int(match[1]), int(match[2] or match[1]))
        if part.strip() and not 0 < first <= last:
            raise InputError(f"images {part.strip()!r}: expected numbers from 1, such as 1-3,41")
        if part.strip():
            numbers |= set(range(first, last + 1))
    return sorted(numbers)


def numbers_text(numbers: Iterable[int]) -> str:
    """Write numbers as `image_numbers` reads them: ranges, separated by commas."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)
