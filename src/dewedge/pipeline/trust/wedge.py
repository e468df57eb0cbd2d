"""The part that cuts other wedges, and parts what was measured from what was added."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from dewedge.errors import InputError
from dewedge.geometry import Floats, TiltRange
from dewedge.io.formats import read_volume
from dewedge.io.mrc import read_mrc, write_mrc
from dewedge.io.volume_file import VolumeFile
from dewedge.learn.extra_wedge import extra_wedge
from dewedge.learn.grey_scale import measure_grey_scale
from dewedge.learn.pairs import TomogramPair
from dewedge.physics.wedge import cut_wedge_from_rows, wedge_mask
from dewedge.pipeline.trust.subject import Subject
from dewedge.pipeline.validate.validate import without_gold
from dewedge.report.trust.verdict import Trust
from dewedge.runtime.devices import choose_device, choose_precision
from dewedge.runtime.folder import ResultFolder
from dewedge.runtime.log import step
from dewedge.scores.extra_wedge import trust_shells
from dewedge.scores.spectra import from_axis, plane_angle_deg, shell_sums, tapered_spectrum

# Of the shells, in cycles per voxel. Finer structure has no signal in a tomogram of single tilts.
EDGES = (0.02, 0.04, 0.06, 0.08, 0.11, 0.15, 0.2, 0.25)


def wedge(subject: Subject) -> Trust:
    """Estimate how well the result of a run knows what lies in the wedge, and write its two parts."""
    folder, model, compute = subject.folder, subject.model, subject.compute
    if not all(path.is_file() for path in folder.halves):
        names = " and ".join(path.name for path in folder.halves)
        raise InputError(f"{folder.path}: no half-sets: expected {names}, to hold the network against")
    objective = model.details.get("options", {}).get("objective")
    if objective != "dewedge":
        raise InputError(
            f"{folder.path}: fitted with the objective {objective}, whose prediction in the wedge cannot be "
            "judged: expected dewedge"
        )
    halves = [read_mrc(path) for path in folder.halves]
    refined = read_volume(folder.result)
    device = choose_device(compute)
    with step(f"{folder.name}: cut other wedges"):
        pair = TomogramPair(halves[0].data, halves[1].data, model.tilt_range, name=folder.name)
        network = model.build().to(device)
        wedges = extra_wedge(
            network,
            given=halves[1].data,
            kept=halves[0].data,
            tilt_range=model.tilt_range,
            edges=EDGES,
            scale=measure_grey_scale(pair, clip=model.clip),
            clip=model.clip,
            precision=choose_precision(compute, device),
            device=device,
        )
    with step(f"{folder.name}: part the measured from the added"):
        write_parts(folder, refined, model.tilt_range)
        added = power_inside(without_gold(folder.result), model.tilt_range)
    return Trust(
        name=folder.name,
        voxel_size_A=refined.voxel_size_A,
        edges_per_voxel=EDGES,
        shells=trust_shells(wedges, EDGES, refined.data.shape[0]),
        extra_wedge=wedges,
        added=added,
    )


def write_parts(folder: ResultFolder, refined: VolumeFile, tilt_range: TiltRange) -> None:
    """Write the result at measured frequencies, and what is left of it: what lies inside the wedge."""
    whole = without_gold(folder.result)
    depth, _, width = whole.shape
    cut = torch.from_numpy(whole.copy())
    cut_wedge_from_rows(cut, wedge_mask((depth, 1, width), tilt_range))
    measured = cut.numpy()
    added = whole - measured
    # Gold is given back as it was measured.
    measured += np.asarray(refined.data) - whole
    for path, part in ((folder.measured, measured), (folder.added, added)):
        write_mrc(
            path,
            part,
            refined.voxel_size_A,
            origin_xyz_A=refined.origin_xyz_A,
            labels=refined.labels,
            what=path.stem,
        )


def power_inside(refined: NDArray[np.float32], tilt_range: TiltRange) -> Floats:
    """``(s,)`` mean power of a tomogram inside the wedge over that outside, by shells."""
    spectrum = tapered_spectrum(refined, "refined", EDGES[-1])
    angle = plane_angle_deg(spectrum)
    measured = (angle >= tilt_range.min_deg) & (angle <= tilt_range.max_deg)
    off_axis = from_axis(spectrum) >= 2 / refined.shape[0]
    inside, outside = (
        shell_sums(spectrum, spectrum, EDGES, mask & off_axis) for mask in (~measured, measured)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return (inside.aa / inside.count) / (outside.aa / outside.count)
