"""Validation on the data themselves: a run on part of the tilts, held against the tilts kept back."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from dewedge.errors import InputError
from dewedge.inputs.images import AlignedImages
from dewedge.inputs.read import read_one_series
from dewedge.inputs.run_input import SeriesInput
from dewedge.io.files import write_text_atomic
from dewedge.io.mrc import read_mrc
from dewedge.pipeline.reconstruct import half_sets, write_reconstruction
from dewedge.pipeline.run import run
from dewedge.pipeline.validate.report import Validation, markdown, print_validation
from dewedge.report.figure import save_figure
from dewedge.report.slices import slices_figure
from dewedge.runtime.devices import choose_device, is_first_process, told_how_to_resume
from dewedge.runtime.folder import BEADS, CONFIG, FULL, LOG, REFINED, first_difference, refuse_sources
from dewedge.runtime.log import log_environment, log_to_file, step
from dewedge.scores.reprojection import TiltScores, reprojection_scores
from dewedge.scores.spectra import checked_edges
from dewedge.scores.withheld import EDGES, WithheldScores, withheld_scores
from dewedge.scores.withholding import Withholding, withheld_cone, withheld_tilts
from dewedge.settings.file import read_toml, resolve_config, write_config, write_settings
from dewedge.settings.image_numbers import image_numbers, numbers_text
from dewedge.settings.sections import Config

logger = logging.getLogger(__name__)

SETTINGS = "validate.toml"
WHOLE = "whole.mrc"
WHOLE_HALVES = ("whole_half0.mrc", "whole_half1.mrc")
GIVEN = "given.mrc"
FIGURES = "validate.json"
TABLE = "validate.md"
PICTURES = "validate.png"
RESULTS = (SETTINGS, CONFIG, WHOLE, *WHOLE_HALVES, GIVEN, FIGURES, TABLE, PICTURES)


@dataclass(frozen=True)
class ValidationSettings:
    """What is kept back, and what is judged.

    Parameters
    ----------
    withhold, limits_deg
        Kind and angles, see `dewedge.scores.withholding.withheld_tilts`; usual angles if there are none.
    gap_deg
        Distance of the cone from the given tilts, see `dewedge.scores.withholding.withheld_cone`.
    seeds
        Of the fits; that of the configuration if there are none.
    predictions
        Tomograms made elsewhere of the given tilts, to be judged in place of fits.
    edges
        Of the shells of frequency in cycles per voxel.
    """

    withhold: Withholding = "outer"
    limits_deg: tuple[float, ...] = ()
    gap_deg: float | None = None
    seeds: tuple[int, ...] = ()
    predictions: tuple[Path, ...] = ()
    edges: tuple[float, ...] = EDGES


@dataclass(frozen=True, eq=False)
class Parts:
    """A tilt series divided into what is given and what is kept back.

    Parameters
    ----------
    whole
        All of it.
    withheld
        ``(n,)`` True for the images kept back.
    exclude
        Numbers of these, and of those that the user leaves out, as `--exclude-tilts` takes them.
    """

    whole: SeriesInput
    withheld: NDArray[np.bool_]
    exclude: str

    @property
    def tilt_deg(self) -> NDArray[np.float64]:
        return self.whole.series[0].geometry.tilt_deg


def validate(
    config: Config,
    settings: ValidationSettings,
    *,
    resume: bool = False,
    overwrite: bool = False,
    arguments: Sequence[str] = (),
) -> None:
    """Run on the given tilts, once for each seed, and hold the results against the whole series.

    What is there is not computed again when a validation is resumed; seeds can be added.

    Raises
    ------
    InputError
        If the configuration, the input or the output folder cannot be used.
    """
    output = config.output
    if output is None:
        raise InputError("no output folder: expected -o FOLDER")
    parts = divide(config, settings)
    seeds = settings.seeds or (config.fit.seed,)
    check_folder(output, config, settings, parts, resume, overwrite)
    with told_how_to_resume(f"dewedge validate --resume -o {output}"):
        begin(output, config, settings, parts, resume, arguments)
        given = config.series.model_copy(update={"exclude_tilts": [parts.exclude]})
        predictions = {path.name: path for path in settings.predictions}
        if not predictions:
            for seed in seeds:
                folder = output / f"seed{seed}"
                fitted: Any = config.fit.model_copy(update={"seed": seed})
                changes = {"output": folder, "series": given, "fit": fitted}
                started = resume and (folder / CONFIG).is_file()
                run(
                    config.model_copy(update=changes),
                    resume=started,
                    overwrite=overwrite,
                    arguments=arguments,
                )
                predictions[f"prediction, seed {seed}"] = folder / REFINED
        if not is_first_process():
            return
        log_to_file(output / LOG)
        of_given = output / f"seed{seeds[0]}" / FULL
        if settings.predictions:
            of_given = output / GIVEN
        judge(config, settings, parts, predictions, of_given)
    logger.info("done: %s", output / TABLE)


def divide(config: Config, settings: ValidationSettings) -> Parts:
    """Open the one tilt series, and choose what is kept back of it."""
    if config.tomograms.half0 or config.tomograms.half1:
        raise InputError("half tomograms: expected a tilt series, from which tilts can be left out")
    item = read_one_series(config)
    tilts = item.series[0].geometry.tilt_deg
    withheld = withheld_tilts(tilts, settings.withhold, settings.limits_deg)
    # Told before any time is spent.
    withheld_cone(tilts[~withheld], tilts[withheld], settings.gap_deg)
    item.binned_thickness(config.reconstruct)
    left_out = image_numbers(config.series.exclude_tilts)
    numbers = np.setdiff1d(np.arange(1, tilts.size + len(left_out) + 1), left_out)
    return Parts(item, withheld, numbers_text([*left_out, *numbers[withheld].tolist()]))


def check_folder(
    output: Path,
    config: Config,
    settings: ValidationSettings,
    parts: Parts,
    resume: bool,
    overwrite: bool,
) -> None:
    """Refuse a folder that holds another validation, or an input under a result's name; change nothing."""
    if resume and overwrite:
        raise InputError("expected --resume or --overwrite, got both")
    refuse_sources([output / name for name in RESULTS], [*parts.whole.files, *settings.predictions])
    found = [output / name for name in RESULTS if (output / name).exists()]
    if resume:
        if not (output / SETTINGS).is_file() or not (output / CONFIG).is_file():
            raise InputError(f"{output}: nothing to resume: expected the {SETTINGS} of an earlier validation")
        then = read_validation(output / SETTINGS, {})
        difference = first_difference(resolve_config(output / CONFIG, {}), config)
        for name in ("withhold", "limits_deg"):
            old, new = getattr(then, name), getattr(settings, name)
            if old != new:
                difference = difference or f"the validation there has {name} = {old!r}, not {new!r}"
        if bool(then.predictions) != bool(settings.predictions):
            difference = (
                difference or "the validation there fits, or judges predictions, as this one does not"
            )
        if difference is not None:
            raise InputError(f"{output}: {difference}; resume with the same settings, or give --overwrite")
    elif found and not overwrite:
        raise InputError(
            f"{output}: already holds a validation ({found[0].name}): give --resume to continue it, "
            "--overwrite to replace it, or another folder"
        )


