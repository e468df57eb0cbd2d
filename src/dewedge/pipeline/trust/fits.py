"""The part that fits two networks to separate halves of space, and compares what they make of it."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dewedge.io.half_precision import read_result
from dewedge.io.mrc import create_mrc
from dewedge.io.volume_file import VolumeFile, VolumeWriter
from dewedge.learn.checkpoint import Model
from dewedge.learn.pairs import TomogramPair
from dewedge.pipeline.refine import refine_arrays
from dewedge.pipeline.trust.fitting import fit_again, half_sets
from dewedge.pipeline.trust.subject import Subject
from dewedge.pipeline.trust.wedge import EDGES
from dewedge.report.trust.fits import Fits
from dewedge.runtime.devices import launched
from dewedge.runtime.folder import ResultFolder
from dewedge.runtime.log import step
from dewedge.scores.independent import Agreement, agreement

logger = logging.getLogger(__name__)

FOLDERS = ("independent/a", "independent/b")  # of the two fits, in the tomogram's


def fits(subject: Subject) -> Fits | None:
    """Fit two networks, each to half of the tomogram, and compare them in both; None where that cannot be.

    The fit goes from half-set 0 to half-set 1, so what a network learns by heart is the noise of half-set 1
    where it was fitted. There it is given half-set 1, and the other network half-set 0: the two outputs have
    the noise of neither input, nor of any target, in common.

    Raises
    ------
    InputError
        If the half-sets cannot be used, the fit or the refinement fails, or a file cannot be written.
    """
    if not subject.has_own_fit:
        logger.info("%s: fitted with other tomograms: no independent fits", subject.name)
        return None
    pair = half_sets(subject)
    height, cube = pair.shape_zyx[1], subject.model.cube_size
    halves = [slice(0, height // 2), slice(height // 2, height)]
    parts = [_cropped(pair, rows) for rows in halves]
    if height < 4 * cube or any(part.mask is not None and part.mask.sum() < cube**3 for part in parts):
        logger.info("%s: too little specimen along y for independent fits", subject.name)
        return None
    section = subject.config.fit.share(2)
    models = [fit_again(subject, name, part, section) for name, part in zip(FOLDERS, parts, strict=True)]
    with step(f"{subject.name}: compare independent fits"):
        found = _compared(subject, pair, models, halves)
    return Fits(EDGES, found.inside, found.outside)


def _cropped(pair: TomogramPair, rows: slice) -> TomogramPair:
    """A pair between two sections: no sub-tomogram reaches into what lies beyond."""
    return replace(
        pair,
        half0=pair.half0[:, rows],
        half1=pair.half1[:, rows],
        mask=None if pair.mask is None else pair.mask[:, rows],
        full=None if pair.full is None else pair.full[:, rows],
    )


def _compared(subject: Subject, pair: TomogramPair, models: list[Model], halves: list[slice]) -> Agreement:
    """Refine with both, write their outputs and their difference, and sum both halves of space."""
    reference = read_result(subject.folder.half0)
    refined = [ResultFolder(subject.folder.path / name).refined for name in FOLDERS]
    parts = []
    with ExitStack() as files:
        outputs = [files.enter_context(_created(path, reference)).data for path in refined]
        difference = files.enter_context(_created(subject.folder.fits_difference, reference)).data
        for where, rows in enumerate(halves):
            for which, model in enumerate(models):
                # Where it was fitted, the half-set of its targets.
                given = pair.half1 if which == where else pair.half0
                _refine(subject, model, given[:, rows], outputs[which][:, rows])
            for plane, a, b in zip(difference, *outputs, strict=True):
                plane[rows] = a[rows] - b[rows]
            parts.append(agreement(outputs[0][:, rows], outputs[1][:, rows], pair.tilt_range, EDGES))
    return Agreement(*(a + b for a, b in zip(*parts, strict=True)))


def _created(path: Path, reference: VolumeFile) -> AbstractContextManager[VolumeWriter]:
    return create_mrc(
        path,
        reference.data.shape,
        reference.voxel_size_A,
        origin_xyz_A=reference.origin_xyz_A,
        labels=reference.labels,
        what=path.stem,
    )


def _refine(subject: Subject, model: Model, source: NDArray[np.float32], output: NDArray[np.float32]) -> None:
    """Apply a network to part of a half-set, without gold and without total variation, which all have."""
    with launched(subject.compute) as fabric:
        refine_arrays(
            [source],
            output,
            # A half-set alone has the grey scale of what the network was fitted to.
            replace(model, full_std=1.0),
            model.tilt_range,
            subject.config.refine,
            subject.compute,
            fabric,
            names=[subject.name],
        )
