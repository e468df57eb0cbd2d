"""The fit of a run: model, loss curve and checkpoint in its folder."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

import torch
from lightning_fabric import Fabric

from dewedge.check.volumes import require_sound
from dewedge.errors import InputError
from dewedge.inputs.mask import find_specimen
from dewedge.inputs.planes import planes_beside, read_planes
from dewedge.inputs.read import read_inputs
from dewedge.inputs.run_input import HalvesInput, source_of
from dewedge.io.files import write_text_atomic
from dewedge.learn.checkpoint import Model, load_model, save_model
from dewedge.learn.fit import fit
from dewedge.learn.loss_curve import EpochRow
from dewedge.learn.network import UNet
from dewedge.learn.objective import OBJECTIVES
from dewedge.learn.pairs import TomogramPair
from dewedge.learn.state import FitState
from dewedge.pipeline.check import volume_findings
from dewedge.pipeline.initial import (
    initial_files,
    initial_path,
    initial_weights,
    require_initial_voxel,
)
from dewedge.pipeline.resources import require_memory
from dewedge.report.figure import write_figure
from dewedge.report.loss import loss_figure
from dewedge.runtime import results
from dewedge.runtime.devices import launched
from dewedge.runtime.folder import ResultFolder
from dewedge.runtime.log import duration, step
from dewedge.runtime.progress import FitProgress
from dewedge.runtime.run_folder import RunFolder, require_output
from dewedge.runtime.stopping import stop_asked
from dewedge.settings.fit import FitSection
from dewedge.settings.recipes import RECIPES, read_recipe
from dewedge.settings.sections import Config

logger = logging.getLogger(__name__)


def fit_model(
    pairs: Sequence[TomogramPair],
    section: FitSection,
    fabric: Fabric,
    folder: ResultFolder,
    resume: bool,
    on_look: Callable[
        [FitState, UNet, float, float | None], float | None
    ] = lambda state, network, share, left: None,
) -> Model:
    """Fit a network; write model, loss table and figure into ``folder``, or continue there.

    ``on_look`` is called on the first process after each epoch, with the share of the fit that is done and
    the seconds that it will still take, None before that is known; it returns the seconds of what follows
    the fit, None where it cannot tell.

    Raises
    ------
    InputError
        As `fit_pairs`, or if a file cannot be written.
    KeyboardInterrupt
        After a signal, once the checkpoint is written.
    """
    options = section.options()
    main = fabric.is_global_zero
    # Several processes wait for each other, too.
    alone_on_cpu = fabric.device.type == "cpu" and fabric.world_size == 1
    progress = FitProgress(options, visible=main, cores=torch.get_num_threads() if alone_on_cpu else None)

    def on_step(state: FitState, share: float) -> None:
        progress.step(state)

    def on_resume(state: FitState) -> None:
        logger.info(
            "the fit goes on after step %d, in epoch %d, %.0f %% done",
            state.step, len(state.rows) + 1, 100 * min(state.progress(options), 1.0),
        )  # fmt: skip

    def on_epoch(state: FitState, network: UNet) -> None:
        progress.epoch(state)
        if state.cooling is not None and state.cooling[0] == state.step:
            logger.info("the held-out loss rises: the fit is brought to its end")
        if main:
            write_loss_table(folder.loss_table, state.rows)
            left = progress.seconds_left(state)
            progress.then_s = on_look(state, network, state.progress(options), left)

    def on_round(number: int, state: FitState) -> None:
        progress.round(number, state)

    with step("fit"), progress, stop_asked() as stop:
        model, rows = fit_pairs(
            pairs,
            section,
            fabric,
            checkpoint=folder.checkpoint,
            resume=resume,
            stop=stop,
            on_resume=on_resume,
            on_step=on_step,
            on_epoch=on_epoch,
            on_round=on_round,
        )
    if main and _is_new(folder.model, model):
        kept = rows[model.details["kept_epoch"] - 1]
        held_out = "" if kept.validation_loss is None else f", held-out loss {kept.validation_loss:.4f}"
        logger.info(
            "%d epochs, %d sub-tomograms in %s; the model is that of epoch %d%s",
            len(rows), rows[-1].samples, duration(rows[-1].seconds), kept.epoch, held_out,
        )  # fmt: skip
        write_loss_table(folder.loss_table, rows)
        write_figure(folder.loss_figure, lambda: loss_figure(rows))
        # Last: where it is there, a run that goes on takes the fit, and what it wrote, for finished.
        save_model(folder.model, model)
    fabric.barrier()
    return model


def fit_pairs(
    pairs: Sequence[TomogramPair],
    section: FitSection,
    fabric: Fabric,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
    stop: Callable[[], bool] = lambda: False,
    on_resume: Callable[[FitState], None] = lambda state: None,
    on_step: Callable[[FitState, float], None] = lambda state, progress: None,
    on_epoch: Callable[[FitState, UNet], None] = lambda state, network: None,
    on_round: Callable[[int, FitState], None] = lambda number, state: None,
) -> tuple[Model, list[EpochRow]]:
    """Fit the network of a section to pairs of half-sets; parameters as those of `dewedge.learn.fit.fit`.

    Raises
    ------
    InputError
        If the data, the weights to start from or the checkpoint cannot be used.
    """
    resumed = resume and checkpoint is not None and checkpoint.exists()
    initial = None if resumed else initial_weights(section)
    if resume and not resumed:
        logger.info("no checkpoint to resume from: the fit starts from its beginning")
    if initial is not None:
        logger.info("the fit starts from the weights of %s", initial_path(section))
    model, rows = fit(
        pairs,
        section.network(),
        section.options(),
        fabric,
        checkpoint=checkpoint,
        resume=resume,
        initial=initial,
        on_shortage=lambda remedy: logger.warning("fit: out of memory: %s", remedy),
        stop=stop,
        on_resume=on_resume,
        on_step=on_step,
        on_epoch=on_epoch,
        on_round=on_round,
    )
    return replace(model, details=model.details | {"tomograms": [pair.name for pair in pairs]}), rows


def require_one_fit(config: Config) -> None:
    """Refuse a recipe that is not one fit.

    Raises
    ------
    InputError
        If it is none, or several.
    """
    recipe = read_recipe(config.recipe)
    if not recipe.network or len(recipe.stages) > 1:
        one = [name for name in RECIPES if read_recipe(name).network and len(read_recipe(name).stages) == 1]
        raise InputError(
            f"recipe {recipe.name}: fits no network, or several: expected one of {', '.join(one)}; "
            "dewedge compare --methods takes all"
        )


def fit_files(config: Config, *, resume: bool = False, overwrite: bool = False) -> None:
    """Fit a network to ready-made tomograms of half-sets, into the output folder.

    Raises
    ------
    InputError
        If the input, the configuration or the output folder cannot be used.
    """
    output = require_output(config.output)
    if not config.tomograms.half0:
        raise InputError("nothing to fit: expected --half0 and --half1")
    config.fit.options()
    require_one_fit(config)
    if not OBJECTIVES[config.fit.objective].needs_halves:
        raise InputError("isonet: fits the full tomogram, not half-sets; use dewedge run --recipe isonet")
    folder = RunFolder(output, config=config, verb="fit", resume=resume, overwrite=overwrite)
    if not resume:
        initial_weights(config.fit)
    inputs, faults, config = read_inputs(config)
    if faults:
        raise faults[0]
    if not config.no_check:
        require_memory(inputs, config)
        for item in inputs:
            require_sound(volume_findings(item))
        if not resume:
            require_initial_voxel(
                config.fit, {item.name: item.voxel_size_A(config.reconstruct) for item in inputs}
            )
    folder = replace(folder, config=config, made_of=[source_of(item, folder.of_fit) for item in inputs])
    folder.require_usable([*(path for item in inputs for path in item.files), *initial_files(config.fit)])
    with launched(config.compute) as fabric, folder.begun(fabric):
        pairs = [ready_made_pair(item) for item in inputs if isinstance(item, HalvesInput)]
        fit_model(pairs, config.fit, fabric, folder, resume)
    results.tell(results.described(ResultFolder(output), [ResultFolder(output)]))
    logger.info("done: %s", folder.model)


def ready_made_pair(item: HalvesInput) -> TomogramPair:
    """Open the half-sets of a ready-made tomogram, memory-mapped, with its mask.

    Raises
    ------
    InputError
        If the mask or the planes beside it cannot be read.
    """
    full = item.half0.data if item.full is None else item.full.data
    mask = find_specimen(item.mask, full)
    planes = read_planes(planes_beside(item.half0.path))
    return TomogramPair(
        item.half0.data,
        item.half1.data,
        item.tilt_range,
        mask,
        item.name,
        planes=planes,
        voxel_size_A=item.half0.voxel_size_A,
    )


def write_loss_table(path: Path, rows: Sequence[EpochRow]) -> None:
    """Write the loss curve as CSV, a row an epoch; errors as `dewedge.io.files.atomic_path`."""
    text = io.StringIO()
    table = csv.DictWriter(text, [field.name for field in fields(EpochRow)], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(row) for row in rows)
    write_text_atomic(path, text.getvalue())


def _is_new(path: Path, model: Model) -> bool:
    """False if the model there has seen all these epochs already, under the same limits."""
    if not path.exists():
        return True
    then, now = load_model(path).details, json.loads(json.dumps(model.details))
    return len(then.get("epochs", [])) != len(now["epochs"]) or then.get("options") != now["options"]
