"""One tilt series, or pair of half tomograms, by several methods, and their comparison without truth."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lightning_fabric import Fabric

from dewedge.errors import InputError
from dewedge.inputs.read import read_all, require_cubes_for_network, require_usable
from dewedge.inputs.run_input import HalvesInput, RunInput, SeriesInput, source_of
from dewedge.learn.checkpoint import Model
from dewedge.learn.objective import OBJECTIVES
from dewedge.learn.pairs import TomogramPair
from dewedge.pipeline.check import check_inputs
from dewedge.pipeline.compare.methods import (
    ComparisonSettings,
    Method,
    Stage,
    fitting,
    read_comparison,
    write_comparison,
)
from dewedge.pipeline.compare.report import (
    CURVES,
    FIGURES,
    LOSSES,
    PAGE,
    PICTURES,
    Estimate,
    Outcome,
    write_report,
)
from dewedge.pipeline.fit import fit_model
from dewedge.pipeline.initial import initial_weights, require_initial_voxel
from dewedge.pipeline.reconstruct import reconstruct_halves
from dewedge.pipeline.refine import refine_files
from dewedge.pipeline.resources import require_memory
from dewedge.pipeline.stages import Tomogram, fitted_model, make_halves_of, read_pair, require_crops
from dewedge.runtime.devices import launch, launched, on_first_process
from dewedge.runtime.faults import Faults
from dewedge.runtime.folder import ResultFolder, is_newer
from dewedge.runtime.run_folder import RunFolder, first_difference, require_output
from dewedge.settings.recipes import RECIPES, read_recipe
from dewedge.settings.sections import Config

logger = logging.getLogger(__name__)

SETTINGS = "compare.toml"
# Folder of what all methods start from.
RAW = "fbp"


@dataclass(frozen=True, kw_only=True, eq=False)
class ComparisonFolder(RunFolder):
    """The output folder of a comparison, with a folder for every method."""

    settings_name = SETTINGS
    noun = "comparison"
    occupied_by = "a comparison or a run"

    settings: ComparisonSettings

    @property
    def results(self) -> list[Path]:
        """Files of the comparison, and those of all stages of all methods."""
        files = [self.path / name for name in (SETTINGS, PAGE, PICTURES, CURVES, LOSSES, FIGURES)]
        files.append(self.inputs)
        return files + [path for folder in self.tomograms for path in folder.of_tomogram]

    @property
    def occupants(self) -> list[Path]:
        """Files of a comparison, and the configuration of a run."""
        return [*self.results, self.config_file]

    def difference(self) -> str | None:
        """First setting for all methods that is not as it was, in words; None if there is none.

        Errors as `read_comparison`.
        """
        then = read_comparison(self.path / SETTINGS, {}, None)
        return first_difference(then.base, self.settings.base)

    def write_settings(self) -> None:
        """Write what `read_comparison` reads back."""
        write_comparison(self.path / SETTINGS, self.settings)


def compare(
    settings: ComparisonSettings, output: Path | None, *, resume: bool = False, overwrite: bool = False
) -> None:
    """Carry out every method on one input, each in a folder of its name in ``output``, and compare them.

    All start from the same filtered back-projections (folder ``fbp``). What is there is not computed again.

    Raises
    ------
    InputError
        If the settings, the input or the output folder cannot be used.
    """
    output = require_output(output)
    methods = [settings.method(name) for name in settings.methods]
    stages = [stage for method in methods for stage in method.stages if stage.recipe.network]
    base = stages[0].config if stages else without_fit(methods[0].stages[0].config)
    folder = ComparisonFolder(
        output,
        config=base,
        verb="compare",
        resume=resume,
        overwrite=overwrite,
        tomograms=all_stage_folders(output),
        settings=settings,
    )
    for stage in stages:
        require_cubes_for_network(stage.config.fit)
        require_initial_weights(stage)
    inputs = read_all(base)
    if len(inputs) != 1:
        names = ", ".join(item.name for item in inputs)
        raise InputError(f"expected one tilt series, or one pair of half tomograms, got {names}")
    methods, notes = fitting(methods, inputs[0], settings.given)
    stages = [stage for method in methods for stage in method.stages if stage.recipe.network]
    item = replace(inputs[0], remarks=(*inputs[0].remarks, *notes))
    configs = [stage.config for stage in stages] or [base]
    for config in configs:
        require_usable(item, config)
    for name in ("sirt", "tv"):
        if name in settings.methods:
            require_series(item, name)
    folder = replace(folder, made_of=[source_of(item, ResultFolder(output / RAW).reconstructed)])
    folder.require_usable(item.files)
    if not base.no_check:
        for warning in check_inputs([item], configs[0], Faults())[1]:
            logger.warning("%s: %s", warning.severity, warning)
        for stage in stages:
            require_memory([item], stage.config)
            if not resume:
                require_initial_voxel(
                    stage.config.fit, {item.name: item.voxel_size_A(stage.config.reconstruct)}
                )
    with launched(base.compute) as fabric, folder.begun(fabric):
        for note in item.notes:
            logger.info("%s: %s", item.name, note)
        carry_out(methods, item, output, fabric)
    logger.info("done: %s", output / PAGE)


def require_initial_weights(stage: Stage) -> None:
    """Refuse weights that do not fit the network of a method.

    Raises
    ------
    InputError
        If they do not, or cannot be read.
    """
    try:
        initial_weights(stage.config.fit)
    except InputError as error:
        raise InputError(f"{stage.recipe.name}: {error}, or leave it out by --methods") from None


def require_series(item: RunInput, method: str) -> SeriesInput:
    """Return the input as the tilt series that a method reconstructs.

    Raises
    ------
    InputError
        If it is half tomograms.
    """
    if isinstance(item, HalvesInput):
        raise InputError(f"{method}: expected a tilt series, got half tomograms: leave it out")
    return item


def without_fit(config: Config) -> Config:
    """Configuration with the smallest cubes and nothing held out, for which no tomogram is too small."""
    no_fit = {"cube_size": config.fit.network().multiple, "held_out": 0.0}
    return config.model_copy(update={"fit": config.fit.model_copy(update=no_fit)})


def all_stage_folders(output: Path) -> list[ResultFolder]:
    """The folders of all stages of all methods."""
    return [stage_folder(output, name, stage) for name in RECIPES for stage in read_recipe(name).stages]


def stage_folder(output: Path, method: str, stage: str) -> ResultFolder:
    """The folder of a stage's results: that of its method, or one in it where there are several stages."""
    return ResultFolder(output / method if method == stage else output / method / stage)


