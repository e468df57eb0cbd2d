"""Pages of HTML that hold everything, and need nothing else to be read."""

from __future__ import annotations

from importlib import resources
from string import Template


def filled(template: str, **values: str) -> str:
    """A template of this package in the style of all pages, its places filled with HTML."""
    folder = resources.files(__package__)
    style = folder.joinpath("page.css").read_text("utf-8")
    return Template(folder.joinpath(template).read_text("utf-8")).substitute(values, style=style)
