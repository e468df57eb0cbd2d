"""From tilt series, or ready-made half-sets, to refined tomograms: the whole pipeline, top to bottom."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lightning_fabric import Fabric

from dewedge.check.finding import Finding
from dewedge.errors import InputError
from dewedge.inputs.read import read_inputs
from dewedge.inputs.run_input import source_of
from dewedge.io.formats import require_zarr
from dewedge.io.names import plain_name
from dewedge.learn.checkpoint import Model, load_model
from dewedge.pipeline.check import check_inputs
from dewedge.pipeline.earlier import Earlier, finished_earlier, not_as_asked, tell_earlier
from dewedge.pipeline.fit import fit_model, require_one_fit
from dewedge.pipeline.given_model import copy_model, require_model_voxel, with_model
from dewedge.pipeline.initial import initial_files, initial_weights, require_initial_voxel
from dewedge.pipeline.live import LivePage
from dewedge.pipeline.report import write_index_of
from dewedge.pipeline.resources import require_memory
from dewedge.pipeline.stages import (
    Tomogram,
    fitted_model,
    is_fitted,
    is_refined,
    is_told,
    make_halves,
    open_pair,
    refine_all,
    report,
)
from dewedge.pipeline.turns import take_turns
from dewedge.pipeline.warp import copy_to_warp, paths_in_warp
from dewedge.report.figure import dispensable
from dewedge.report.run.index import IndexRow
from dewedge.report.run.summary import summary
from dewedge.runtime import results
from dewedge.runtime.devices import launched, on_first_process
from dewedge.runtime.faults import Faults
from dewedge.runtime.folder import ResultFolder, is_newer, require_new, tomogram_folders
from dewedge.runtime.log import show_table
from dewedge.runtime.made_of import read_record
from dewedge.runtime.run_folder import RunFolder, require_output
from dewedge.runtime.stored import drop_halves, missing_halves
from dewedge.settings.sections import Config

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A run of which all is known and nothing done: its folder, its tomograms, and inputs left out.

    ``config`` has the cubes that fit the tomograms; ``earlier`` are those that are there without an input.
    """

    config: Config
    folder: RunFolder
    tomograms: list[Tomogram]
    earlier: list[Earlier]
    faults: Faults
    total: int

    @property
    def folders(self) -> list[ResultFolder]:
        """Folders of the tomograms."""
        return [*(one.folder for one in self.tomograms), *(one.folder for one in self.earlier)]


def run(
    config: Config,
    *,
    resume: bool = False,
    overwrite: bool = False,
    share: bool = False,
    always_folders: bool = False,
    lists: bool = True,
    keep_halves: bool = False,
) -> None:
    """Read, align, split, reconstruct, fit, refine and report.

    An input among several that cannot be used is left out; it is reported when it is found and at the end.
    Where its tomogram is there as it is asked for, of an earlier run, that is no error.

    Parameters
    ----------
    config
        The resolved configuration.
    resume
        Continue the run in the output folder.
    overwrite
        Replace the run in the output folder.
    share
        Begin the run or, where another process has begun it, take part in it: each takes tomograms that
        nobody has taken.
    always_folders
        Give a single input a folder in the output folder, too, as there may be more when it is resumed.
    lists
        Log every file that is there at the end.
    keep_halves
        Keep half-sets for what follows, whatever the configuration says.

    Raises
    ------
    InputError
        If the configuration or the output folder cannot be used or, after all others are done, an input.
    """
    config = with_model(config)
    ready = prepared(config, resume=resume, overwrite=overwrite, share=share, always_folders=always_folders)
    config, folder, tomograms, faults = ready.config, ready.folder, ready.tomograms, ready.faults
    output, folders, total = folder.path, ready.folders, ready.total
    with launched(config.compute) as fabric:
        warnings: list[Finding] = []
        if not (config.no_check or folder.by_turns):
            tomograms, warnings = checked(tomograms, config, fabric, faults)
        with folder.begun(fabric):
            if fabric.is_global_zero:
                missing = [one for one in tomograms if not one.folder.result.exists()]
                tell(() if folder.by_turns else missing, faults, warnings)
                tell_earlier(ready.earlier)
                there = len(tomograms) + len(ready.earlier) - len(missing)
                if not folder.by_turns and there:
                    logger.info("%d of %d tomograms were refined before", there, there + len(missing))
            if config.model is not None:
                on_first_process(fabric, partial(copy_model, config.model, folder.model))
            if keep_halves:
                files = config.files.model_copy(update={"half_sets": "keep"})
                config = config.model_copy(update={"files": files})
            if folder.by_turns:
                faults += take_turns(
                    folder,
                    fabric,
                    lambda number: is_done(tomograms[number], folder, config),
                    lambda number, own: process_alone(tomograms[number], folder, config, own),
                    lambda: list_tomograms(output, folders, goes_on=True),
                )
            else:
                process(tomograms, folder, config, fabric, resume, faults)
            stale = on_first_process(fabric, lambda: not_as_asked(ready.earlier, folder, config))
            faults += stale
            goes_on = share and not all(one.result.exists() or one.left_out.exists() for one in folders)
            on_first_process(fabric, lambda: end(output, folders, faults, goes_on, lists))
    done = sum(one.result.exists() for one in folders) - len(stale)
    if done:
        if folder.report.exists():
            logger.info("look at %s", folder.report)
        logger.info("done: %s" if done == total else f"{done} of {total} inputs are done: %s", output)
    if faults:
        raise faults.summary(total)


