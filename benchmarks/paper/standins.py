"""Small simulated data under the names, in the folders and with the headers of the downloads.

Specimens, tilts and noise are those of the simulator; a CTF there is none, so the files of defocus describe
one that the images do not have. Pixel sizes are the real ones, images small: a few tens of voxels across
after the paper's binning by 6.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dewedge.geometry import TiltGeometry
from dewedge.io.files import write_text_atomic
from dewedge.io.star import write_star
from dewedge.io.xf import geometry_arrays_to_xf, write_xf
from dewedge.simulate.builtin import builtin_molecules
from dewedge.simulate.molecules import Molecule
from dewedge.simulate.specimen import OCCUPIED, Specimen, rotate_density, simulate_specimen
from dewedge.simulate.tilt_series import dose_symmetric_order, simulate_tilt_series, tilt_geometry

Floats = NDArray[np.float32]

BINNING = 6
RIBOSOME_PIXEL_A, FLAGELLUM_PIXEL_A, SHREC_VOXEL_A = 2.17, 2.3555, 10.0
FRAMES = 10
COUNTS = 8.0  # electrons a raw pixel and frame
SNR = 0.25
IMOD_STAMP = 1146047817  # with flags of 0 behind it: bytes are unsigned


def write_all(folder: Path) -> None:
    """The three downloads, in folders of their own."""
    write_ribosomes(folder / "10045")
    write_flagella(folder / "Tomo110_download")
    write_shrec(folder / "shrec")


def write_ribosomes(
    folder: Path, numbers: Sequence[int] = range(5, 12), edge: int = 64, depth: int = 32, step: int = 6
) -> list[Specimen]:
    """EMPIAR-10045 below ``folder``: series ``numbers`` of ``edge`` x ``edge`` pixels after binning by 6."""
    specimens = []
    root = folder / "data" / "ribosomes"
    voxel_A = RIBOSOME_PIXEL_A * BINNING
    for number in numbers:
        name = f"IS002_291013_{number:03d}"
        place = root / "Tomograms" / f"{number:02d}"
        place.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(number)
        # The last one was stopped half way, as the deposited one was.
        nominal = np.arange(-60, 31 if number == 11 else 61, step)
        specimen = _specimen((depth, edge, edge), voxel_A, rng)
        geometry = tilt_geometry(nominal, (depth, edge, edge), voxel_A, rng)
        series = simulate_tilt_series(specimen.volume, geometry, SNR, rng)
        images = 1000 + 200 * _enlarged(series.noisy) / float(series.clean.std())
        _write(place / f"{name}.mrcs", images.round().astype(np.int16), RIBOSOME_PIXEL_A, stack=True)
        tomogram = np.zeros((depth * BINNING // 2, edge * BINNING // 2, edge * BINNING // 2), np.int8)
        _write(place / f"{name}.mrc", tomogram, 2 * RIBOSOME_PIXEL_A)  # as of a tomogram binned by 2
        refined = nominal + 0.3 + rng.normal(scale=0.1, size=nominal.size)
        _write_lines(place / f"{name}.tlt", [f"{angle:.2f}" for angle in refined])
        dose = 2.0 * (dose_symmetric_order(geometry.tilt_deg) + 1.0)
        in_time = np.argsort(dose)
        _write_lines(place / f"{name}.order", [f"{nominal[i]:.1f}\t{dose[i]:.2f}" for i in in_time])
        centres = specimen.centres_zyx[:, ::-1] * BINNING
        _write_lines(place / f"{name}.coords", ["\t".join(map(str, centre)) for centre in centres])
        results = root / "AnticipatedResults" / "Tomograms" / f"{number:02d}" / "ctffind"
        results.mkdir(parents=True, exist_ok=True)
        um = 3.0 + 0.1 * rng.normal(size=(nominal.size, 2))
        names = [f"ctffind/{name}_image{angle:.2f}_{i}.mrc" for angle in refined for i in (0, 1)]
        columns: dict[str, Sequence[object]] = {
            "rlnMicrographName": names,
            "rlnDefocusU": (1e4 * um).ravel().tolist(),
            "rlnDefocusV": (1e4 * um).ravel().tolist(),
        }
        write_star(results / f"{name}_ctffind.star", {"": columns})
        specimens.append(specimen)
    return specimens


def write_flagella(
    folder: Path, edge: int = 64, depth: int = 32, step: int = 4, motion_corrected: bool = False
) -> Specimen:
    """Tomo110 below ``folder``; with ``motion_corrected`` also the halves of the notebook."""
    frames, imod = folder / "Tomo110" / "frames", folder / "Tomo110" / "imod"
    for place in (frames, imod, *((frames / half for half in ("even", "odd")) if motion_corrected else ())):
        place.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(110)
    voxel_A, tilts = FLAGELLUM_PIXEL_A * BINNING, np.arange(64, -65, -step)
    ascending = tilts[::-1]
    aligned = tilt_geometry(ascending, (depth, edge, edge), voxel_A, rng, axis_angle_deg=3.0, jitter_A=20.0)
    specimen = _specimen((depth, edge, edge), voxel_A, rng)
    clean = simulate_tilt_series(specimen.volume, aligned, 1.0, rng).clean
    # Counts fall where the specimen is dense. Tilts were taken from -16 degrees up, then down.
    expected = COUNTS * np.exp(0.15 * _enlarged(clean) / float(clean.std()))
    in_time = [*tilts[tilts >= -16][::-1], *tilts[tilts < -16]]
    for i, tilt in enumerate(tilts):
        late = in_time.index(tilt)
        minute, second = divmod(45 * late, 60)
        name = f"{i + 1:02d}_Tomo110_{float(tilt)}_Apr04_15.{minute:02d}.{second:02d}.mrc"
        counts = rng.poisson(expected[len(tilts) - 1 - i], size=(FRAMES, edge * BINNING, edge * BINNING))
        movie = counts.clip(0, 255).astype(np.uint8)
        _write(frames / name, movie, FLAGELLUM_PIXEL_A, stack=True)
        for start, half in enumerate(("even", "odd")) if motion_corrected else ():
            _write(
                frames / half / name, movie[start::2].sum(axis=0, dtype=np.float32)[None], FLAGELLUM_PIXEL_A
            )
    _write_lines(imod / "Tomo110.tlt", [f"{tilt + 0.4:.2f}" for tilt in tilts])
    _write_lines(imod / "Tomo110.xtilt", ["0.00"] * len(tilts))
    _write_lines(imod / "Tomo110.defocus", [f"1 {len(tilts)} {tilts.min():.2f} {tilts.max():.2f} 3500 2"])
    raw = _raw_geometry(aligned, (edge * BINNING, edge * BINNING))
    matrices, shifts = geometry_arrays_to_xf(raw.linear_yx, raw.shift_yx, raw.image_shape_yx)
    write_xf(imod / "Tomo110.xf", matrices[::-1], shifts[::-1])
    for name, lines in _commands(edge * BINNING, depth * BINNING).items():
        _write_lines(imod / name, lines)
    return specimen


def write_shrec(folder: Path, edge: int = 96) -> list[Specimen]:
    """Two models below ``folder``: 0 with volumes as high as the cell, 1 with cubes."""
    depth = round(edge * 200 / 512)
    specimens = []
    for number, cube in ((0, False), (1, True)):
        place = folder / "shrec2020_full_dataset" / f"model_{number}"
        place.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(number)
        specimen = _specimen((depth, edge, edge), SHREC_VOXEL_A, rng, n_gold=0)
        occupancy = _occupancy(specimen)
        kinds = sorted(set(specimen.species))
        numbers = [0, *(kinds.index(species) + 1 for species in specimen.species)]
        start = (edge - depth) // 2 if cube else 0

        def framed(volume: NDArray[Any], start: int = start) -> NDArray[Any]:
            return np.pad(volume, ((start, (edge - depth - start) if start else 0), (0, 0), (0, 0)))

        water = rng.normal(scale=0.1, size=specimen.volume.shape).astype(np.float32)
        volumes = {
            "grandmodel_noisefree": specimen.volume,
            "grandmodel": specimen.volume + 1 + water,
            "occupancy_mask": occupancy.astype(np.float32),
            "class_mask": np.array(numbers, np.float32)[occupancy],
        }
        for name, volume in volumes.items():
            _write(place / f"{name}.mrc", framed(volume), 1.0)
        geometry = tilt_geometry(range(-60, 61, 10), specimen.volume.shape, SHREC_VOXEL_A, rng)
        series = simulate_tilt_series(specimen.volume, geometry, SNR, rng)
        _write(place / "projections.mrc", series.noisy, 1.0)
        _write(place / "projections_noisefree.mrc", series.clean, 1.0)
        _write(place / "reconstruction.mrc", np.zeros((edge, edge, edge), np.float32), 1.0)
        lines = [
            f"{name} {x} {y} {z + start} 0.0000 0.0000 0.0000"
            for name, (z, y, x) in zip(specimen.species, specimen.centres_zyx, strict=True)
        ]
        _write_lines(place / "particle_locations.txt", [*lines, f"fiducial 5 5 {start + 1} 0 0 0"])
        specimens.append(specimen)
    return specimens


def _specimen(
    shape: tuple[int, int, int], voxel_A: float, rng: np.random.Generator, n_gold: int = 1
) -> Specimen:
    molecules = [m for m in _molecules(voxel_A) if m.density.shape[0] <= 0.8 * min(shape)]
    return simulate_specimen(shape, molecules, rng, n_particles=30, n_membranes=0, n_gold=n_gold)


@functools.cache
def _molecules(voxel_A: float) -> tuple[Molecule, ...]:
    return tuple(builtin_molecules(voxel_A))


def _occupancy(specimen: Specimen) -> NDArray[np.int64]:
    """Number of the particle in each voxel, by its line."""
    occupancy = np.zeros(specimen.volume.shape, dtype=np.int64)
    molecules = {m.name: m for m in _molecules(specimen.voxel_size_A)}
    particles = zip(specimen.species, specimen.centres_zyx, specimen.rotations, strict=True)
    for number, (name, (z, y, x), rotation) in enumerate(particles, start=1):
        coefficients = ndimage.spline_filter(molecules[name].density, output=np.float32)
        inside = rotate_density(coefficients, rotation) > OCCUPIED
        half = inside.shape[0] // 2
        box = np.s_[z - half : z + half + 1, y - half : y + half + 1, x - half : x + half + 1]
        occupancy[box][inside] = number
        occupancy[z, y, x] = number  # where a molecule is hollow
    return occupancy


def _enlarged(images: Floats) -> Floats:
    """Every pixel as 6 x 6 raw ones."""
    return images.repeat(BINNING, axis=1).repeat(BINNING, axis=2)


def _raw_geometry(binned: TiltGeometry, shape_yx: tuple[int, int]) -> TiltGeometry:
    """The geometry of enlarged images: their middle lies 2.5 pixels from that of the first raw one of 6."""
    middle = (BINNING - 1) / 2
    offset = middle - binned.linear_yx @ np.full(2, middle)
    return TiltGeometry(
        tilt_deg=binned.tilt_deg,
        image_shape_yx=shape_yx,
        pixel_size_A=binned.pixel_size_A / BINNING,
        linear_yx=binned.linear_yx,
        shift_yx=binned.shift_yx * BINNING + offset,
    )


def _commands(edge: int, thickness: int) -> dict[str, list[str]]:
    """The entries of etomo's command files that are read, and some that are not."""
    return {
        "newst.com": [
            "$newstack -StandardInput",
            "InputFile\tTomo110.st",
            "OutputFile\tTomo110.ali",
            "TransformFile\tTomo110.xf",
            "OffsetsInXandY\t0.0,0.0",
            "BinByFactor     1",
        ],
        "ctfcorrection.com": ["$ctfphaseflip -StandardInput", "Voltage\t300", "SphericalAberration\t2.7"],
        "eraser.com": ["$ccderaser -StandardInput"],
        "tilt.com": [
            "$tilt -StandardInput",
            "IMAGEBINNED 1",
            "TILTFILE Tomo110.tlt",
            f"THICKNESS {thickness}",
            "XAXISTILT 2.1",
            f"FULLIMAGE {edge} {edge}",
            "XTILTFILE Tomo110.xtilt",
            "LOCALFILE Tomo110local.xf",
            "OFFSET 0.0",
            "SHIFT 0.0 0.0",
        ],
    }


def _write(path: Path, array: NDArray[Any], voxel_size_A: float, stack: bool = False) -> None:
    """An MRC file of the array's own type; bytes unsigned, and stamped so, as SerialEM writes them."""
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(array.view(np.int8) if array.dtype == np.uint8 else array)
        if stack:
            mrc.set_image_stack()
        mrc.voxel_size = voxel_size_A
        if array.dtype == np.uint8:
            extra = bytearray(mrc.header.extra2.tobytes())
            extra[40:48] = np.array([IMOD_STAMP, 0], dtype="<i4").tobytes()
            mrc.header.extra2 = np.void(bytes(extra))


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    write_text_atomic(path, "\n".join(lines) + "\n")
