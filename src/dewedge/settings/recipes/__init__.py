"""The methods that are compared, each as the settings of one engine.

A recipe is a TOML file in this folder: ``title`` and ``summary``, then any keys of a configuration.
``network = false`` stands for a method that only reconstructs; ``stages`` names the recipes that a combined
one carries out in turn, each on the result of the one before.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any

from dewedge.errors import InputError, shown

RECIPES = ("fbp", "sirt", "tv", "cryocare", "isonet", "cryocare+isonet", "deepdewedge", "dewedge")


@dataclass(frozen=True)
class Recipe:
    """A method, as settings of the engine.

    Parameters
    ----------
    name, title, summary
        On the command line and in tables; what it is in a line.
    settings
        Keys of a configuration.
    network
        Whether a network is fitted.
    stages
        Names of the recipes that it carries out in turn; itself alone, unless it is a combined one.
    """

    name: str
    title: str
    summary: str
    settings: dict[str, Any]
    network: bool
    stages: tuple[str, ...]


def read_recipe(name: str) -> Recipe:
    """Read the recipe of this name.

    Raises
    ------
    InputError
        If there is none.
    """
    if name not in RECIPES:
        raise InputError(f"recipe {shown(name)}: expected one of {', '.join(RECIPES)}")
    settings = tomllib.loads(resources.files(__name__).joinpath(f"{name}.toml").read_text("utf-8"))
    return Recipe(
        name=name,
        title=settings.pop("title"),
        summary=settings.pop("summary"),
        network=settings.pop("network", True),
        stages=tuple(settings.pop("stages", [name])),
        settings=settings,
    )
