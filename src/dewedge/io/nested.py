"""YAML, TOML and JSON: nested values, read as plain ones, no deeper and no longer than is believed."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

from dewedge import limits
from dewedge.errors import InputError, reason
from dewedge.io.files import StrPath
from dewedge.io.text_files import read_text


def read_yaml(path: StrPath) -> Any:
    """Mappings, lists and texts of a YAML file; a number, too, is a text, for the reader to judge.

    Anchors, which let a file stand for one a million times as large, and tags are refused.

    Raises
    ------
    InputError
        If the file cannot be read, is no such file, or too large or too deep to be believed.
    """
    import yaml

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    text = read_text(path, limits.NESTED_BYTES)
    _require_shallow(path, text)
    depth = 0
    try:
        for event in yaml.parse(text, Loader=loader):
            if isinstance(event, yaml.NodeEvent) and (event.anchor or getattr(event, "tag", None)):
                raise InputError(f"{path}: an anchor, alias or tag: expected plain values")
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            _require_depth(path, depth)
        return yaml.load(text, Loader=loader)
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path}: not a YAML file: {reason(error)}") from None


def read_toml(path: StrPath) -> dict[str, Any]:
    """The keys of a TOML file.

    Raises
    ------
    InputError
        If the file cannot be read, is no TOML file, or too large or too deep to be believed.
    """
    text = read_text(path, limits.NESTED_BYTES)
    _require_shallow(path, text)
    for place, line in enumerate(text.splitlines(), start=1):
        if len(line) > limits.NESTED_LINE or line.count(".") > limits.COLUMNS:
            raise InputError(
                f"{path}, line {place}: {len(line)} characters: expected fewer, so give the values of a list "
                "on lines of their own"
            )
    try:
        return tomllib.loads(text)
    except ValueError as error:  # of a number of thousands of digits, too
        raise InputError(f"{path}: not a TOML file: {reason(error)}") from None


def parse_json(path: StrPath, text: str) -> Any:
    """The value of a JSON text, which is part of a file or all of it.

    Raises
    ------
    InputError
        If it is none, or too large or too deep to be believed.
    """
    if len(text) > limits.JSON_CHARACTERS or sum(map(text.count, ",[{")) > limits.WORDS:
        raise InputError(f"{path}: more values of JSON than are believed: {len(text)} characters")
    _require_shallow(path, text)
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{path}: damaged, not JSON: {reason(error)}") from None


def _require_shallow(path: StrPath, text: str) -> None:
    """Refuse brackets within brackets within brackets; those in names count, too."""
    depth = 0
    for bracket in re.finditer(r"[\[\]{}]", text):
        depth += 1 if bracket[0] in "[{" else -1
        _require_depth(path, depth)


def _require_depth(path: StrPath, depth: int) -> None:
    if depth > limits.NESTING:
        raise InputError(f"{path}: values within values, more than {limits.NESTING} deep: expected fewer")
