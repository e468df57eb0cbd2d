"""From tilt series, or ready-made half-sets, to refined tomograms: the whole pipeline, top to bottom."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lightning_fabric import Fabric

from dewedge.check.finding import Finding
from dewedge.errors import InputError
from dewedge.inputs.mask import find_specimen
from dewedge.inputs.read import read_inputs
from dewedge.inputs.run_input import HalvesInput, RunInput
from dewedge.io.mrc import read_mrc, write_mrc
from dewedge.learn.checkpoint import Model, load_model
from dewedge.learn.objective import OBJECTIVES
from dewedge.learn.pairs import TomogramPair
from dewedge.learn.sampling import CropSampler
from dewedge.pipeline.check import check_inputs
from dewedge.pipeline.fit import check_recipe, fit_model
from dewedge.pipeline.initial import initial_path, initial_weights
from dewedge.pipeline.reconstruct import copy_halves, reconstruct_halves
from dewedge.pipeline.refine import refine_files
from dewedge.report.figure import save_figure
from dewedge.report.slices import slices_figure
from dewedge.runtime.devices import launched, log_device, on_first_process, told_how_to_resume
from dewedge.runtime.faults import collected, summary
from dewedge.runtime.folder import (
    BEADS,
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
from dewedge.runtime.log import log_environment, log_to_file, step
from dewedge.settings.file import write_config
from dewedge.settings.sections import Config

logger = logging.getLogger(__name__)


def run(
    config: Config, *, resume: bool = False, overwrite: bool = False, arguments: Sequence[str] = ()
) -> None:
    """Read, align, split, reconstruct, fit, refine and report.

    An input among several that cannot be used is left out; it is reported when it is found and at the end.

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
        If the configuration or the output folder cannot be used or, after all others are done, an input.
    """
    output = config.output
    if output is None:
        raise InputError("no output folder: expected -o FOLDER")
    config.fit.options()
    if not resume:
        initial_weights(config.fit)
    check_recipe(config)
    inputs, faults = read_inputs(config)
    total = len(inputs) + len(faults)
    folders = tomogram_folders(output, [item.name for item in inputs], several=total > 1)
    sources = [path for item in inputs for path in item.files]
    if (model := initial_path(config.fit)) is not None:
        sources.append(model)
    check_output(output, folders, config, resume, overwrite, sources)
    tomograms = [Tomogram(item, folder) for item, folder in zip(inputs, folders, strict=True)]
    with launched(config.compute) as fabric:
        warnings: list[Finding] = []
        if not config.no_check:
            tomograms, warnings = checked(tomograms, config, fabric, faults)
        with told_how_to_resume(f"dewedge run --resume -o {output}"):
            on_first_process(
                fabric, lambda: begin(config, fabric, output, tomograms, faults, resume, arguments)
            )
            for warning in warnings:
                logger.warning("%s: %s", warning.severity, warning)
            if config.fit_each:
                for count, tomogram in enumerate(tomograms, start=1):
                    logger.info("%s: %d of %d", tomogram.name, count, len(tomograms))
                    raised: list[InputError] = []
                    with collected(raised):
                        process([tomogram], tomogram.folder, config, fabric, resume, faults)
                    for fault in raised:
                        logger.info("left out: %s", fault)
                    faults += raised
            else:
                process(tomograms, output, config, fabric, resume, faults)
    if not faults:
        logger.info("done: %s", output)
        return
    if len(faults) < total:
        logger.info("%d of %d inputs are done: %s", total - len(faults), total, output)
        for fault in faults:
            logger.info("not done: %s", fault)
    raise summary(faults, total)


@dataclass(frozen=True, eq=False)
class Tomogram:
    """One tomogram of a run, and the folder of its results."""

    item: RunInput
    folder: Path

    @property
    def name(self) -> str:
        return self.item.name


def checked(
    tomograms: Sequence[Tomogram], config: Config, fabric: Fabric, faults: list[InputError]
) -> tuple[list[Tomogram], list[Finding]]:
    """The tomograms whose input has no errors, and what else the first process found in it."""

    def check() -> tuple[list[int], list[Finding], list[str]]:
        found: list[InputError] = []
        items = [tomogram.item for tomogram in tomograms]
        usable, warnings = check_inputs(items, config, found)
        return [items.index(item) for item in usable], warnings, [str(fault) for fault in found]

    usable, warnings, found = on_first_process(fabric, check)
    faults += map(InputError, found)
    return [tomograms[i] for i in usable], warnings


def begin(
    config: Config,
    fabric: Fabric,
    output: Path,
    tomograms: Sequence[Tomogram],
    faults: Sequence[InputError],
    resume: bool,
    arguments: Sequence[str],
) -> None:
    """Start the log, clear the folder unless resuming, write the configuration, tell what was read."""
    log_to_file(output / LOG)
    log_environment(arguments)
    clear_output(output, [tomogram.folder for tomogram in tomograms], keep=resume)
    write_config(output / CONFIG, config)
    log_device(fabric, config.compute)
    for tomogram in tomograms:
        for note in tomogram.item.notes:
            logger.info("%s: %s", tomogram.name, note)
    for fault in faults:
        logger.info("left out: %s", fault)


def process(
    tomograms: Sequence[Tomogram],
    folder: Path,
    config: Config,
    fabric: Fabric,
    resume: bool,
    faults: list[InputError],
) -> None:
    """Half-sets, fit, refinement and report of tomograms that share one network, kept in ``folder``."""
    found = on_first_process(fabric, lambda: make_halves(tomograms, config, fabric))
    usable = []
    for tomogram, fault in zip(tomograms, found, strict=True):
        if fault is None:
            usable.append(tomogram)
        else:
            logger.info("left out: %s", fault)
            faults.append(InputError(fault))
    if not usable:
        return
    model = fitted_model(folder / MODEL, config, usable) if resume else None
    if model is None:
        pairs = [open_pair(tomogram, config) for tomogram in usable]
        model = fit_model(pairs, config.fit, fabric, folder, resume)
    refine_all(usable, folder / MODEL, model, config, fabric)
    on_first_process(fabric, lambda: report(usable))


def make_halves(tomograms: Sequence[Tomogram], config: Config, fabric: Fabric) -> list[str | None]:
    """Write half-sets, whole and mask of every tomogram into its folder; return what is wrong with which."""
    found: list[str | None] = []
    for tomogram in tomograms:
        faults: list[InputError] = []
        with collected(faults):
            make_halves_of(tomogram, config, fabric)
            if len(tomograms) > 1:
                # One that cannot be drawn from would end the fit of all.
                check_crops(open_pair(tomogram, config), config)
        found.append(str(faults[0]) if faults else None)
    return found


def make_halves_of(tomogram: Tomogram, config: Config, fabric: Fabric) -> None:
    """Write half-sets, whole and mask of one tomogram into its folder; those that exist stay."""
    item, folder = tomogram.item, tomogram.folder
    if isinstance(item, HalvesInput):
        copy_halves(item, folder, config.ctf, fabric.device)
    else:
        reconstruct_halves(item, folder, config, fabric.device)
    if not (folder / MASK).exists():
        full = read_mrc(folder / FULL)
        mask = find_specimen(item.mask, full.data)
        if mask is not None:
            write_mrc(
                folder / MASK,
                mask,
                full.voxel_size_A,
                origin_xyz_A=full.origin_xyz_A,
                what="specimen mask",
            )


def check_crops(pair: TomogramPair, config: Config) -> None:
    """Refuse a tomogram from which the fit could not draw."""
    options = config.fit.options()
    CropSampler([pair], options.cube_size, seed=options.seed, held_out=options.held_out).draw(0)


def open_pair(tomogram: Tomogram, config: Config) -> TomogramPair:
    """The half-sets of a tomogram, memory-mapped, with its mask; twice the whole where none are needed."""
    folder = tomogram.folder
    halves = [folder / HALF0, folder / HALF1] if OBJECTIVES[config.fit.objective].needs_halves else []
    return read_pair(folder / FULL, halves, folder / MASK, tomogram.item)


def read_pair(full_path: Path, half_paths: Sequence[Path], mask_path: Path, item: RunInput) -> TomogramPair:
    """What a fit takes of both half-sets, or of the whole alone, and of the mask if there is one."""
    full = read_mrc(full_path).data
    mask = read_mrc(mask_path).data > 0.5 if mask_path.exists() else None
    if not half_paths:
        return TomogramPair(full, full, item.tilt_range, mask, item.name)
    half0, half1 = (read_mrc(path).data for path in half_paths)
    # Another program's need not have the grey scale of its half tomograms.
    ours = None if isinstance(item, HalvesInput) else full
    return TomogramPair(half0, half1, item.tilt_range, mask, item.name, ours)


def fitted_model(path: Path, config: Config, tomograms: Sequence[Tomogram]) -> Model | None:
    """The model of a fit that was finished with these options; None if there is none."""
    if not path.exists():
        return None
    model = load_model(path)
    if model.details.get("options") != json.loads(json.dumps(asdict(config.fit.options()))):
        return None
    logger.info("fit: %s is there", path)
    for tomogram in tomograms:
        if tomogram.name not in model.details.get("tomograms", []):
            logger.info(
                "%s: had no part in the fit of %s; --overwrite fits it anew", tomogram.name, path.name
            )
    return model


def refine_all(
    tomograms: Sequence[Tomogram], model_path: Path, model: Model, config: Config, fabric: Fabric
) -> None:
    """Refine every tomogram, its tiles divided over the processes; those refined by this very model stay."""
    names = [FULL] if config.refine.refine == "full" else [HALF0, HALF1]
    fitted = model_path.stat().st_mtime_ns

    def are_there() -> list[bool]:
        paths = [tomogram.folder / REFINED for tomogram in tomograms]
        return [path.exists() and path.stat().st_mtime_ns >= fitted for path in paths]

    for tomogram, is_there in zip(tomograms, on_first_process(fabric, are_there), strict=True):
        if is_there:
            logger.info("%s: refined tomogram is there", tomogram.name)
            continue
        refine_files(
            tomogram.name,
            [tomogram.folder / name for name in names],
            tomogram.folder / REFINED,
            model,
            tomogram.item.tilt_range,
            config.refine,
            config.compute,
            fabric,
            tomogram.folder / BEADS if (tomogram.folder / BEADS).exists() else None,
        )


def report(tomograms: Sequence[Tomogram]) -> None:
    """Draw slices of every tomogram before and after; those newer than the refined tomogram stay."""
    for tomogram in tomograms:
        slices, refined_path = tomogram.folder / SLICES, tomogram.folder / REFINED
        if slices.exists() and slices.stat().st_mtime_ns >= refined_path.stat().st_mtime_ns:
            continue
        with step(f"{tomogram.name}: report"):
            full, refined = read_mrc(tomogram.folder / FULL), read_mrc(refined_path)
            painted = ", gold painted over" if (tomogram.folder / BEADS).exists() else ""
            volumes = {f"FBP{painted}": full.data, "refined": refined.data}
            save_figure(slices, slices_figure(volumes, full.voxel_size_A, tomogram.name))
