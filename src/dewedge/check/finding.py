"""What a check found, in the four parts a user needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

# error: the result would be wrong. warning: it may be worse than it could be. note: good to know.
Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing a check found.

    Parameters
    ----------
    severity
        ``error``: a result would be wrong. ``warning``: it may be. ``note``: good to know.
    series
        Name of the tilt series or tomogram.
    what
        What was found, with its numbers.
    where
        Which images, half-set or file.
    why
        Why it matters.
    do
        What to do.
    """

    severity: Severity
    series: str
    what: str
    where: str
    why: str
    do: str

    def __str__(self) -> str:
        return f"{self.series}, {self.where}: {self.what}. {self.why}. {self.do}."


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Findings that are errors."""
    return [finding for finding in findings if finding.severity == "error"]


def listed(numbers: Iterable[int], most: int = 6) -> str:
    """Numbers as ``1, 2, 5`` or ``1, 2 ... (12 in all)``.

    Examples
    --------
    >>> listed([1, 2, 5]), listed(range(1, 13), most=2)
    ('1, 2, 5', '1, 2 ... (12 in all)')
    """
    texts = [str(number) for number in numbers]
    if len(texts) <= most:
        return ", ".join(texts)
    return f"{', '.join(texts[:most])} ... ({len(texts)} in all)"
