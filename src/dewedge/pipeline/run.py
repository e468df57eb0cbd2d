"""From tilt series, or ready-made half-sets, to refined tomograms: the whole pipeline, top to bottom."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from lightning_fabric import Fabric

from dewedge.errors import InputError
from dewedge.io.mrc import read_mrc, write_mrc
from dewedge.learn.checkpoint import Model
from dewedge.learn.sampling import TomogramPair
from dewedge.pipeline.compute import choose_precision, launch, log_device, on_first_process
from dewedge.pipeline.config import Config
from dewedge.pipeline.config_file import write_config
from dewedge.pipeline.fit import fit_model
from dewedge.pipeline.folder import (
    CONFIG,
    FULL,
    HALF0,
    HALF1,
    LOG,
    MASK,
    MODEL,
    REFINED,
    SLICES,
    check_output,
    clear_output,
    tomogram_folders,
)
from dewedge.pipeline.inputs import HalvesInput, RunInput, read_inputs
from dewedge.pipeline.log import log_environment, log_to_file, step
from dewedge.pipeline.mask import choose_mask, find_specimen
from dewedge.pipeline.reconstruct import copy_halves, reconstruct_halves
from dewedge.pipeline.refine import refine_files
from dewedge.report.figure import save_figure
from dewedge.report.slices import slices_figure

logger = logging.getLogger(__name__)


def run(
    config: Config, *, resume: bool = False, overwrite: bool = False, arguments: Sequence[str] = ()
) -> None:
    """Read, align, split, reconstruct, fit, refine and report.

    Parameters
    ----------
    config
        The resolved configuration.
    resume
        Continue the run in the output folder.
    overwrite
        Replace the run in the output folder.
    arguments
        The command line, for the log.

    Raises
    ------
    InputError
        If the input, the configuration or the output folder cannot be used.
    """
    output = config.output
    if output is None:
        raise InputError("no output folder: expected -o FOLDER")
    config.fit.options()
    inputs = read_inputs(config)
    folders = tomogram_folders(output, [item.name for item in inputs])
    check_output(output, folders, config, resume, overwrite)
    try:
        fabric = launch(config.compute)
        on_first_process(fabric, lambda: begin(config, fabric, output, inputs, folders, resume, arguments))
        on_first_process(fabric, lambda: make_halves(inputs, folders, config, fabric))
        pairs = [open_pair(item, folder) for item, folder in zip(inputs, folders, strict=True)]
        model = fit_model(pairs, config.fit, fabric, output, resume)
        refine_all(inputs, folders, output, model, config, fabric)
        on_first_process(fabric, lambda: report(inputs, folders))
        logger.info("done: %s", output)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"continue with: dewedge run --resume -o {output}") from None


def begin(
    config: Config,
    fabric: Fabric,
    output: Path,
    inputs: Sequence[RunInput],
    folders: list[Path],
    resume: bool,
    arguments: Sequence[str],
) -> None:
    """Start the log, clear the folder unless resuming, write the configuration, tell what was read."""
    log_to_file(output / LOG)
    log_environment(arguments)
    clear_output(output, folders, keep=resume)
    write_config(output / CONFIG, config)
    log_device(fabric, config.compute)
    for item in inputs:
        for note in item.notes:
            logger.info("%s: %s", item.name, note)


def make_halves(inputs: Sequence[RunInput], folders: list[Path], config: Config, fabric: Fabric) -> None:
    """Write half-sets, whole and mask of every tomogram into its folder."""
    for i, (item, folder) in enumerate(zip(inputs, folders, strict=True)):
        if isinstance(item, HalvesInput):
            copy_halves(item, folder)
        else:
            reconstruct_halves(item, folder, config.reconstruct, config.split, config.fit.seed, fabric.device)
        if not (folder / MASK).exists():
            full = read_mrc(folder / FULL)
            mask = find_specimen(choose_mask(config.fit.mask, i, len(inputs)), full.data)
            if mask is not None:
                write_mrc(
                    folder / MASK,
                    mask,
                    full.voxel_size_A,
                    origin_xyz_A=full.origin_xyz_A,
                    what="specimen mask",
                )


def open_pair(item: RunInput, folder: Path) -> TomogramPair:
    """The half-sets of a tomogram, memory-mapped, with its mask."""
    mask = read_mrc(folder / MASK).data > 0.5 if (folder / MASK).exists() else None
    half0, half1 = (read_mrc(folder / name).data for name in (HALF0, HALF1))
    return TomogramPair(half0, half1, item.tilt_range, mask, item.name)


def refine_all(
    inputs: Sequence[RunInput],
    folders: Sequence[Path],
    output: Path,
    model: Model,
    config: Config,
    fabric: Fabric,
) -> None:
    """Refine every tomogram, divided over the processes; those refined by this very model stay."""
    names = [FULL] if config.refine.refine == "full" else [HALF0, HALF1]
    fitted = (output / MODEL).stat().st_mtime_ns
    precision = choose_precision(config.compute, fabric.device)
    for index in range(fabric.global_rank, len(inputs), fabric.world_size):
        item, folder = inputs[index], folders[index]
        refined = folder / REFINED
        if refined.exists() and refined.stat().st_mtime_ns >= fitted:
            logger.info("%s: refined tomogram is there", item.name)
            continue
        sources = [folder / name for name in names]
        refine_files(sources, refined, model, item.tilt_range, config.refine, fabric.device, precision)
    fabric.barrier()


def report(inputs: Sequence[RunInput], folders: Sequence[Path]) -> None:
    """Draw slices of every tomogram before and after."""
    with step("report"):
        for item, folder in zip(inputs, folders, strict=True):
            full, refined = read_mrc(folder / FULL), read_mrc(folder / REFINED)
            figure = slices_figure({"FBP": full.data, "refined": refined.data}, full.voxel_size_A, item.name)
            save_figure(folder / SLICES, figure)
