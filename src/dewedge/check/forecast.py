"""Memory, disk and time that a run will take on this machine: simple models, and one measured speed."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.utils import convert_conv3d_weight_memory_format

from dewedge.check.finding import Finding
from dewedge.check.memory import BASE_BYTES, Shape, fit_bytes, free_memory_GB, refine_bytes
from dewedge.learn.network import NetworkConfig, UNet
from dewedge.learn.objective import objective_of
from dewedge.learn.options import FitOptions
from dewedge.learn.precision import AUTOCAST, Precision
from dewedge.settings.sections import FilesSection, OutputFormat

# The edge of the cube on which the network's speed is measured.
_PROBE = 48
# A step of the fit against applying the network to as many voxels: measured on a CPU (backward pass, crops,
# wedge masks and transforms included).
_FIT_TIMES = 4.1
# Full, beads and mask, and total variation of an eighth of their voxels; half-set 0 and half-set 1.
_FILES, _HALVES = 3.125, 2.0
# OME-Zarr with its coarser levels, as if it could not be compressed, in volumes of float32.
_ZARR = 8 / 7


@dataclass(frozen=True)
class Forecast:
    """Memory, disk and time that a run will take.

    Parameters
    ----------
    memory_GB, free_memory_GB
        Highest use of main memory (or, of the network, of the GPU's), and what the machine has free; None if
        it does not tell.
    disk_GB, left_GB, free_disk_GB
        Most that is there of the results at a time, what is left of them, and the space where they go.
    fit_s
        Seconds of the fit if it is not stopped early.
    fit_samples
        Sub-tomograms in that time.
    refine_s
        Seconds of the refinement.
    """

    memory_GB: float
    free_memory_GB: float | None
    disk_GB: float
    left_GB: float
    free_disk_GB: float
    fit_s: float
    fit_samples: int
    refine_s: float

    def __str__(self) -> str:
        fit = f"fit {_minutes(self.fit_s)} ({self.fit_samples} sub-tomograms), " if self.fit_s else ""
        left = f" ({self.left_GB:.2f} GB at the end)" if self.left_GB < 0.99 * self.disk_GB else ""
        return (
            f"{fit}refinement {_minutes(self.refine_s)}, memory {self.memory_GB:.1f} GB, disk "
            f"{self.disk_GB:.2f} GB{left}"
        )


def network_speed(config: NetworkConfig, device: torch.device, precision: Precision) -> float:
    """Voxels a second to which the network is applied here, the best of a few tries."""
    # The run draws its own weights from the same generator later.
    with torch.random.fork_rng(devices=[]):
        network = UNet(config).to(device).eval()
    network = convert_conv3d_weight_memory_format(network, torch.channels_last_3d)
    cube = torch.zeros(1, 1, _PROBE, _PROBE, _PROBE, device=device)
    best = float("inf")
    with torch.no_grad(), torch.autocast(device.type, AUTOCAST.get(precision), enabled=precision in AUTOCAST):
        for _ in range(3):
            started = time.perf_counter()
            network(cube).sum().item()
            best = min(best, time.perf_counter() - started)
    return _PROBE**3 / best


def forecast(
    shapes_zyx: list[tuple[int, int, int]],
    reconstruction_bytes: float,
    config: NetworkConfig,
    options: FitOptions,
    *,
    voxels_per_s: float,
    precision: Precision,
    tile: int,
    overlap: int,
    predictions: int,
    fits: int,
    output_format: OutputFormat,
    files: FilesSection,
    folder: Path,
) -> Forecast:
    """Forecast what a run of tomograms of these shapes will take.

    Parameters
    ----------
    shapes_zyx
        Shapes of the binned tomograms.
    reconstruction_bytes
        The most that `dewedge.check.memory.reconstruct_bytes` tells of a series; 0 for ready-made half-sets.
    voxels_per_s
        Of `network_speed`.
    tile, overlap, predictions
        Of refinement; predictions are how many each tile is the average of.
    fits
        Number of networks that are fitted, one after the other; 0 if one is there.
    output_format
        Of the refined tomogram.
    files
        How volumes are kept.
    folder
        Where the results go; it need not exist.
    """
    voxels = [z * y * x for z, y, x in shapes_zyx]
    passes = _FIT_TIMES + objective_of(options).further_passes
    sample_s = passes * options.cube_size**3 / voxels_per_s
    limits = [] if options.budget_s is None else [options.budget_s]
    if options.epochs is not None:
        limits.append(options.epochs * options.epoch_steps * options.batch_size * sample_s)
    fit_s = fits * min(limits)
    fit = fit_bytes(config, options, shapes_zyx, precision) if fits else 0.0
    refinement = refine_bytes(config, shapes_zyx, tile, precision)
    kept, halves, scratch = _volumes(output_format, files)
    left = kept + (halves if files.half_sets == "keep" else 0.0)
    # With a network each, or a given one, tomograms are taken by turns, and half-sets go by turns, too.
    at_once = max(voxels) if fits != 1 and files.half_sets == "drop" else sum(voxels)
    most = kept * sum(voxels) + halves * at_once + scratch * max(voxels)
    memory = BASE_BYTES + max(fit, refinement, reconstruction_bytes)
    return Forecast(
        memory_GB=memory / 1e9,
        free_memory_GB=free_memory_GB(),
        disk_GB=4 * most / 1e9,
        left_GB=4 * left * sum(voxels) / 1e9,
        free_disk_GB=shutil.disk_usage(_existing(folder)).free / 1e9,
        fit_s=fit_s,
        fit_samples=round(fit_s / sample_s),
        refine_s=predictions * tiled_voxels(shapes_zyx, tile, overlap) / voxels_per_s,
    )


def _volumes(output_format: OutputFormat, files: FilesSection) -> tuple[float, float, float]:
    """Volumes of float32, of a tomogram: that stay, of half-sets, and that are there while it is made."""
    share = 0.5 if files.output_dtype == "float16" else 1.0
    refined = {"mrc": share, "zarr": _ZARR, "both": share + _ZARR}[output_format]
    # OME-Zarr is written from an array in a file without a name; float16 from files of float32.
    scratch = max(0.0 if output_format == "mrc" else _ZARR, (1 - share) * (_FILES + _HALVES))
    return share * _FILES + refined, share * _HALVES, scratch


def tiled_voxels(shapes_zyx: Sequence[Shape], tile: int, overlap: int) -> float:
    """Voxels of all tiles of these tomograms: tiles overlap along every axis they divide."""
    return sum(math.prod(n * _tiles(n, tile, overlap) for n in shape) for shape in shapes_zyx)


def check_forecast(name: str, predicted: Forecast, cube_size: int, batch_size: int) -> list[Finding]:
    """Findings where a run takes more than there is."""
    findings = []
    if predicted.disk_GB > predicted.free_disk_GB:
        findings.append(
            Finding(
                "error",
                name,
                f"{predicted.disk_GB:.1f} GB of results, {predicted.free_disk_GB:.1f} GB free",
                "disk",
                "The run would stop before its end",
                "Free some space, give another -o, or more --bin",
            )
        )
    free = predicted.free_memory_GB
    if free is not None and predicted.memory_GB > free:
        findings.append(
            Finding(
                "warning",
                name,
                f"about {predicted.memory_GB:.1f} GB needed, {free:.1f} GB free",
                "memory",
                "The run may be killed",
                f"Give less than --cube-size {cube_size} or --batch-size {batch_size}, or more --bin",
            )
        )
    return findings


def _tiles(size: int, tile: int, overlap: int) -> float:
    """How often a voxel is in a tile along one axis, on average."""
    if size <= tile:
        return 1.0
    count = 1 + -(-(size - tile) // max(1, tile - overlap))
    return count * tile / size


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
