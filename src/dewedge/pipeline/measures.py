"""Measures of finished runs, and of tomograms, where there is no truth."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.io.files import files_and_folders, write_text_atomic
from dewedge.io.half_precision import read_result
from dewedge.io.volume_file import VolumeFile, file_of, is_zarr
from dewedge.learn.checkpoint import Model, load_model
from dewedge.learn.pairs import TomogramPair
from dewedge.learn.sampling import CropSampler
from dewedge.learn.tiling import tile_axis
from dewedge.pipeline.refine import refine_files
from dewedge.pipeline.validate.report import number, shell_names
from dewedge.runtime.devices import launched
from dewedge.runtime.folder import ResultFolder, is_newer, refuse_outside
from dewedge.runtime.lock import locked_folder
from dewedge.runtime.log import step
from dewedge.runtime.made_of import read_records
from dewedge.runtime.stored import require_halves, store, without_gold
from dewedge.scores.anisotropy import Anisotropy, anisotropy
from dewedge.scores.cross_half import CrossHalfScores, cross_half_scores
from dewedge.scores.objects import OBJECT_SIGMA, find_beads
from dewedge.settings.file import resolve_config
from dewedge.settings.sections import ComputeSection, Config, DeviceSection

logger = logging.getLogger(__name__)

# Compact objects are of the size of a ribosome: half maximum at 94 A, its density's.
OBJECT_SIGMA_A = 40.0


@dataclass(frozen=True, eq=False)
class Measures:
    """Measures of one tomogram, or of the raw and the refined one of a run.

    Parameters
    ----------
    anisotropy
        By the name of the tomogram: ``FBP`` and ``refined`` of a run.
    half_sets
        Of a run; None for a tomogram.
    held_out
        Whether the half-sets were compared in a region that the fit has not seen.
    """

    anisotropy: Mapping[str, Anisotropy]
    half_sets: CrossHalfScores | None = None
    held_out: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Names and values of all measures, fit for JSON."""
        return {
            "anisotropy": {name: found.as_dict() for name, found in self.anisotropy.items()},
            "half_sets": None if self.half_sets is None else self.half_sets.as_dict(),
            "half_sets_held_out": self.held_out,
        }


def measure(paths: Sequence[Path], device: DeviceSection) -> dict[str, Measures]:
    """Measure tomograms and finished runs, by path.

    The refined half-sets of a run, refined_half0.mrc and refined_half1.mrc, are written into its folder;
    those that are newer than its model stay.

    Raises
    ------
    InputError
        If a file cannot be read, or a folder holds no finished run.
    """
    found: dict[str, Measures] = {}
    for path in paths:
        if is_zarr(path) or not path.is_dir():
            with step(f"measure {path.name}"):
                found[str(path)] = Measures({file_of(path).stem: measure_file(read_result(path))})
            continue
        for folder in run_folders(path):
            found[str(folder.path)] = measure_run(ResultFolder(path), folder, device)
    return found


def run_folders(output: Path) -> list[ResultFolder]:
    """Folders of the tomograms of a run: itself, or those in it.

    Raises
    ------
    InputError
        If it is no finished run's folder, or cannot be read.
    """
    folders = [ResultFolder(path) for path in (output, *files_and_folders(output)[1])]
    finished = [folder for folder in folders if folder.result.exists() and folder.full.is_file()]
    run = folders[0]
    if not finished or not run.config_file.is_file():
        names = f"{run.config_file.name}, {run.full.name} and {run.refined.name}"
        raise InputError(f"{output}: no finished run: expected {names}, as dewedge run writes them")
    return finished


def model_file(run: ResultFolder, folder: ResultFolder) -> Path:
    """The model of a tomogram of a run: its own, or that of all.

    Raises
    ------
    InputError
        If there is neither.
    """
    path = next((path for path in (folder.model, run.model) if path.is_file()), None)
    if path is None:
        raise InputError(f"{folder.path}: no {folder.model.name}: expected the folder of a finished run")
    return path


def own_model(run: ResultFolder, folder: ResultFolder) -> Model:
    """The model of a tomogram of a run, with the tilt range of that tomogram: others may share the fit.

    Errors as `model_file`, `dewedge.learn.checkpoint.load_model` and `tilt_range_of`.
    """
    model = load_model(model_file(run, folder))
    return replace(model, tilt_range=tilt_range_of(run, folder) or model.tilt_range)


