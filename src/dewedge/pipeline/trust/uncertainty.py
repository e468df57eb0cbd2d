"""The part that maps how far off what was added inside the wedge can be."""

from __future__ import annotations

import logging

import numpy as np
import torch
from numpy.typing import NDArray

from dewedge.io.half_precision import read_result
from dewedge.io.mrc import create_mrc
from dewedge.learn.checkpoint import Model, load_model
from dewedge.learn.grey_scale import measure_grey_scale
from dewedge.learn.pairs import TomogramPair
from dewedge.learn.uncertainty import Ensemble, Member, fill_uncertainty, gather
from dewedge.physics.fourier import frequencies
from dewedge.pipeline.measures import model_file
from dewedge.pipeline.trust.fits import FOLDERS
from dewedge.pipeline.trust.fitting import half_sets
from dewedge.pipeline.trust.subject import Subject
from dewedge.pipeline.trust.wedge import EDGES
from dewedge.report.trust.uncertainty import Uncertainty
from dewedge.runtime.devices import choose_device, choose_precision
from dewedge.runtime.folder import ResultFolder, is_newer
from dewedge.runtime.log import step
from dewedge.runtime.stored import without_gold
from dewedge.scores.extra_wedge import LEAST_PERIODS
from dewedge.scores.spectra import parted_by_wedge, shell_sums, tapered_spectrum
from dewedge.scores.uncertainty import calibrate

logger = logging.getLogger(__name__)

# Correlation of half-sets at which both together hold as much signal as noise. Where there is less, the noise
# of the half-set that errors are looked at with would hide them.
LEAST_COMMON = 1 / 3
SECTION_ROWS = 64  # about the section that is shown, from which it is filtered


def uncertainty(subject: Subject) -> Uncertainty | None:
    """Map the error inside the wedge; None where no frequency can be judged.

    Raises
    ------
    InputError
        If the half-sets or the result cannot be used, or a file cannot be written.
    """
    pair = half_sets(subject)
    lowest, highest = LEAST_PERIODS / pair.shape_zyx[0], finest_signal(pair)
    if highest is None or highest <= lowest:
        logger.info("%s: too thin, or its half-sets too noisy, for a map of uncertainty", subject.name)
        return None
    device = choose_device(subject.compute)
    models = _models(subject)
    ensemble = Ensemble(
        [
            Member(model.build().to(device), model.wedge_amplitude if _is_confirmed(subject) else None)
            for model in models
        ],
        tilt_range=pair.tilt_range,
        scale=measure_grey_scale(pair, clip=subject.model.clip),
        clip=subject.model.clip,
        lowest=lowest,
        highest=highest,
        thickness=pair.shape_zyx[0],
        precision=choose_precision(subject.compute, device),
        device=device,
    )
    halves = [pair.half0, pair.half1]
    with step(f"{subject.name}: learn from other wedges what uncertainty means"):
        calibration = calibrate(gather(ensemble, halves))
    folder, reference = subject.folder, read_result(subject.folder.result)
    with (
        step(f"{subject.name}: map the uncertainty"),
        create_mrc(
            folder.uncertainty,
            reference.data.shape,
            reference.voxel_size_A,
            origin_xyz_A=reference.origin_xyz_A,
            labels=reference.labels,
            what=folder.uncertainty.stem,
        ) as writer,
    ):
        fill_uncertainty(ensemble, halves, calibration, writer.data)
    middle = pair.shape_zyx[1] // 2
    return Uncertainty(
        edges_per_voxel=(lowest, highest),
        n_networks=len(models),
        calibration=calibration,
        scale=ensemble.scale.std_half,
        refined=band_section(without_gold(folder.result), middle, highest),
        added=band_section(read_result(folder.added).data, middle, highest, lowest),
        sigma=np.array(read_result(folder.uncertainty).data[:, middle]),
    )


def finest_signal(pair: TomogramPair) -> float | None:
    """Frequency, in cycles per voxel, up to which the half-sets have enough in common; None if nowhere.

    Errors as `dewedge.scores.spectra.tapered_spectrum`.
    """
    half0, half1 = (tapered_spectrum(half, pair.name, EDGES[-1]) for half in (pair.half0, pair.half1))
    _, outside = parted_by_wedge(half0, pair.tilt_range, pair.shape_zyx[0])
    correlations = shell_sums(half0, half1, EDGES, outside).correlation
    found = None
    for edge, correlation in zip(EDGES[1:], correlations, strict=True):
        # NaN where a thin slab has no frequencies.
        if correlation < LEAST_COMMON:
            break
        if np.isfinite(correlation):
            found = edge
    return found


def band_section(
    volume: NDArray[np.float32], y: int, highest: float, lowest: float = 0.0
) -> NDArray[np.float32]:
    """``(z, x)`` section at y of a ``(z, y, x)`` volume, of what lies between two frequencies.

    These are in cycles per voxel.
    """
    first = max(y - SECTION_ROWS // 2, 0)
    rows = torch.from_numpy(np.array(volume[:, first : y + SECTION_ROWS // 2], dtype=np.float32))
    kz, ky, kx = frequencies(rows.shape)
    square = kz**2 + ky**2 + kx**2
    spectrum = torch.fft.rfftn(rows) * ((square >= lowest**2) & (square < highest**2))
    section: NDArray[np.float32] = torch.fft.irfftn(spectrum, s=rows.shape)[:, y - first].numpy()
    return section


def _models(subject: Subject) -> list[Model]:
    """The network of the run, and those of independent fits, if there are any."""
    since = model_file(subject.run, subject.folder)
    others = [ResultFolder(subject.folder.path / name).model for name in FOLDERS]
    found = [load_model(path) for path in others if subject.has_own_fit and is_newer(path, since)]
    return [subject.model, *found]


def _is_confirmed(subject: Subject) -> bool:
    return subject.config.refine.wedge_amplitude == "confirmed"
