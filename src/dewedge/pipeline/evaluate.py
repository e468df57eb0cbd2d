"""Scores of tomograms against the truth, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dewedge.check.volumes import check_voxel_sizes, require_sound
from dewedge.errors import InputError
from dewedge.geometry import TiltRange, TiltRangeLike
from dewedge.io.files import write_text_atomic
from dewedge.io.half_precision import read_result
from dewedge.io.particles import read_particles
from dewedge.runtime.log import step
from dewedge.scores import Scores, evaluate

COLUMNS = {
    "cc": "CC",
    "cc_outside": "CC outside wedge",
    "cc_inside": "CC inside wedge",
    "fsc_A": "FSC 0.143 (A)",
    "fsc_inside_A": "FSC inside wedge (A)",
}


def evaluate_files(
    estimates: Mapping[str, Path],
    truth_path: Path,
    tilt_range: TiltRangeLike,
    particles_path: Path | None = None,
    box: int = 32,
    *,
    no_check: bool = False,
) -> dict[str, Scores]:
    """Score each tomogram against the truth, by name.

    ``tilt_range`` is in degrees, ``box`` the edge of the particles' boxes in voxels.

    Raises
    ------
    InputError
        If a file cannot be read, shapes or, unless ``no_check``, voxel sizes differ, or the truth has none.
    """
    wedge = TiltRange(*tilt_range).validated()
    truth = read_result(truth_path)
    if truth.voxel_size_A is None:
        raise InputError(f"{truth_path}: no voxel size in its header: expected one in Angstrom")
    centres = None if particles_path is None else read_particles(particles_path).centre_zyx
    volumes = {name: read_result(path) for name, path in estimates.items()}
    for volume in volumes.values():
        if volume.data.shape != truth.data.shape:
            raise InputError(
                f"{volume.path}: shape {volume.data.shape} (z, y, x): expected {truth.data.shape}, "
                f"that of {truth_path}"
            )
        if not no_check:
            sizes_A = {str(truth_path): truth.voxel_size_A, str(volume.path): volume.voxel_size_A}
            require_sound(check_voxel_sizes(volume.path.stem, sizes_A))
    scores = {}
    for name, volume in volumes.items():
        with step(f"evaluate {name}"):
            scores[name] = evaluate(volume.data, truth.data, wedge, truth.voxel_size_A, centres, box)
    return scores


def write_scores(path: Path, scores: Mapping[str, Scores]) -> None:
    """Write scores as JSON, an object a tomogram; errors as `dewedge.io.files.atomic_path`."""
    values = {name: score.as_dict() for name, score in scores.items()}
    write_text_atomic(path, json.dumps(values, indent=2) + "\n")


def print_scores(scores: Mapping[str, Scores]) -> None:
    """Print a table to stdout; columns without values are left out."""
    values = {name: score.as_dict() for name, score in scores.items()}
    shown = [key for key in COLUMNS if any(row[key] is not None for row in values.values())]
    table = Table("tomogram")
    for key in shown:
        table.add_column(COLUMNS[key], justify="right")
    for name, row in values.items():
        table.add_row(name, *(_text(key, row[key]) for key in shown))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120
    console.print(table)


def _text(key: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if key.endswith("_A") else f"{value:.3f}"
