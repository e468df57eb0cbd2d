"""Simulated data with known truth, kept in a folder."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ablation import settings_of
from jobs import SIZES, Job
from numpy.typing import NDArray
from rows import locked

from dewedge.geometry import TiltGeometry, TiltRange
from dewedge.io.mrc import read_mrc
from dewedge.io.particles import read_particles
from dewedge.io.tilt_series import read_tilt_series
from dewedge.physics.reconstruction import FilterName, fbp
from dewedge.simulate.files import simulate
from dewedge.split import split_tilts

VOXEL_SIZE_A = 10.0
FILTER: FilterName = "hamming"  # the one under which the published recipe fares better
SYMMETRIC = tuple(range(-60, 61, 2))

Volume = NDArray[np.float32]


@dataclass(frozen=True)
class Kind:
    """A kind of specimen; densities are those of the SHREC 2020 data unless said otherwise.

    Parameters
    ----------
    tilt_deg
        Tilt angles.
    thickness
        Edge along z in units of that of the size.
    options
        Of `dewedge.simulate.files.simulate`.
    """

    tilt_deg: tuple[int, ...] = SYMMETRIC
    thickness: float = 1.0
    options: dict[str, Any] | None = None


KINDS = {
    "shrec": Kind(),
    "asymmetric": Kind(tilt_deg=tuple(range(-44, 61, 2))),
    "thin crowded": Kind(thickness=2 / 3, options={"n_particles": 10_000, "n_membranes": 0}),
    "thick": Kind(thickness=3 / 2),
    "thick sparse": Kind(thickness=4 / 3, options={"n_particles": 40}),
}


@dataclass(frozen=True, eq=False)
class Data:
    """Half-sets, whole and truth of one specimen as ``(z, y, x)`` volumes, and the images of the whole."""

    half0: Volume
    half1: Volume
    full: Volume
    noise_free: Volume
    truth: Volume
    tilt_range: TiltRange
    centres_zyx: NDArray[np.float64]
    images: NDArray[np.float32]
    geometry: TiltGeometry

    @property
    def thickness(self) -> int:
        return self.truth.shape[0]


def load(job: Job, seed: int, folder: Path, structures: Path) -> Data:
    """Simulate the data of a job, or read what was simulated before."""
    kind, size = KINDS[job.specimen], SIZES[job.size]
    depth, height, width = size.shape_zyx
    shape = (round(depth * kind.thickness / 8) * 8, height, width)
    molecules: Sequence[Path] = sorted(structures.glob("*.mrc")) if job.size != "smoke" else []
    if job.size != "smoke" and not molecules:
        raise SystemExit(f"{structures}: no density maps; expected those of PolNet (docs/comparison.md)")
    frames = job.split == "frames"
    name = f"{job.size}_{job.specimen}_{job.snr:.3f}_{seed}{'_frames' if frames else ''}".replace(" ", "-")
    stack = folder / f"{name}.mrc"
    with locked(stack):
        if not (folder / f"{name}_particles.star").exists():  # written last
            simulate(
                folder,
                name,
                shape_zyx=shape,
                voxel_size_A=VOXEL_SIZE_A,
                molecules=molecules,
                tilt_deg=kind.tilt_deg,
                snr=job.snr,
                frames=frames,
                seed=seed,
                **(kind.options or {}),
            )
    series = read_tilt_series(stack)
    geometry = series.geometry
    filter = settings_of(job.method, job.change).get("reconstruct", {}).get("filter", FILTER)
    reconstruct = functools.partial(_fbp, thickness=shape[0], filter=filter)
    images = np.asarray(series.images, dtype=np.float32)
    full = reconstruct(images, geometry)
    clean = np.asarray(read_mrc(folder / f"{name}_clean.mrc", stack=True).data)
    if frames:
        stacks = [
            np.asarray(read_mrc(folder / f"{name}_{half}.mrc", stack=True).data) for half in ("even", "odd")
        ]
        half0, half1 = (reconstruct(stack, geometry) for stack in stacks)
    else:
        method, _, fraction = job.split.partition(" ")
        indices = split_tilts(geometry, method, float(fraction or 0.5), seed)
        half0, half1 = (reconstruct(images[chosen], geometry.select(chosen)) for chosen in indices)
    return Data(
        half0=half0,
        half1=half1,
        full=full,
        noise_free=reconstruct(clean, geometry),
        truth=np.asarray(read_mrc(folder / f"{name}_truth.mrc").data),
        tilt_range=geometry.tilt_range,
        centres_zyx=read_particles(folder / f"{name}_particles.star").centre_zyx,
        images=images,
        geometry=geometry,
    )


def _fbp(images: NDArray[np.float32], geometry: TiltGeometry, thickness: int, filter: FilterName) -> Volume:
    return fbp(torch.from_numpy(np.array(images)), geometry, thickness, filter).numpy()
