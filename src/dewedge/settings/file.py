"""Configuration files: TOML read, merged with what is given on the command line, and written."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

import dewedge
from dewedge.errors import InputError, shown
from dewedge.io.files import write_text_atomic
from dewedge.io.nested import read_toml
from dewedge.settings.base import Section
from dewedge.settings.recipes import read_recipe
from dewedge.settings.sections import Config

_RATE_IS_OF = ("optimiser", "init")
# Keys whose name is taken in Python.
_PYTHON_NAMES = {"bin": "binning"}


def resolve_config(file: Path | None, given: Mapping[str, Any]) -> Config:
    """Configuration of a TOML file, overridden by what is ``given``, resolved.

    Raises
    ------
    InputError
        If the file cannot be read, holds an unknown key, or a value cannot be used.
    """
    settings = {} if file is None else read_toml(file)
    try:
        Config.model_validate(settings)
    except ValidationError as error:
        raise InputError(f"{file}: {explain(error)}") from None
    layers = [settings, given]
    if "recipe" in given:
        layers.insert(1, read_recipe(str(given["recipe"])).settings)
    elif "recipe" in settings:
        layers.insert(0, read_recipe(settings["recipe"]).settings)
    return Config.model_validate(_merged_with_rate(layers)).resolved()


def resolve_options(
    call: str, options: Mapping[str, Any], sections: Mapping[str, type[Section]], given: Mapping[str, Any]
) -> Config:
    """Configuration of the options of a call from Python, resolved.

    Parameters
    ----------
    call
        Name of the function, for messages.
    options
        Values of keys of any of the sections, by the key alone; ``binning`` stands for ``bin``.
    sections
        The sections, by their names.
    given
        Keys of a configuration, which options win over.

    Raises
    ------
    InputError
        If there is no such key, or a value cannot be used.
    """
    homes = {
        _PYTHON_NAMES.get(key, key): (name, key) for name, s in sections.items() for key in s.model_fields
    }
    chosen: dict[str, dict[str, Any]] = {}
    for option, value in options.items():
        if option not in homes:
            near = difflib.get_close_matches(option, homes, n=1, cutoff=0.0)
            raise InputError(f"{call}: unknown option {shown(option)}; the nearest known one is {near[0]!r}")
        section, key = homes[option]
        chosen.setdefault(section, {})[key] = value
    try:
        return resolve_config(None, merged([given, chosen]))
    except ValidationError as error:
        key, expected = explain_value(error)
        key = key.rpartition(".")[2]
        raise InputError(f"{call}: {_PYTHON_NAMES.get(key, key)}: {expected}") from None


def _merged_with_rate(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge layers; a learning rate holds for the optimiser and the start that its layer names, if any."""
    settings = merged(layers)
    fit = settings.get("fit", {})
    rates = [
        own["learning_rate"]
        for own in (layer.get("fit", {}) for layer in layers)
        if "learning_rate" in own and all(own.get(key, fit.get(key)) == fit.get(key) for key in _RATE_IS_OF)
    ]
    if "learning_rate" in fit:
        settings["fit"] = fit | {"learning_rate": rates[-1] if rates else None}
    return settings


def merged(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Settings of several layers, key by key; a later layer wins.

    Examples
    --------
    >>> merged([{"fit": {"seed": 1, "epochs": 5}}, {"fit": {"seed": 2}}])
    {'fit': {'seed': 2, 'epochs': 5}}
    """
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            if isinstance(value, Mapping):
                result[key] = {**result.get(key, {}), **value}
            else:
                result[key] = value
    return result


def write_config(path: Path, config: Config, command: str = "run") -> None:
    """Write a configuration that `resolve_config` reads back; ``command`` is the one that repeats it.

    Errors as `dewedge.io.files.atomic_path`.
    """
    write_settings(path, config.model_dump(mode="json"), command)


def write_settings(path: Path, settings: Mapping[str, Any], command: str) -> None:
    """Write keys of a configuration, of types that JSON has, as TOML.

    Errors as `dewedge.io.files.atomic_path`.
    """
    again = f"dewedge {command} --config {path.name} -o FOLDER"
    note = f"# Written by dewedge {dewedge.__version__}; run it again: {again}\n"
    write_text_atomic(path, note + tomli_w.dumps(_toml_values(dict(settings))))


@dataclass(frozen=True)
class Difference:
    """A key whose value is not the default.

    Parameters
    ----------
    key
        With its section.
    value, default
        As TOML has them.
    help
        What the key is.
    """

    key: str
    value: Any
    default: Any
    help: str


def differences(config: Config) -> list[Difference]:
    """Keys whose value is not the default, but for the folder of the results."""
    own, default = (flat(each.model_dump(mode="json")) for each in (config, resolve_config(None, {})))
    return [
        Difference(key, _toml_values(value), _toml_values(default[key]), _help(key))
        for key, value in own.items()
        if value != default[key] and key != "output"
    ]


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of sections by ``section.key``."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= {f"{key}.{name}": item for name, item in value.items()}
        else:
            found[key] = value
    return found


def _help(key: str) -> str:
    section, _, name = key.rpartition(".")
    home = Config.model_fields[section].annotation if section else Config
    assert isinstance(home, type) and issubclass(home, Section)
    return home.model_fields[name].description or ""


def _toml_values(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _toml_values(item) for key, item in value.items()}
    return "none" if value is None else value


def explain(error: ValidationError) -> str:
    """Explain in a line the first thing wrong with a configuration file."""
    key, expected = explain_value(error)
    if error.errors()[0]["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, _known_keys(), n=1, cutoff=0.0)
        return f"unknown key {shown(key)}; the nearest known one is {near[0]!r}"
    return f"{key}: {expected}"


def explain_value(error: ValidationError) -> tuple[str, str]:
    """Key of the first value that cannot be used, and what was expected and came."""
    first = error.errors(include_url=False)[0]
    # Behind the key may stand the place in a list, or the kind of several that was tried.
    key = ".".join(part for part in first["loc"][:2] if isinstance(part, str))
    if first["type"] == "missing":
        return key, f"expected two numbers, got {shown(first['input'])}"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return key, message if message.startswith(
        "duration"
    ) else f"expected {message}, got {shown(first['input'])}"


def _known_keys() -> list[str]:
    keys: list[str] = []
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            keys += [name, *(f"{name}.{key}" for key in field.annotation.model_fields)]
        else:
            keys.append(name)
    return keys
