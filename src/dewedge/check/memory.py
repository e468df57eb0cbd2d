"""Memory that fit, refinement and reconstruction will take, and what this process may still take."""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from dewedge.check.cgroups import own_cgroups, read_text
from dewedge.errors import InputError
from dewedge.geometry import Floats
from dewedge.learn.network import NetworkConfig, UNet
from dewedge.learn.options import FitOptions
from dewedge.learn.precision import Precision
from dewedge.learn.refine import COLUMN_VOXELS
from dewedge.learn.rounds import blocks
from dewedge.physics.iterative import COARSE, tv_bytes
from dewedge.settings.sections import ReconstructSection

# Values a channel and voxel keeps for the backward pass, for two convolutions a block: measured 18 to 20.
_KEPT = 20
# Interpreter, torch and all libraries, with their code (docs/notebook/speed.md).
BASE_BYTES = 0.8e9
# Copies of all images: while they are aligned and gold is looked for; then the full set and both half-sets.
_ALIGNING, _ALIGNED = 4, 2
# Two blocks of a filtered back-projection.
_FBP_BYTES = 2 * 2**28
# Weights of now and the best ones, gradients, and two moments.
_COPIES = 5
# A forecast is not exact: what exceeds what is free by less may work, and is a warning.
_MARGIN = 1.5

Shape = tuple[int, int, int]


def fit_bytes(
    config: NetworkConfig, options: FitOptions, shapes_zyx: Sequence[Shape], precision: Precision
) -> float:
    """Bytes that a fit to tomograms of these shapes takes."""
    needed = _kept_bytes(config, precision) * options.batch_size * options.cube_size**3
    if options.update_interval is not None:  # the filled inputs, both halves
        edges = [np.diff(blocks(shape, options.cube_size)[0], axis=0) for shape in shapes_zyx]
        needed += 8 * sum(float(edge.prod()) for edge in edges)
    return needed + _COPIES * _weight_bytes(config)


def reconstruct_bytes(
    shape_zyx: Shape,
    tilt_deg: Floats,
    section: ReconstructSection,
    *,
    with_tv: bool = False,
    frames: bool = False,
) -> float:
    """Bytes that the reconstruction of a series takes, from its alignment on.

    Parameters
    ----------
    shape_zyx
        Shape of the binned tomogram, as wide and high as the images.
    tilt_deg
        ``(n,)`` tilt angles.
    section
        How it is reconstructed.
    with_tv
        Whether total variation at twice the voxel size goes with a filtered back-projection.
    frames
        Whether half-sets are made of frames, so that each has images of all tilts.
    """
    depth, height, width = shape_zyx
    images = 4.0 * len(tilt_deg) * height * width
    volume = 4.0 * depth * height * width
    # One copy with a window of the filter, or of the images binned.
    taken = images + min(_FBP_BYTES, 2 * volume)
    if section.algorithm == "tv":
        taken = tv_bytes(tilt_deg, shape_zyx)
    elif section.algorithm == "fbp" and with_tv:
        taken = max(taken, images / COARSE**2 + tv_bytes(tilt_deg, shape_zyx, coarse=True))
    return max(_ALIGNING * images, (_ALIGNED + frames) * images + taken)


def refine_bytes(
    config: NetworkConfig, shapes_zyx: Sequence[Shape], tile: int, precision: Precision
) -> float:
    """Bytes that the refinement of the largest of these tomograms takes: a band of rows, and a tile."""
    band = 12 * max(
        min(z * min(tile, y) * x, max(COLUMN_VOXELS, z * min(tile, y) * min(tile, x)))
        for z, y, x in shapes_zyx
    )
    voxels = max(math.prod(min(tile, n) for n in shape) for shape in shapes_zyx)
    return band + _kept_bytes(config, precision) / 4 * voxels + _weight_bytes(config)


def require_free_memory(needed_bytes: float, device: torch.device, what: str, do: str) -> None:
    """Refuse what would take far more memory than there is, before any time is spent on it.

    Parameters
    ----------
    needed_bytes
        Of all, what the process has taken already included.
    what, do
        What takes it, and how it would take less, for the message.

    Raises
    ------
    InputError
        If it exceeds what is free by half.
    """
    free = free_memory_GB(device)
    if device.type != "cuda":
        needed_bytes -= taken_bytes()
    if free is not None and needed_bytes / 1e9 > _MARGIN * max(free, 0.0):
        raise InputError(
            f"{what}: about {needed_bytes / 1e9:.1f} GB of memory needed, {free:.1f} GB free: {do}"
        )


def free_memory_GB(device: torch.device | None = None) -> float | None:
    """Memory that this process may still take: of the GPU, or of the machine, its limits and its container.

    None where the system does not tell.
    """
    if device is not None and device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 1e9
    free = [_free_of_machine(), _free_of_limit(), *_free_of_cgroups()]
    known = [value for value in free if value is not None]
    return min(known) / 1e9 if known else None


def taken_bytes() -> float:
    """Bytes of main memory that this process has for itself; 0 where the system does not tell.

    Not those of mapped files, which the system takes back when others need room.
    """
    resident, mapped = (_of_process(place) or 0.0 for place in (1, 2))
    return resident - mapped


def _free_of_machine() -> float | None:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            values = dict(line.split(":", 1) for line in file)
        return int(values["MemAvailable"].split()[0]) * 1024.0
    except (OSError, KeyError, ValueError):
        pass
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError):
        return None


def _free_of_limit() -> float | None:
    """What ulimit -v leaves."""
    limit, taken = resource.getrlimit(resource.RLIMIT_AS)[0], _of_process(0)
    return None if limit == resource.RLIM_INFINITY or taken is None else limit - taken


def _free_of_cgroups() -> Iterator[float]:
    """What the limits of containers and jobs leave, those of SLURM and systemd among them."""
    for folder in own_cgroups("memory"):
        for most, taken, prefix in (
            ("memory.max", "memory.current", ""),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),  # version 1
        ):
            with suppress(ValueError, KeyError):  # "max", or no such file
                parts = dict(line.split() for line in read_text(folder / "memory.stat").splitlines())
                # Pages of files are given up when needed.
                pages = sum(float(parts[f"{prefix}{kind}_file"]) for kind in ("active", "inactive"))
                yield float(read_text(folder / most)) - float(read_text(folder / taken)) + pages


def _of_process(place: int) -> float | None:
    """Bytes of virtual memory (0), of resident memory (1), and of mapped files in that (2)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[place]) * float(os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError, IndexError):
        return None


def _kept_bytes(config: NetworkConfig, precision: Precision) -> float:
    bytes_each = 4 if precision == "32-true" else 2
    return _KEPT * config.convolutions / 2 * config.channels / config.fold**3 * bytes_each


def _weight_bytes(config: NetworkConfig) -> float:
    with torch.device("meta"):
        return 4.0 * sum(parameter.numel() for parameter in UNet(config).parameters())