def tilt_range_of(run: ResultFolder, folder: ResultFolder) -> TiltRange | None:
    """Measured tilts of a tomogram of a run, as its inputs told; None if nothing is kept of them.

    Raises
    ------
    InputError
        If a file that tells of the inputs is damaged.
    """
    records = read_records(run.inputs, folder.inputs)
    record = records.get(folder.name) or (next(iter(records.values())) if len(records) == 1 else None)
    if record is None:
        return None
    values = record.values
    try:
        angles = values["tilt_range"] if "tilt_range" in values else _ends(values["tilt_deg"])
        return TiltRange(*map(float, angles)).validated()
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{run.inputs}: damaged (tilt angles: {error}): remove it") from error


def _ends(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def measure_file(
    mrc: VolumeFile,
    beads: NDArray[np.int64] | None = None,
    borders: Mapping[str, Sequence[int]] | None = None,
) -> Anisotropy:
    """Anisotropy of a tomogram, its objects of one size in Angstrom where its voxel size is known.

    ``beads`` are ``(n, 3)`` places. They, the borders and errors are as for
    `dewedge.scores.anisotropy.anisotropy`.
    """
    sigma = OBJECT_SIGMA if mrc.voxel_size_A is None else OBJECT_SIGMA_A / mrc.voxel_size_A
    return anisotropy(mrc.data, beads, sigma=max(sigma, 1.0), borders=borders)


def measure_run(run: ResultFolder, folder: ResultFolder, device: DeviceSection) -> Measures:
    """Measure one tomogram of a run, whose configuration lies in the run's own folder.

    Raises
    ------
    InputError
        If a file of the run cannot be read, a tomogram is constant or not finite, or no file can be written.
    """
    config = resolve_config(run.config_file, {})
    model_path = model_file(run, folder)
    model = own_model(run, folder)
    with step(f"measure {folder.name}"):
        full = read_result(folder.full)
        # Gold that was painted over is in neither.
        refined = replace(read_result(folder.result), data=without_gold(folder.result))
        beads = find_beads(full.data)
        borders = tile_borders(full.data.shape, config, model)
        shapes = {
            "FBP": measure_file(full, beads, borders),
            "refined": measure_file(refined, beads, borders),
        }
    try:
        require_halves(run, folder)
    except InputError as error:
        logger.warning("measured without half-sets: %s", error)
        return Measures(shapes)
    if unrefined_halves(folder, model_path):
        refuse_outside(run.path, folder.refined_halves)
        with locked_folder(run.path):
            write_refined_halves(folder, model_path, model, config, device)
    with step(f"half-sets of {folder.name}"):
        raw, of_halves = (
            [read_result(path).data for path in paths] for paths in (folder.halves, folder.refined_halves)
        )
        box = held_out_box(raw, folder, config, model)
        scores = cross_half_scores(of_halves, raw, model.tilt_range, box)
    return Measures(shapes, scores, box is not None)


def held_out_box(
    raw: Sequence[NDArray[Any]], folder: ResultFolder, config: Config, model: Model
) -> NDArray[np.int64] | None:
    """``(2, 3)`` begin and end of the region that the fit has not seen; None if it saw all.

    Errors as `dewedge.learn.sampling.CropSampler`.
    """
    held_out = config.fit.held_out
    if held_out == 0:
        return None
    mask = np.asarray(read_result(folder.mask).data) > 0.5 if folder.mask.is_file() else None
    pair = TomogramPair(raw[0], raw[1], model.tilt_range, mask, folder.name)
    [box] = CropSampler([pair], model.cube_size, held_out=held_out).held_out
    return box


def tile_borders(shape_zyx: Sequence[int], config: Config, model: Model) -> dict[str, list[int]]:
    """First sections behind the borders of the tiles by which a tomogram was refined, by axis.

    Errors as `dewedge.learn.tiling.tile_axis`.
    """
    largest = config.refine.edge(model.network, model.cube_size)
    borders = {}
    for name, n in zip("zyx", shape_zyx, strict=True):
        axis = tile_axis(n, largest, config.refine.overlap, model.network.multiple)
        ends = [start + axis.size for start in axis.starts]
        borders[name] = sorted({border for border in (*axis.starts, *ends) if 0 < border < n})
    return {name: places for name, places in borders.items() if places}


def unrefined_halves(folder: ResultFolder, model_path: Path) -> list[tuple[Path, Path]]:
    """Half-sets, and the files of what they become, which are not there or older than the model."""
    return [
        (source, result)
        for source, result in zip(folder.halves, folder.refined_halves, strict=True)
        if not is_newer(result, model_path)
    ]


def write_refined_halves(
    folder: ResultFolder, model_path: Path, model: Model, config: Config, device: DeviceSection
) -> None:
    """Write the half-sets, each refined alone; those that are there stay.

    Errors as `dewedge.pipeline.refine.refine_files`.
    """
    unrefined = unrefined_halves(folder, model_path)
    if unrefined:
        compute = ComputeSection(device=device.device, precision=config.compute.precision)
        with launched(compute) as fabric:
            for source, result in unrefined:
                refine_files(
                    f"{folder.name}: {source.stem}",
                    [source],
                    result,
                    # A half-set alone has the grey scale of what the network was fitted to.
                    replace(model, full_std=1.0),
                    model.tilt_range,
                    config.refine,
                    compute,
                    fabric,
                )
        store(folder.refined_halves, config.files)


def write_measures(path: Path, measures: Mapping[str, Measures]) -> None:
    """Write measures as JSON, an object a path; errors as `dewedge.io.files.atomic_path`."""
    values = {name: found.as_dict() for name, found in measures.items()}
    write_text_atomic(path, json.dumps(values, indent=2, allow_nan=False) + "\n")


def print_measures(measures: Mapping[str, Measures]) -> None:
    """Print the measures of each path to stdout."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120
    for path, found in measures.items():
        console.print(path, markup=False)
        for table in _tables(found):
            console.print(table)


def _tables(measures: Measures) -> list[Table]:
    names = list(measures.anisotropy)
    shapes = Table("", *names, title="anisotropy", title_justify="left")
    columns = [_shape_rows(found) for found in measures.anisotropy.values()]
    for label in columns[0]:
        shapes.add_row(label, *(column.get(label, "-") for column in columns))
    weaves = [found.weave for found in measures.anisotropy.values()]
    weave = Table("", *shell_names(weaves[0].edges_per_voxel), title="weave", title_justify="left")
    for name, found in zip(names, weaves, strict=True):
        weave.add_row(f"{name}: axes / diagonals", *map(number, found.axes))
        weave.add_row(f"{name}: x / diagonals", *map(number, found.x))
        weave.add_row(f"{name}: y / diagonals", *map(number, found.y))
    tables = [shapes, weave]
    scores = measures.half_sets
    if scores is not None:
        where = (
            "region held out of the fit" if measures.held_out else "the full tomogram, which the fit has seen"
        )
        title = (
            f"half-sets, {where}: error ratio {scores.error_ratio:.3f}, CC with the signal "
            f"{number(scores.cc_signal)}"
        )
        table = Table("within 40 degrees of", *shell_names(scores.edges_per_voxel), title=title)
        table.title_justify = "left"
        for axis, curves in scores.directions.items():
            table.add_row(f"{axis}: raw with raw", *map(number, curves.half_sets))
            table.add_row(f"{axis}: refined with raw", *map(number, curves.against_raw))
            table.add_row(f"{axis}: with the signal", *map(number, curves.signal))
            table.add_row(f"{axis}: slope", *map(number, curves.slope))
        tables.append(table)
    return tables


def _shape_rows(found: Anisotropy) -> dict[str, str]:
    rows = {}
    for label, sizes in (("beads", found.beads), ("compact objects", found.objects)):
        rows[f"{label}, z : x"] = "-" if sizes is None else f"{number(sizes.ratio)} (of {sizes.n})"
    shells = shell_names(found.wedge.edges_per_voxel)
    for label, values in (("wedge", found.wedge.inside), ("rotated wedge", found.wedge.rotated)):
        for shell, value in zip(shells, values, strict=True):
            rows[f"power in the {label}, {shell}"] = number(value)
    for axis, step_ratio in found.steps.items():
        rows[f"steps at tile borders along {axis}"] = number(step_ratio)
    return rows
