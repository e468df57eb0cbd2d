"""One method on one preparation of the data: the program's own runs, one after the other."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.io.dataset_file import write_dataset
from dewedge.io.entries import HalvesEntry, SeriesEntry
from dewedge.learn.checkpoint import Model, load_model
from dewedge.pipeline.refine import refine_files
from dewedge.pipeline.run import run
from dewedge.runtime.devices import launched
from dewedge.runtime.folder import CONFIG, ResultFolder, is_newer, tomogram_folders
from dewedge.settings.file import merged, resolve_config, write_config
from dewedge.settings.recipes import read_recipe
from dewedge.settings.sections import Config
from paper import settings
from paper.settings import Settings

logger = logging.getLogger("dewedge.paper")

# Of a configuration, what has no part in that.
AFTER = {"paths", "output", "compute", "no_check", "recipe", "fit_each", "fit", "refine"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Variant:
    """One way in which data are prepared; all its methods start from the same reconstructions.

    Parameters
    ----------
    name
        Of its folder.
    experiment
        Of the settings.
    entries
        Its tilt series.
    settings
        What differs from those of the experiment, or is not among them.
    methods
        Names of recipes that the paper's figures show of it, FBP first.
    figures
        Numbers of these figures.
    labels
        What tells it from other variants, for the rows.
    truth, centres
        File of the known specimen, and of its particles, if there is one; then it has one entry.
    """

    name: str
    experiment: str
    entries: Sequence[SeriesEntry]
    settings: Settings = field(default_factory=dict)
    methods: tuple[str, ...]
    figures: tuple[int, ...]
    labels: dict[str, Any] = field(default_factory=dict)
    truth: Path | None = None
    centres: Path | None = None


@dataclass(frozen=True)
class Estimate:
    """Files of the tomograms of each half-set alone, and of all data."""

    half0: Path
    half1: Path
    full: Path

    @property
    def halves(self) -> tuple[Path, Path]:
        return self.half0, self.half1


@dataclass(frozen=True, eq=False)
class Stage:
    """A recipe's run: its configuration, its model and, for each tomogram, where the results lie."""

    config: Config
    folders: Sequence[ResultFolder]

    @property
    def model(self) -> Model:
        assert self.config.output is not None
        return load_model(ResultFolder(self.config.output).model)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a method for one tomogram.

    Parameters
    ----------
    raw
        The reconstructions it started from.
    full
        Its tomogram.
    number
        Place of the tomogram among those of the variant.
    settings
        What it depends on, of every stage.
    """

    name: str
    tilt_range: TiltRange
    stages: Sequence[Stage]
    raw: Estimate
    full: Path
    number: int
    settings: Sequence[Settings]

    def estimate(self) -> Estimate:
        """Its tomograms; those of the half-sets are refined now unless they are there."""
        halves = self.raw.halves
        for stage in self.stages:
            halves = _refined_halves(stage, halves, self.number, self.name, self.tilt_range)
        return Estimate(*halves, self.full)


def stage_configs(variant: Variant, method: str, given: Settings, folder: Path) -> list[Config]:
    """The configurations of a method's stages, of which all but the last are those of the method so named."""
    stages = read_recipe(method).stages
    configs = []
    for number, stage in enumerate(stages):
        own = settings.fit(variant.experiment, stage)
        # What a figure compares is never overridden.
        prepared = merged([settings.reconstruction(variant.experiment), own, given, variant.settings])
        if number:  # the tomograms of the stage before are corrected and need no reconstruction
            prepared = {key: prepared[key] for key in ("fit", "refine", "compute") if key in prepared}
            output, source = folder / variant.name / method, _stage_dataset(folder, variant, method)
        else:
            output, source = folder / variant.name / stage, _dataset(folder, variant)
        config = resolve_config(None, merged([{"recipe": stage}, prepared]))
        tile = config.fit.cube_size if config.fit.preset == "paper" else None
        if tile is not None and config.refine.tile is None:
            # A third of the cube, as that of 96 has 32.
            overlap = min(config.refine.overlap, tile // 3)
            config = config.model_copy(
                update={"refine": config.refine.model_copy(update={"overlap": overlap})}
            )
        configs.append(config.model_copy(update={"paths": [source.absolute()], "output": output.absolute()}))
    return configs


def prepare(variant: Variant, folder: Path) -> None:
    """Write the dataset file of a variant."""
    path = _dataset(folder, variant)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_dataset(path, variant.entries)


def carry_out(variant: Variant, method: str, given: Settings, folder: Path) -> list[Outcome]:
    """Run a method, or go on with it, and give its tomograms; of FBP those that another method made.

    Raises
    ------
    InputError
        If the data or the settings cannot be used, or a run there had other settings.
    """
    names = [entry.name for entry in variant.entries]
    stages: list[Stage] = []
    for number, config in enumerate(stage_configs(variant, method, given, folder)):
        assert config.output is not None
        folders = tomogram_folders(config.output, names, several=len(names) > 1)
        if number:
            _write_stage_dataset(_stage_dataset(folder, variant, method), variant, stages[-1])
        _run(config, [] if number else _reconstructed(config, names), folders)
        stages.append(Stage(config, folders))
    return [
        Outcome(
            name=entry.name,
            tilt_range=entry.geometry.tilt_range,
            stages=stages,
            raw=Estimate(*stages[0].folders[i].halves, stages[0].folders[i].full),
            full=stages[-1].folders[i].refined,
            number=i,
            settings=[settings_of(stage.config) for stage in stages],
        )
        for i, entry in enumerate(variant.entries)
    ]


def reconstructed(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """FBP, as one of the methods, from what another one started from."""
    return [
        replace(o, stages=(), full=o.raw.full, settings=[reconstruction_of(o.stages[0].config)])
        for o in outcomes
    ]


def settings_of(config: Config) -> Settings:
    """What the result of a run depends on, as JSON has it."""
    return config.model_dump(mode="json", exclude={"output", "compute", "no_check", "paths"})


def reconstruction_of(config: Config) -> Settings:
    """What its half-sets and whole depend on, as JSON has it."""
    return config.model_dump(mode="json", exclude=AFTER) | {"mask": config.fit.mask, "seed": config.fit.seed}


def _run(config: Config, sources: Sequence[ResultFolder], folders: Sequence[ResultFolder]) -> None:
    """Start a run, with the reconstructions of another of the same variant, or go on with it."""
    output = config.output
    assert output is not None
    if not (output / CONFIG).exists() and sources:
        for source, target in zip(sources, folders, strict=True):
            target.path.mkdir(parents=True, exist_ok=True)
            for there, here in zip(source.reconstructed, target.reconstructed, strict=True):
                if there.exists() and not here.exists():
                    _link(there, here)
        # The run is resumed with them. The input was looked at when they were made.
        write_config(output / CONFIG, config)
    resume = (output / CONFIG).exists()
    config = config.model_copy(update={"no_check": bool(sources)})
    if config.compute.devices * config.compute.nodes > 1:
        # Processes of a divided run start as the command did; this one must not start anew in each.
        settings_file = output.with_name(f"{output.name}.toml")
        write_config(settings_file, config)
        words = ["run", "--config", str(settings_file), "-o", str(output), *(["--resume"] if resume else [])]
        status = subprocess.run([sys.executable, "-m", "dewedge", *words]).returncode
        if status:
            raise InputError(f"{output}: its run ended with status {status}: see {ResultFolder(output).log}")
        return
    run(config, resume=resume)


def _link(source: Path, target: Path) -> None:
    """The same file under another name; a copy where the disk has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _reconstructed(config: Config, names: Sequence[str]) -> list[ResultFolder]:
    """Folders in which another run has the reconstructions that this one needs; none if there is none."""
    assert config.output is not None
    for path in sorted(config.output.parent.glob(f"*/{CONFIG}")):
        folders = tomogram_folders(path.parent, list(names), several=len(names) > 1)
        there = all(path.exists() for folder in folders for path in (*folder.halves, folder.full))
        if not there:
            continue
        other = resolve_config(path, {})
        if other.paths == config.paths and reconstruction_of(other) == reconstruction_of(config):
            return folders
    return []


def _refined_halves(
    stage: Stage, halves: Sequence[Path], number: int, name: str, tilt_range: TiltRange
) -> tuple[Path, Path]:
    """What the network of a stage makes of each half-set alone."""
    folder, config = stage.folders[number], stage.config
    results = folder.refined_half0, folder.refined_half1
    # A half-set alone has the grey scale of what the network was fitted to.
    model = replace(stage.model, full_std=1.0)
    alone = config.compute.model_copy(update={"devices": 1, "nodes": 1})
    with launched(alone) as fabric:
        for source, result in zip(halves, results, strict=True):
            if not is_newer(result, folder.refined):
                title = f"{name}: {result.stem}"
                refine_files(title, [source], result, model, tilt_range, config.refine, alone, fabric)
    return results


def _dataset(folder: Path, variant: Variant) -> Path:
    return folder / variant.name / "dataset.star"


def _stage_dataset(folder: Path, variant: Variant, method: str) -> Path:
    return folder / variant.name / f"{method}.star"


def _write_stage_dataset(path: Path, variant: Variant, before: Stage) -> None:
    """The tomograms that a second stage takes: the halves as they were, the whole of the stage before."""
    entries = [
        HalvesEntry(
            name=entry.name,
            program="dewedge",
            path=path,
            half0=folder.half0,
            half1=folder.half1,
            full=folder.refined,
            tilt_range=entry.geometry.tilt_range,
        )
        for entry, folder in zip(variant.entries, before.folders, strict=True)
    ]
    write_dataset(path, entries)
