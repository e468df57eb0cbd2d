"""The methods of a comparison: recipes under the settings that the user gives to all of them alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dewedge.errors import InputError, shown
from dewedge.inputs.read import with_fitting_cubes
from dewedge.inputs.run_input import RunInput
from dewedge.io.nested import read_toml
from dewedge.settings.file import explain, flat, merged, resolve_config, write_settings
from dewedge.settings.recipes import Recipe, read_recipe
from dewedge.settings.sections import Config

DEFAULT_METHODS = ("fbp", "cryocare", "isonet", "deepdewedge", "dewedge")

# What makes a method what it is; to set it for all would make them one.
_OWN_KEYS = {
    "recipe": ("",),
    "fit_each": ("",),
    "fit_on": ("",),
    "model": ("",),
    "to_warp": ("",),
    "fit": ("objective",),
    "reconstruct": ("algorithm", "iterations"),
}
# Of dewedge run alone.
_OF_RUNS = {"files", "output_format", "zarr_version", "watch"}


@dataclass(frozen=True, eq=False)
class Stage:
    """A recipe carried out by a method, and its configuration."""

    recipe: Recipe
    config: Config


@dataclass(frozen=True, eq=False)
class Method:
    """A recipe and what is carried out for it, in turn."""

    recipe: Recipe
    stages: tuple[Stage, ...]

    @property
    def name(self) -> str:
        """Name of the recipe."""
        return self.recipe.name


@dataclass(frozen=True, eq=False)
class ComparisonSettings:
    """Settings of a comparison: the keys that the user gave, for all methods, and nothing else.

    Parameters
    ----------
    methods
        Names of recipes.
    given
        Keys of a configuration, as JSON has them, with absolute paths.
    """

    methods: tuple[str, ...]
    given: dict[str, Any]

    @property
    def base(self) -> Config:
        """The configuration that all methods share, but for what makes them different."""
        return Config.model_validate(self.given).resolved()

    def method(self, name: str) -> Method:
        """Make the method of this name, under these settings.

        Raises
        ------
        InputError
            If there is none, or a value cannot be used with it.
        """
        recipe = read_recipe(name)
        stages = tuple(
            Stage(read_recipe(stage), _stage_config(stage, self.given, len(recipe.stages)))
            for stage in recipe.stages
        )
        return Method(recipe, stages)


def read_comparison(
    file: Path | None, flags: Mapping[str, Any], methods: Sequence[str] | None
) -> ComparisonSettings:
    """The settings of a TOML file, overridden by flags; FBP, the input of all, is always compared.

    Raises
    ------
    InputError
        If the file cannot be read, or a key or a method cannot be used.
    """
    of_file = {} if file is None else read_toml(file)
    listed = of_file.pop("methods", None)
    if methods is None:
        methods = list(DEFAULT_METHODS) if listed is None else listed
    names = method_names(methods)
    try:
        Config.model_validate(of_file)
    except ValidationError as error:
        raise InputError(f"{file}: {explain(error)}") from None
    given = merged([of_file, flags])
    for section, keys in _OWN_KEYS.items():
        for key in keys:
            if section in given and (not key or key in given[section]):
                raise InputError(
                    f"{key or section}: every method of a comparison has its own: leave it out; a file may "
                    "hold only the keys that all methods share"
                )
    base = Config.model_validate(given).resolved()
    _refuse_unused(base)
    base.fit.options()
    absolute = base.model_dump(mode="json", exclude={"output"})
    kept = {key: value for key, value in given.items() if key != "output" and value != {}}
    settings = {
        key: {name: absolute[key][name] for name in value} if isinstance(value, Mapping) else absolute[key]
        for key, value in kept.items()
    }
    if base.fit.budget is not None:
        settings["fit"] = settings.get("fit", {}) | {"budget": absolute["fit"]["budget"]}
    return ComparisonSettings(tuple(names), settings)


def _refuse_unused(config: Config) -> None:
    """Refuse keys that would be ignored: how a run keeps its files, and how folders are watched.

    Raises
    ------
    InputError
        If one is not the default.
    """
    given, usual = (flat(one.model_dump(mode="json", include=_OF_RUNS)) for one in (config, Config()))
    for key, value in given.items():
        if value != usual[key]:
            raise InputError(
                f"{key} = {shown(value)}: is for dewedge run; a comparison watches no folder, and keeps "
                "half-sets, and MRC of float32: leave it out"
            )


def method_names(given: object) -> list[str]:
    """Names of recipes from a list of names, some of which may be joined by commas; FBP first.

    Raises
    ------
    InputError
        If it is no such list, is empty, or holds a name of no recipe.

    Examples
    --------
    >>> method_names(["dewedge, cryocare", "isonet"])
    ['fbp', 'dewedge', 'cryocare', 'isonet']
    """
    if not isinstance(given, (list, tuple)) or not all(isinstance(text, str) for text in given):
        raise InputError(f"methods: expected a list of names, got {shown(given)}")
    names = [name.strip() for text in given for name in text.split(",")]
    names = [read_recipe(name).name for name in names if name]
    if not names:
        raise InputError("--methods: expected at least one, such as --methods fbp,cryocare,dewedge")
    return list(dict.fromkeys(["fbp", *names]))


def write_comparison(path: Path, settings: ComparisonSettings) -> None:
    """Write what `read_comparison` reads back; errors as `dewedge.io.files.atomic_path`."""
    write_settings(path, {"methods": list(settings.methods)} | settings.given, "compare")


def _shared_input(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a recipe may set of the reconstruction that all methods share, as it is for all of them."""
    base = Config.model_validate(given)
    return {
        "ctf": {"ctf": base.ctf.ctf},
        "reconstruct": {"filter": base.reconstruct.filter},
        "images": base.images.model_dump(),
    }


