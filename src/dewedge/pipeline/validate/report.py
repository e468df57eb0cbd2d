"""The table of a validation by withheld tilts: on the terminal, as Markdown and as JSON."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from dewedge.geometry import Floats
from dewedge.scores.reprojection import TiltScores, mean_correlation
from dewedge.scores.withheld import WithheldScores

GIVEN = "FBP of the tilts given"
CEILING = "ceiling (from half-sets)"
CHANCE = "chance (one sigma)"
MEAN = "mean of the predictions"


@dataclass(frozen=True, eq=False)
class Validation:
    """Scores of the predictions of a validation.

    Parameters
    ----------
    name
        Of the tilt series.
    withheld
        What was kept back, in words.
    withheld_deg, given_deg
        Tilt angles in degrees.
    predictions
        Scores in the cone, by the name of the prediction.
    tilts
        Scores in the withheld images, by the name of the prediction.
    """

    name: str
    withheld: str
    withheld_deg: Sequence[float]
    given_deg: Sequence[float]
    predictions: Mapping[str, WithheldScores]
    tilts: Mapping[str, Sequence[TiltScores]]

    @property
    def first(self) -> WithheldScores:
        """Scores of the first prediction, for all that does not depend on it."""
        return next(iter(self.predictions.values()))

    def as_dict(self) -> dict[str, Any]:
        """Names and values of all scores, fit for JSON."""
        return {
            "name": self.name,
            "withheld": self.withheld,
            "withheld_deg": [float(tilt) for tilt in self.withheld_deg],
            "given_deg": [float(tilt) for tilt in self.given_deg],
            "cone": {name: scores.as_dict() for name, scores in self.predictions.items()},
            "tilts": {name: [score.as_dict() for score in scores] for name, scores in self.tilts.items()},
        }


def cone_rows(validation: Validation) -> dict[str, tuple[Floats, Floats]]:
    """``(s,)`` correlation and explained power by shells, of each row of the table."""
    first = validation.first
    rows = {GIVEN: (first.given.correlation, first.given.explained)}
    for name, scores in validation.predictions.items():
        rows[name] = (scores.prediction.correlation, scores.prediction.explained)
    if len(validation.predictions) > 1:
        correlation, explained = (
            np.mean(values, axis=0) for values in zip(*list(rows.values())[1:], strict=True)
        )
        rows[MEAN] = (correlation, explained)
    if first.ceiling is not None:
        rows[CEILING] = (first.ceiling.correlation, first.ceiling.explained)
    rows[CHANCE] = (first.chance, np.full_like(first.chance, math.nan))
    return rows


def tilt_rows(validation: Validation) -> dict[str, Floats]:
    """``(s,)`` mean Fourier ring correlation with the withheld images, of each row of the table."""
    rows: dict[str, Floats] = {}
    for name, scores in validation.tilts.items():
        means = mean_correlation(scores)
        rows.setdefault(GIVEN, means["given"])
        rows[name] = means["prediction"]
    if "ceiling" in means:
        rows[CEILING] = means["ceiling"]
    # The mean of n images, whose noise is independent, is that much surer than one.
    chance = np.array([score.chance for score in scores])
    count = np.isfinite(chance).sum(axis=0)
    rows[CHANCE] = np.where(count > 0, np.sqrt(np.nansum(chance**2, axis=0)) / np.maximum(count, 1), np.nan)
    return rows


def shell_names(edges: Sequence[float]) -> list[str]:
    """Names of the shells between edges in cycles per voxel.

    Examples
    --------
    >>> shell_names([0.02, 0.04, 0.1])
    ['.02-.04', '.04-.1']
    """

    def text(edge: float) -> str:
        return f"{edge:.3g}".removeprefix("0")

    return [f"{text(a)}-{text(b)}" for a, b in itertools.pairwise(edges)]


def number(value: float) -> str:
    """Number of two decimals as text; a dash for none."""
    return f"{value:.2f}" if math.isfinite(value) else "-"


def cone_caption(validation: Validation) -> str:
    """Caption of the cone in one line."""
    cone, scores = validation.first.cone, validation.first
    parts = ", ".join(f"{low:.0f} to {high:.0f}" for low, high in cone.parts_deg)
    leaks = ", ".join(f"{leak:.0f}" for leak in scores.leak_deg)
    return (
        f"directions of {parts} degrees, {min(cone.gap_deg):.0f} from the nearest tilt given; by shells the "
        f"slab leaks over {leaks} degrees; grey scale of the reference {scores.scale:.3f} of the given tilts'"
    )


def markdown(validation: Validation) -> str:
    """The whole report as Markdown."""
    shells = shell_names(validation.first.edges_per_voxel)
    tilts = sorted({abs(tilt) for tilt in validation.withheld_deg})
    lines = [
        f"# {validation.name}: {validation.withheld}",
        "",
        f"{len(validation.given_deg)} tilts given, {len(validation.withheld_deg)} kept back "
        f"({tilts[0]:g} to {tilts[-1]:g} degrees). Shells in cycles per voxel.",
        "",
        f"In the cone: {cone_caption(validation)}.",
        "",
        _row("", *(f"correlation {shell}" for shell in shells), *(f"explained {shell}" for shell in shells)),
        _row(*["---"] * (2 * len(shells) + 1)),
    ]
    for name, (correlation, explained) in cone_rows(validation).items():
        lines.append(_row(name, *map(number, correlation), *map(number, explained)))
    lines += ["", "Fourier ring correlation with the images kept back, mean of all:", ""]
    lines += [_row("", *shells), _row(*["---"] * (len(shells) + 1))]
    lines += [_row(name, *map(number, values)) for name, values in tilt_rows(validation).items()]
    first, scores = next(iter(validation.tilts.items()))
    lines += ["", f"Image by image, FBP of the tilts given / {first}:", ""]
    lines += [_row("tilt", "from the nearest given", *shells), _row(*["---"] * (len(shells) + 2))]
    for score in sorted(scores, key=lambda score: score.tilt_deg):
        pairs = zip(score.correlation["given"], score.correlation["prediction"], strict=True)
        cells = [f"{number(a)} / {number(b)}" for a, b in pairs]
        lines.append(_row(f"{score.tilt_deg:g}", f"{score.distance_deg:g}", *cells))
    return "\n".join(lines) + "\n"


def print_validation(validation: Validation) -> None:
    """Print both tables to stdout."""
    shells = shell_names(validation.first.edges_per_voxel)
    cone = Table("in the cone")
    for title in ("correlation", "explained"):
        for i, shell in enumerate(shells):
            cone.add_column(f"{title}\n{shell}" if i == 0 else f"\n{shell}", justify="right")
    for name, (correlation, explained) in cone_rows(validation).items():
        cone.add_row(name, *map(number, correlation), *map(number, explained))
    images = Table("with the images kept back", title="Fourier ring correlation, mean", title_justify="left")
    for shell in shells:
        images.add_column(shell, justify="right")
    for name, values in tilt_rows(validation).items():
        images.add_row(name, *map(number, values))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120
    console.print(f"{validation.name}, {validation.withheld}: {cone_caption(validation)}")
    console.print(cone)
    console.print(images)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
