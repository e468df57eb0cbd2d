"""The verbs of the command line, each a function in the file of its name, imported when it is called."""

from __future__ import annotations

from collections.abc import Sequence
from keyword import iskeyword
from typing import TYPE_CHECKING, Any

import docstring_parser
from cyclopts import App, Group, Parameter
from docstring_parser import Docstring, DocstringStyle

import dewedge

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions

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

# What follows the verb, and its flags after that; cyclopts would make all flags once more to tell.
ARGUMENTS = {
    "run": "[PATHS...]",
    "import": "[PATHS...] --output PATH",
    "check": "[PATHS...]",
    "reconstruct": "[PATH]",
    "frames": "[MOVIES...] --output PATH",
    "split": "PATH",
    "fit": "",
    "refine": "MODEL [TOMOGRAMS...]",
    "simulate": "--output PATH",
    "compare": "[PATHS...]",
    "evaluate": "[PATHS...]",
    "validate": "[PATHS...]",
    "trust": "PATH",
    "report": "[PATHS...]",
    "demo": "",
}

EXAMPLES = {
    "run": (
        "dewedge run TS_01.mrc --thickness 1200 --bin 6 -o OUT --dry-run",
        "dewedge run TS_01.mrc --thickness 1200 --bin 6 -o OUT --budget 30min",
        "dewedge run --half0 even.mrc --half1 odd.mrc --tilt-range -60 60 -o OUT",
        "dewedge run --resume -o OUT",
    ),
    "import": ("dewedge import aretomo/ -o dataset.star",),
    "check": ("dewedge check TS_01.mrc --thickness 1200 --bin 6 -o OUT",),
    "reconstruct": (
        "dewedge reconstruct TS_01.mrc --thickness 1200 --bin 6 -o TS_01_rec.mrc",
        "dewedge reconstruct TS_01.mrc --thickness 1200 --bin 6 --algorithm tv -o TV.mrc",
    ),
    "frames": ("dewedge frames MOVIES/ --mdoc TS_01.mrc.mdoc --gain gain.mrc -o TS_01_frames",),
    "split": ("dewedge split TS_01.mrc -o halves",),
    "fit": ("dewedge fit --half0 even.mrc --half1 odd.mrc --tilt-range -60 60 -o MODEL",),
    "refine": (
        "dewedge refine OUT/model.safetensors TS_02.mrc -o TS_02_refined.mrc",
        "dewedge refine OUT/model.safetensors --half0 A.mrc --half1 B.mrc -o refined.zarr",
    ),
    "simulate": (
        "dewedge simulate -o SIM --name TS",
        "dewedge simulate -o SIM --name TS --realistic --specimen lamella",
    ),
    "compare": ("dewedge compare TS_01.mrc --thickness 1200 --bin 6 -o CMP --methods fbp,dewedge",),
    "evaluate": (
        "dewedge evaluate OUT",
        "dewedge evaluate OUT/refined.mrc --truth truth.mrc --tilt-range -60 60",
    ),
    "validate": ("dewedge validate TS_01.mrc --thickness 1200 --bin 6 -o VAL --seeds 0 1 2",),
    "trust": ("dewedge trust OUT --quick", "dewedge trust OUT"),
    "report": ("dewedge report OUT", "dewedge report RUN_1 RUN_2 -o reports.html"),
    "demo": ("dewedge demo -o DEMO",),
}

EXIT_STATUS = (
    "Exit status: 0 done, also with warnings; 1 a fault of dewedge's own, or memory ran out. 2 an input, a "
    "flag or the output cannot be used. 130 stopped by Ctrl-C, 143 by SIGTERM."
)

UNITS = ("_A", "_deg", "_e_per_A2")


def build_app(called: str | None = None) -> App:
    """The application; the help of the verb that is ``called`` is all that its docstring says."""
    app = new_app("dewedge", f"{dewedge.__doc__} Each command explains itself: dewedge run --help")
    app.help_epilogue = EXIT_STATUS
    for verb, summary in VERBS.items():
        name = f"{verb}_" if iskeyword(verb) else verb
        app.command(
            f"dewedge.cli.{name}:{name}",
            name=verb,
            help=None if verb == called else summary,
            usage=" ".join(["dewedge", verb, *ARGUMENTS[verb].split(), "[OPTIONS]"]),
            help_epilogue=examples(EXAMPLES[verb]),
            sort_key=list(VERBS).index(verb),
        )
    app.command(
        "dewedge.cli.completion:install_completion",
        name="--install-completion",
        help="Let the shell complete verbs, flags and files: bash, zsh or fish.",
        sort_key=len(VERBS),
    )
    return app


def examples(commands: Sequence[str]) -> str:
    """Commands as the end of a help shows them."""
    return "\n".join([f"Example{'s' if len(commands) > 1 else ''}:", *(f"  {each}" for each in commands)])


def new_app(name: str, summary: str | None = None) -> App:
    """An application without commands, whose flags are named after keys of a configuration."""
    describe_keys_by_fields()
    return App(
        name=name,
        version=dewedge.__version__,
        help=summary,
        help_format="plaintext",
        help_formatter=Filled(),
        group_parameters=Group("Parameters", sort_key=1),  # after the essential ones
        result_action="return_value",
        suppress_keyboard_interrupt=False,
        default_parameter=Parameter(negative=(), name_transform=flag_name, show_default=shown_default),
    )


def describe_keys_by_fields() -> None:
    """Keep cyclopts from looking for the help of a section's keys anywhere but in its fields.

    For docstrings below them it would read the source of each section, and each time that of pydantic's
    BaseModel: half of the time that a help takes. Docstrings of verbs are tried in the one style they have.
    """
    docstring_parser.parse_from_object = lambda described, *_: (
        Docstring()
        if isinstance(described, type)
        else docstring_parser.parse(described.__doc__, DocstringStyle.NUMPYDOC)
    )


class Filled:
    """Help whose paragraphs fill the terminal's width, wherever the lines of a docstring end."""

    def __init__(self) -> None:
        from cyclopts.help.formatters import DefaultFormatter

        self.default = DefaultFormatter()

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Show a panel of flags or commands."""
        for entry in panel.entries:
            _fill(entry.description)
        self.default(console, options, panel)

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        """Show the first line."""
        self.default.render_usage(console, options, usage)

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:
        """Show what the command does."""
        _fill(description)
        self.default.render_description(console, options, description)


def _fill(described: Any) -> None:
    """Join the lines of each paragraph of a description, which cyclopts leaves as they are."""
    text = getattr(described, "primary_renderable", None)
    if text is not None:
        paragraphs = text.plain.split("\n\n")
        text.plain = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def shown_default(value: object) -> object:
    """The default as the help shows it; None where it would say nothing."""
    if isinstance(value, list):
        return " ".join(map(str, value)) or None
    return None if value is False else value


def flag_name(key: str) -> str:
    """Name of the flag of a configuration key: without its unit, dashes for underscores.

    Examples
    --------
    >>> flag_name("pixel_size_A")
    'pixel-size'
    """
    for unit in UNITS:
        key = key.removesuffix(unit)
    return key.replace("_", "-")
