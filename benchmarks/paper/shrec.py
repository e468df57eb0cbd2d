"""The simulated cells of SHREC 2020 as they are downloaded, and the tilt series that are made of them.

``shrec2020_full_dataset/model_0`` to ``model_9`` (DataverseNL, doi:10.34894/Y2ZMRH; the contest's page) hold
grandmodel.mrc and grandmodel_noisefree.mrc (without water and structural noise), class_mask.mrc,
occupancy_mask.mrc (number of the particle, by its line), class_bbox.mrc, occupancy_bbox.mrc,
projections.mrc, projections_noisefree.mrc, reconstruction.mrc and particle_locations.txt (PDB code, x, y, z
and three angles, a line a particle). Voxels are 10 A; volumes measure 512 x 512, and 200 or 512 in z, where
only the middle 200 hold the cell. SHREC 2021 has the same names but for the noise-free ones, and is read too.

Not known, hence found out: whether a volume is 200 or 512 high and from where z is counted in
particle_locations.txt (by the occupancy mask). The projections there have a CTF and the noise of counts; the
paper projects the model anew and adds white noise, and so does this.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dewedge.errors import InputError
from dewedge.io.angles import write_tilt_angles
from dewedge.io.entries import SeriesEntry
from dewedge.io.mdoc import write_mdoc
from dewedge.io.mrc import read_mrc, write_mrc
from dewedge.io.particles import read_particles, write_particles
from dewedge.io.programs.imod import read_imod_series
from dewedge.io.text_files import read_text
from dewedge.simulate.tilt_series import simulate_tilt_series, tilt_geometry
from paper.settings import TILTS

DOWNLOAD = "https://doi.org/10.34894/Y2ZMRH (the full data set)"
VOXEL_SIZE_A = 10.0
# Height of the cell over the edge of the volume it stands in.
SLAB = 200 / 512
# Share of the particles whose place lies in what the occupancy mask says is theirs.
FITTING = 0.5
# In particle_locations.txt, but no molecules.
NO_MOLECULES = ("vesicle", "fiducial", "0")


@dataclass(frozen=True, eq=False)
class Cell:
    """A simulated cell.

    Parameters
    ----------
    density
        ``(z, y, x)``, protein positive.
    species, centres_zyx
        Name and centre of each molecule, in voxels of ``density``.
    """

    density: NDArray[np.float32]
    species: tuple[str, ...]
    centres_zyx: NDArray[np.float64]


@dataclass(frozen=True)
class SimulatedCell:
    """Files of a tilt series with known truth: the entry of the series, the truth, its molecules."""

    entry: SeriesEntry
    truth: Path
    particles: Path

    @property
    def centres_zyx(self) -> NDArray[np.float64]:
        return read_particles(self.particles).centre_zyx


def model_folder(folder: Path, number: int) -> Path:
    """The folder of a model, below ``folder``.

    Raises
    ------
    InputError
        If there is none.
    """
    name = f"model_{number}"
    found = sorted(path.parent for path in folder.rglob("particle_locations.txt") if path.parent.name == name)
    if not found:
        raise InputError(f"{folder}: no {name} with particle_locations.txt: get it from {DOWNLOAD}")
    return found[0]


def read_cell(folder: Path) -> Cell:
    """Density and molecules of a model.

    Raises
    ------
    InputError
        If a file is missing or they do not fit each other.
    """
    density = _slab(_first_of(folder, "grandmodel_noisefree.mrc", "grandmodel.mrc"))
    occupancy = _slab(_first_of(folder, "occupancy_mask.mrc"))
    if occupancy.shape != density.shape:
        raise InputError(f"{folder}: occupancy_mask.mrc is {occupancy.shape}, the model {density.shape}")
    species, centres = read_locations(folder / "particle_locations.txt")
    depth, edge = density.shape[0], max(density.shape[1:])
    shift = _shift(folder, occupancy, centres, (0, (edge - depth) // 2))
    chosen = [i for i, name in enumerate(species) if name not in NO_MOLECULES]
    return Cell(
        np.array(density, dtype=np.float32),
        tuple(species[i] for i in chosen),
        centres[chosen] - [shift, 0, 0],
    )


def read_locations(path: Path) -> tuple[list[str], NDArray[np.float64]]:
    """Name and ``(n, 3)`` place (z, y, x) of each particle, as the file has them.

    Raises
    ------
    InputError
        If a line holds something else.
    """
    names, rows = [], []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        try:
            x, y, z = (float(word) for word in words[1:4])
        except ValueError:
            raise InputError(f"{path}, line {number}: expected a name, x, y and z") from None
        names.append(words[0])
        rows.append((z, y, x))
    if not rows:
        raise InputError(f"{path}: expected a particle on every line, the file is empty")
    return names, np.array(rows)


def simulated_cell(folder: Path, number: int, snr: float, work: Path, frames: bool = False) -> SimulatedCell:
    """The tilt series of a model at an SNR, simulated into ``work`` unless it is there.

    Raises
    ------
    InputError
        If the model cannot be read.
    """
    name = f"model_{number}_snr_{snr:.3f}{'_frames' if frames else ''}"
    stack, truth, particles = (
        work / f"{name}{ending}" for ending in (".mrc", "_truth.mrc", "_particles.star")
    )
    halves = (work / f"{name}_even.mrc", work / f"{name}_odd.mrc") if frames else None
    if not particles.exists():  # written last
        cell = read_cell(model_folder(folder, number))
        geometry_rng, noise_rng = np.random.default_rng(number).spawn(2)
        geometry = tilt_geometry(TILTS.value, cell.density.shape, VOXEL_SIZE_A, geometry_rng)
        series = simulate_tilt_series(cell.density, geometry, snr, noise_rng, frames)
        stacks = {stack: series.noisy}
        if halves is not None and series.even is not None and series.odd is not None:
            stacks |= {halves[0]: series.even, halves[1]: series.odd}
        for path, images in stacks.items():
            write_mrc(path, images, VOXEL_SIZE_A, stack=True, what="SHREC")
        write_tilt_angles(stack.with_suffix(".tlt"), geometry.tilt_deg)
        write_mdoc(work / f"{name}.mrc.mdoc", geometry, stack.name)
        write_mrc(truth, -cell.density, VOXEL_SIZE_A, what="SHREC")
        write_particles(
            particles, cell.centres_zyx, cell.species, voxel_size_A=VOXEL_SIZE_A, tomogram_name=name
        )
    thickness = read_mrc(truth).data.shape[0]
    entry = read_imod_series(stack, halves, root=name)
    return SimulatedCell(replace(entry, thickness=thickness), truth, particles)


def _first_of(folder: Path, *names: str) -> Path:
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        raise InputError(f"{folder}: no {' or '.join(names)}: get it from {DOWNLOAD}")
    return found[0]


def _slab(path: Path) -> NDArray[np.float32]:
    """The part of a volume that holds the cell."""
    volume = read_mrc(path).data
    depth, edge = volume.shape[0], max(volume.shape[1:])
    kept = round(edge * SLAB)
    if depth == edge:
        start = (depth - kept) // 2
        return volume[start : start + kept]
    return volume


def _shift(
    folder: Path, occupancy: NDArray[np.float32], centres: NDArray[np.float64], shifts: tuple[int, ...]
) -> int:
    """The height of the volume's first section in the frame of the particles' places."""
    fitting = []
    for shift in shifts:
        z, y, x = np.round(centres - [shift, 0, 0]).astype(int).T
        inside = np.all([(i >= 0) & (i < n) for i, n in zip((z, y, x), occupancy.shape, strict=True)], axis=0)
        numbers = np.flatnonzero(inside) + 1
        fitting.append(float((occupancy[z[inside], y[inside], x[inside]] == numbers).sum() / len(centres)))
    best = int(np.argmax(fitting))
    if fitting[best] < FITTING:
        raise InputError(
            f"{folder}: only {fitting[best]:.0%} of the particles of particle_locations.txt lie where "
            "occupancy_mask.mrc says: expected the files of one model"
        )
    return shifts[best]
