"""Base of all sections of a configuration, and the kinds of values that are written in several ways."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator

from dewedge.errors import InputError
from dewedge.io.image_numbers import image_numbers
from dewedge.io.names import require_utf8


class Section(BaseModel):
    """A table of the configuration; ``"none"`` stands for None, which TOML lacks."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    @classmethod
    def defaults(cls) -> Self:
        """Return all keys at their defaults; nothing is validated, which a help would wait for."""
        return cls.model_construct()

    @model_validator(mode="before")
    @classmethod
    def _read_none(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        optional = {
            name for name, field in cls.model_fields.items() if type(None) in get_args(field.annotation)
        }
        return {key: None if key in optional and value == "none" else value for key, value in data.items()}

    def with_absolute_paths(self) -> Self:
        """Make all lists of paths absolute."""
        paths = {
            name: [path.absolute() for path in value]
            for name, value in self
            if isinstance(value, list) and all(isinstance(item, Path) for item in value)
        }
        return self.model_copy(update=paths)


def _pairs(value: Any) -> Any:
    """Flat lists of numbers, as flags and short TOML give them, as pairs."""
    if isinstance(value, (list, tuple)) and value and not isinstance(value[0], (list, tuple)):
        return [value[i : i + 2] for i in range(0, len(value), 2)]
    return value


def _listed(value: Any) -> Any:
    single = isinstance(value, (str, Path, int, float)) and not isinstance(value, bool)
    return [value] if single else value


def _whole(value: Any) -> Any:
    """A whole number, which flags give as text."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,9}", value) else value


def _image_lists(value: Any) -> Any:
    texts = [str(item) for item in value] if isinstance(value, (list, tuple)) else [str(value)]
    try:
        image_numbers(texts)
    except InputError as error:
        raise ValueError(str(error)) from None
    return texts


def _utf8(path: Path) -> Path:
    require_utf8(path)
    return path


WritablePath = Annotated[Path, AfterValidator(_utf8)]
Paths = Annotated[list[WritablePath], BeforeValidator(_listed)]
Names = Annotated[list[str], BeforeValidator(_listed)]
ImageLists = Annotated[list[str], BeforeValidator(_image_lists)]
Hand = Annotated[Literal[1, -1], BeforeValidator(_whole)]
Rotations = Annotated[Literal[1, 2, 4], BeforeValidator(_whole)]
Numbers = Annotated[list[float], BeforeValidator(_listed)]
TiltRanges = Annotated[list[tuple[float, float]], BeforeValidator(_pairs)]
