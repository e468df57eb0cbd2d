"""How far the filled wedge of a finished run is to be believed: every part, and what is written of them."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dewedge.errors import InputError
from dewedge.io.files import remove_all, write_text_atomic
from dewedge.io.formats import require_zarr
from dewedge.io.half_precision import read_result
from dewedge.io.volume_file import ZARR_SUFFIX
from dewedge.pipeline.measures import own_model, run_folders
from dewedge.pipeline.report import write_index_of, write_page
from dewedge.pipeline.trust.consistency import consistency
from dewedge.pipeline.trust.controls import controls
from dewedge.pipeline.trust.fits import fits
from dewedge.pipeline.trust.images import angle_scale, series_of
from dewedge.pipeline.trust.subject import Subject
from dewedge.pipeline.trust.uncertainty import uncertainty
from dewedge.pipeline.trust.wedge import wedge
from dewedge.pipeline.trust.withheld import inner, withheld
from dewedge.report.figure import dispensable
from dewedge.report.slices import slices_figure
from dewedge.report.trust.page import page
from dewedge.report.trust.part import Part, PartName, Picture
from dewedge.report.trust.verdict import Trust
from dewedge.runtime import results
from dewedge.runtime.folder import ResultFolder
from dewedge.runtime.lock import locked_folder
from dewedge.runtime.log import step
from dewedge.runtime.stored import store, write_copy
from dewedge.scores.extra_wedge import WRONG_ANGLES
from dewedge.settings.file import resolve_config
from dewedge.settings.sections import ComputeSection, Config

logger = logging.getLogger(__name__)

# Beside the wedges cut elsewhere, which are always asked. None where a part has nothing to say.
MAKERS: Mapping[PartName, Callable[[Subject], Part | None]] = {
    "consistency": consistency,
    "withheld": withheld,
    "fits": fits,
    "uncertainty": uncertainty,
    "controls": controls,
    "inner": inner,
}
# Those that are asked if nothing else is said: within three times the time of the fit.
USUAL: tuple[PartName, ...] = tuple(name for name in MAKERS if name != "inner")
# Those that take no fit.
QUICK: tuple[PartName, ...] = ("consistency", "uncertainty")


def trust(
    output: Path,
    compute: ComputeSection,
    *,
    parts: Sequence[PartName] = USUAL,
    budget: str | None = None,
) -> list[Trust]:
    """Judge every tomogram of a finished run, and write into its folder what was found.

    Written: trust.json, trust.html, refined_measured (the result at the frequencies that tilts measured) and
    refined_added (what the network put inside the wedge), in the format of the result; both together are it.
    Parts write files and folders of their own (docs/guide/trust.md). report.html is made again.

    Parameters
    ----------
    output
        The run's folder.
    parts
        What is asked besides.
    budget
        Of every fit that they take; the run's own if not given.

    Raises
    ------
    InputError
        If the folder holds no finished run, or its fit had no half-sets.
    """
    if not output.is_dir():
        raise InputError(f"{output}: no such folder: expected that of a finished run")
    run, found = ResultFolder(output), []
    folders = run_folders(output)
    config = resolve_config(run.config_file, {"fit": {"budget": budget}} if budget else {})
    if config.output_format != "mrc":
        require_zarr(output)
    with locked_folder(output):
        series = series_of(run, config, folders)
        for folder in folders:
            model = own_model(run, folder)
            subject = Subject(run, folder, model, config, compute, series.get(folder.name))
            found.append(judged(subject, parts))
            write(found[-1], folder)
            keep(folder, config)
            with dispensable(folder.report):
                write_page(run, folder)
            logger.info("%s: %s", folder.name, found[-1].verdict().sentence)
        with dispensable(run.report):
            write_index_of(run, folders)
    results.tell(results.of_trust(folders))
    return found


def judged(subject: Subject, parts: Sequence[PartName]) -> Trust:
    """Ask all ``parts`` about one tomogram; errors as `wedge` and the parts asked."""
    started = time.monotonic()
    found = wedge(subject)
    scale = angle_scale(subject)
    if scale is not None and scale.is_off:
        # Both half-sets are distorted alike: what they tell of each other is no truth.
        untold = [shell.untold(WRONG_ANGLES) for shell in found.shells]
        found = replace(found, shells=untold, by_distance=())
    found = replace(found, angle_scale=scale)
    seconds, answers = {"wedge": time.monotonic() - started}, {}
    for name, make in MAKERS.items():
        if name in parts:
            started = time.monotonic()
            answer = make(subject)
            if answer is not None:
                answers[name], seconds[name] = answer, time.monotonic() - started
    return replace(found, parts=answers, seconds=seconds)


def write(result: Trust, folder: ResultFolder) -> None:
    """Write the figures as JSON, and the page; errors as `dewedge.io.formats.read_volume`."""
    write_text_atomic(folder.trust, json.dumps(result.as_dict(), indent=2, allow_nan=False) + "\n")
    volumes = {
        "refined": read_result(folder.result).data,
        "measured": read_result(folder.measured).data,
        "added": read_result(folder.added).data,
    }
    slices = Picture(
        lambda: slices_figure(volumes, result.voxel_size_A),
        "Sections of the result, of its measured part and of what was added",
    )
    with dispensable(folder.trust_page):
        write_text_atomic(folder.trust_page, page(result, slices, folder.trust_page))


def keep(folder: ResultFolder, config: Config) -> None:
    """Give the volumes that were written the format and the precision of the run's result.

    Errors as `dewedge.runtime.stored.write_copy` and `dewedge.runtime.stored.store`.
    """
    for path in folder.judged:
        zarr = path.with_suffix(ZARR_SUFFIX)
        if path.exists() and config.output_format != "mrc":
            with step(f"{folder.name}: write {zarr.name}"):
                write_copy(path, zarr, config.zarr_version)
        # Of an earlier judgement in another format.
        stale = {"mrc": [zarr] if path.exists() else [], "zarr": [path], "both": []}[config.output_format]
        remove_all(stale)
    store(folder.judged, config.files)


def print_trust(found: Sequence[Trust]) -> None:
    """Print the estimates of each tomogram, and the verdict."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120
    for result in found:
        title = f"{result.name}: correlation with the truth inside the missing wedge"
        table = Table(
            f"resolution ({result.lengths.unit})", "estimate", "90 %", "", title=title, title_justify="left"
        )
        for shell in result.shells:
            low, high = (f"{result.lengths.of(edge):.0f}" for edge in shell.edges_per_voxel)
            bounds = "-" if shell.low is None else f"{shell.low:.2f} to {shell.high:.2f}"
            estimate = "-" if shell.correlation is None else f"{shell.correlation:.2f}"
            table.add_row(f"{low} to {high}", estimate, bounds, shell.reason)
        console.print(table)
        verdict = result.verdict()
        for part in result.parts.values():
            for sentence in part.sentences(result.lengths):
                console.print(sentence, markup=False)
        console.print(f"{verdict.sentence} {verdict.advice}", markup=False)
