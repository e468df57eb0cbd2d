"""One tilt series, or pair of half tomograms, by several methods, and their comparison without truth."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lightning_fabric import Fabric

from dewedge.errors import InputError
from dewedge.inputs.read import check_input, check_network, read_inputs
from dewedge.inputs.run_input import HalvesInput, RunInput
from dewedge.io.files import unwritable
from dewedge.learn.checkpoint import Model
from dewedge.learn.objective import OBJECTIVES
from dewedge.learn.pairs import TomogramPair
from dewedge.pipeline.check import check_inputs
from dewedge.pipeline.compare.methods import (
    ComparisonSettings,
    Method,
    Stage,
    read_comparison,
    write_comparison,
)
from dewedge.pipeline.compare.report import (
    CURVES,
    FIGURES,
    PAGE,
    PICTURES,
    Estimate,
    Outcome,
    write_report,
)
from dewedge.pipeline.fit import fit_model
from dewedge.pipeline.initial import initial_weights
from dewedge.pipeline.reconstruct import reconstruct_halves
from dewedge.pipeline.refine import refine_files
from dewedge.pipeline.run import Tomogram, check_crops, fitted_model, make_halves_of, read_pair
from dewedge.runtime.devices import launch, launched, log_device, on_first_process, told_how_to_resume
from dewedge.runtime.folder import (
    CHECKPOINT,
    CONFIG,
    FULL,
    HALF0,
    HALF1,
    LOG,
    MASK,
    MODEL,
    OF_TOMOGRAM,
    REFINED,
    REFINED_HALF0,
    REFINED_HALF1,
    clear_output,
    first_difference,
    refuse_sources,
)
from dewedge.runtime.log import log_environment, log_to_file
from dewedge.settings.recipes import RECIPES, read_recipe
from dewedge.settings.sections import Config

logger = logging.getLogger(__name__)

SETTINGS = "compare.toml"
RESULTS = (SETTINGS, PAGE, PICTURES, CURVES, FIGURES)


def compare(
    settings: ComparisonSettings,
    output: Path | None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    arguments: Sequence[str] = (),
) -> None:
    """Carry out every method on one input, each in a folder of its name in ``output``, and compare them.

    All start from the same filtered back-projections (folder ``fbp``). What is there is not computed again.

    Raises
    ------
    InputError
        If the settings, the input or the output folder cannot be used.
    """
    if output is None:
        raise InputError("no output folder: expected -o FOLDER")
    if resume and overwrite:
        raise InputError("expected --resume or --overwrite, got both")
    if resume and not (output / SETTINGS).is_file():
        raise InputError(f"{output}: nothing to resume: expected the {SETTINGS} of an earlier comparison")
    methods = [settings.method(name) for name in settings.methods]
    stages = [stage for method in methods for stage in method.stages if stage.recipe.network]
    base = stages[0].config if stages else without_fit(methods[0].stages[0].config)
    for stage in stages:
        check_network(stage.config.fit)
        check_initial_weights(stage)
    inputs, faults = read_inputs(base)
    if faults:
        raise faults[0]
    if len(inputs) != 1:
        names = ", ".join(item.name for item in inputs)
        raise InputError(f"expected one tilt series, or one pair of half tomograms, got {names}")
    item = inputs[0]
    for stage in stages[1:]:
        check_input(item, stage.config)
    if isinstance(item, HalvesInput):
        for name in ("sirt", "tv"):
            if name in settings.methods:
                raise InputError(f"{name}: expected a tilt series, got half tomograms: leave it out")
    check_folder(output, settings, item, resume, overwrite)
    if not base.no_check:
        for warning in check_inputs(inputs, base, faults)[1]:
            logger.warning("%s: %s", warning.severity, warning)
    with (
        launched(base.compute) as fabric,
        told_how_to_resume(f"dewedge compare --resume -o {output}"),
    ):
        on_first_process(fabric, lambda: begin(settings, output, item, fabric, resume, arguments))
        carry_out(methods, item, output, fabric, arguments)
    logger.info("done: %s", output / PAGE)


def check_initial_weights(stage: Stage) -> None:
    """Refuse weights that do not fit the network of a method."""
    try:
        initial_weights(stage.config.fit)
    except InputError as error:
        raise InputError(f"{stage.recipe.name}: {error}, or leave it out by --methods") from None


def without_fit(config: Config) -> Config:
    """The same, so that no tomogram is too small for cubes that are never drawn."""
    no_fit = {"cube_size": config.fit.network().multiple, "held_out": 0.0}
    return config.model_copy(update={"fit": config.fit.model_copy(update=no_fit)})


def check_folder(
    output: Path, settings: ComparisonSettings, item: RunInput, resume: bool, overwrite: bool
) -> None:
    """Refuse a folder that holds another comparison, or an input under a result's name; change nothing."""
    files = [output / name for name in RESULTS]
    for folder in stage_folders(output):
        files += [folder / name for name in OF_TOMOGRAM]
    refuse_sources(files, item.files)
    if resume:
        then = read_comparison(output / SETTINGS, {}, None)
        difference = first_difference(then.base, settings.base)
        if difference is not None:
            raise InputError(
                f"{output / SETTINGS}: {difference}; resume with the same settings, or give --overwrite"
            )
        return
    found = [path for path in [*files, output / CONFIG] if path.exists()]
    if found and not overwrite:
        raise InputError(
            f"{output}: already holds a comparison or a run ({found[0].relative_to(output)}): give --resume "
            "to continue it, --overwrite to replace it, or another folder"
        )


