"""The part that cuts other wedges, and parts what was measured from what was added."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dewedge.errors import InputError
from dewedge.geometry import Floats, TiltRange
from dewedge.inputs.planes import read_planes
from dewedge.io.half_precision import read_result
from dewedge.io.mrc import create_mrc
from dewedge.io.volume_file import VolumeFile
from dewedge.learn.extra_wedge import extra_wedge
from dewedge.learn.grey_scale import measure_grey_scale
from dewedge.learn.pairs import TomogramPair
from dewedge.physics.wedge import WedgeCut
from dewedge.pipeline.trust.subject import Subject
from dewedge.report.trust.verdict import Trust
from dewedge.runtime.devices import choose_device, choose_precision
from dewedge.runtime.folder import ResultFolder
from dewedge.runtime.log import step
from dewedge.runtime.stored import require_halves, without_gold
from dewedge.scores.extra_wedge import trust_shells
from dewedge.scores.spectra import power_inside_outside

# Of the shells, in cycles per voxel. Finer structure has no signal in a tomogram of single tilts.
EDGES = (0.02, 0.04, 0.06, 0.08, 0.11, 0.15, 0.2, 0.25)


def wedge(subject: Subject) -> Trust:
    """Estimate how well the result of a run knows what lies in the wedge, and write its two parts.

    Raises
    ------
    InputError
        If there are no half-sets, the network was fitted to fill no wedge, or a file cannot be read or
        written.
    """
    folder, model, compute = subject.folder, subject.model, subject.compute
    require_halves(subject.run, folder)
    objective = model.details.get("options", {}).get("objective")
    if objective != "dewedge":
        raise InputError(
            f"{folder.path}: fitted with the objective {objective}, whose prediction in the wedge cannot be "
            "judged: expected dewedge"
        )
    halves = [read_result(path) for path in folder.halves]
    refined = read_result(folder.result)
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
            planes=read_planes(folder.planes) or (),
        )
    with step(f"{folder.name}: part the measured from the added"):
        whole = without_gold(folder.result)
        added = power_inside(whole, model.tilt_range)
        write_parts(folder, refined, whole, model.tilt_range)
    return Trust(
        name=folder.name,
        voxel_size_A=refined.voxel_size_A,
        edges_per_voxel=EDGES,
        shells=trust_shells(wedges.whole, EDGES, refined.data.shape[0]),
        extra_wedge=wedges.whole,
        by_distance=[trust_shells(one, EDGES, refined.data.shape[0]) for one in wedges.by_distance],
        added=added,
    )


def write_parts(
    folder: ResultFolder, refined: VolumeFile, whole: NDArray[np.float32], tilt_range: TiltRange
) -> None:
    """Write the result at measured frequencies, and what is left of it: what lies inside the wedge.

    ``whole`` is the ``(z, y, x)`` result without gold. Only it is held in memory, or mapped, beside bands of
    rows.

    Errors as `dewedge.io.mrc.create_mrc`.
    """
    cut_wedge = WedgeCut(whole.shape, tilt_range, torch.device("cpu"))
    written: dict[str, Any] = {
        "voxel_size_A": refined.voxel_size_A,
        "origin_xyz_A": refined.origin_xyz_A,
        "labels": refined.labels,
    }
    with (
        create_mrc(folder.measured, whole.shape, what=folder.measured.stem, **written) as measured,
        create_mrc(folder.added, whole.shape, what=folder.added.stem, **written) as added,
    ):
        for part in cut_wedge.parts(range(whole.shape[1])):
            band = torch.from_numpy(whole[:, cut_wedge.needed(part)])
            cut_wedge(band, inside=True)
            rows = slice(part.start, part.stop)
            added.data[:, rows] = band[:, cut_wedge.margin : cut_wedge.margin + len(part)].numpy()
            # Gold is given back as it was measured.
            measured.data[:, rows] = refined.data[:, rows] - added.data[:, rows]


def power_inside(refined: NDArray[np.float32], tilt_range: TiltRange) -> Floats:
    """``(s,)`` mean power of a ``(z, y, x)`` tomogram inside the wedge over that outside, by shells.

    Errors as `dewedge.scores.spectra.power_inside_outside`.
    """
    inside, outside = power_inside_outside(refined, tilt_range, EDGES)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (inside.aa / inside.count) / (outside.aa / outside.count)
