"""What the tilts of a half-set measured, from their geometry and correction; the file it is kept in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dewedge.errors import InputError, reason
from dewedge.inputs.ctf import exposed_voltage_kV, series_correction
from dewedge.inputs.images import AlignedImages
from dewedge.inputs.run_input import SeriesInput
from dewedge.io.files import write_text_atomic
from dewedge.io.nested import parse_json
from dewedge.io.text_files import read_text
from dewedge.io.volume_file import file_of
from dewedge.physics.ctf import mean_amplitude
from dewedge.physics.exposure import RELATIVE_EXPOSURE, balanced_weights, critical_exposure_e_per_A2
from dewedge.physics.transfer import RADII, MeasuredPlanes, constant
from dewedge.settings.sections import CtfSection, ReconstructSection


def planes_of(
    aligned: AlignedImages, item: SeriesInput, section: CtfSection, reconstruct: ReconstructSection
) -> MeasuredPlanes | None:
    """Planes that corrected images of a series measured; None unless they are back-projected.

    The signal fades with the exposure, where it is known, and with the CTF where phases were flipped: beyond
    its first peak, for below it the fading is what gives a tomogram its contrast (as IsoNet2 has it). The
    noise is that of counts, and weighting by exposure weights both. Iterative reconstruction weighs tilts in
    ways of its own.
    """
    if reconstruct.algorithm != "fbp":
        return None
    geometry = aligned.geometry
    radii = torch.from_numpy(RADII)
    signal = torch.from_numpy(constant(geometry.tilt_deg))
    noise = signal * torch.tensor(aligned.noise)[:, None]
    correction = series_correction(item.series, section)
    voltage_kV = exposed_voltage_kV(geometry, section)
    if geometry.pre_exposure_e_per_A2 is not None and voltage_kV in RELATIVE_EXPOSURE:
        kept = _kept(geometry.pre_exposure_e_per_A2, radii / geometry.pixel_size_A, voltage_kV)
        signal = signal * kept
        if correction.dose_weight:
            weights = balanced_weights(kept)
            signal, noise = signal * weights, noise * weights.square()
    if correction.ctf == "phase-flip" and geometry.ctf is not None:
        signal = signal * mean_amplitude(geometry, radii)
    return MeasuredPlanes(geometry.tilt_deg, signal.numpy(), noise.numpy())


def _kept(exposures: NDArray[np.float64], frequency_per_A: Tensor, voltage_kV: float) -> Tensor:
    """``(n, m)`` share of the amplitude that is left after these exposures."""
    critical = critical_exposure_e_per_A2(frequency_per_A.clamp(min=1e-6), voltage_kV)
    return torch.exp(-torch.tensor(exposures)[:, None] / (2 * critical))


def write_planes(path: Path, halves: Sequence[MeasuredPlanes | None]) -> None:
    """Write what both half-sets measured as JSON; where it is not known there is no such file any more.

    Errors as `dewedge.io.files.write_text_atomic`.
    """
    known = [planes.as_dict() for planes in halves if planes is not None]
    if len(known) == 2:
        write_text_atomic(path, json.dumps(dict(zip(("half0", "half1"), known, strict=True))))
    else:
        path.unlink(missing_ok=True)


def planes_beside(half0: Path) -> Path:
    """The file of what was measured that belongs to a tomogram of half-set 0: [NAME_]planes.json.

    Examples
    --------
    >>> planes_beside(Path("TS_01_half0.mrc")).name, planes_beside(Path("half0.mrc")).name
    ('TS_01_planes.json', 'planes.json')
    """
    file = file_of(half0)
    return file.with_name(f"{file.stem.removesuffix('half0')}planes.json")


def read_planes(path: Path) -> tuple[MeasuredPlanes, MeasuredPlanes] | None:
    """Read what both half-sets measured; None if there is no such file.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    if not path.exists():
        return None
    try:
        values = parse_json(path, read_text(path))
        return MeasuredPlanes.from_dict(values["half0"]), MeasuredPlanes.from_dict(values["half1"])
    except (ValueError, KeyError, TypeError, InputError) as error:
        raise InputError(
            f"{path}: damaged ({reason(error)}): remove it, and the run is fitted without it"
        ) from error
