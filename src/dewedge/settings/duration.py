"""Durations as people write them: ``10min``, ``90s``, ``2h`` or ``1h30min``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from dewedge.errors import InputError, shown

_UNITS = {"h": timedelta(hours=1), "min": timedelta(minutes=1), "s": timedelta(seconds=1)}
_PATTERN = "".join(rf"(?:(\d*\.?\d+){unit})?" for unit in _UNITS)


class Duration(timedelta):
    """A positive duration, which files and flags hold as text.

    Examples
    --------
    >>> budget = Duration.read("1h30min")
    >>> budget.total_seconds(), str(budget.share(4))
    (5400.0, '22min30s')
    """

    @classmethod
    def read(cls, text: str) -> Duration:
        """Read a duration such as ``10min``, ``90s``, ``2h`` or ``1h30min``.

        Raises
        ------
        InputError
            If it is none, or not positive.
        """
        match = re.fullmatch(_PATTERN, text.replace(" ", ""))
        numbers = [] if match is None else [float(number or 0) for number in match.groups()]
        seconds = sum(n * unit.total_seconds() for n, unit in zip(numbers, _UNITS.values(), strict=False))
        if not 0 < seconds < cls.max.total_seconds():
            raise InputError(f"duration {shown(text)}: expected one such as 10min, 90s, 2h or 1h30min")
        return cls(seconds=seconds)

    def __str__(self) -> str:
        """Write what `read` reads back."""
        hours, rest = divmod(self, _UNITS["h"])
        minutes, rest = divmod(rest, _UNITS["min"])
        parts = {"h": hours, "min": minutes, "s": rest.total_seconds()}
        return "".join(f"{number:.8g}{unit}" for unit, number in parts.items() if number)

    def share(self, count: int) -> Duration:
        """Divide the duration into ``count`` equal ones."""
        return Duration(seconds=self.total_seconds() / count)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        to_text = core_schema.plain_serializer_function_ser_schema(str, when_used="json")
        return core_schema.no_info_plain_validator_function(cls._validated, serialization=to_text)

    @classmethod
    def _validated(cls, value: Any) -> Duration:
        try:
            return value if isinstance(value, cls) else cls.read(str(value))
        except InputError as error:
            raise ValueError(str(error)) from None
