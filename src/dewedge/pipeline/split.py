"""Splitting the files of a tilt series."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from dewedge.errors import InputError
from dewedge.inputs.read import read_one_series
from dewedge.io.angles import write_tilt_angles
from dewedge.io.mrc import write_mrc
from dewedge.io.xf import geometry_arrays_to_xf, write_xf
from dewedge.runtime.folder import claimed
from dewedge.settings.sections import Config
from dewedge.split import BY_ANGLE, split_tilts, splits_by_angle

logger = logging.getLogger(__name__)


def split_file(config: Config, folder: Path, *, overwrite: bool = False) -> None:
    """Write STACK_half0.mrc and STACK_half1.mrc, each with .tlt and, where the images are not aligned, .xf.

    Raises
    ------
    InputError
        If the input or the output cannot be used.
    """
    if config.split.split == "frames":
        raise InputError("--split frames: the stacks of even and odd frames are half-sets already")
    # Whole images, whatever frames there are.
    item = read_one_series(
        config.model_copy(update={"split": config.split.model_copy(update={"split": config.split.of_tilts})})
    )
    series, geometry = item.series[0], item.series[0].geometry
    stacks = [folder / f"{series.name}_half{i}.mrc" for i in (0, 1)]
    suffixes = [".mrc", ".tlt"] if geometry.is_aligned else [".mrc", ".tlt", ".xf"]
    results = [stack.with_suffix(suffix) for stack in stacks for suffix in suffixes]
    with claimed(results, item.files, overwrite=overwrite):
        for note in item.notes:
            logger.info(note)
        if config.split.of_tilts == "tilts" and splits_by_angle(geometry):
            logger.info(BY_ANGLE)
        halves = split_tilts(geometry, config.split.of_tilts, config.split.fraction, config.fit.seed)
        for i, (stack, indices) in enumerate(zip(stacks, halves, strict=True)):
            half = geometry.select(indices)
            write_mrc(
                stack,
                np.stack([series.images[i] for i in indices]).astype(np.float32),
                geometry.pixel_size_A,
                stack=True,
                origin_xyz_A=series.origin_xyz_A,
                labels=series.labels,
                what=f"half-set {i}",
            )
            write_tilt_angles(stack.with_suffix(".tlt"), half.tilt_deg)
            if not geometry.is_aligned:
                arrays = geometry_arrays_to_xf(half.linear_yx, half.shift_yx, half.image_shape_yx)
                write_xf(stack.with_suffix(".xf"), *arrays)
            logger.info("half-set %d: %d tilts, %s", i, half.n_tilts, stack)
