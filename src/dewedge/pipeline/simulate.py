"""Simulated specimens and tilt series as files."""

from __future__ import annotations

import logging
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.runtime.folder import claimed
from dewedge.runtime.log import step
from dewedge.simulate.files import SimulatedFiles, check_name_and_seed, simulate
from dewedge.simulate.realistic import Effects
from dewedge.simulate.realistic_files import simulate_realistic

logger = logging.getLogger(__name__)

# What only one of the simulators knows.
_SIMPLE_ONLY = ("snr",)
_REALISTIC_ONLY = ("specimen", "scheme", "defocus_um")


def simulate_files(
    folder: Path, name: str, *, overwrite: bool = False, realistic: bool = False, **options: Any
) -> SimulatedFiles:
    """Write a simulated tilt series and its truth.

    Parameters
    ----------
    realistic
        As a microscope images, with all effects that are not False among the options; without it, with those
        that are True. With no effect at all the simple simulator takes over.
    options
        Those of `simulate`, or of `simulate_realistic` and `Effects`; None stands for the default.

    Raises
    ------
    InputError
        If an option cannot be used, or a file exists and must not be overwritten.
    """
    given = {key: value for key, value in options.items() if value is not None}
    wanted = {field.name: given.pop(field.name, realistic) for field in fields(Effects)}
    as_microscope = any(wanted.values()) or realistic
    for key in _SIMPLE_ONLY if as_microscope else _REALISTIC_ONLY:
        if key in given:
            with_or_without = "without" if as_microscope else "with"
            raise InputError(
                f"--{key.replace('_', '-')}: expected {with_or_without} --realistic and its effects"
            )
    endings = [".mrc", "_truth.mrc", "_particles.star", *(["_beads.star"] if as_microscope else [])]
    check_name_and_seed(name, given.get("seed", 0))
    results = [folder / f"{name}{ending}" for ending in endings]
    with claimed(results, overwrite=overwrite), step(f"simulate {name}"):
        if as_microscope:
            files = simulate_realistic(folder, name, effects=Effects(**wanted), **given)
        else:
            files = simulate(folder, name, **given)
    logger.info("%d molecules; tilt series %s, truth %s", files.n_particles, files.stack, files.truth)
    return files


def tilt_angles(tilt_range: tuple[float, float], step_deg: float) -> list[float]:
    """Tilt angles from the lowest of a range to the highest, in degrees.

    Raises
    ------
    InputError
        If the step is not positive, or there can be no such range.

    Examples
    --------
    >>> tilt_angles((-6, 6), step_deg=3)
    [-6.0, -3.0, 0.0, 3.0, 6.0]
    """
    low, high, _ = TiltRange(*tilt_range).validated()
    if not step_deg > 0:
        raise InputError(f"--tilt-step {step_deg:g}: expected a positive number of degrees")
    return [float(angle) for angle in np.arange(low, high + 1e-6, step_deg)]