def begin(
    output: Path,
    config: Config,
    settings: ValidationSettings,
    parts: Parts,
    resume: bool,
    arguments: Sequence[str],
) -> None:
    """Start the log, clear the folder unless resuming, write the settings, tell what is kept back."""
    if not is_first_process():
        return
    log_to_file(output / LOG)
    log_environment(arguments)
    for name in RESULTS:
        if not resume:
            (output / name).unlink(missing_ok=True)
    write_config(output / CONFIG, config, "validate")
    write_validation(output / SETTINGS, settings)
    tilts = parts.tilt_deg
    logger.info(
        "%s: %d of %d tilts kept back (%s): images %s",
        parts.whole.name,
        int(parts.withheld.sum()),
        tilts.size,
        settings.withhold,
        parts.exclude,
    )


def judge(
    config: Config,
    settings: ValidationSettings,
    parts: Parts,
    predictions: Mapping[str, Path],
    of_given: Path,
) -> Validation:
    """Reconstruct the whole series, score all predictions, print and write the report."""
    output = config.output
    assert output is not None
    device, item = choose_device(config.compute), parts.whole
    with step(f"{item.name}: align"):
        *halves, whole, _ = half_sets(
            item, config.reconstruct, config.ctf, config.split, config.fit.seed, config.images
        )
    tasks = [(output / WHOLE, whole)]
    if item.has_frames:
        tasks += [(output / name, half) for name, half in zip(WHOLE_HALVES, halves, strict=True)]
    kept_back = np.flatnonzero(parts.withheld)
    if settings.predictions:
        tasks.append((output / GIVEN, _selected(whole, np.flatnonzero(~parts.withheld))))
    for path, aligned in tasks:
        if not path.exists():
            with step(f"{item.name}: reconstruct {path.name}"):
                write_reconstruction(path, aligned, item, config.reconstruct, config.ctf, device)
    given_deg, withheld_deg = parts.tilt_deg[~parts.withheld], parts.tilt_deg[parts.withheld]
    images = _selected(whole, kept_back).images.numpy()
    frames = [_selected(half, kept_back).images.numpy() for half in halves] if item.has_frames else None
    cone: dict[str, WithheldScores] = {}
    tilts: dict[str, list[TiltScores]] = {}
    for name, path in predictions.items():
        with step(f"{name}: score"):
            cone[name] = score_files(
                path,
                output / WHOLE,
                of_given,
                given_deg,
                withheld_deg,
                [output / half for half in WHOLE_HALVES] if item.has_frames else None,
                gap_deg=settings.gap_deg,
                edges=settings.edges,
                gold_given_back=not settings.predictions,
            )
            prediction = read_mrc(path).data if settings.predictions else without_gold(path)
            tomograms = {"given": read_mrc(of_given).data, "prediction": prediction}
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
    reference = read_mrc(output / WHOLE)
    volumes = {"FBP of the tilts given": read_mrc(of_given).data}
    volumes |= {name: read_mrc(path).data for name, path in predictions.items()}
    volumes["FBP of all tilts"] = reference.data
    save_figure(output / PICTURES, slices_figure(volumes, reference.voxel_size_A, item.name))
    print_validation(validation)
    return validation


