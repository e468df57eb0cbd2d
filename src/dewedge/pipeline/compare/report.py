"""The results of a comparison: scores, pictures, curves and the page."""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy
import torch

import dewedge
from dewedge.inputs.run_input import HalvesInput, RunInput
from dewedge.io.files import write_text_atomic
from dewedge.io.half_precision import read_result
from dewedge.learn.checkpoint import Model
from dewedge.learn.loss_curve import EpochRow
from dewedge.learn.objective import OBJECTIVES
from dewedge.pipeline.compare.methods import Method, Stage
from dewedge.pipeline.reconstruct import reconstruction_label
from dewedge.report.compare_page import (
    ComparedMethod,
    Comparison,
    fsc_figure,
    losses_figure,
    page,
    setting_text,
)
from dewedge.report.comparison import comparison_figure
from dewedge.report.figure import dispensable, write_figure
from dewedge.runtime.devices import choose_device, choose_precision
from dewedge.runtime.log import command_line, step
from dewedge.scores.half_sets import HalfSetScores, half_set_scores
from dewedge.settings.file import resolve_config

logger = logging.getLogger(__name__)

PAGE = "compare.html"
PICTURES = "compare.png"
CURVES = "compare_fsc.png"
LOSSES = "compare_loss.png"
FIGURES = "compare.json"
PICTURES_A_ROW = 4

# Where the settings of a method come from, as a page says it; those of all others from their recipes.
_SOURCES = {"deepdewedge": "published", "dewedge": "default"}
# Of a fit, keys that say how long it takes or what it starts from rather than how it is done.
_ANY = {"budget", "epochs", "seed", "mask", "init", "activation_checkpointing", "channels", "cube_size"}


@dataclass(frozen=True)
class Estimate:
    """Files of a method's tomograms: of each half-set alone, and of all data."""

    half0: Path
    half1: Path
    full: Path

    @property
    def halves(self) -> list[Path]:
        """Files of both half-sets."""
        return [self.half0, self.half1]


@dataclass(frozen=True, eq=False)
class Outcome:
    """A method with its tomograms and its fitted networks."""

    method: Method
    estimate: Estimate
    models: list[Model]


def write_report(outcomes: Sequence[Outcome], item: RunInput, output: Path) -> None:
    """Score the methods, of which the first is the raw tomogram; write figures, pictures and the page.

    Raises
    ------
    InputError
        If a tomogram cannot be read, half-sets cannot be compared, or a file cannot be written.
    """
    raw = outcomes[0].estimate
    full = read_result(raw.full)
    raw_halves = [read_result(path).data for path in raw.halves]
    compared = []
    for outcome in outcomes:
        with step(f"{outcome.method.name}: score"):
            halves = [read_result(path).data for path in outcome.estimate.halves]
            scores = half_set_scores(halves, raw_halves, item.tilt_range)
            compared.append(compared_method(outcome, scores, item))
    comparison = Comparison(
        name=item.name,
        notes=item.notes,
        shape_zyx=full.data.shape,
        voxel_size_A=full.voxel_size_A,
        tilt_range=item.tilt_range,
        methods=compared,
        command=command_line(),
        environment=environment(),
    )
    with step("report"):
        volumes = {
            outcome.method.recipe.title: read_result(outcome.estimate.full).data for outcome in outcomes
        }
        write_text_atomic(
            output / FIGURES, json.dumps(comparison.as_dict(), indent=2, allow_nan=False) + "\n"
        )
        size = full.voxel_size_A
        write_figure(output / PICTURES, lambda: comparison_figure(volumes, size, columns=PICTURES_A_ROW))
        write_figure(output / CURVES, lambda: fsc_figure(comparison))
        losses = comparison.losses
        if losses:
            write_figure(output / LOSSES, lambda: losses_figure(losses))
        with dispensable(output / PAGE):
            pictures, curves = (_content(output / name) for name in (PICTURES, CURVES))
            of_losses = _content(output / LOSSES) if losses else b""
            write_text_atomic(output / PAGE, page(comparison, pictures, curves, of_losses))
    for row in compared:
        logger.info("%s: CC with the signal %.3f", row.recipe.title, row.scores.cc_signal)


def _content(path: Path) -> bytes:
    """Bytes of a picture; none if it could not be drawn."""
    return path.read_bytes() if path.exists() else b""


def compared_method(outcome: Outcome, scores: HalfSetScores, item: RunInput) -> ComparedMethod:
    """Say of a method what the page shows."""
    method, models = outcome.method, outcome.models
    fitted = [stage for stage in method.stages if stage.recipe.network]
    if fitted:
        detail = "; ".join(dict.fromkeys(map(described, fitted, models)))
    elif isinstance(item, HalvesInput):
        detail = "here as given"
    else:
        detail = reconstruction_label(method.stages[0].config.reconstruct)
    seen = [
        "both half-sets" if OBJECTIVES[stage.config.fit.objective].needs_halves else "the full tomogram"
        for stage in fitted
    ]
    last = [model.details["epochs"][-1] for model in models]
    return ComparedMethod(
        recipe=method.recipe,
        detail=detail,
        fitted_to=", then ".join(seen),
        scores=scores,
        samples=sum(row["samples"] for row in last) if last else None,
        fit_seconds=sum(row["seconds"] for row in last) if last else None,
        stages={stage.recipe.name: network_settings(stage) for stage in fitted},
        losses={
            stage.recipe.name: [EpochRow(**row) for row in model.details["epochs"]]
            for stage, model in zip(fitted, models, strict=True)
        },
    )


def described(stage: Stage, model: Model) -> str:
    """Size of a network and its cubes, with all that is not as in the recipe, and what it is there."""
    own, fit = resolve_config(None, {"recipe": stage.recipe.name}).fit, stage.config.fit
    now = [f"{model.network.channels} channels", f"cubes of {model.cube_size}"]
    recipe = [f"{own.network().channels} channels", f"cubes of {own.cube_size}"]
    for key in sorted(set(type(fit).model_fields) - _ANY):
        if getattr(fit, key) != getattr(own, key):
            name = key.replace("_", " ")
            now.append(f"{name} {setting_text(getattr(fit, key))}")
            recipe.append(f"{name} {setting_text(getattr(own, key))}")
    source = _SOURCES.get(stage.recipe.name, "by its recipe")
    other = [text for text in recipe if text not in now]
    return f"{', '.join(now)} ({source}{': ' if other else ''}{', '.join(other)})"


def network_settings(stage: Stage) -> dict[str, object]:
    """The settings of a stage that tell one network from another."""
    config = stage.config.model_dump(mode="json")
    settings = {key: value for part in ("fit", "refine") for key, value in config[part].items()}
    compute = stage.config.compute
    return settings | {"precision": choose_precision(compute, choose_device(compute))}


def environment() -> dict[str, str]:
    """Versions and machine; no name of the machine, for the page may be shown to others."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    threads = f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} threads"
    return {
        "versions": f"dewedge {dewedge.__version__}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, numpy {numpy.__version__}",
        "machine": f"{platform.platform()}, {threads}, {gpu}",
        "date": datetime.now().isoformat(" ", "minutes"),
    }
