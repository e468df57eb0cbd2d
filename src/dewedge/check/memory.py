"""Memory that fit, refinement and reconstruction will take, and what this process may still take."""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from dewedge.errors import InputError
from dewedge.learn.network import NetworkConfig, UNet
from dewedge.learn.options import FitOptions
from dewedge.learn.precision import Precision
from dewedge.learn.refine import COLUMN_VOXELS
from dewedge.learn.rounds import blocks

# Values a channel and voxel keeps for the backward pass, for two convolutions a block: measured 18 to 20.
_KEPT = 20
# Interpreter, torch and the buffers of a back-projection.
BASE_BYTES = 1.0e9
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
        needed_bytes -= resident_bytes()
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
    free = [_free_of_machine(), _free_of_limit(), _free_of_container()]
    known = [value for value in free if value is not None]
    return min(known) / 1e9 if known else None


def resident_bytes() -> float:
    """Bytes of main memory that this process has taken; 0 where the system does not tell."""
    return _of_process(1) or 0.0


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


def _free_of_container() -> float | None:
    folder = Path("/sys/fs/cgroup")
    try:
        most, taken = (float((folder / name).read_text()) for name in ("memory.max", "memory.current"))
        parts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return most - taken + float(parts["file"])  # pages of files, which are given up when needed
    except (OSError, ValueError, KeyError):  # "max", or no such container
        return None


def _of_process(place: int) -> float | None:
    """Bytes of virtual (0) or of resident memory (1)."""
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
