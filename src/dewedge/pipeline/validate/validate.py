"""Validation on the data themselves: a run on part of the tilts, held against the tilts kept back."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dewedge.check.volumes import check_voxel_sizes, require_sound
from dewedge.errors import InputError
from dewedge.inputs.read import read_one_series, require_cubes_for_network, require_usable
from dewedge.inputs.run_input import SeriesInput, source_of
from dewedge.io.files import write_text_atomic
from dewedge.io.half_precision import read_result
from dewedge.io.image_numbers import image_numbers, numbers_text
from dewedge.io.names import names_apart
from dewedge.pipeline.half_sets import half_sets, with_known_axis
from dewedge.pipeline.reconstruct import write_reconstruction
from dewedge.pipeline.run import run
from dewedge.pipeline.validate.folder import (
    ALL_TILTS,
    ALL_TILTS_HALVES,
    FIGURES,
    GIVEN,
    PICTURES,
    TABLE,
    ValidationFolder,
    ValidationSettings,
    seed_folder,
    seeds_of,
)
from dewedge.pipeline.validate.report import Validation, markdown, print_validation
from dewedge.report.figure import write_figure
from dewedge.report.slices import slices_figure
from dewedge.runtime.devices import choose_device, launched
from dewedge.runtime.folder import ResultFolder
from dewedge.runtime.log import log_to_file, step
from dewedge.runtime.run_folder import RunFolder, require_output
from dewedge.runtime.stored import without_gold
from dewedge.scores.reprojection import TiltScores, reprojection_scores
from dewedge.scores.withheld import EDGES, WithheldScores, withheld_scores
from dewedge.scores.withholding import withheld_cone, withheld_tilts
from dewedge.settings.sections import Config

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Parts:
    """A tilt series divided into what is given and what is kept back.

    Parameters
    ----------
    item
        All of it.
    withheld
        ``(n,)`` True for the images kept back.
    exclude
        Numbers of these, and of those that the user leaves out, as `--exclude-tilts` takes them.
    """

    item: SeriesInput
    withheld: NDArray[np.bool_]
    exclude: str

    @property
    def tilt_deg(self) -> NDArray[np.float64]:
        """``(n,)`` tilt angles in degrees, those kept back included."""
        return self.item.series[0].geometry.tilt_deg


def validate(
    config: Config, settings: ValidationSettings, *, resume: bool = False, overwrite: bool = False
) -> None:
    """Run on the given tilts, once for each seed, and hold the results against the whole series.

    What is there is not computed again when a validation is resumed; seeds can be added.

    Raises
    ------
    InputError
        If the configuration, the input or the output folder cannot be used.
    """
    output = require_output(config.output)
    folder = ValidationFolder(
        output, config=config, verb="validate", resume=resume, overwrite=overwrite, settings=settings
    )
    parts = divide(config, settings)
    known = with_known_axis(config, parts.item)
    if known is not config:
        config, parts = known, replace(parts, item=read_one_series(known))
    if settings.predictions and not config.no_check:
        require_voxel_size(settings.predictions, parts.item, config)
    if not settings.predictions:
        # The runs would say so, but only when this folder has begun.
        require_cubes_for_network(config.fit)
        require_usable(parts.item, config)
    reconstructed = [output / name for name in (ALL_TILTS, *ALL_TILTS_HALVES, GIVEN)]
    folder = replace(folder, made_of=[source_of(parts.item, reconstructed)])
    folder.require_usable([*parts.item.files, *settings.predictions])
    with launched(config.compute) as fabric, folder.begun(fabric):
        if fabric.is_global_zero:
            tell(parts, settings)
        predictions = dict(zip(names_apart(settings.predictions), settings.predictions, strict=True))
        of_given = output / GIVEN
        if not predictions:
            runs = run_seeds(config, settings, parts, folder)
            predictions = {f"prediction, seed {seed}": run.refined for seed, run in runs.items()}
            of_given = next(iter(runs.values())).full
        if fabric.is_global_zero:
            log_to_file(folder.log)
            judge(config, settings, parts, predictions, of_given, output)
    logger.info("done: %s", output / TABLE)


def require_voxel_size(predictions: Sequence[Path], item: SeriesInput, config: Config) -> None:
    """Refuse tomograms made elsewhere of another voxel size than those that are reconstructed here.

    Raises
    ------
    InputError
        If one has another, or cannot be read.
    """
    expected = {"the reconstruction": item.voxel_size_A(config.reconstruct)}
    for path in predictions:
        require_sound(check_voxel_sizes(item.name, {**expected, str(path): read_result(path).voxel_size_A}))


def run_seeds(
    config: Config, settings: ValidationSettings, parts: Parts, folder: RunFolder
) -> dict[int, ResultFolder]:
    """Run on the given tilts with every seed, each in a folder of its own, or continue there.

    Errors as `dewedge.pipeline.run.run`.
    """
    given = config.series.model_copy(update={"exclude_tilts": [parts.exclude]})
    runs = {}
    for seed in seeds_of(config, settings):
        runs[seed] = own = seed_folder(folder.path, seed)
        fitted: Any = config.fit.model_copy(update={"seed": seed})
        # Its half-sets are looked at.
        files = config.files.model_copy(update={"half_sets": "keep"})
        changes = {"output": own.path, "series": given, "fit": fitted, "files": files}
        changes |= {"output_format": "mrc"}
        started = folder.resume and own.config_file.is_file()
        again = config.model_copy(update=changes)
        run(again, resume=started, overwrite=folder.overwrite, lists=False)
    return runs


def tell(parts: Parts, settings: ValidationSettings) -> None:
    """Log what is kept back."""
    logger.info(
        "%s: %d of %d tilts kept back (%s): images %s",
        parts.item.name,
        int(parts.withheld.sum()),
        parts.tilt_deg.size,
        settings.withhold,
        parts.exclude,
    )


def divide(config: Config, settings: ValidationSettings) -> Parts:
    """Open the one tilt series, and choose what is kept back of it.

    Raises
    ------
    InputError
        If it is no tilt series, or these tilts cannot be kept back of it.
    """
    if config.tomograms.half0 or config.tomograms.half1:
        raise InputError("half tomograms: expected a tilt series, from which tilts can be left out")
    item = read_one_series(config)
    tilts = item.series[0].geometry.tilt_deg
    withheld = withheld_tilts(tilts, settings.withhold, settings.limits_deg)
    # Told before any time is spent.
    withheld_cone(tilts[~withheld], tilts[withheld], settings.gap_deg)
    item.binned_thickness(config.reconstruct)
    left_out = image_numbers(config.series.exclude_tilts)
    return Parts(item, withheld, numbers_text([*left_out, *item.numbers[withheld].tolist()]))


def judge(
    config: Config,
    settings: ValidationSettings,
    parts: Parts,
    predictions: Mapping[str, Path],
    of_given: Path,
    output: Path,
) -> None:
    """Reconstruct the whole series, score all predictions, print and write the report into ``output``.

    Raises
    ------
    InputError
        If a tomogram cannot be read or scored, or a file cannot be written.
    """
    device, item = choose_device(config.compute), parts.item
    with step(f"{item.name}: align"):
        *halves, full, _ = half_sets(
            item, config.reconstruct, config.ctf, config.split, config.fit.seed, config.images, device
        )
    halves_files = [output / name for name in ALL_TILTS_HALVES]
    tasks = [(output / ALL_TILTS, full), *zip(halves_files, halves, strict=True)]
    kept_back = np.flatnonzero(parts.withheld)
    if settings.predictions:
        tasks.append((output / GIVEN, full.select(np.flatnonzero(~parts.withheld))))
    for path, aligned in tasks:
        if not path.exists():
            with step(f"{item.name}: reconstruct {path.name}"):
                write_reconstruction(path, aligned, item, config.reconstruct, config.ctf, device)
    given_deg, withheld_deg = parts.tilt_deg[~parts.withheld], parts.tilt_deg[parts.withheld]
    images = full.select(kept_back).images.numpy()
    frames = [half.select(kept_back).images.numpy() for half in halves] if item.has_frames else None
    cone: dict[str, WithheldScores] = {}
    tilts: dict[str, list[TiltScores]] = {}
    for name, path in predictions.items():
        with step(f"{name}: score"):
            cone[name] = score_files(
                path,
                output / ALL_TILTS,
                of_given,
                given_deg,
                withheld_deg,
                halves_files,
                None if item.has_frames else [half.geometry.tilt_deg for half in halves],
                gap_deg=settings.gap_deg,
                edges=settings.edges,
                gold_given_back=not settings.predictions,
            )
            prediction = read_result(path).data if settings.predictions else without_gold(path)
            tomograms = {"given": read_result(of_given).data, "prediction": prediction}
            tilts[name] = reprojection_scores(
                tomograms, images, withheld_deg, given_deg, frames=frames, edges=settings.edges
            )
    validation = Validation(
        item.name,
        f"{settings.withhold} tilts kept back",
        withheld_deg.tolist(),
        given_deg.tolist(),
        cone,
        tilts,
    )
    text = json.dumps(validation.as_dict(), indent=2, allow_nan=False) + "\n"
    write_text_atomic(output / FIGURES, text)
    write_text_atomic(output / TABLE, markdown(validation))
    reference = read_result(output / ALL_TILTS)
    volumes = {"FBP of the tilts given": read_result(of_given).data}
    volumes |= {name: read_result(path).data for name, path in predictions.items()}
    volumes["FBP of all tilts"] = reference.data
    print_validation(validation)
    write_figure(output / PICTURES, lambda: slices_figure(volumes, reference.voxel_size_A, item.name))


def score_files(
    prediction: Path,
    all_tilts: Path,
    given: Path,
    given_deg: NDArray[np.float64],
    withheld_deg: NDArray[np.float64],
    all_tilts_halves: Sequence[Path] | None = None,
    halves_deg: Sequence[NDArray[np.float64]] | None = None,
    gap_deg: float | None = None,
    edges: Sequence[float] = EDGES,
    gold_given_back: bool = False,
) -> WithheldScores:
    """Score tomograms in MRC files by `dewedge.scores.withheld.withheld_scores`, with its parameters.

    With ``gold_given_back`` the prediction is the result of a run, which holds the gold that was painted over
    in the reconstructions: what lies in the beads.mrc beside it is taken away again.

    Raises
    ------
    InputError
        If a file cannot be read, or shapes differ.
    """
    reference = read_result(all_tilts)
    volumes = [read_result(path) for path in (prediction, given, *(all_tilts_halves or []))]
    for mrc in volumes:
        if mrc.data.shape != reference.data.shape:
            raise InputError(
                f"{mrc.path}: shape {mrc.data.shape} (z, y, x): expected {reference.data.shape}, that of "
                f"{all_tilts}"
            )
    return withheld_scores(
        without_gold(prediction) if gold_given_back else volumes[0].data,
        reference.data,
        volumes[1].data,
        given_deg,
        withheld_deg,
        whole_halves=[mrc.data for mrc in volumes[2:]] or None,
        halves_deg=halves_deg,
        gap_deg=gap_deg,
        edges=edges,
    )
