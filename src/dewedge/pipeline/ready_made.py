"""Ready-made half-sets, written into the folder of a run as those of a tilt series are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dewedge.geometry import CtfParameters
from dewedge.inputs.ctf import deconvolve_file
from dewedge.inputs.planes import planes_beside, read_planes, write_planes
from dewedge.inputs.run_input import HalvesInput
from dewedge.io.mrc import create_mrc
from dewedge.io.volume_file import VolumeFile
from dewedge.runtime.folder import ResultFolder
from dewedge.runtime.log import step
from dewedge.runtime.progress import counted
from dewedge.settings.sections import CtfSection


def copy_halves(item: HalvesInput, folder: ResultFolder, ctf: CtfSection, device: torch.device) -> None:
    """Write ready-made half-sets and the full tomogram, or their mean, into the folder; those there stay.

    They are deconvolved if ``ctf`` says so.

    Raises
    ------
    InputError
        If the planes beside them are damaged, or a file cannot be written.
    """
    sources: list[tuple[Path, Sequence[VolumeFile]]] = [
        (folder.half0, [item.half0]),
        (folder.half1, [item.half1]),
        (folder.full, [item.full] if item.full is not None else [item.half0, item.half1]),
    ]
    planes = read_planes(planes_beside(item.half0.path))
    with step(f"{item.name}: copy"):
        if planes is not None and not folder.planes.exists():
            write_planes(folder.planes, planes)
        for path, mrcs in sources:
            if not path.exists():
                write_mean(path, mrcs, item.ctf, ctf, device)


def write_mean(
    path: Path,
    mrcs: Sequence[VolumeFile],
    parameters: CtfParameters | None,
    ctf: CtfSection,
    device: torch.device,
) -> None:
    """Write the mean of tomograms of one shape, section by section, and deconvolve it if ``ctf`` says so.

    Errors as `dewedge.io.mrc.create_mrc`.
    """
    first = mrcs[0]
    with create_mrc(
        path,
        first.data.shape,
        first.voxel_size_A,
        origin_xyz_A=first.origin_xyz_A,
        labels=first.labels,
        what="copy" if len(mrcs) == 1 else "mean of half-sets",
    ) as writer:
        with counted("copy", path.name, "section") as count:
            fill_mean(writer.data, [mrc.data for mrc in mrcs], count)
        deconvolve_file(writer.data, parameters, first.voxel_size_A, ctf, device)


def fill_mean(
    target: NDArray[np.float32],
    sources: Sequence[NDArray[Any]],
    count: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Assign the mean of ``(z, y, x)`` arrays to another one, section by section, and count these."""
    for i, (mean, *sections) in enumerate(zip(target, *sources, strict=True), start=1):
        mean[...] = sum(section.astype(np.float64) for section in sections) / len(sources)
        count(i, len(target))
