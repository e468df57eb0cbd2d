"""How far the filled wedge of a finished run is to be believed."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from dewedge.errors import InputError
from dewedge.geometry import Floats, TiltRange
from dewedge.io.files import write_text_atomic
from dewedge.io.mrc import Mrc, read_mrc, write_mrc
from dewedge.learn.checkpoint import Model, load_model
from dewedge.learn.extra_wedge import extra_wedge
from dewedge.learn.grey_scale import measure_grey_scale
from dewedge.learn.pairs import TomogramPair
from dewedge.physics.wedge import cut_wedge_from_rows, wedge_mask
from dewedge.pipeline.measures import model_file, run_folders
from dewedge.pipeline.validate.validate import (
    FIGURES,
    SETTINGS,
    ValidationSettings,
    validate,
    without_gold,
)
from dewedge.report.figure import dispensable, png
from dewedge.report.slices import slices_figure
from dewedge.report.trust import Trust, Withheld, curve_figure, page
from dewedge.runtime.devices import choose_device, choose_precision
from dewedge.runtime.folder import ResultFolder, is_newer
from dewedge.runtime.lock import locked_folder
from dewedge.runtime.log import step
from dewedge.scores.extra_wedge import trust_shells
from dewedge.scores.spectra import from_axis, plane_angle_deg, shell_sums, tapered_spectrum
from dewedge.settings.file import resolve_config
from dewedge.settings.sections import ComputeSection

logger = logging.getLogger(__name__)

WITHHELD = "withheld"  # folder of the run without the outermost tilts
# Of the shells, in cycles per voxel. Finer structure has no signal in a tomogram of single tilts.
EDGES = (0.02, 0.04, 0.06, 0.08, 0.11, 0.15, 0.2, 0.25)


def trust(
    output: Path, compute: ComputeSection, *, withhold: bool = True, budget: str | None = None
) -> list[Trust]:
    """Judge every tomogram of a finished run, and write into its folder what was found.

    Written: trust.json, trust.html, refined_measured.mrc (the result at the frequencies that tilts measured)
    and refined_added.mrc (what the network put inside the wedge); both together are the result.

    Parameters
    ----------
    output
        The run's folder.
    withhold
        Run again without the outermost tilts, in the folder `WITHHELD` of the run's, and hold the result
        against them: one more fit. Left out where the run is not of one tilt series.
    budget
        Of that fit; the run's own if not given.

    Raises
    ------
    InputError
        If the folder holds no finished run, or its fit had no half-sets.
    """
    if not output.is_dir():
        raise InputError(f"{output}: no such folder: expected that of a finished run")
    run = ResultFolder(output)
    folders = run_folders(output)
    with locked_folder(output):
        found = [judged(folder, load_model(model_file(run, folder)), compute) for folder in folders]
        if withhold and folders == [run]:
            found[0] = replace(found[0], withheld=without_outer_tilts(run, budget))
        elif withhold:
            logger.info("%s: of several tomograms no tilts are kept back: see dewedge validate", output)
        for folder, result in zip(folders, found, strict=True):
            write(result, folder)
            logger.info("%s: %s", folder.name, result.verdict().sentence)
    return found


def without_outer_tilts(run: ResultFolder, budget: str | None) -> Withheld | None:
    """Run again without the outermost tilts, or go on with that, and say what came of it; None of halves."""
    output = run.path / WITHHELD
    given: dict[str, object] = {"output": output} | ({"budget": budget} if budget else {})
    config = resolve_config(run.config_file, given)
    if config.tomograms.half0:
        logger.info("%s: of half tomograms no tilts can be kept back", run.name)
        return None
    # One of an earlier run in this folder is none of this one.
    resume = is_newer(output / SETTINGS, run.model)
    validate(config, ValidationSettings(), resume=resume, overwrite=not resume)
    validation = json.loads((output / FIGURES).read_text("utf-8"))
    # That of the run's own seed; dewedge validate can have added others.
    scores = next(iter(validation["cone"].values()))
    return Withheld(
        beyond_deg=max(abs(tilt) for tilt in validation["given_deg"]),
        edges_per_voxel=tuple(scores["edges_per_voxel"]),
        correlation=[math.nan if value is None else value for value in scores["prediction"]["correlation"]],
        explained=[math.nan if value is None else value for value in scores["prediction"]["explained"]],
    )


def judged(folder: ResultFolder, model: Model, compute: ComputeSection) -> Trust:
    """Estimate how well the result of a run knows what lies in the wedge, and write its two parts."""
    if not all(path.is_file() for path in folder.halves):
        names = " and ".join(path.name for path in folder.halves)
        raise InputError(f"{folder.path}: no half-sets: expected {names}, to hold the network against")
    objective = model.details.get("options", {}).get("objective")
    if objective != "dewedge":
        raise InputError(
            f"{folder.path}: fitted with the objective {objective}, whose prediction in the wedge cannot be "
            "judged: expected dewedge"
        )
    halves = [read_mrc(path) for path in folder.halves]
    refined = read_mrc(folder.refined)
    device = choose_device(compute)
    with step(f"{folder.name}: cut other wedges"):
        pair = TomogramPair(halves[0].data, halves[1].data, model.tilt_range, name=folder.name)
        network = model.build().to(device)
        wedges = extra_wedge(
            network,
            given=halves[1].data,
            kept=halves[0].data,
            tilt_range=model.tilt_range,
            edges=EDGES,
            scale=measure_grey_scale(pair, clip=model.clip),
            clip=model.clip,
            precision=choose_precision(compute, device),
            device=device,
        )
    with step(f"{folder.name}: part the measured from the added"):
        write_parts(folder, refined, model.tilt_range)
        added = power_inside(without_gold(folder.refined), model.tilt_range)
    return Trust(
        name=folder.name,
        voxel_size_A=refined.voxel_size_A,
        edges_per_voxel=EDGES,
        shells=trust_shells(wedges, EDGES, refined.data.shape[0]),
        extra_wedge=wedges,
        added=added,
    )


def write_parts(folder: ResultFolder, refined: Mrc, tilt_range: TiltRange) -> None:
    """Write the result at measured frequencies, and what is left of it: what lies inside the wedge."""
    whole = without_gold(folder.refined)
    depth, _, width = whole.shape
    cut = torch.from_numpy(whole.copy())
    cut_wedge_from_rows(cut, wedge_mask((depth, 1, width), tilt_range))
    measured = cut.numpy()
    added = whole - measured
    # Gold is given back as it was measured.
    measured += refined.data - whole
    for path, part in ((folder.measured, measured), (folder.added, added)):
        write_mrc(
            path,
            part,
            refined.voxel_size_A,
            origin_xyz_A=refined.origin_xyz_A,
            labels=refined.labels,
            what=path.stem,
        )


def power_inside(refined: NDArray[np.float32], tilt_range: TiltRange) -> Floats:
    """``(s,)`` mean power of a tomogram inside the wedge over that outside, by shells."""
    spectrum = tapered_spectrum(refined, "refined", EDGES[-1])
    angle = plane_angle_deg(spectrum)
    measured = (angle >= tilt_range.min_deg) & (angle <= tilt_range.max_deg)
    off_axis = from_axis(spectrum) >= 2 / refined.shape[0]
    inside, outside = (
        shell_sums(spectrum, spectrum, EDGES, mask & off_axis) for mask in (~measured, measured)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return (inside.aa / inside.count) / (outside.aa / outside.count)


def write(result: Trust, folder: ResultFolder) -> None:
    """Write the figures as JSON, and the page."""
    write_text_atomic(folder.trust, json.dumps(result.as_dict(), indent=2, allow_nan=False) + "\n")
    volumes = {
        "refined": read_mrc(folder.refined).data,
        "measured": read_mrc(folder.measured).data,
        "added": read_mrc(folder.added).data,
    }
    figures = (lambda: curve_figure(result), lambda: slices_figure(volumes, result.voxel_size_A))
    with dispensable(folder.trust_page):
        text = page(result, *(png(make, folder.trust_page) for make in figures))
        write_text_atomic(folder.trust_page, text)


def print_trust(found: Sequence[Trust]) -> None:
    """Print the estimates of each tomogram, and the verdict."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120
    for result in found:
        title = f"{result.name}: correlation with the truth inside the missing wedge"
        table = Table(
            f"resolution ({result.unit})", "estimate", "90 %", "", title=title, title_justify="left"
        )
        for shell in result.shells:
            low, high = (f"{result.length(edge):.0f}" for edge in shell.edges_per_voxel)
            bounds = "-" if shell.low is None else f"{shell.low:.2f} to {shell.high:.2f}"
            estimate = "-" if shell.correlation is None else f"{shell.correlation:.2f}"
            table.add_row(f"{low} to {high}", estimate, bounds, shell.reason)
        console.print(table)
        verdict = result.verdict()
        if result.withheld is not None:
            console.print(result.withheld.sentence(result), markup=False)
        console.print(f"{verdict.sentence} {verdict.advice}", markup=False)
