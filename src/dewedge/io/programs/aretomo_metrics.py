"""AreTomo3's TiltSeries_Metrics.csv: what it measured of each tilt series, and the choice of series by it.

Source: AreTomo3 (github.com/czimaginginstitute/AreTomo3), CTsMetrics: a line for each series, named by its
stack; a session that is resumed appends lines. Later versions have more columns.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dewedge import limits
from dewedge.errors import InputError, shown
from dewedge.io.files import StrPath
from dewedge.io.text_files import number, read_text

NAME = "Tilt_Series"

# Of one series, by the columns' names; None where there is no number.
Metrics = Mapping[str, float | None]


@dataclass(frozen=True)
class Bound:
    """Least or greatest value that a series must have in one column.

    Parameters
    ----------
    column
        Name of the column, with or without its unit: ``CTF_Res`` or ``CTF_Res(A)``.
    value
        The least or the most that it may be.
    is_least
        Which of the two.
    """

    column: str
    value: float
    is_least: bool

    @classmethod
    def parsed(cls, text: str, *, is_least: bool) -> Bound:
        """A bound from ``NAME=VALUE``.

        Raises
        ------
        InputError
            If it is none.

        Examples
        --------
        >>> Bound.parsed("CTF_Res=12", is_least=False)
        Bound(column='CTF_Res', value=12.0, is_least=False)
        """
        column, _, value = text.partition("=")
        bound = number(value)
        if not column.strip() or bound is None:
            flag = "--at-least" if is_least else "--at-most"
            raise InputError(f"{flag} {text}: expected the name of a column and a number, such as CTF_Res=12")
        return cls(column.strip(), bound, is_least)

    def fault(self, metrics: Metrics) -> str | None:
        """Why a series is not to be taken, in words; None if it is."""
        column = _named(metrics, self.column)
        value = None if column is None else metrics[column]
        if value is None:
            return f"no {self.column}"
        if value < self.value if self.is_least else value > self.value:
            return f"{column} {value:g}, {'less' if self.is_least else 'more'} than {self.value:g}"
        return None


def read_metrics(path: StrPath) -> dict[str, Metrics]:
    """Read what was measured of each series, by name; of several lines of one series the last one counts.

    Raises
    ------
    InputError
        If the file cannot be read, or has no column of names.
    """
    rows = csv.reader(read_text(path).splitlines(), skipinitialspace=True)
    try:
        lines = [[word.strip() for word in row] for row in rows if row]
    except csv.Error as error:
        raise InputError(f"{path}: not a table of comma-separated values: {error}") from None
    if not lines or NAME not in lines[0]:
        raise InputError(f"{path}: no column {NAME}: expected AreTomo3's TiltSeries_Metrics.csv")
    columns = lines[0]
    if len(columns) > limits.COLUMNS:
        raise InputError(f"{path}: {len(columns)} columns: expected at most {limits.COLUMNS}")
    found: dict[str, Metrics] = {}
    for line in lines[1:]:
        values = dict(zip(columns, line, strict=False))
        name = Path(values.pop(NAME, "")).name.removesuffix(".mrc")
        found[name] = {column: number(value) for column, value in values.items()}
    return found


def require_columns(path: StrPath, metrics: Mapping[str, Metrics], bounds: Iterable[Bound]) -> None:
    """Refuse bounds on columns that a file has not.

    Raises
    ------
    InputError
        If there is one.
    """
    columns = list(dict.fromkeys(column for values in metrics.values() for column in values))
    for bound in bounds:
        if _named(columns, bound.column) is None:
            raise InputError(
                f"{path}: no column {shown(bound.column)}: expected one of {', '.join(map(_plain, columns))}"
            )


def _named(columns: Iterable[str], name: str) -> str | None:
    """The column of a name with or without its unit, in letters of either case."""
    names = {name.casefold()}
    return next((c for c in columns if names & {c.casefold(), _plain(c).casefold()}), None)


def _plain(column: str) -> str:
    """A column's name without its unit."""
    return re.sub(r"\(.*\)$", "", column)