def prepared(
    config: Config,
    *,
    resume: bool = False,
    overwrite: bool = False,
    share: bool = False,
    always_folders: bool = False,
) -> Prepared:
    """Read the inputs, and require that all can be begun; parameters and errors as those of `run`.

    The configuration is that of `with_model`.
    """
    output = require_output(config.output)
    folder = RunFolder(output, config=config, verb="run", resume=resume, overwrite=overwrite, share=share)
    continues = folder.continues
    config.fit.options()
    if config.output_format != "mrc":
        require_zarr(output)
    if not continues and config.model is None:
        initial_weights(config.fit)
    require_one_fit(config)
    inputs, faults, config = read_inputs(config)
    names = [item.name for item in inputs]
    records = read_record(folder.inputs) if continues else {}
    recorded = {plain_name(name, folder.inputs): ResultFolder(output / name) for name in records}
    # There were several when it began, though there may be one now.
    had_several = any(path.exists() for own in recorded.values() for path in own.of_tomogram)
    several = len(inputs) + len(faults) > 1 or always_folders or had_several
    earlier, faults = finished_earlier(records, recorded, names, faults)
    require_fitted(config, [*names, *(one.name for one in earlier)], faults)
    total = len(inputs) + len(earlier) + len(faults)
    by_turns = several and (config.fit_each or config.model is not None)
    if share and not by_turns:
        raise InputError(
            "--share: of several inputs with a network each, or a given one: expected --fit-each or --model, "
            "and more inputs"
        )
    folders = tomogram_folders(output, names, several)
    made_of = [source_of(item, own.reconstructed) for item, own in zip(inputs, folders, strict=True)]
    folder = replace(folder, config=config, tomograms=folders, made_of=made_of, by_turns=by_turns)
    sources = [path for item in inputs for path in item.files]
    sources += initial_files(config.fit) if config.model is None else [config.model]
    folder.require_usable(sources)
    tomograms = [Tomogram(item, own) for item, own in zip(inputs, folders, strict=True)]
    if config.to_warp:
        if config.output_format == "zarr":
            raise InputError("--to-warp: Warp reads MRC: expected --output-format mrc or both")
        # Asked anew: of several processes another may have begun while the inputs were read.
        require_new(paths_in_warp(inputs), overwrite or folder.continues)
    if not config.no_check:
        require_memory(inputs, config)
        sizes_A = {item.name: item.voxel_size_A(config.reconstruct) for item in inputs}
        if config.model is not None:
            require_model_voxel(config.model, sizes_A)
        elif not continues:
            require_initial_voxel(config.fit, sizes_A)
    return Prepared(config, folder, tomograms, earlier, faults, total)


def require_fitted(config: Config, names: Sequence[str], faults: Faults) -> None:
    """Refuse to fit to inputs that there are not; where some were left out, one that can be used will do.

    Raises
    ------
    InputError
        If ``fit_on`` names none that can be used, or goes with a fit to each.
    """
    if config.fit_on and config.fit_each:
        raise InputError("--fit-on: one network is fitted, for all: expected no --fit-each")
    missing = [name for name in config.fit_on if name not in names]
    if missing and (not faults or len(missing) == len(config.fit_on)):
        raise InputError(f"--fit-on {missing[0]}: no input that can be used: expected {', '.join(names)}")


def checked(
    tomograms: Sequence[Tomogram], config: Config, fabric: Fabric, faults: Faults
) -> tuple[list[Tomogram], list[Finding]]:
    """Tomograms whose input has no errors, and what else the first process found in it.

    Errors as `check_inputs`.
    """

    def check() -> tuple[list[int], list[Finding], Faults]:
        wrong = Faults()
        items = [tomogram.item for tomogram in tomograms]
        usable, warnings = check_inputs(items, config, wrong)
        return [items.index(item) for item in usable], warnings, wrong

    usable, warnings, wrong = on_first_process(fabric, check)
    faults += wrong
    return [tomograms[i] for i in usable], warnings


def tell(tomograms: Sequence[Tomogram], faults: Faults, warnings: Sequence[Finding]) -> None:
    """Log what was read, left out, and found in the input."""
    for tomogram in tomograms:
        for note in tomogram.item.notes:
            logger.info("%s: %s", tomogram.name, note)
    faults.log("left out")
    for warning in warnings:
        logger.warning("%s: %s", warning.severity, warning)


