"""One clear line for a command line that cannot be understood."""

from __future__ import annotations

from cyclopts import CycloptsError
from pydantic import ValidationError

from dewedge.cli.app import build_app, flag_name
from dewedge.settings.file import explain_value


def usage_message(error: CycloptsError) -> str:
    """The error in one line."""
    if error.console is None:
        error.console = build_app().error_console
    for cause in (error.__cause__, error.__context__):
        if isinstance(cause, ValidationError):
            key, expected = explain_value(cause)
            return f"--{flag_name(key.rpartition('.')[2])}: {expected}"
    program = "dewedge" if error.app is None else error.app.name[0]
    return f"{' '.join(str(error).split())} See: {program} --help"
