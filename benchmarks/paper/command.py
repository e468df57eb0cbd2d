"""The command line: find the data, compute what is missing, draw."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dewedge.errors import InputError
from dewedge.runtime.log import show_on_terminal
from dewedge.settings.file import merged
from paper import settings
from paper.experiments import EXPERIMENTS, METHODS, Request
from paper.pictures import draw
from paper.results import ROWS, RowsFile, row_of
from paper.runs import (
    Variant,
    carry_out,
    prepare,
    reconstructed,
    reconstruction_of,
    settings_of,
    stage_configs,
)
from paper.scoring import scores_of
from paper.settings import Settings

logger = logging.getLogger("dewedge.paper")


def main(description: str = "", words: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status: 0, 2 for what the user can mend, 130 when stopped."""
    arguments = parser(description).parse_args(words)
    show_on_terminal()
    try:
        if arguments.verb == "settings":
            print_settings()
        elif arguments.verb == "standins":
            from paper.standins import write_all

            write_all(arguments.folder)
        else:
            run_experiment(arguments)
    except InputError as error:
        print(f"paper: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("paper: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def run_experiment(arguments: argparse.Namespace) -> None:
    """One experiment, as far as it is asked for."""
    output = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    layers: list[Settings] = [settings.SMALL] if arguments.small else []
    if arguments.small:
        logger.info("--small: networks and fits too small for a result")
    given = merged([*layers, *map(parsed, arguments.set)])
    request = Request(
        arguments.folder,
        output,
        tuple(arguments.figure or ()),
        tuple(arguments.models),
        small=arguments.small,
    )
    variants = EXPERIMENTS[arguments.verb](request)
    if request.figures:
        variants = [v for v in variants if set(request.figures).intersection(v.figures)]
    if not variants:
        raise InputError(f"--figure {request.figures}: expected figures of this experiment")
    file = RowsFile(output / ROWS)
    for variant in variants:
        compute(variant, arguments.methods, given, file, output)
    for path in draw(variants, file.read(), output, request.figures):
        logger.info("drawn: %s", path)


def compute(variant: Variant, methods: Sequence[str], given: Settings, file: RowsFile, output: Path) -> None:
    """The rows of a variant that are missing."""
    prepare(variant, output)
    for method in [m for m in variant.methods if m in methods and m != "fbp"]:
        configs = stage_configs(variant, method, given, output)
        if file.has(variant, method, [settings_of(config) for config in configs]):
            logger.info("%s, %s: is there", variant.name, method)
            continue
        logger.info("%s, %s", variant.name, method)
        start = time.monotonic()
        outcomes = carry_out(variant, method, given, output)
        scores = [scores_of(outcome, variant) for outcome in outcomes]
        wall_s = time.monotonic() - start
        pairs = zip(outcomes, scores, strict=True)
        file.add([row_of(outcome, variant, method, score, wall_s, output) for outcome, score in pairs])
        if "fbp" in variant.methods and not file.has(variant, "fbp", [reconstruction_of(configs[0])]):
            plain = reconstructed(outcomes)
            file.add([row_of(each, variant, "fbp", scores_of(each, variant), 0.0, output) for each in plain])


def parsed(text: str) -> dict[str, Any]:
    """Settings of ``section.key=value``; the value as JSON where it is, else as text.

    Raises
    ------
    InputError
        If it has another form.
    """
    key, equals, value = text.partition("=")
    if not equals or "." not in key:
        raise InputError(f"--set {text}: expected section.key=value, such as fit.epochs=100")
    try:
        return settings.with_key(key, json.loads(value))
    except json.JSONDecodeError:
        return settings.with_key(key, value)


def print_settings() -> None:
    """Every setting and where it comes from; a question mark where the source is not of this experiment."""
    for experiment, method, setting in settings.listed():
        value = setting.value if not isinstance(setting.value, tuple) else ", ".join(map(str, setting.value))
        print(f"{' ' if setting.sure else '?'} {experiment:8} {method:12} {setting.key} = {value}")
        print(f"      {setting.source}")


def parser(description: str) -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="paper", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = top.add_subparsers(dest="verb", required=True)
    for name, experiment in EXPERIMENTS.items():
        verb = verbs.add_parser(name, help=experiment.__doc__)
        verb.add_argument("folder", type=Path, help="folder of the download")
        verb.add_argument("-o", "--output", type=Path, required=True, help="folder of the results")
        verb.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, help="only these")
        verb.add_argument("--figure", type=int, action="append", help="only this one; repeat for more")
        verb.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="a setting of all runs but what a figure compares: compute.devices=4, fit.epochs=100",
        )
        verb.add_argument("--small", action="store_true", help="networks and fits of seconds, for stand-ins")
        if name == "shrec":
            about = "numbers of the models; the first is that of figures 6 to 8"
            verb.add_argument("--models", type=int, nargs="+", default=[0], help=about)
        else:
            verb.set_defaults(models=[0])
    verbs.add_parser("settings", help="print every setting, and where it comes from")
    verb = verbs.add_parser("standins", help="small simulated data under the names of the downloads")
    verb.add_argument("folder", type=Path, help="where to write them")
    return top
