"""The stages of a run, tomogram by tomogram: half-sets, the network that is there, refinement, report."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from lightning_fabric import Fabric

from dewedge.geometry import TiltRange
from dewedge.inputs.mask import find_specimen
from dewedge.inputs.planes import read_planes
from dewedge.inputs.run_input import HalvesInput, RunInput
from dewedge.io.half_precision import read_result
from dewedge.io.mrc import write_mrc
from dewedge.learn.checkpoint import Model, load_model
from dewedge.learn.objective import OBJECTIVES
from dewedge.learn.pairs import TomogramPair
from dewedge.learn.sampling import CropSampler
from dewedge.pipeline.ready_made import copy_halves
from dewedge.pipeline.reconstruct import reconstruct_halves
from dewedge.pipeline.refine import refine_files
from dewedge.pipeline.report import titled_raw, write_page
from dewedge.report.figure import dispensable, write_figure
from dewedge.report.slices import slices_figure
from dewedge.runtime.devices import on_first_process
from dewedge.runtime.faults import Faults
from dewedge.runtime.folder import ResultFolder, is_newer
from dewedge.runtime.log import step
from dewedge.runtime.run_folder import require_output
from dewedge.runtime.stored import store, write_copy
from dewedge.settings.sections import Config

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Tomogram:
    """One tomogram of a run, and the folder of its results."""

    item: RunInput
    folder: ResultFolder

    @property
    def name(self) -> str:
        """Name of the input."""
        return self.item.name

    @property
    def tilt_range(self) -> TiltRange:
        """Tilt range of the input."""
        return self.item.tilt_range


class Reconstructed(Protocol):
    """A tomogram whose half-sets lie in its folder, whether or not its input is opened."""

    @property
    def name(self) -> str:
        """Name of the tomogram."""
        ...

    @property
    def folder(self) -> ResultFolder:
        """Folder of its results."""
        ...

    @property
    def tilt_range(self) -> TiltRange:
        """Tilt range of its series."""
        ...


def is_fitted(tomogram: Tomogram, config: Config) -> bool:
    """True if the network is fitted to this tomogram, too."""
    return config.model is None and (not config.fit_on or tomogram.name in config.fit_on)


def make_halves(
    tomograms: Sequence[Tomogram], config: Config, fabric: Fabric, model_path: Path
) -> tuple[list[int], Faults]:
    """Write half-sets, full tomogram and mask of every tomogram into its folder.

    Where half-sets are not kept, none are made for a tomogram that the network in ``model_path`` has refined.

    Returns
    -------
    list, Faults
        Numbers of the tomograms that can be used, and what is wrong with the others.

    Raises
    ------
    UnwritableError
        If a file cannot be written.
    """
    faults, usable = Faults(), []
    for i, tomogram in enumerate(tomograms):
        with faults.left_out(tomogram.name):
            if config.files.half_sets == "drop" and is_refined(tomogram.folder, config, model_path):
                usable.append(i)
                continue
            make_halves_of(tomogram, config, fabric)
            if len(tomograms) > 1 and is_fitted(tomograms[i], config):
                # One that cannot be drawn from would end the fit of all.
                require_crops(open_pair(tomogram, config), config)
            usable.append(i)
    return usable, faults


def is_refined(folder: ResultFolder, config: Config, model_path: Path) -> bool:
    """True if the network in a file, with nothing left to fit, has refined the tomogram of a folder.

    Errors as `model_of`.
    """
    if not (folder.full.exists() and model_path.exists() and is_newer(folder.result, model_path)):
        return False
    return config.model is not None or model_of(model_path, config) is not None


def make_halves_of(tomogram: Tomogram, config: Config, fabric: Fabric) -> None:
    """Write half-sets, full tomogram and mask of one tomogram into its folder; those that exist stay.

    Errors as `dewedge.pipeline.reconstruct.reconstruct_halves` and `dewedge.inputs.mask.find_specimen`.
    """
    item, folder = tomogram.item, tomogram.folder
    if isinstance(item, HalvesInput):
        copy_halves(item, folder, config.ctf, fabric.device)
    else:
        reconstruct_halves(item, folder, config, fabric.device)
    if not folder.mask.exists():
        full = read_result(folder.full)
        mask = find_specimen(item.mask, full.data)
        if mask is not None:
            write_mrc(
                folder.mask,
                mask,
                full.voxel_size_A,
                origin_xyz_A=full.origin_xyz_A,
                what="specimen mask",
            )
    store([path for path in folder.reconstructed if path != folder.planes], config.files)


def require_crops(pair: TomogramPair, config: Config) -> None:
    """Refuse a tomogram that the fit could not draw from; errors as `dewedge.learn.sampling.CropSampler`."""
    options = config.fit.options()
    CropSampler([pair], options.cube_size, seed=options.seed, held_out=options.held_out).draw(0)


def open_pair(tomogram: Tomogram, config: Config) -> TomogramPair:
    """Open the half-sets of a tomogram, memory-mapped, and its mask; twice the full one where that is needed.

    Errors as `read_pair`.
    """
    return open_reconstructed(tomogram, config, of_series=not isinstance(tomogram.item, HalvesInput))


def open_reconstructed(tomogram: Reconstructed, config: Config, *, of_series: bool) -> TomogramPair:
    """Open what `open_pair` does, of a tomogram whose input need not be opened.

    ``of_series`` and errors are those of `read_pair`.
    """
    folder = tomogram.folder
    halves = folder.halves if OBJECTIVES[config.fit.objective].needs_halves else []
    return read_pair(folder.full, halves, folder, tomogram.name, tomogram.tilt_range, of_series=of_series)


def read_pair(
    full_path: Path,
    half_paths: Sequence[Path],
    raw: ResultFolder,
    name: str,
    tilt_range: TiltRange,
    *,
    of_series: bool,
) -> TomogramPair:
    """Open both half-sets, or the full tomogram alone, for a fit; mask and planes are those of ``raw``.

    ``of_series`` is True if all were reconstructed here, so that the full one has the grey scale of the
    halves.

    Raises
    ------
    InputError
        If a file cannot be read, or shapes differ.
    """
    whole = read_result(full_path)
    full, size_A = whole.data, whole.voxel_size_A
    mask = np.asarray(read_result(raw.mask).data) > 0.5 if raw.mask.exists() else None
    if not half_paths:
        return TomogramPair(full, full, tilt_range, mask, name, voxel_size_A=size_A)
    half0, half1 = (read_result(path).data for path in half_paths)
    # Another program's need not have the grey scale of its half tomograms.
    ours = full if of_series else None
    planes = read_planes(raw.planes)
    return TomogramPair(half0, half1, tilt_range, mask, name, ours, planes, size_A)


def fitted_model(path: Path, config: Config, tomograms: Sequence[Tomogram]) -> Model | None:
    """Read the model of a fit that was finished with these options; None if there is none.

    Errors as `model_of`.
    """
    model = model_of(path, config)
    if model is None:
        return None
    logger.info("fit: %s is there", path)
    for tomogram in tomograms:
        if is_fitted(tomogram, config) and tomogram.name not in model.details.get("tomograms", []):
            logger.info(
                "%s: had no part in the fit of %s; --overwrite fits it anew", tomogram.name, path.name
            )
    return model


def model_of(path: Path, config: Config) -> Model | None:
    """Read the model of a file, if there is one and it was fitted with these options.

    Errors as `load_model`.
    """
    if not path.exists():
        return None
    model = load_model(path)
    same = model.details.get("options") == json.loads(json.dumps(asdict(config.fit.options())))
    return model if same else None


def refine_all(
    tomograms: Sequence[Reconstructed], model_path: Path, model: Model, config: Config, fabric: Fabric
) -> None:
    """Refine every tomogram, its tiles divided over the processes; those refined by this very model stay.

    Errors as `dewedge.pipeline.refine.refine_files`.
    """

    def are_there() -> list[bool]:
        return [is_newer(tomogram.folder.result, model_path) for tomogram in tomograms]

    for tomogram, is_there in zip(tomograms, on_first_process(fabric, are_there), strict=True):
        folder, wanted = tomogram.folder, tomogram.folder.refined_as(config.output_format)
        if is_there:
            logger.info("%s: refined tomogram is there", tomogram.name)
            on_first_process(fabric, partial(write_formats, folder, wanted, model_path, config))
            continue
        refine_files(
            tomogram.name,
            [folder.full] if config.refine.refine == "full" else folder.halves,
            wanted[0],
            model,
            tomogram.tilt_range,
            config.refine,
            config.compute,
            fabric,
            folder.beads if folder.beads.exists() else None,
            folder.tv if folder.tv.exists() else None,
            config.zarr_version,
        )
        on_first_process(fabric, partial(write_formats, folder, wanted, model_path, config))


def write_formats(folder: ResultFolder, wanted: Sequence[Path], model_path: Path, config: Config) -> None:
    """Write the refined tomogram that is there in the formats that are not, or are of an earlier model.

    Errors as `dewedge.runtime.stored.write_copy` and `dewedge.runtime.stored.store`.
    """
    done = folder.result
    for path in wanted:
        if not is_newer(path, model_path):
            with step(f"{folder.name}: write {path.name}"):
                write_copy(done, path, config.zarr_version)
    store([folder.refined], config.files)


def report(tomograms: Sequence[Reconstructed], config: Config) -> None:
    """Draw slices of every tomogram before and after, and make its page; what is up to date stays.

    Errors as `dewedge.io.formats.read_volume`; a figure or page that cannot be made is a warning.
    """
    run = ResultFolder(require_output(config.output))
    for tomogram in tomograms:
        folder = tomogram.folder
        with step(f"{tomogram.name}: report"):
            if not is_newer(folder.slices, folder.result):
                full, refined = read_result(folder.full), read_result(folder.result)
                volumes = {titled_raw(folder): full.data, "refined": refined.data}
                write_figure(folder.slices, partial(slices_figure, volumes, full.voxel_size_A, tomogram.name))
            if not is_told(folder):
                with dispensable(folder.report):
                    write_page(run, folder)


def is_told(folder: ResultFolder) -> bool:
    """True if the page of a tomogram is newer than its result, and than half-sets that were made again."""
    there = [folder.result, *(path for path in folder.halves if path.exists())]
    return all(is_newer(folder.report, path) for path in there)