def carry_out(methods: Sequence[Method], item: RunInput, output: Path, fabric: Fabric) -> None:
    """Carry out every method in turn, then write the scores and the page.

    Raises
    ------
    InputError
        If the input cannot be used, a tomogram is too small for the cubes, or a file cannot be written.
    """
    folder = ResultFolder(output / RAW)
    raw = Estimate(folder.half0, folder.half1, folder.full)

    def reconstruct() -> None:
        make_halves_of(Tomogram(item, folder), config_of_raw(methods), fabric)
        for method in methods:
            first = method.stages[0]
            if first.recipe.network:
                require_crops(pair_of(raw, folder, item, first.config), first.config)

    on_first_process(fabric, reconstruct)
    outcomes = [Outcome(methods[0], raw, [])]
    for method in methods[1:]:
        logger.info("%s", method.recipe.title)
        estimate, models = raw, []
        for stage in method.stages:
            own = stage_folder(output, method.name, stage.recipe.name)
            if stage.recipe.network:
                estimate, model = fit_and_refine(stage, estimate, folder, item, own)
                models.append(model)
            else:
                reconstruct_stage(stage, item, own, fabric)
                estimate = Estimate(own.half0, own.half1, own.full)
        outcomes.append(Outcome(method, estimate, models))
    on_first_process(fabric, lambda: write_report(outcomes, item, output))


def config_of_raw(methods: Sequence[Method]) -> Config:
    """The settings of what all methods start from, with total variation if any of them has a share of it."""
    stages = [stage for method in methods for stage in method.stages if stage.recipe.network]
    share = max((stage.config.refine.tv_share for stage in stages), default=0.0)
    config = methods[0].stages[0].config
    return config.model_copy(update={"refine": config.refine.model_copy(update={"tv_share": share})})


def reconstruct_stage(stage: Stage, item: RunInput, folder: ResultFolder, fabric: Fabric) -> None:
    """Write the tomograms of a method that fits nothing.

    Errors as `require_series` and `dewedge.pipeline.reconstruct.reconstruct_halves`.
    """
    series = require_series(item, stage.recipe.name)
    on_first_process(fabric, lambda: reconstruct_halves(series, folder, stage.config, fabric.device))


def fit_and_refine(
    stage: Stage, source: Estimate, raw: ResultFolder, item: RunInput, folder: ResultFolder
) -> tuple[Estimate, Model]:
    """Fit the network of a stage to the tomograms before it, and apply it to each of them.

    Errors as `dewedge.pipeline.fit.fit_model` and `dewedge.pipeline.refine.refine_files`.
    """
    config = stage.config
    # Recipes differ in precision, which is a Fabric's.
    fabric = launch(config.compute)
    older = folder.checkpoint.exists() and not is_newer(folder.checkpoint, source.full)
    model = None if older else fitted_model(folder.model, config, [])
    if model is None:
        pair = pair_of(source, raw, item, config)
        model = fit_model([pair], config.fit, fabric, folder, resume=not older)
    result = Estimate(folder.refined_half0, folder.refined_half1, folder.refined)
    sources = [source.full] if config.refine.refine == "full" else source.halves
    # A half-set alone has the grey scale of what the network was fitted to.
    of_half = replace(model, full_std=1.0)
    tasks = [
        (result.full, sources, model),
        (result.half0, [source.half0], of_half),
        (result.half1, [source.half1], of_half),
    ]

    def are_there() -> list[bool]:
        return [is_newer(path, folder.model) for path, _, _ in tasks]

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
            tv=raw.tv if path == result.full and raw.tv.exists() else None,
        )
    return result, model


def pair_of(source: Estimate, raw: ResultFolder, item: RunInput, config: Config) -> TomogramPair:
    """Open both half-sets, or the full tomogram alone, for the fit of a stage; errors as `read_pair`."""
    halves = source.halves if OBJECTIVES[config.fit.objective].needs_halves else []
    of_series = not isinstance(item, HalvesInput)
    return read_pair(source.full, halves, raw, item.name, item.tilt_range, of_series=of_series)
