"""Pages of HTML that hold everything, and need nothing else to be read."""

from __future__ import annotations

from importlib import resources
from string import Template


def filled(template: str, **values: str) -> str:
    """A template of this package in the style of all pages, its places filled with HTML."""
    return Template(part(template)).substitute(values, style=part("page.css"))


def part(name: str) -> str:
    """A file of this package that goes into pages."""
    return resources.files(__package__).joinpath(name).read_text("utf-8")
