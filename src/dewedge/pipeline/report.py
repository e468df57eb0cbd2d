"""The pages of finished runs, and of those that were stopped: gathered from their folders."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from dewedge.errors import InputError, reason
from dewedge.io.files import write_text_atomic
from dewedge.io.half_precision import read_result
from dewedge.io.names import names_apart
from dewedge.io.text_files import read_text
from dewedge.learn.checkpoint import Model
from dewedge.learn.loss_curve import EpochRow
from dewedge.pipeline.measures import held_out_box, own_model, run_folders, tilt_range_of
from dewedge.report.figure import dispensable
from dewedge.report.run.index import IndexRow, index
from dewedge.report.run.page import RunPage, State, page
from dewedge.report.run.sections import middle_section, places_of, read_sections, thumbnail
from dewedge.report.trust.judged import judged
from dewedge.runtime.first_process import is_first_process
from dewedge.runtime.folder import ResultFolder, claimed, is_newer, tomograms_of, with_suffix
from dewedge.runtime.lock import locked_folder
from dewedge.runtime.log import step
from dewedge.runtime.logged import Logged, read_log
from dewedge.runtime.made_of import read_records
from dewedge.runtime.stored import drop_halves, missing_halves
from dewedge.scores.anisotropy import weave, wedge_power
from dewedge.scores.cross_half import CrossHalfScores, cross_half_scores
from dewedge.settings.file import differences, resolve_config
from dewedge.settings.sections import Config

logger = logging.getLogger(__name__)

# Of the index of several runs, where no other is given.
INDEX = Path("reports.html")
# Of the middle block whose anisotropy is measured, and of half-sets that are compared.
BLOCK_VOXELS = 2**22


def report(paths: Sequence[Path], output: Path | None = None, *, overwrite: bool = False) -> None:
    """Make the pages of runs again, and of several runs an index.

    Parameters
    ----------
    paths
        Folders of runs.
    output
        File of the index of several runs; reports.html if not given.

    Raises
    ------
    InputError
        If a folder holds no run, or one of its files cannot be read.
    """
    if not paths:
        raise InputError("nothing to report: expected the folder of a run")
    if len(paths) == 1 and output is not None:
        raise InputError(f"{output}: an index is made of several runs: expected their folders")
    runs = [(ResultFolder(path), tomograms_of(path)) for path in paths]
    where = INDEX if output is None else with_suffix(output, (".html",))
    with claimed([where], overwrite=overwrite) if len(paths) > 1 else nullcontext():
        for run, folders in runs:
            with locked_folder(run.path):
                for folder in folders:
                    with step(f"{folder.name}: report"):
                        write_page(run, folder)
                write_index_of(run, folders)
        if len(paths) > 1:
            rows = [row for run, folders in runs for row in index_rows(run, folders, where.parent)]
            write_text_atomic(where, index(f"{len(paths)} runs", rows))
    logger.info("done: %s", where if len(paths) > 1 else runs[0][0].report)


@contextmanager
def halves_until_judged(output: Path, half_sets: Literal["keep", "drop"]) -> Iterator[None]:
    """Drop the half-sets of a run, if they are not to be kept, when it has been judged within the block.

    Where it ends otherwise they stay for the judgement to come, as a line tells.

    Errors as `drop_judged_halves`.
    """
    try:
        yield
    except BaseException:
        if half_sets == "drop" and is_first_process():
            _tell_kept_halves(output)
        raise
    if half_sets == "drop" and is_first_process():
        drop_judged_halves(output)


def _tell_kept_halves(output: Path) -> None:
    with suppress(InputError):  # of a run that has not begun
        done = [folder for folder in tomograms_of(output) if folder.result.exists()]
        if any(not missing_halves(folder) for folder in done):
            logger.warning(
                "half-sets stay in %s, as they have not been judged: `dewedge run --resume --trust -o %s` "
                "does so and removes them, the same without --trust removes them at once",
                output,
                output,
            )


def drop_judged_halves(output: Path) -> None:
    """Remove the half-sets of a finished run that were kept until it was judged, and make its pages again.

    Errors as `dewedge.pipeline.measures.run_folders` and `dewedge.runtime.stored.drop_halves`.
    """
    run = ResultFolder(output)
    with locked_folder(output):
        folders = run_folders(output)
        drop_halves(folders)
        for folder in folders:
            with dispensable(folder.report):
                write_page(run, folder)


def write_page(run: ResultFolder, folder: ResultFolder) -> None:
    """Write the page of one tomogram of a run.

    Errors as `contents` and `dewedge.io.files.atomic_path`.
    """
    write_text_atomic(folder.report, page(contents(run, folder), folder.report))


def write_index_of(
    run: ResultFolder, folders: Sequence[ResultFolder], goes_on: bool = False
) -> list[IndexRow]:
    """Write the index of a run of several tomograms, in its folder; its rows, none for one tomogram.

    Errors as `index_rows` and `dewedge.io.files.atomic_path`.
    """
    if list(folders) == [run]:
        return []
    rows = index_rows(run, folders, run.path)
    write_text_atomic(run.report, index(run.name, rows, goes_on))
    return rows


def contents(run: ResultFolder, folder: ResultFolder) -> RunPage:
    """Gather all that a page shows, as far as it is there.

    Raises
    ------
    InputError
        If a file of the run cannot be read.
    """
    config = resolve_config(run.config_file, {})
    model_path = next((path for path in (folder.model, run.model) if path.is_file()), None)
    model = None if model_path is None else own_model(run, folder)
    full = read_result(folder.full)
    data = {titled_raw(folder): full.data}
    if folder.result.exists():
        data["refined"] = read_result(folder.result).data
    places = places_of(full.data.shape, len(data))
    finished = len(data) > 1
    scores = None if model is None or model_path is None else half_sets(folder, config, model, model_path)
    blocks = {name: middle_block(volume) for name, volume in data.items()} if finished else {}
    return RunPage(
        name=folder.name,
        shape_zyx=full.data.shape,
        voxel_size_A=full.voxel_size_A,
        tilt_range=tilt_range_of(run, folder),
        volumes={name: read_sections(volume, places) for name, volume in data.items()},
        state=None if finished else stopped(run),
        judged=judged(folder),
        checked=not config.no_check,
        log=log_of(read_log(run.log), run, folder),
        rows=loss_rows(run, folder),
        half_sets=None if scores is None else scores[0],
        has_half_sets=not missing_halves(folder),
        held_out=scores is not None and scores[1],
        wedge={name: wedge_power(block) for name, block in blocks.items()},
        weave={name: weave(block) for name, block in blocks.items()},
        settings=differences(config),
        files=file_names(run, folder),
    )


def titled_raw(folder: ResultFolder) -> str:
    """Title of the reconstruction."""
    return "FBP, gold painted over" if folder.beads.exists() else "FBP"


def stopped(run: ResultFolder) -> State:
    """State of a run that has ended before its result was there."""
    return State("The run is not finished.", f"dewedge run --resume -o {run.path} goes on where it stopped.")


def middle_block(volume: NDArray[Any]) -> NDArray[np.float32]:
    """Middle of a ``(z, y, x)`` volume along y and x, of a size that is measured within a second.

    Examples
    --------
    >>> middle_block(np.zeros((64, 300, 100))).shape
    (64, 256, 100)
    """
    depth, height, width = volume.shape
    edge = max(int((BLOCK_VOXELS / depth) ** 0.5), 32)
    cut = (slice(max(n - edge, 0) // 2, max(n - edge, 0) // 2 + edge) for n in (height, width))
    return np.asarray(volume[(slice(None), *cut)], np.float32)


def half_sets(
    folder: ResultFolder, config: Config, model: Model, model_path: Path
) -> tuple[CrossHalfScores, bool] | None:
    """Scores of half-sets that were refined alone, and True if where the fit has not looked; None without.

    Raises
    ------
    InputError
        If a file cannot be read, or as `dewedge.scores.cross_half.cross_half_scores`.
    """
    if missing_halves(folder) or not all(is_newer(path, model_path) for path in folder.refined_halves):
        return None
    raw, refined = (
        [read_result(path).data for path in paths] for paths in (folder.halves, folder.refined_halves)
    )
    box = held_out_box(raw, folder, config, model)
    if box is None:
        raw, refined = ([middle_block(data) for data in volumes] for volumes in (raw, refined))
    return cross_half_scores(refined, raw, model.tilt_range, box), box is not None


def log_of(log: Logged, run: ResultFolder, folder: ResultFolder) -> Logged:
    """Part of a run's log that tells of one tomogram, or its own where it has one; errors as `read_log`."""
    if folder == run:
        return log
    if folder.log.is_file():
        return read_log(folder.log)
    return replace(
        log,
        steps=[one for one in log.steps if one[0].startswith(f"{folder.name}: ")],
        warnings=[text for text in log.warnings if text.startswith((f"{folder.name},", f"{folder.name}:"))],
    )


