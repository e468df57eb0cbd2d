"""The specimen mask of a tomogram: none, automatic, or from a file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dewedge.errors import InputError
from dewedge.inputs.run_input import Mask
from dewedge.io.formats import read_volume
from dewedge.physics.specimen_mask import specimen_mask
from dewedge.runtime.log import step

logger = logging.getLogger(__name__)


def choose_mask(masks: Sequence[str], index: int, count: int) -> Mask | None:
    """The mask of one tomogram of ``count``: the one for all, or its own; None if none is given.

    Raises
    ------
    InputError
        If there is neither one for all nor one for each.
    """
    if not masks:
        return None
    if len(masks) not in (1, count):
        raise InputError(
            f"--mask: expected one for all or one for each of {count} tomograms, got {len(masks)}"
        )
    match masks[index % len(masks)]:
        case "none":
            return "none"
        case "auto":
            return "auto"
        case file:
            return Path(file)


def find_specimen(mask: Mask, tomogram: NDArray[Any]) -> NDArray[np.bool_] | None:
    """``(z, y, x)`` True where there is specimen; None for everywhere.

    Parameters
    ----------
    mask
        ``none``, ``auto``, or a volume's file that is above 0.5 where there is specimen.
    tomogram
        ``(z, y, x)`` full tomogram.

    Raises
    ------
    InputError
        As `read_mask`.
    """
    if mask == "none":
        return None
    if mask == "auto":
        with step("mask"):
            inside = specimen_mask(tomogram)
    else:
        inside = read_mask(mask, tomogram.shape)
    logger.info("specimen mask: %.0f %% of the tomogram", 100 * inside.mean())
    return inside


def read_mask(path: Path, shape_zyx: Sequence[int]) -> NDArray[np.bool_]:
    """``(z, y, x)`` True where a file is above 0.5.

    Raises
    ------
    InputError
        If the file cannot be read, is not of this shape, or leaves nothing.
    """
    values = np.asarray(read_volume(path).data)
    if values.shape != tuple(shape_zyx):
        raise InputError(
            f"{path}: shape {values.shape} (z, y, x): expected {tuple(shape_zyx)}, that of the tomogram"
        )
    inside = np.asarray(values > 0.5)
    if not inside.any():
        raise InputError(f"{path}: expected values above 0.5 where there is specimen, it has none")
    return inside
