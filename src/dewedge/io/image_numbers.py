"""Images of a tilt series by their numbers, as people write them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from dewedge import limits
from dewedge.errors import InputError, shown


def image_numbers(texts: Sequence[str]) -> list[int]:
    """Numbers from 1 in lists such as ``1-3,41``, sorted, each once.

    Raises
    ------
    InputError
        If a text is no such list.

    Examples
    --------
    >>> image_numbers(["1-3,41", "2"])
    [1, 2, 3, 41]
    """
    chosen = bytearray(limits.TILTS + 1)
    for part in ",".join(texts).split(","):
        match = re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", part)
        first, last = (0, 0) if match is None else (int(match[1]), int(match[2] or match[1]))
        if part.strip() and not 0 < first <= last <= limits.TILTS:
            raise InputError(
                f"images {shown(part)}: expected numbers from 1 to {limits.TILTS}, such as 1-3,41"
            )
        if part.strip():
            chosen[first : last + 1] = b"\1" * (last + 1 - first)
    return [number for number, is_chosen in enumerate(chosen) if is_chosen]


def numbers_text(numbers: Iterable[int]) -> str:
    """Write numbers as `image_numbers` reads them: ranges, separated by commas.

    Examples
    --------
    >>> numbers_text([41, 3, 2, 1])
    '1-3,41'
    """
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)