def score_files(
    prediction: Path,
    whole: Path,
    given: Path,
    given_deg: NDArray[np.float64],
    withheld_deg: NDArray[np.float64],
    whole_halves: Sequence[Path] | None = None,
    gap_deg: float | None = None,
    edges: Sequence[float] = EDGES,
    gold_given_back: bool = False,
) -> WithheldScores:
    """`dewedge.scores.withheld.withheld_scores` of tomograms in MRC files.

    With ``gold_given_back`` the prediction is the result of a run, which holds the gold that was painted over
    in the reconstructions: what lies in the beads.mrc beside it is taken away again.

    Raises
    ------
    InputError
        If a file cannot be read, or shapes differ.
    """
    reference = read_mrc(whole)
    volumes = [read_mrc(path) for path in (prediction, given, *(whole_halves or []))]
    for mrc in volumes:
        if mrc.data.shape != reference.data.shape:
            raise InputError(
                f"{mrc.path}: shape {mrc.data.shape} (z, y, x): expected {reference.data.shape}, that of "
                f"{whole}"
            )
    return withheld_scores(
        without_gold(prediction) if gold_given_back else volumes[0].data,
        reference.data,
        volumes[1].data,
        given_deg,
        withheld_deg,
        whole_halves=[mrc.data for mrc in volumes[2:]] or None,
        gap_deg=gap_deg,
        edges=edges,
    )


def without_gold(refined: Path) -> NDArray[np.float32]:
    """The refined tomogram of a run without the gold that was given back to it."""
    data, beads = read_mrc(refined).data, refined.with_name(BEADS)
    return np.subtract(data, read_mrc(beads).data, dtype=np.float32) if beads.exists() else data


def write_validation(path: Path, settings: ValidationSettings) -> None:
    """Write what `read_validation` reads back."""
    values = asdict(settings)
    values["predictions"] = [str(name.absolute()) for name in settings.predictions]
    write_settings(
        path, {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}, "validate"
    )


def read_validation(path: Path | None, given: Mapping[str, Any]) -> ValidationSettings:
    """The settings of an earlier validation, if any, overridden by what is ``given`` and not None.

    Raises
    ------
    InputError
        If the file cannot be read, or a value cannot be used.
    """
    values = {} if path is None else read_toml(path)
    values |= {name: value for name, value in given.items() if value is not None}
    try:
        gap = values.get("gap_deg", "none")
        settings = ValidationSettings(
            withhold=values.get("withhold", "outer"),
            limits_deg=tuple(float(limit) for limit in values.get("limits_deg", [])),
            gap_deg=None if gap == "none" else float(gap),
            seeds=tuple(int(seed) for seed in values.get("seeds", [])),
            predictions=tuple(Path(name) for name in values.get("predictions", [])),
            edges=checked_edges(values.get("edges", EDGES)),
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: {error}") from None
    if settings.withhold not in get_args(Withholding):
        raise InputError(f"--withhold {settings.withhold}: expected outer, side or inner")
    return settings


def _selected(aligned: AlignedImages, indices: NDArray[np.int64]) -> AlignedImages:
    return AlignedImages(aligned.images[torch.from_numpy(indices)], aligned.geometry.select(indices))
