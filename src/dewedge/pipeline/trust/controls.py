"""The part that fits to specimens without structure: what the same fit makes of nothing."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dewedge.io.half_precision import read_result
from dewedge.io.mrc import write_mrc
from dewedge.learn.checkpoint import Model
from dewedge.learn.extra_wedge import extra_wedge
from dewedge.learn.filled_power import FilledPower, filled_power
from dewedge.learn.grey_scale import PairGreyScale, measure_grey_scale
from dewedge.learn.pairs import TomogramPair
from dewedge.pipeline.trust.fitting import fit_again, half_sets
from dewedge.pipeline.trust.subject import Subject
from dewedge.pipeline.trust.wedge import EDGES
from dewedge.report.trust.controls import Control, Controls
from dewedge.runtime.devices import choose_device, choose_precision
from dewedge.runtime.folder import ResultFolder
from dewedge.runtime.log import step
from dewedge.scores.extra_wedge import TrustShell, trust_shells
from dewedge.simulate.controls import ControlName, Halves, control_halves

logger = logging.getLogger(__name__)

FOLDER = "controls"  # of both fits, in the tomogram's
MOST_VOXELS = 2**26  # of a control, whose spectra are in memory: of a larger tomogram, its middle
SEED = 0


def controls(subject: Subject) -> Controls | None:
    """Fit to pure noise and to a specimen of random phases; None where several tomograms share the network.

    Both together cost half a fit.

    Raises
    ------
    InputError
        If the half-sets cannot be used, the fit fails, or a file cannot be written.
    """
    if not subject.has_own_fit:
        logger.info("%s: of a network of several tomograms no controls are made", subject.name)
        return None
    pair = middle_of(half_sets(subject))
    of_run = measure_grey_scale(pair, clip=subject.model.clip)
    with step(f"{subject.name}: what the network puts into the wedge"):
        specimen = filled(subject, subject.model, pair, of_run)
    with step(f"{subject.name}: specimens without structure"):
        pairs = {
            name: written(subject, name, pair, halves)
            for name, halves in control_halves(pair.half0, pair.half1, pair.tilt_range, SEED)
        }
    with step(f"{subject.name}: the network applied to them"):
        applied = {
            name: compared(filled(subject, subject.model, control, of_run), specimen)
            for name, control in pairs.items()
        }
    fitted: dict[ControlName, Control] = {}
    told: Sequence[TrustShell] = ()
    section = subject.config.fit.share(4)
    for name, control in pairs.items():
        with step(f"{subject.name}: fit to a specimen without structure ({name})"):
            model = fit_again(subject, f"{FOLDER}/{name}", control, section)
        scale = measure_grey_scale(control, clip=model.clip)
        fitted[name] = compared(filled(subject, model, control, scale), specimen)
        if name == "randomised":
            told = estimates(subject, model, control, scale)
    return Controls(pair.voxel_size_A, EDGES, specimen.middle, fitted, applied, told)


def middle_of(pair: TomogramPair) -> TomogramPair:
    """Middle of a tomogram, all of its thickness, as large as a control may be."""
    depth, *section = pair.shape_zyx
    share = math.sqrt(min(1.0, MOST_VOXELS / math.prod(pair.shape_zyx)))
    sizes = [int(n * share) // 2 * 2 if share < 1 else n for n in section]
    starts = [(n - size) // 2 for n, size in zip(section, sizes, strict=True)]
    box = (slice(depth), *(slice(a, a + size) for a, size in zip(starts, sizes, strict=True)))
    mask = None if pair.mask is None else pair.mask[box]
    return replace(pair, half0=pair.half0[box], half1=pair.half1[box], mask=mask, full=None)


def written(subject: Subject, name: ControlName, pair: TomogramPair, halves: Halves) -> TomogramPair:
    """Write ``(z, y, x)`` half-sets of a control into its folder, and open them as a pair like that given.

    Errors as `dewedge.io.mrc.create_mrc`.
    """
    folder = ResultFolder(subject.folder.path / FOLDER / name)
    folder.path.mkdir(parents=True, exist_ok=True)
    for path, half in zip(folder.halves, halves, strict=True):
        write_mrc(path, half, pair.voxel_size_A, what=f"control {name}")
    half0, half1 = (read_result(path).data for path in folder.halves)
    return replace(pair, half0=half0, half1=half1, name=f"{subject.name}, {name}")


def filled(subject: Subject, model: Model, pair: TomogramPair, scale: PairGreyScale) -> FilledPower:
    """Power that a network puts into the wedge of a specimen, as strong as the run takes it.

    Errors as `dewedge.learn.filled_power.filled_power`.
    """
    device = choose_device(subject.compute)
    confirmed = subject.config.refine.wedge_amplitude == "confirmed"
    return filled_power(
        model.build().to(device),
        (pair.half0, pair.half1),
        pair.tilt_range,
        EDGES,
        scale,
        model.clip,
        model.wedge_amplitude if confirmed else None,
        choose_precision(subject.compute, device),
        device,
    )


def estimates(
    subject: Subject, model: Model, pair: TomogramPair, scale: PairGreyScale
) -> Sequence[TrustShell]:
    """Estimates that `dewedge trust` would give of a control; errors as `extra_wedge`."""
    device = choose_device(subject.compute)
    wedges = extra_wedge(
        model.build().to(device),
        given=pair.half1,
        kept=pair.half0,
        tilt_range=pair.tilt_range,
        edges=EDGES,
        scale=scale,
        clip=model.clip,
        precision=choose_precision(subject.compute, device),
        device=device,
        planes=pair.planes or (),
    )
    return trust_shells(wedges.whole, EDGES, pair.shape_zyx[0])


def compared(control: FilledPower, specimen: FilledPower) -> Control:
    """Powers of a control in units of those of the specimen."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return Control(
            inside=control.inside / specimen.inside,
            outside=control.outside / specimen.outside,
            total=float(control.inside.sum() / specimen.inside.sum()),
            block=control.middle,
        )