def stage_folders(output: Path) -> list[Path]:
    """The folders of all stages of all methods."""
    return [stage_folder(output, name, stage) for name in RECIPES for stage in read_recipe(name).stages]


def stage_folder(output: Path, method: str, stage: str) -> Path:
    """Where the results of a stage go: the folder of its method, or one in it where there are several."""
    return output / method if method == stage else output / method / stage


def begin(
    settings: ComparisonSettings,
    output: Path,
    item: RunInput,
    fabric: Fabric,
    resume: bool,
    arguments: Sequence[str],
) -> None:
    """Start the log, clear the folder unless resuming, write the settings, tell what was read."""
    log_to_file(output / LOG)
    log_environment(arguments)
    for folder in stage_folders(output):
        clear_output(folder, [folder], keep=resume)
    if not resume:
        try:
            for name in RESULTS:
                (output / name).unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(error.filename or output, error) from None
    write_comparison(output / SETTINGS, settings)
    log_device(fabric, settings.base.compute)
    for note in item.notes:
        logger.info("%s: %s", item.name, note)


def carry_out(
    methods: Sequence[Method], item: RunInput, output: Path, fabric: Fabric, arguments: Sequence[str]
) -> None:
    """Every method in turn, then the scores and the page."""
    folder = output / "fbp"
    raw = Estimate(folder / HALF0, folder / HALF1, folder / FULL)

    def reconstruct() -> None:
        make_halves_of(Tomogram(item, folder), methods[0].stages[0].config, fabric)
        for method in methods:
            first = method.stages[0]
            if first.recipe.network:
                check_crops(pair_of(raw, folder / MASK, item, first.config), first.config)

    on_first_process(fabric, reconstruct)
    outcomes = [Outcome(methods[0], raw, [])]
    for method in methods[1:]:
        logger.info("%s", method.recipe.title)
        estimate, models = raw, []
        for stage in method.stages:
            own = stage_folder(output, method.name, stage.recipe.name)
            if stage.recipe.network:
                estimate, model = fit_and_refine(stage, estimate, folder / MASK, item, own)
                models.append(model)
            else:
                estimate = reconstructed(stage, item, own, fabric)
        outcomes.append(Outcome(method, estimate, models))
    on_first_process(fabric, lambda: write_report(outcomes, item, output, arguments))


def reconstructed(stage: Stage, item: RunInput, folder: Path, fabric: Fabric) -> Estimate:
    """The tomograms of a method that fits nothing."""
    assert not isinstance(item, HalvesInput)
    on_first_process(fabric, lambda: reconstruct_halves(item, folder, stage.config, fabric.device))
    return Estimate(folder / HALF0, folder / HALF1, folder / FULL)


def fit_and_refine(
    stage: Stage, source: Estimate, mask: Path, item: RunInput, folder: Path
) -> tuple[Estimate, Model]:
    """Fit the network of a stage to the tomograms before it, and apply it to each of them."""
    config = stage.config
    # Recipes differ in precision, which is a Fabric's.
    fabric = launch(config.compute)
    checkpoint = folder / CHECKPOINT
    older = checkpoint.exists() and is_older(checkpoint, source.full)
    model = None if older else fitted_model(folder / MODEL, config, [])
    if model is None:
        pair = pair_of(source, mask, item, config)
        model = fit_model([pair], config.fit, fabric, folder, resume=not older)
    result = Estimate(folder / REFINED_HALF0, folder / REFINED_HALF1, folder / REFINED)
    whole = [source.full] if config.refine.refine == "full" else source.halves
    # A half-set alone has the grey scale of what the network was fitted to.
    of_half = replace(model, full_std=1.0)
    tasks = [
        (result.full, whole, model),
        (result.half0, [source.half0], of_half),
        (result.half1, [source.half1], of_half),
    ]

    def are_there() -> list[bool]:
        return [path.exists() and not is_older(path, folder / MODEL) for path, _, _ in tasks]

    there = on_first_process(fabric, are_there)
    for (path, sources, weights), is_there in zip(tasks, there, strict=True):
        if is_there:
            logger.info("%s: %s is there", stage.recipe.name, path.name)
            continue
        refine_files(
            f"{stage.recipe.name}: {path.stem}",
            sources,
            path,
            weights,
            item.tilt_range,
            config.refine,
            config.compute,
            fabric,
        )
    return result, model


def pair_of(source: Estimate, mask: Path, item: RunInput, config: Config) -> TomogramPair:
    """What the fit of a stage takes: both half-sets, or the whole alone."""
    halves = source.halves if OBJECTIVES[config.fit.objective].needs_halves else []
    return read_pair(source.full, halves, mask, item)


def is_older(path: Path, than: Path) -> bool:
    """True if a file was written before another."""
    return path.stat().st_mtime_ns < than.stat().st_mtime_ns