def is_done(tomogram: Tomogram, run: ResultFolder, config: Config) -> bool:
    """True if all is there that there will be of a tomogram that is taken by turns in the folder of a run.

    Errors as `dewedge.pipeline.stages.model_of`.
    """
    folder = tomogram.folder
    model = run.model if config.model is not None else folder.model
    copies = paths_in_warp([tomogram.item]) if config.to_warp else []
    done = (
        is_refined(folder, config, model)
        and all(is_newer(path, model) for path in folder.refined_as(config.output_format))
        and all(is_newer(path, folder.result) for path in copies)
        and has_halves_as_asked(folder, config)
        and is_told(folder)
    )
    if done:
        logger.info("%s: refined tomogram is there", tomogram.name)
    return done


def has_halves_as_asked(folder: ResultFolder, config: Config) -> bool:
    """True if the half-sets of a tomogram are there and are to be kept, or neither."""
    missing = missing_halves(folder)
    return len(missing) == len(folder.halves) if config.files.half_sets == "drop" else not missing


def process_alone(tomogram: Tomogram, run: ResultFolder, config: Config, fabric: Fabric) -> Faults:
    """Check, and `process`, a tomogram that is taken by turns in the folder of a run; what is there stays.

    Its network is its own, or that which is given and lies in the folder of the run. Returned is what is
    wrong with the tomogram, if anything.
    """
    faults = Faults()
    with faults.left_out(tomogram.name):
        usable, warnings = [tomogram], list[Finding]()
        if not config.no_check:
            usable, warnings = checked(usable, config, fabric, faults)
        if fabric.is_global_zero:
            tell(usable, Faults(), warnings)
        is_begun = on_first_process(fabric, lambda: any(path.exists() for path in tomogram.folder.of_fit))
        of_model = tomogram.folder if config.model is None else run
        process(usable, of_model, config, fabric, is_begun, faults)
    return faults


def process(
    tomograms: Sequence[Tomogram],
    folder: ResultFolder,
    config: Config,
    fabric: Fabric,
    resume: bool,
    faults: Faults,
) -> None:
    """Make half-sets, fit, refinement and report of tomograms that share one network, kept in ``folder``.

    A model that is applied instead of a fit lies there already. What is wrong with single tomograms is
    appended to ``faults``.

    Raises
    ------
    InputError
        If none of those that the network is fitted to can be used, the fit or the refinement fails, or a file
        cannot be written.
    """
    numbers, wrong = on_first_process(fabric, lambda: make_halves(tomograms, config, fabric, folder.model))
    faults += wrong
    usable = [tomograms[i] for i in numbers]
    if not usable:
        return
    if config.model is not None:
        model: Model | None = load_model(folder.model)
    else:
        model = fitted_model(folder.model, config, usable) if resume else None
    if model is not None:
        refine_each(usable, folder.model, model, config, fabric)
    else:
        fitted = [tomogram for tomogram in usable if is_fitted(tomogram, config)]
        if not fitted:
            raise InputError(f"--fit-on {', '.join(config.fit_on)}: none of these inputs can be used")
        pairs = [open_pair(tomogram, config) for tomogram in fitted]
        shapes = [tomogram.item.tomogram_shape(config.reconstruct) for tomogram in usable]
        live = LivePage(fitted[0].folder, pairs[0], folder, config, fabric, shapes)
        with live.going_on():
            model = fit_model(pairs, config.fit, fabric, folder, resume, live.look)
            live.refining()
            refine_each(usable, folder.model, model, config, fabric)
    if config.files.half_sets == "drop":
        on_first_process(fabric, lambda: drop_halves(one.folder for one in usable))
    on_first_process(fabric, lambda: report(usable, config))


def refine_each(
    tomograms: Sequence[Tomogram], model_path: Path, model: Model, config: Config, fabric: Fabric
) -> None:
    """Refine one tomogram after the other; each is copied to Warp, if it is to be, before the next.

    Errors as `refine_all` and `dewedge.pipeline.warp.copy_to_warp`.
    """
    for tomogram in tomograms:
        refine_all([tomogram], model_path, model, config, fabric)
        if config.to_warp:
            on_first_process(fabric, partial(copy_to_warp, [tomogram.item], [tomogram.folder.refined]))


def end(output: Path, folders: Sequence[ResultFolder], faults: Faults, goes_on: bool, lists: bool) -> None:
    """Write the index of a run of several tomograms and, where it ``lists``, tell files and tomograms."""
    for name, why in faults.by_name().items():
        logger.debug("not done: %s: %s", name, why)
    rows = list_tomograms(output, folders, goes_on)
    if lists:
        results.tell(results.described(ResultFolder(output), folders))
        if rows:
            show_table(partial(summary, rows))


def list_tomograms(output: Path, folders: Sequence[ResultFolder], goes_on: bool = False) -> list[IndexRow]:
    """Write the index of a run of several tomograms; its rows."""
    run, rows = ResultFolder(output), list[IndexRow]()
    with dispensable(run.report):
        rows = write_index_of(run, folders, goes_on)
    return rows
