"""From a tilt series to the aligned images of both half-sets, and of all, that are reconstructed."""

from __future__ import annotations

import logging
from dataclasses import replace

import torch

from dewedge.check.axis_position import describe_axis, describe_move, measure_axis, put_right
from dewedge.inputs.ctf import correct, series_correction
from dewedge.inputs.images import AlignedImages, Gold, prepare
from dewedge.inputs.run_input import SeriesInput
from dewedge.physics.tilt_axis import with_axis
from dewedge.pipeline.check import misplaced_axis
from dewedge.runtime.progress import counted
from dewedge.settings.sections import Config, CtfSection, ImagesSection, ReconstructSection, SplitSection
from dewedge.split import BY_ANGLE, split_tilts, splits_by_angle

logger = logging.getLogger(__name__)


def half_sets(
    item: SeriesInput,
    section: ReconstructSection,
    ctf: CtfSection,
    split: SplitSection,
    seed: int,
    images: ImagesSection,
    device: torch.device | None = None,
) -> tuple[AlignedImages, AlignedImages, AlignedImages, Gold | None]:
    """Half-set 0, half-set 1 and all of a series, and the gold that was painted over in it.

    All are prepared, aligned, binned and corrected, one image at a time on ``device``, if it is given;
    `Gold.images` are not corrected.

    Raises
    ------
    InputError
        If an image is constant or not finite, even and odd frames are the same, or a half-set has too few
        tilts.
    """
    ctf = series_correction(item.series, ctf)
    if section.refine_axis != "never":
        item = with_refined_axis(item, section)
    with counted("read", item.name, "image") as on_image:
        aligned, gold = prepare(item.series, section, images, seed, item.name, device, on_image)
    aligned = [replace(each, images=correct(each.images, each.geometry, ctf, device)) for each in aligned]
    if item.has_frames:
        even, odd = aligned
        return even, odd, replace(even, images=(even.images + odd.images) / 2), gold
    [full] = aligned
    if split.of_tilts == "tilts" and splits_by_angle(full.geometry):
        logger.info("%s: %s", item.name, BY_ANGLE)
    halves = [
        full.select(indices) for indices in split_tilts(full.geometry, split.of_tilts, split.fraction, seed)
    ]
    for i, half in enumerate(halves):
        logger.info("%s: half-set %d: %d tilts", item.name, i, half.geometry.n_tilts)
    return halves[0], halves[1], full, gold


def with_refined_axis(item: SeriesInput, section: ReconstructSection) -> SeriesInput:
    """Series with its tilt axis where its images show it, as far as that is beyond their uncertainty.

    Errors as `measured_axis`.
    """
    angle_deg, shift_px = measured_axis(item, section)
    if not angle_deg and not shift_px:
        return item
    moved = with_axis(item.series[0].geometry, angle_deg, shift_px)
    return replace(item, series=tuple(replace(series, geometry=moved) for series in item.series))


def measured_axis(item: SeriesInput, section: ReconstructSection) -> tuple[float, float]:
    """The angle in degrees and the shift in raw pixels that put the tilt axis right.

    Both are 0 where it is, or where it cannot be told; with ``auto`` also where it is not told to be off.

    Errors as `dewedge.check.axis_position.measure_axis`.
    """
    if section.refine_axis == "auto":
        found = misplaced_axis(item, section)
        if found is None:
            return 0.0, 0.0
    else:
        stacks = [series.images for series in item.series]
        found = measure_axis(stacks, item.series[0].geometry, section.thickness or item.thickness)
    angle_deg, shift_px = (0.0, 0.0) if found is None else put_right(found)
    logger.info("%s: tilt axis: %s", item.name, describe_axis(found))
    logger.info("%s: tilt axis: %s", item.name, describe_move(angle_deg, shift_px))
    return angle_deg, shift_px


def with_known_axis(config: Config, item: SeriesInput) -> Config:
    """The configuration with the tilt axis that all images of a series show, in place of its measurement.

    Parts of a series, each with the axis that its own images show, would lie in frames apart.

    Errors as `measured_axis`.
    """
    if config.reconstruct.refine_axis == "never":
        return config
    angle_deg, shift_px = measured_axis(item, config.reconstruct)
    told = {
        "axis_turn_deg": config.series.axis_turn_deg + angle_deg,
        "axis_shift": config.series.axis_shift + shift_px,
    }
    return config.model_copy(
        update={
            "series": config.series.model_copy(update=told),
            "reconstruct": config.reconstruct.model_copy(update={"refine_axis": "never"}),
        }
    )
