"""The verbs of the command line, each a function in the file of its name, imported when it is called."""

from __future__ import annotations

from keyword import iskeyword

from cyclopts import App, Parameter

import dewedge

VERBS = {
    "run": "From tilt series, or ready-made half-sets, to refined tomograms.",
    "import": "List what lies in files and folders, and write it as a dataset file.",
    "check": "Tell what is wrong with the input, and what a run will take.",
    "reconstruct": "Reconstruct a tilt series: filtered back-projection, SIRT, or total variation.",
    "frames": "Average the even and the odd frames of movies.",
    "split": "Split a tilt series into two half-sets.",
    "fit": "Fit a network to tomograms of half-sets.",
    "refine": "Refine tomograms with a fitted model.",
    "simulate": "Simulate a specimen with known truth and its tilt series.",
    "compare": "Carry out several methods on one tilt series, and compare them.",
    "evaluate": "Score tomograms against the truth, or finished runs without it.",
    "validate": "Run on part of the tilts, and hold the result against those kept back.",
    "trust": "Tell how far the filled wedge of a finished run is to be believed.",
    "report": "Make the page of a finished run again, or an index of several.",
    "demo": "Simulate, run and evaluate, in a few minutes on a CPU.",
}

UNITS = ("_A", "_deg", "_e_per_A2")


def build_app() -> App:
    """The application."""
    app = new_app("dewedge", f"{dewedge.__doc__} Each command explains itself: dewedge run --help")
    for verb, summary in VERBS.items():
        name = f"{verb}_" if iskeyword(verb) else verb
        app.command(f"dewedge.cli.{name}:{name}", name=verb, help=summary, sort_key=list(VERBS).index(verb))
    return app


def new_app(name: str, summary: str | None = None) -> App:
    """An application without commands, whose flags are named after keys of a configuration."""
    return App(
        name=name,
        version=dewedge.__version__,
        help=summary,
        help_format="plaintext",
        result_action="return_value",
        suppress_keyboard_interrupt=False,
        default_parameter=Parameter(negative=(), name_transform=flag_name, show_default=shown_default),
    )


def shown_default(value: object) -> object:
    """The default as the help shows it; None where it would say nothing."""
    if isinstance(value, list):
        return " ".join(map(str, value)) or None
    return None if value is False else value


def flag_name(key: str) -> str:
    """Name of the flag of a configuration key: without its unit, dashes for underscores."""
    for unit in UNITS:
        key = key.removesuffix(unit)
    return key.replace("_", "-")