def _stage_config(recipe_name: str, given: Mapping[str, Any], count: int) -> Config:
    """The configuration of one of ``count`` stages, each of which gets its share of budget and epochs."""
    recipe = read_recipe(recipe_name)
    settings = merged([_shared_input(given), given, {"recipe": recipe_name}])
    if recipe.settings.get("fit", {}).get("update_interval") == "none":
        # How often, not whether: this method never replaces the wedge of its inputs.
        settings.get("fit", {}).pop("update_interval", None)
    config = resolve_config(None, settings)
    return _with_overlap(config.model_copy(update={"fit": config.fit.share(count)}), given)


def _with_overlap(config: Config, given: Mapping[str, Any]) -> Config:
    """The configuration with tiles that overlap by no more than suits them, unless the overlap is given."""
    if "overlap" in given.get("refine", {}):
        return config
    # A third of the tile at most, as published: recipes are written for cubes of 96.
    tile = config.refine.edge(config.fit.network(), config.fit.cube_size)
    refine = config.refine.model_copy(update={"overlap": min(config.refine.overlap, tile // 3)})
    return config.model_copy(update={"refine": refine})


def fitting(
    methods: Sequence[Method], item: RunInput, given: Mapping[str, Any]
) -> tuple[list[Method], list[str]]:
    """The methods with smaller cubes where the input has no room for those of their recipes, and notes on it.

    Cubes that were ``given`` for all stay.
    """
    if "cube_size" in given.get("fit", {}):
        return list(methods), []
    notes: dict[str, list[str]] = {}

    def fitted(stage: Stage) -> Stage:
        if not stage.recipe.network:
            return stage
        config, note = with_fitting_cubes(stage.config, [item], of_recipe=True)
        if not note:
            return stage
        notes.setdefault(note, []).append(stage.recipe.name)
        return replace(stage, config=_with_overlap(config, given))

    smaller = [replace(method, stages=tuple(map(fitted, method.stages))) for method in methods]
    return smaller, [f"{', '.join(dict.fromkeys(names))}: {note}" for note, names in notes.items()]