def loss_rows(run: ResultFolder, folder: ResultFolder) -> list[EpochRow]:
    """The loss curve of a tomogram's fit; none before the first epoch.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    path = next((path for path in (folder.loss_table, run.loss_table) if path.is_file()), None)
    if path is None:
        return []
    try:
        return [
            TypeAdapter(EpochRow).validate_python({key: value or None for key, value in row.items()})
            for row in csv.DictReader(io.StringIO(read_text(path)))
        ]
    except ValueError as error:
        names = ", ".join(field.name for field in fields(EpochRow))
        raise InputError(f"{path}: damaged ({reason(error)}): expected columns {names}") from None


def file_names(run: ResultFolder, folder: ResultFolder) -> list[str]:
    """Names of the files that a tomogram was made of; errors as `read_records`."""
    records = read_records(run.inputs, folder.inputs)
    chosen = records.values() if folder == run else [records[key] for key in records if key == folder.name]
    return names_apart([Path(path) for record in chosen for path in record.files])


def index_rows(run: ResultFolder, folders: Sequence[ResultFolder], where: Path) -> list[IndexRow]:
    """Rows that an index in the folder ``where`` has for a run's tomograms that have begun; last what failed.

    Raises
    ------
    InputError
        If a file of the run cannot be read.
    """
    log = read_log(run.log)
    begun = [folder for folder in folders if folder.full.is_file() and folder.name not in log.not_done]
    rows = [_index_row(run, folder, where, log) for folder in begun]
    return rows + [IndexRow(name, "failed", reason=why) for name, why in sorted(log.not_done.items())]


def _index_row(run: ResultFolder, folder: ResultFolder, where: Path, log: Logged) -> IndexRow:
    finished = folder.result.exists()
    volume = read_result(folder.result if finished else folder.full)
    rows = loss_rows(run, folder)
    told, own = judged(folder), log_of(log, run, folder)
    return IndexRow(
        name=folder.name,
        state="done" if finished else "not finished",
        page=os.path.relpath(folder.report, where) if folder.report.is_file() else None,
        thumbnail=thumbnail(middle_section(volume.data)),
        shape_zyx=volume.data.shape,
        voxel_size_A=volume.voxel_size_A,
        held_out_loss=rows[-1].validation_loss if rows else None,
        fit_seconds=rows[-1].seconds if rows else None,
        seconds=own.seconds if own.steps else None,
        warnings=len(own.warnings),
        verdict=None if told is None else told.verdict,
        reason=log.earlier.get(folder.name, ""),
    )
