"""The flag for the place of the results, and what is told on the way: of verbs with settings or without."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TextIO

from cyclopts import Group, Parameter

ESSENTIAL = Group("Essential", sort_key=0)

Output = Annotated[Path | None, Parameter(alias="-o", group=ESSENTIAL)]
Folder = Annotated[Path, Parameter(alias="-o")]


def show_messages(stream: TextIO | None = None) -> None:
    """Show what happens on the terminal, or write it to a stream."""
    from dewedge.runtime.log import show_on_terminal

    show_on_terminal(stream)
