"""The reference pages of the site, made of the code: commands, keys, recipes, Python."""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple
from datetime import timedelta
from importlib import resources
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import docstring_parser
from annotated_types import Ge, Gt, Le, Lt
from cyclopts import App

import dewedge
from dewedge.cli import relion
from dewedge.cli.app import EXAMPLES, EXIT_STATUS, VERBS, build_app, flag_name, new_app, shown_default
from dewedge.settings import recipes as recipe_files
from dewedge.settings.base import Section
from dewedge.settings.recipes import RECIPES, read_recipe
from dewedge.settings.sections import Config

_WORDS = {bool: "", int: "whole number", float: "number", str: "text", Path: "path"}
_BOUNDS = {Ge: "at least", Gt: "above", Le: "at most", Lt: "below"}
# In the order of the configuration; the keys beside them are in none.
_SECTIONS: dict[str, type[Section]] = {
    name: field.annotation
    for name, field in Config.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
_SECTION_OF = {key: name for name, section in _SECTIONS.items() for key in section.model_fields}


def pages() -> dict[str, str]:
    """Return the Markdown of each generated page by its path in docs/."""
    return {f"reference/{make.__name__}.md": make() for make in (commands, configuration, recipes, python)}


def commands() -> str:
    """Return the page of all commands, their flags and examples."""
    app = build_app()
    job = new_app("dewedge-relion")
    job.default(relion.denoise)
    blocks = [
        "# Commands",
        "Each command with its flags and examples. Flags that are settings are explained with "
        "[their keys](configuration.md). In a terminal, `dewedge COMMAND --help` says the same.",
        EXIT_STATUS,
    ]
    for verb in VERBS:
        blocks += _command(f"dewedge {verb}", app[verb], EXAMPLES[verb])
    blocks += _command("dewedge --install-completion", app["--install-completion"])
    blocks += _command("dewedge-relion", job)
    return _joined(blocks)


def _command(name: str, app: App, examples: Sequence[str] = ()) -> Iterator[str]:
    yield f"## {name}"
    function = app.default_command
    assert function is not None
    yield _paragraphs(docstring_parser.parse(function.__doc__ or "").description or "")
    if examples:
        yield "\n".join(["```sh", *examples, "```"])
    settings: dict[str, list[str]] = {}
    for argument in _arguments(app):
        if argument.keys:
            key = argument.keys[-1]
            settings.setdefault(_SECTION_OF[key], []).append(
                f"[`{argument.name}`](configuration.md#{_anchor(_SECTION_OF[key], key)})"
            )
            continue
        default = "required" if argument.required else _default(argument.field_info.default)
        names = ", ".join(f"`{name}`" for name in argument.names)
        yield _entry(names, [_kind(argument.hint), default], argument.parameter.help or "")
    if settings:
        yield "Settings, by the tables of the configuration:"
        yield "| table | flags |\n|---|---|\n" + "\n".join(
            f"| [{section}](configuration.md#{section}) | {' · '.join(settings[section])} |"
            for section in _SECTIONS
            if section in settings
        )


def _arguments(app: App) -> Iterator[Any]:
    """Arguments of a command, without the groups that only hold others."""
    found = app.assemble_argument_collection(
        default_parameter=build_app().default_parameter, parse_docstring=True
    )
    return (argument for argument in found if argument.name != "*")


def configuration() -> str:
    """Return the page of all keys, each with its flag, type, default and help."""
    app = build_app()
    users: dict[str, list[str]] = {}
    for verb in VERBS:
        for name in {_SECTION_OF[each.keys[-1]] for each in _arguments(app[verb]) if each.keys}:
            users.setdefault(name, []).append(f"[{verb}](commands.md#dewedge-{verb})")
    blocks = [
        "# Configuration",
        "Each key of `config.toml` with its flag, its values and its default. A flag wins over the file, the "
        "file over the [recipe](recipes.md). Each run writes its `config.toml`, which `--config` takes.",
        "`none` stands for a value that is not there. Relative paths count from the working folder.",
        "## Keys without a table { #top }",
    ]
    blocks += _keys("", Config, skip=_SECTIONS)
    for name, section in _SECTIONS.items():
        blocks += [f"## [{name}] {{ #{name} }}", _paragraphs(section.__doc__ or "")]
        blocks.append(f"Flags of {', '.join(users[name])}.")
        blocks += _keys(name, section)
    return _joined(blocks)


def _keys(name: str, section: type[Section], skip: Iterable[str] = ()) -> Iterator[str]:
    for key, field in section.model_fields.items():
        if key not in skip:
            hint = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
            flag = "arguments" if key == "paths" else f"`--{flag_name(key)}`"
            label = f"`{key}`{{ #{_anchor(name or 'top', key)} }}"
            yield _entry(label, [flag, _kind(hint), _default(field.default)], field.description or "")


def recipes() -> str:
    """Return the page of all recipes, each as its file; its summary stands above."""
    blocks = [
        "# Recipes",
        "A recipe is a method: settings that stand below the configuration file and the flags. `dewedge run "
        "--recipe NAME` takes one that fits a network, [`dewedge compare`](commands.md#dewedge-compare) any. "
        "What a file does not name has the [default](configuration.md).",
    ]
    for name in RECIPES:
        recipe = read_recipe(name)
        toml = resources.files(recipe_files).joinpath(f"{name}.toml").read_text("utf-8")
        toml = re.sub(r"^summary = .*\n", "", toml, flags=re.MULTILINE)
        blocks += [f"## {name}", recipe.summary, f"```toml\n{toml.strip()}\n```"]
    return _joined(blocks)


def python() -> str:
    """Return the page of the Python interface, whose docstrings mkdocstrings fills in."""
    blocks = [
        "# Python",
        "What `import dewedge` gives. Wrong input raises [`dewedge.InputError`][dewedge.InputError].",
    ]
    own = [name for name in dewedge.__all__ if name not in ("__version__", "scores")]
    blocks += [f"::: dewedge.{name}" for name in sorted(own, key=lambda name: name[0].isupper())]
    blocks.append("::: dewedge.scores")
    return _joined(blocks)


def _entry(label: str, facts: Iterable[str], text: str) -> str:
    return f"{' · '.join([label, *filter(None, facts)])}\n:   {_paragraphs(text)}"


def _anchor(section: str, key: str) -> str:
    return f"{section}-{key}"


def _kind(hint: Any) -> str:
    """Words for the values that a hint allows."""
    if get_origin(hint) is Annotated:
        inner, *metadata = get_args(hint)
        bounds = [f"{_BOUNDS[type(each)]} {astuple(each)[0]:g}" for each in metadata if type(each) in _BOUNDS]
        return ", ".join(filter(None, [_kind(inner), *bounds]))
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_kind(each) for each in get_args(hint) if each is not type(None))
    if get_origin(hint) is Literal:
        return " ".join(f"`{each}`" for each in get_args(hint))
    if get_origin(hint) is list:
        return f"{_kind(get_args(hint)[0])}, may be repeated"
    if get_origin(hint) is tuple:
        inner = get_args(hint)
        return f"any number: {_kind(inner[0])}" if Ellipsis in inner else " and ".join(map(_kind, inner))
    if isinstance(hint, type) and issubclass(hint, timedelta):
        return "time"
    return _WORDS[hint]


def _default(value: Any) -> str:
    shown = None if value is Parameter.empty else shown_default(value)
    return "" if shown is None else f"default `{shown}`"


def _paragraphs(text: str) -> str:
    filled = "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    return re.sub(r"docs/([\w/-]+\.md)", r"[\1](../\1)", filled)


def _joined(blocks: Iterable[str]) -> str:
    return "\n\n".join(filter(None, blocks)) + "\n"
