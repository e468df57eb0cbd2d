"""Reconstruction of full tomogram and half-sets, from a tilt series into MRC files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dewedge.errors import InputError
from dewedge.geometry import TiltGeometry
from dewedge.inputs.ctf import check_ctf, correct, deconvolve_file, series_correction, untilted_ctf
from dewedge.inputs.images import AlignedImages, Gold
from dewedge.inputs.planes import planes_beside, planes_of, write_planes
from dewedge.inputs.read import read_one_series
from dewedge.inputs.run_input import SeriesInput
from dewedge.io.formats import VOLUME_SUFFIXES, create_volume
from dewedge.io.mrc import write_mrc
from dewedge.physics.iterative import (
    COARSE,
    SIRT_ITERATIONS,
    TV_ITERATIONS,
    coarse_tv,
    sirt_blocks,
    tv,
)
from dewedge.physics.painting import cut_to_balls
from dewedge.physics.reconstruction import fbp_blocks
from dewedge.pipeline.half_sets import half_sets
from dewedge.runtime import results
from dewedge.runtime.devices import choose_device
from dewedge.runtime.folder import ResultFolder, claimed, with_suffix
from dewedge.runtime.log import step
from dewedge.runtime.progress import counted
from dewedge.settings.sections import Config, CtfSection, ReconstructSection

logger = logging.getLogger(__name__)

# Called with how much is done, and of how much.
Count = Callable[[int, int], None]


def write_reconstruction(
    path: Path,
    aligned: AlignedImages,
    item: SeriesInput,
    section: ReconstructSection,
    ctf: CtfSection,
    device: torch.device,
) -> None:
    """Write the reconstruction of aligned images, as `fill_reconstruction` makes it.

    Errors as `reconstruction_label` and `dewedge.io.mrc.create_mrc`.
    """
    _write(
        path,
        aligned.geometry,
        item,
        section,
        reconstruction_label(section),
        lambda data, count: fill_reconstruction(data, aligned, item, section, ctf, device, count),
    )


def _write(
    path: Path,
    geometry: TiltGeometry,
    item: SeriesInput,
    section: ReconstructSection,
    what: str,
    fill: Callable[[NDArray[np.float32], Count], None],
) -> None:
    """Write a tomogram of a series, whose ``(z, y, x)`` memory map ``fill`` is called with, and a count."""
    shape, series = (item.binned_thickness(section), *geometry.image_shape_yx), item.series[0]
    with (
        create_volume(
            path,
            shape,
            geometry.pixel_size_A,
            origin_xyz_A=series.origin_xyz_A,
            labels=series.labels,
            what=what,
        ) as writer,
        counted("reconstruct", path.name, "part") as count,
    ):
        fill(writer.data, count)


def fill_reconstruction(
    target: NDArray[np.float32],
    aligned: AlignedImages,
    item: SeriesInput,
    section: ReconstructSection,
    ctf: CtfSection,
    device: torch.device,
    count: Count = lambda done, total: None,
) -> None:
    """Reconstruct aligned images into a float32 ``(z, y, x)`` array, in memory or memory-mapped.

    In memory is one block of rows along the tilt axis at a time; a tomogram that is deconvolved, or made by
    total variation, is held in memory. ``count`` is called with how many rows, or iterations of total
    variation, are done and will be.
    """
    geometry = aligned.geometry
    blocks = _reconstructed_blocks(aligned.images.to(device), geometry, len(target), section, count)
    _fill(target, blocks, geometry, item, ctf, device)


def _fill(
    target: NDArray[np.float32],
    blocks: Iterable[tuple[slice, Tensor]],
    geometry: TiltGeometry,
    item: SeriesInput,
    ctf: CtfSection,
    device: torch.device,
) -> None:
    """Assign ``(z, rows, x)`` blocks to their rows, and deconvolve the whole if ``ctf`` says so."""
    for rows, block in blocks:
        target[:, rows] = block.cpu().numpy()
    deconvolve_file(target, untilted_ctf(item.series[0].geometry), geometry.pixel_size_A, ctf, device)


def write_beads(
    path: Path,
    gold: Gold,
    geometry: TiltGeometry,
    item: SeriesInput,
    section: ReconstructSection,
    ctf: CtfSection,
    device: torch.device,
) -> None:
    """Write a tomogram of the gold alone, as `fill_beads` makes it.

    Errors as `dewedge.io.mrc.create_mrc`.
    """
    _write(
        path,
        geometry,
        item,
        section,
        "gold beads",
        lambda data, count: fill_beads(data, gold, geometry, item, section, ctf, device, count),
    )


def fill_beads(
    target: NDArray[np.float32],
    gold: Gold,
    geometry: TiltGeometry,
    item: SeriesInput,
    section: ReconstructSection,
    ctf: CtfSection,
    device: torch.device,
    count: Count = lambda done, total: None,
) -> None:
    """Reconstruct the gold alone into a ``(z, y, x)`` array: what was painted over, cut to the beads.

    Added to a tomogram of the painted images, it gives that of the original ones within the beads. It is
    made by filtered back-projection, whatever makes the tomogram: the grey scale is the same. ``count`` as
    that of `fill_reconstruction`.
    """
    shape = (geometry.n_tilts, *geometry.image_shape_yx)
    ctf = series_correction(item.series, ctf)
    images = correct(gold.images(shape), geometry, ctf, device).to(device)
    blocks = _counted_rows(fbp_blocks(images, geometry, len(target), section.filter), geometry, count)
    _fill(target, blocks, geometry, item, ctf, device)
    cut_to_balls(target, gold.centres_zyx, gold.reach)


def write_coarse_tv(
    path: Path,
    aligned: AlignedImages,
    item: SeriesInput,
    section: ReconstructSection,
    ctf: CtfSection,
    device: torch.device,
) -> None:
    """Write what `made_coarse_tv` makes, if anything.

    Errors as `made_coarse_tv` and `dewedge.io.mrc.write_mrc`.
    """
    series = item.series[0]
    volume = made_coarse_tv(aligned, item, section, ctf, device)
    if volume is None:
        return
    write_mrc(
        path,
        volume,
        COARSE * aligned.geometry.pixel_size_A,
        origin_xyz_A=series.origin_xyz_A,
        labels=series.labels,
        what=f"total variation, binned by {COARSE}",
    )


def made_coarse_tv(
    aligned: AlignedImages,
    item: SeriesInput,
    section: ReconstructSection,
    ctf: CtfSection,
    device: torch.device,
) -> NDArray[np.float32] | None:
    """``(z, y, x)`` total-variation reconstruction at twice the voxel size, on the tomogram's grey scale.

    None beside an iterative reconstruction.

    Errors as `dewedge.inputs.run_input.SeriesInput.binned_thickness`.
    """
    geometry, thickness = aligned.geometry, item.binned_thickness(section)
    if section.algorithm != "fbp":
        return None
    with counted("reconstruct", f"{item.name}, total variation", "iteration") as count:
        made = coarse_tv(aligned.images.to(device), geometry, thickness, count)
    volume: NDArray[np.float32] = made.cpu().numpy()
    parameters = untilted_ctf(item.series[0].geometry)
    deconvolve_file(volume, parameters, COARSE * geometry.pixel_size_A, ctf, device)
    return volume


def reconstruction_label(section: ReconstructSection) -> str:
    """The reconstruction of a tomogram as its labels tell it.

    Raises
    ------
    InputError
        If a number of iterations is given for filtered back-projection, which has none.

    Examples
    --------
    >>> reconstruction_label(ReconstructSection())
    'FBP (radial)'
    >>> reconstruction_label(ReconstructSection(algorithm="tv", iterations=50))
    'TV (weight 1, 50 iterations)'
    """
    if section.algorithm == "fbp":
        if section.iterations is not None:
            raise InputError(
                f"--iterations {section.iterations}: filtered back-projection has none; "
                "expected --algorithm sirt or tv with it"
            )
        return f"FBP ({section.filter})"
    if section.algorithm == "sirt":
        return f"SIRT ({section.iterations or SIRT_ITERATIONS} iterations)"
    return f"TV (weight {section.tv_weight:g}, {section.iterations or TV_ITERATIONS} iterations)"


def _reconstructed_blocks(
    images: Tensor, geometry: TiltGeometry, thickness: int, section: ReconstructSection, count: Count
) -> Iterator[tuple[slice, Tensor]]:
    """The reconstruction in blocks of rows along the tilt axis: (rows, ``(z, rows, x)`` block) pairs."""
    if section.algorithm == "fbp":
        blocks = fbp_blocks(images, geometry, thickness, section.filter)
        yield from _counted_rows(blocks, geometry, count)
    elif section.algorithm == "sirt":
        blocks = sirt_blocks(images, geometry, thickness, section.iterations or SIRT_ITERATIONS)
        yield from _counted_rows(blocks, geometry, count)
    else:
        iterations = section.iterations or TV_ITERATIONS
        # Along the tilt axis, too, the total variation joins neighbours: there is one block.
        yield (
            slice(0, geometry.image_shape_yx[0]),
            tv(images, geometry, thickness, section.tv_weight, iterations, count),
        )


def _counted_rows(
    blocks: Iterable[tuple[slice, Tensor]], geometry: TiltGeometry, count: Count
) -> Iterator[tuple[slice, Tensor]]:
    """The blocks, each of which is counted when the next one is asked for."""
    for rows, block in blocks:
        yield rows, block
        count(rows.stop, geometry.image_shape_yx[0])


def reconstruct_halves(item: SeriesInput, folder: ResultFolder, config: Config, device: torch.device) -> None:
    """Write half-sets and full tomogram of a series into its folder; those that exist stay.

    Raises
    ------
    InputError
        As `dewedge.pipeline.half_sets.half_sets` and `write_reconstruction`.
    """
    # The full tomogram comes last: where it is, all is.
    paths = [*folder.halves, folder.full]
    if all(path.exists() for path in paths):
        logger.info("%s: half-sets and full tomogram are there", item.name)
        return
    with step(f"{item.name}: align and split"):
        *sets, gold = half_sets(
            item, config.reconstruct, config.ctf, config.split, config.fit.seed, config.images, device
        )
    with step(f"{item.name}: reconstruct"):
        if gold is not None and not folder.beads.exists():
            geometry = sets[2].geometry
            write_beads(folder.beads, gold, geometry, item, config.reconstruct, config.ctf, device)
        _write_planes(folder.planes, sets[:2], item, config)
        if config.refine.tv_share > 0 and not folder.tv.exists():
            write_coarse_tv(folder.tv, sets[2], item, config.reconstruct, config.ctf, device)
        for path, aligned in zip(paths, sets, strict=True):
            if not path.exists():
                write_reconstruction(path, aligned, item, config.reconstruct, config.ctf, device)


def _write_planes(path: Path, halves: Sequence[AlignedImages], item: SeriesInput, config: Config) -> None:
    write_planes(path, [planes_of(half, item, config.ctf, config.reconstruct) for half in halves])


def reconstruct_file(config: Config, output: Path | None, *, halves: bool, overwrite: bool = False) -> None:
    """Write the tomogram of one series, and those of its half-sets if ``halves``.

    Gold is painted over only where there are half-sets, which are for a fit; then it has a tomogram of its
    own, NAME_beads.

    Raises
    ------
    InputError
        If the input or the output cannot be used.
    """
    named = None if output is None else with_suffix(output, VOLUME_SUFFIXES)
    item = read_one_series(config)
    path = named or item.series[0].path.with_name(f"{item.name}_rec.mrc")
    parts = [path.with_name(f"{path.stem}_half{i}{path.suffix}") for i in (0, 1)]
    planes = planes_beside(parts[0])
    beads = path.with_name(f"{path.stem}_beads{path.suffix}")
    files = [path, planes, *parts, beads] if halves else [path]
    item.binned_thickness(config.reconstruct)
    device = choose_device(config.compute)
    with claimed(files, item.files, overwrite=overwrite):
        for note in item.notes:
            logger.info(note)
        for finding in check_ctf(item, config.ctf, config.reconstruct.bin):
            logger.warning("%s: %s", finding.severity, finding)
        with step("align and split"):
            images = config.images if halves else config.images.model_copy(update={"gold": "keep"})
            half0, half1, full, gold = half_sets(
                item, config.reconstruct, config.ctf, config.split, config.fit.seed, images, device
            )
        with step("reconstruct"):
            write_reconstruction(path, full, item, config.reconstruct, config.ctf, device)
            if halves:
                _write_planes(planes, (half0, half1), item, config)
            for part, half in zip(parts, (half0, half1), strict=True):
                if halves:
                    write_reconstruction(part, half, item, config.reconstruct, config.ctf, device)
            if gold is not None:
                write_beads(beads, gold, full.geometry, item, config.reconstruct, config.ctf, device)
            elif halves:
                beads.unlink(missing_ok=True)
    written = [(path, "the tomogram"), (parts[0], "of half-set 0"), (parts[1], "of half-set 1")]
    written += [(planes, "what the tilts of both half-sets measured")]
    written += [(beads, "gold beads, for dewedge refine --beads")]
    results.tell([(file, what) for file, what in written if file == path or (halves and file.exists())])
    logger.info("done: %s", path)
