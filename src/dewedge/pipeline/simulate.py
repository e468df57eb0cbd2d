"""Simulated specimens and tilt series as files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.pipeline.folder import check_new
from dewedge.pipeline.log import step
from dewedge.simulate.files import SimulatedFiles, simulate

logger = logging.getLogger(__name__)


def simulate_files(folder: Path, name: str, *, overwrite: bool = False, **options: Any) -> SimulatedFiles:
    """Write a simulated tilt series and its truth; ``options`` are those of `simulate`.

    Raises
    ------
    InputError
        If an option cannot be used, or a file exists and must not be overwritten.
    """
    check_new([folder / f"{name}{ending}" for ending in (".mrc", "_truth.mrc", "_particles.star")], overwrite)
    with step(f"simulate {name}"):
        files = simulate(folder, name, **options)
    logger.info("%d molecules; tilt series %s, truth %s", files.n_particles, files.stack, files.truth)
    return files


def tilt_angles(tilt_range: tuple[float, float], step_deg: float) -> list[float]:
    """Tilt angles from the lowest to the highest, in degrees."""
    low, high = TiltRange(*tilt_range).validated()
    if not step_deg > 0:
        raise InputError(f"--tilt-step {step_deg:g}: expected a positive number of degrees")
    return [float(angle) for angle in np.arange(low, high + 1e-6, step_deg)]
