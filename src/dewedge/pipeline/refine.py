"""Refinement of tomograms in files."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from dewedge.check.finding import Finding
from dewedge.check.forecast import network_speed, tiled_voxels
from dewedge.check.memory import BASE_BYTES, refine_bytes
from dewedge.check.volumes import check_model_voxel, check_tomogram, check_voxel_sizes, require_sound
from dewedge.errors import InputError, is_out_of_memory, printable
from dewedge.geometry import TiltRange
from dewedge.inputs.read import require_three_axes
from dewedge.io.formats import VOLUME_SUFFIXES, create_volume
from dewedge.io.half_precision import read_result
from dewedge.io.volume_file import VolumeFile, ZarrVersion, file_of, is_zarr
from dewedge.learn.blend import coarse_shape, sections_of_tv
from dewedge.learn.checkpoint import Model, load_model
from dewedge.learn.refine import RefineOptions, refine
from dewedge.learn.tiling import smaller_tile
from dewedge.pipeline.resources import require_refine_memory
from dewedge.runtime.devices import choose_device, choose_precision, launched, on_first_process
from dewedge.runtime.faults import Faults
from dewedge.runtime.folder import hold, require_free, with_suffix
from dewedge.runtime.log import duration, step
from dewedge.runtime.progress import counted
from dewedge.settings.sections import ComputeSection, DeviceSection, TileSection

logger = logging.getLogger(__name__)


def refine_files(
    name: str,
    sources: Sequence[Path],
    output: Path,
    model: Model,
    tilt_range: TiltRange,
    section: TileSection,
    compute: ComputeSection,
    fabric: Fabric,
    beads: Path | None = None,
    tv: Path | None = None,
    zarr_version: ZarrVersion = "0.5",
) -> None:
    """Refine the full tomogram, or both half-sets and average them, into a new file.

    All processes share the tiles; the first one alone writes.

    Parameters
    ----------
    name
        For messages.
    sources
        The full tomogram alone, or half-set 0 and half-set 1.
    beads
        Tomogram of gold beads that is added to the result.
    tv
        Total-variation reconstruction at twice the voxel size, which has its share in the result.

    Raises
    ------
    InputError
        If a tomogram cannot be read, shapes differ, memory does not suffice, the file cannot be written, or
        as `refine_arrays`.
    """
    mrcs = [read_result(path) for path in sources]
    for mrc in mrcs[1:]:
        if mrc.data.shape != mrcs[0].data.shape:
            raise InputError(
                f"{mrc.path}: shape {mrc.data.shape} (z, y, x): expected {mrcs[0].data.shape}, that of "
                f"{mrcs[0].path}"
            )
    for path in (beads, tv):
        if path is not None:
            require_finite(path, read_result(path).data)
    gold = None if beads is None else read_result(beads)
    if gold is not None and gold.data.shape != mrcs[0].data.shape:
        raise InputError(
            f"{gold.path}: shape {gold.data.shape} (z, y, x): expected {mrcs[0].data.shape}, that of "
            f"{mrcs[0].path}"
        )
    require_refine_memory(
        [mrcs[0].data.shape], model.network, model.cube_size, section, compute, f"{name}: refinement"
    )
    data: NDArray[np.float32] | None = None
    on_tile: Callable[[int, int], None] | None = None
    with step(f"{name}: refine"), ExitStack() as files:

        def create() -> None:
            nonlocal data, on_tile
            writer = files.enter_context(
                create_volume(
                    output,
                    mrcs[0].data.shape,
                    mrcs[0].voxel_size_A,
                    origin_xyz_A=mrcs[0].origin_xyz_A,
                    labels=mrcs[0].labels,
                    what="refined",
                    zarr_version=zarr_version,
                )
            )
            data, on_tile = writer.data, files.enter_context(counted("refine", output.name, "tile"))

        on_first_process(fabric, create)
        refine_arrays(
            [mrc.data for mrc in mrcs],
            data,
            model,
            tilt_range,
            section,
            compute,
            fabric,
            names=[str(path) for path in sources],
            beads=None if gold is None else gold.data,
            tv=None if tv is None else np.asarray(read_result(tv).data),
            on_tile=on_tile,
        )


def require_finite(path: Path, volume: NDArray[Any]) -> None:
    """Refuse a ``(z, y, x)`` volume of a file that would put NaN or infinity into the result.

    Raises
    ------
    InputError
        If it holds any.
    """
    if not all(np.isfinite(plane).all() for plane in volume):
        raise InputError(f"{path}: holds NaN or infinite values; expected numbers, so make it again")


def refine_arrays(
    sources: Sequence[NDArray[Any]],
    output: NDArray[np.float32] | None,
    model: Model,
    tilt_range: TiltRange,
    section: TileSection,
    compute: DeviceSection,
    fabric: Fabric,
    *,
    names: Sequence[str],
    beads: NDArray[Any] | None = None,
    tv: NDArray[Any] | None = None,
    on_tile: Callable[[int, int], None] | None = None,
) -> None:
    """Refine the full tomogram, or both half-sets and average them, into an array.

    Where memory runs out it is done once more, with smaller tiles.

    Parameters
    ----------
    sources
        The full tomogram alone, or half-set 0 and half-set 1: ``(z, y, x)`` arrays, in memory or
        memory-mapped.
    output
        Float32 array of that shape, in memory or memory-mapped; None on all processes but the first.
    names
        Of the sources, for messages.
    beads
        ``(z, y, x)`` tomogram of gold beads that is added to the result.
    tv
        ``(z, y, x)`` total-variation reconstruction at twice the voxel size, which has its share in the
        result; None for the network alone.
    on_tile
        Called with the number of tiles done and of all tiles.

    Raises
    ------
    InputError
        As `dewedge.learn.refine.refine`, or if the total-variation reconstruction has another shape.
    """
    shape = sources[0].shape
    if tv is not None and tv.shape != coarse_shape(shape):
        raise InputError(
            f"total variation of shape {tv.shape} (z, y, x): expected {coarse_shape(shape)}, half of "
            f"{names[0]}: give the tv.mrc of the same run"
        )
    tv_share = 0.0 if tv is None else section.tv_share
    tile = section.edge(model.network, model.cube_size)

    def refined(tile: int, at_once: int | None = None) -> None:
        refine(
            sources,
            output,
            model.build(),
            tilt_range,
            RefineOptions(
                tile=tile,
                overlap=section.overlap,
                average_rotations=section.average_rotations,
                average_shifts=model.network.fold,
                precision=choose_precision(compute, fabric.device),
                tiles_at_once=at_once,
            ),
            input_std=model.full_std if len(sources) == 1 else 1.0,
            clip=model.clip,
            wedge_amplitude=model.wedge_amplitude if section.wedge_amplitude == "confirmed" else None,
            tv_share=tv_share,
            device=fabric.device,
            names=names,
            fabric=fabric,
            on_tile=on_tile,
        )

    smaller = smaller_tile(tile, section.overlap, model.network)
    try:
        refined(tile)
        smaller = None
    except (MemoryError, RuntimeError) as error:
        # Of several processes the others would wait for this one.
        if not is_out_of_memory(error) or smaller is None or fabric.world_size > 1:
            raise
    if smaller is not None:  # not in the clause above, in which the error still holds what filled the memory
        logger.warning("%s: out of memory: refined again with tiles of %d, not %d", names[0], smaller, tile)
        if fabric.device.type == "cuda":
            torch.cuda.empty_cache()
        refined(smaller, 1)
    if tv is not None and output is not None and tv_share > 0:
        for plane, of_tv in zip(output, sections_of_tv(tv, output.shape, tv_share), strict=True):
            plane += of_tv
    if beads is not None and output is not None:
        for plane, of_beads in zip(output, beads, strict=True):
            plane += of_beads


def model_findings(name: str, mrcs: Sequence[VolumeFile], model: Model) -> list[Finding]:
    """Findings on a tomogram, or both half-sets, and on their voxel size beside that of a model."""
    wheres = ["tomogram"] if len(mrcs) == 1 else ["half-set 0", "half-set 1"]
    volumes = dict(zip(wheres, mrcs, strict=True))
    found = [finding for where, mrc in volumes.items() for finding in check_tomogram(name, where, mrc)]
    found += check_voxel_sizes(name, {str(mrc.path): mrc.voxel_size_A for mrc in mrcs})
    return found + check_model_voxel(name, mrcs[0].voxel_size_A, model.voxel_size_A)


def require_usable_volumes(name: str, paths: Sequence[Path], model: Model, no_check: bool) -> None:
    """Refuse a tomogram, or both half-sets, that cannot be read or are no tomogram for a model.

    Errors as `dewedge.io.half_precision.read_result`, `require_three_axes` and
    `dewedge.check.volumes.require_sound`.
    """
    volumes = [read_result(path) for path in paths]
    for volume in volumes:
        require_three_axes(str(volume.path), volume.data.shape)
    if not no_check:
        require_sound(model_findings(name, volumes, model))


def require_different(files: Sequence[Path], outputs: Sequence[Path]) -> None:
    """Refuse tomograms two of whose results would be one file.

    Raises
    ------
    InputError
        If there are such.
    """
    of: dict[Path, Path] = {}
    for file, output in zip(files, outputs, strict=True):
        if output in of:
            raise InputError(
                f"{of[output]} and {file}: both results would be {output}: refine one at a time, each with "
                "its -o FILE, or give no -o, and each is written beside its tomogram"
            )
        of[output] = file


def print_plan(
    sources: Sequence[Sequence[Path]],
    outputs: Sequence[Path],
    model: Model,
    tilt_range: TiltRange,
    section: TileSection,
    compute: DeviceSection,
) -> None:
    """Print what would be refined into which file, and what that would take.

    Errors as `dewedge.io.formats.read_volume` and `dewedge.runtime.devices.choose_device`.
    """
    device, tile = choose_device(compute), section.edge(model.network, model.cube_size)
    precision = choose_precision(compute, device)
    shapes = [read_result(paths[0]).data.shape for paths in sources]
    voxels = 0.0
    for paths, output, shape in zip(sources, outputs, shapes, strict=True):
        voxels += len(paths) * tiled_voxels([shape], tile, section.overlap)
        print(printable(f"{' and '.join(map(str, paths))}: {shape} (z, y, x): refined as {output}"))
    print(f"network of {model.network.channels} channels, tilts {tilt_range}, tiles of {tile}")
    speed = network_speed(model.network, device, precision)
    seconds = section.average_rotations * model.network.fold * voxels / speed
    memory = BASE_BYTES + refine_bytes(model.network, shapes, tile, precision)
    disk = sum(4 * math.prod(shape) for shape in shapes)
    print(f"forecast: {duration(seconds)}, memory {memory / 1e9:.1f} GB, disk {disk / 1e9:.2f} GB")
    print("dry run: nothing was done, and nothing written")


def refine_with_model(
    model_path: Path,
    sources: Sequence[Sequence[Path]],
    output: Path | None,
    tilt_range: tuple[float, float] | None,
    x_tilt_deg: float | None,
    section: TileSection,
    compute: ComputeSection,
    *,
    beads: Path | None = None,
    tv: Path | None = None,
    zarr_version: ZarrVersion = "0.5",
    overwrite: bool = False,
    no_check: bool = False,
    dry_run: bool = False,
) -> None:
    """Refine full tomograms, or pairs of half-sets, with the model of a file.

    One among several that cannot be used is left out, and is told when it is found and at the end.

    Parameters
    ----------
    sources
        Of each result: the full tomogram alone, or half-set 0 and half-set 1.
    output
        File of the one result, or folder of several; None to write beside the sources.
    tilt_range, x_tilt_deg
        In degrees, where they are not those of the model.
    beads
        Tomogram of gold beads that is added to the one result.
    tv
        Total-variation reconstruction at twice the voxel size, which has its share in the one result.
    no_check
        Whether tomograms may have another voxel size than the model's, or be stacks of tilt images.
    dry_run
        Print what would be done and taken, and do nothing.

    Raises
    ------
    InputError
        If the model, a tomogram or the output cannot be used.
    """
    if not sources:
        raise InputError("nothing to refine: expected at least one tomogram, or --half0 and --half1")
    if beads is not None and len(sources) > 1:
        raise InputError("--beads: expected one tomogram, whose beads they are")
    if tv is not None and len(sources) > 1:
        raise InputError("--tv: expected one tomogram, whose total variation it is")
    model = load_model(model_path)
    files = [file_of(paths[0]) for paths in sources]
    names = [f"{file.stem}_refined.mrc" for file in files]
    if output is None:
        outputs = [file.with_name(name) for file, name in zip(files, names, strict=True)]
    elif len(sources) == 1 and (is_zarr(output) or not output.is_dir()):
        outputs = [with_suffix(output, VOLUME_SUFFIXES)]
    else:
        outputs = [output / name for name in names]
    require_different(files, outputs)
    beside = [path for path in (beads, tv) if path is not None]
    require_free(outputs, [path for paths in [*sources, beside] for path in paths], overwrite)
    wedge = model.tilt_range
    if tilt_range is not None:
        wedge = wedge.with_angles(tilt_range)
    if x_tilt_deg is not None:
        wedge = wedge._replace(x_tilt_deg=x_tilt_deg)
    wedge.validated()
    faults, usable, several = Faults(), list[int](), len(sources) > 1
    for i, paths in enumerate(sources):
        with faults.left_out(files[i].stem) if several else nullcontext():
            require_usable_volumes(files[i].stem, paths, model, no_check)
            usable.append(i)
    faults.require_some(usable)
    if dry_run:
        print_plan([sources[i] for i in usable], [outputs[i] for i in usable], model, wedge, section, compute)
        faults.require_none(len(sources))
        return
    with launched(compute) as fabric, ExitStack() as stack:
        on_first_process(fabric, lambda: hold(stack, outputs, outputs, overwrite))
        for i in usable:
            name, result = files[i].stem, outputs[i]
            # Of several processes the others may be at its tiles.
            with faults.left_out(name) if several and fabric.world_size == 1 else nullcontext():
                refine_files(
                    name, sources[i], result, model, wedge, section, compute, fabric, beads, tv, zarr_version
                )
                logger.info("done: %s: the refined tomogram", result)
    faults.require_none(len(sources))
