"""One clear line for a command line that cannot be understood."""

from __future__ import annotations

import difflib

from cyclopts import CycloptsError, UnknownOptionError, UnusedCliTokensError
from pydantic import ValidationError

from dewedge.cli.app import build_app, flag_name
from dewedge.errors import shown
from dewedge.settings.file import explain_value

# Words less alike than this mean different things: --quiet is no --budget.
_ALIKE = 0.7


def usage_message(error: CycloptsError) -> str:
    """The error in one line."""
    if error.console is None:
        error.console = build_app().error_console
    for cause in (error.__cause__, error.__context__):
        if isinstance(cause, ValidationError):
            key, expected = explain_value(cause)
            return f"--{flag_name(key.rpartition('.')[2])}: {expected}"
    if isinstance(error, UnknownOptionError):
        text = _unknown(error)
    elif isinstance(error, UnusedCliTokensError):
        text = f"Expected nothing more, got {', '.join(map(shown, error.unused_tokens or ()))}."
    else:
        text = " ".join(str(error).split())
    return f"{text} See: {_command(error)} --help"


def _unknown(error: UnknownOptionError) -> str:
    """Which flag there is not, and the one that is meant, if one is like it."""
    flag = (error.token.keyword or error.token.value).partition("=")[0]
    names = [name for argument in error.argument_collection or () for name in argument.names]
    known = {name.lstrip("-"): name for name in names if name.startswith("--")}
    word = flag.lstrip("-")
    near = difflib.get_close_matches(word, known, n=1, cutoff=_ALIKE)
    near += sorted((name for name in known if name.startswith(word) or word.startswith(name)), key=len)
    meant = f" Did you mean {known[near[0]]}?" if near and len(word) > 1 else ""
    return f"Unknown option: {shown(flag)}.{meant}"


def _command(error: CycloptsError) -> str:
    """What was called, as its help is asked for."""
    if error.command_chain:
        return " ".join(["dewedge", *error.command_chain])
    return "dewedge" if error.app is None else error.app.name[0]
