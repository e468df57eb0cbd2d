"""Refined tomograms put where Warp keeps denoised ones."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from dewedge.errors import InputError
from dewedge.inputs.run_input import HalvesInput, RunInput
from dewedge.io.files import atomic_path
from dewedge.io.programs.warp_project import denoised_path
from dewedge.runtime.folder import is_newer

logger = logging.getLogger(__name__)


def paths_in_warp(inputs: Sequence[RunInput]) -> list[Path]:
    """Paths at which Warp keeps the denoised tomogram of each input.

    Raises
    ------
    InputError
        If one is no pair of half tomograms of a project of Warp.
    """
    return [_path_in_warp(item) for item in inputs]


def copy_to_warp(inputs: Sequence[RunInput], refined: Sequence[Path]) -> None:
    """Copy the refined tomogram of each input to where Warp keeps denoised ones; newer ones stay.

    Errors as `paths_in_warp` and `dewedge.io.files.atomic_path`.
    """
    for item, source, target in zip(inputs, refined, paths_in_warp(inputs), strict=True):
        if not is_newer(target, source):
            with atomic_path(target) as temporary:
                shutil.copyfile(source, temporary)
            logger.info("%s: copied to %s", item.name, target)


def _path_in_warp(item: RunInput) -> Path:
    path = denoised_path(item.half0.path) if isinstance(item, HalvesInput) else None
    if path is None:
        raise InputError(
            f"--to-warp: {item.name}: expected half tomograms in the folders reconstruction/even and odd of "
            "a project of Warp"
        )
    return path
