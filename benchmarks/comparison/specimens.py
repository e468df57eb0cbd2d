"""The data: simulated with known truth, kept in a folder, or a real series of which tilts are kept back."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from ablation import settings_of
from jobs import AXIS_REFINED, REAL, REALISTIC, SIZES, Job, as_told, is_realistic
from numpy.typing import NDArray
from rows import locked

from dewedge.geometry import TiltGeometry, TiltRange
from dewedge.inputs.planes import planes_of
from dewedge.inputs.read import read_one_series
from dewedge.io.mrc import read_mrc
from dewedge.io.particles import read_particles
from dewedge.io.tilt_series import read_tilt_series
from dewedge.physics.reconstruction import FilterName, fbp
from dewedge.physics.transfer import MeasuredPlanes, constant
from dewedge.pipeline.half_sets import half_sets, with_known_axis
from dewedge.pipeline.reconstruct import fill_reconstruction
from dewedge.pipeline.validate.folder import ValidationSettings
from dewedge.pipeline.validate.validate import divide
from dewedge.scores import correlation
from dewedge.scores.withheld import WithheldScores, withheld_scores
from dewedge.scores.withholding import Withholding
from dewedge.settings.sections import Config
from dewedge.simulate.files import simulate
from dewedge.simulate.gold import Beads, bead_mask
from dewedge.simulate.realistic_files import simulate_realistic
from dewedge.split import split_tilts

VOXEL_SIZE_A = 10.0
REALISTIC_VOXEL_SIZE_A = 20.0
# Beyond its radius a bead shows as far as images resolve: the first zero of the CTF is at 20 A.
GOLD_MARGIN_A = 60.0
FILTER: FilterName = "hamming"  # the one under which the published recipe fares better
SYMMETRIC = tuple(range(-60, 61, 2))

Volume = NDArray[np.float32]


@dataclass(frozen=True)
class Kind:
    """A kind of specimen; densities are those of the SHREC 2020 data unless it is realistic.

    Parameters
    ----------
    tilt_deg
        Tilt angles.
    thickness
        Edge along z in units of that of the size.
    options
        Of `dewedge.simulate.files.simulate`, or of `simulate_realistic` if it is realistic.
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
    **{kind: Kind(tilt_deg=tuple(range(-60, 61, 3)), options={"specimen": kind}) for kind in REALISTIC},
    "cell 2 degrees": Kind(options={"specimen": "cell"}),
}


@dataclass(frozen=True, eq=False)
class Withheld:
    """What stands for the truth of a real series: the reconstruction of all tilts; which were kept back."""

    whole: Volume
    given_deg: NDArray[np.float64]
    withheld_deg: NDArray[np.float64]

    def scores(self, estimate: Volume, given: Volume, region: tuple[slice, ...] = ()) -> WithheldScores:
        """Of an estimate of a region, ``given`` being the filtered back-projection that it was made of."""
        of_region = (estimate, self.whole[region], given[region])
        return withheld_scores(*of_region, self.given_deg, self.withheld_deg)


@dataclass(frozen=True, eq=False)
class Data:
    """Half-sets, whole and truth of one specimen as ``(z, y, x)`` volumes, and the images of the whole.

    ``gold`` is True at voxels that no score looks at; there the truth has its median. A real series has no
    truth, but ``withheld``.
    """

    half0: Volume
    half1: Volume
    full: Volume
    noise_free: Volume | None
    truth: Volume | None
    tilt_range: TiltRange
    centres_zyx: NDArray[np.float64]
    images: NDArray[np.float32]
    geometry: TiltGeometry
    gold: NDArray[np.bool_] | None = None
    planes: tuple[MeasuredPlanes, MeasuredPlanes] | None = None
    withheld: Withheld | None = None

    @property
    def thickness(self) -> int:
        return self.full.shape[0]

    def score(self, estimate: Volume, region: tuple[slice, ...]) -> float:
        """How good an estimate of a region is: CC with the truth, or mean explained power of the shells."""
        if self.withheld is not None:
            scores = self.withheld.scores(estimate, self.full, region)
            return float(np.nanmean(scores.prediction.explained))
        assert self.truth is not None
        return correlation(estimate, self.truth[region])


def series_name(job: Job, seed: int) -> str:
    """The beginning of the names of the files of a job's data."""
    frames = "_frames" if job.split == "frames" else ""
    return f"{job.size}_{as_told(job.specimen)}_{job.snr:.3f}_{seed}{frames}".replace(" ", "-")


def voxel_size_A(job: Job) -> float:
    coarse = is_realistic(job.specimen) or (job.specimen in REAL and job.size != "real 10 A")
    return REALISTIC_VOXEL_SIZE_A if coarse else VOXEL_SIZE_A


def load(job: Job, seed: int, folder: Path, structures: Path, real: Path | None = None) -> Data:
    """Simulate the data of a job, or read what was simulated before; a real series from its own folder."""
    if job.specimen in REAL:
        if real is None:
            raise SystemExit(f"{job.specimen}: expected --real, the folder of the series")
        return load_real(job, real)
    if is_realistic(job.specimen):
        return load_realistic(job, seed, folder)
    kind, size = KINDS[job.specimen], SIZES[job.size]
    depth, height, width = size.shape_zyx
    shape = (round(depth * kind.thickness / 8) * 8, height, width)
    molecules: Sequence[Path] = sorted(structures.glob("*.mrc")) if job.size != "smoke" else []
    if job.size != "smoke" and not molecules:
        raise SystemExit(
            f"{structures}: no density maps; expected those of PolNet (docs/notebook/comparison.md)"
        )
    frames = job.split == "frames"
    name = series_name(job, seed)
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
        of_halves = [geometry, geometry]
    else:
        method, _, fraction = job.split.partition(" ")
        named = cast(Literal["tilts", "random"], method)
        indices = split_tilts(geometry, named, float(fraction or 0.5), seed)
        of_halves = [geometry.select(chosen) for chosen in indices]
        half0, half1 = (
            reconstruct(images[chosen], part) for chosen, part in zip(indices, of_halves, strict=True)
        )
    alike = [MeasuredPlanes(g.tilt_deg, constant(g.tilt_deg), constant(g.tilt_deg)) for g in of_halves]
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
        planes=(alike[0], alike[1]),
    )


def load_realistic(job: Job, seed: int, folder: Path) -> Data:
    """As `load`, of a realistic specimen, prepared and reconstructed as `dewedge run` does."""
    kind = KINDS[as_told(job.specimen)]
    options = {"tilt_deg": kind.tilt_deg, "frames": job.split == "frames", **(kind.options or {})}
    name, shape = series_name(job, seed), SIZES[job.size].shape_zyx
    axis = refine_axis(job)
    return simulated_realistically(folder, name, shape, voxel_size_A(job), seed, job.split, options, axis)


def refine_axis(job: Job) -> str:
    """Whether the tilt axis is put right where it is off."""
    return "auto" if job.specimen.endswith(AXIS_REFINED) else "never"


def simulated_realistically(
    folder: Path,
    name: str,
    shape: tuple[int, int, int],
    voxel_A: float,
    seed: int,
    split: str,
    options: dict[str, Any],
    axis: str = "auto",
) -> Data:
    """Data of `simulate_realistic` with these options, simulated unless they lie in the folder.

    The truth is on the grey scale of the tomogram, for the oracle: contrast of images, not of density.
    """
    stack, gold_file = folder / f"{name}.mrc", folder / f"{name}_beads.star"
    with locked(stack):
        if not gold_file.exists():  # written last
            simulate_realistic(folder, name, shape_zyx=shape, voxel_size_A=voxel_A, seed=seed, **options)
    reconstruct = {"thickness": shape[0], "refine_axis": axis}
    config = Config.model_validate({"paths": [stack], "reconstruct": reconstruct, "split": {"split": split}})
    prepared = prepare(config, shape, seed)
    beads = read_particles(gold_file)
    assert beads.radii_A is not None
    gold = bead_mask(shape, Beads(beads.centre_zyx, beads.radii_A), voxel_A, GOLD_MARGIN_A)
    truth = without_gold(np.asarray(read_mrc(folder / f"{name}_truth.mrc").data), gold)
    difference = truth - truth.mean()
    truth *= np.vdot(difference, prepared.full) / np.vdot(difference, difference)
    centres_zyx = read_particles(folder / f"{name}_particles.star").centre_zyx
    return replace(prepared, truth=truth, gold=gold, centres_zyx=centres_zyx)


def load_real(job: Job, folder: Path) -> Data:
    """A real series without the tilts that are kept back, prepared as `dewedge validate` does."""
    shape, voxel_A = SIZES[job.size].shape_zyx, voxel_size_A(job)
    stacks = sorted(folder.glob("*.mrc"))
    if len(stacks) != 1:
        raise SystemExit(f"{folder}: expected one stack (.mrc) and its .tlt and .xf, got {len(stacks)}")
    binning = round(voxel_A / read_mrc(stacks[0], stack=True).voxel_size_A)
    config = Config.model_validate({
        "paths": stacks,
        "reconstruct": {
            "thickness": shape[0] * binning,
            "bin": binning,
            "refine_axis": refine_axis(job),
        },
        "split": {"split": job.split},
    })  # fmt: skip
    kind = cast(Withholding, as_told(job.specimen).split()[-1])
    parts = divide(config, ValidationSettings(withhold=kind))
    config = with_known_axis(config, parts.item)
    given = config.series.model_copy(update={"exclude_tilts": [parts.exclude]})
    data = prepare(config.model_copy(update={"series": given}), shape, 0)
    whole = prepare(config, shape, 0).full
    given_deg, withheld_deg = parts.tilt_deg[~parts.withheld], parts.tilt_deg[parts.withheld]
    return replace(data, withheld=Withheld(whole, given_deg, withheld_deg))


def prepare(config: Config, shape: tuple[int, ...], seed: int) -> Data:
    """Half-sets and whole of one series, prepared and reconstructed as `dewedge run` does; no truth."""
    item, cpu = read_one_series(config), torch.device("cpu")
    *sets, _ = half_sets(item, config.reconstruct, config.ctf, config.split, seed, config.images)
    half0, half1, full = (np.empty(shape, np.float32) for _ in sets)
    for volume, aligned in zip((half0, half1, full), sets, strict=True):
        fill_reconstruction(volume, aligned, item, config.reconstruct, config.ctf, cpu)
    whole = sets[-1]
    planes = [planes_of(half, item, config.ctf, config.reconstruct) for half in sets[:2]]
    assert planes[0] is not None and planes[1] is not None
    return Data(
        half0=half0,
        half1=half1,
        full=full,
        noise_free=None,
        truth=None,
        tilt_range=whole.geometry.tilt_range,
        centres_zyx=np.empty((0, 3)),
        images=whole.images.numpy(),
        geometry=whole.geometry,
        planes=(planes[0], planes[1]),
    )


def without_gold(volume: Volume, gold: NDArray[np.bool_] | None) -> Volume:
    """The volume with its median where gold is."""
    if gold is None:
        return volume
    return np.where(gold, np.median(volume), volume).astype(np.float32)


def _fbp(images: NDArray[np.float32], geometry: TiltGeometry, thickness: int, filter: FilterName) -> Volume:
    return fbp(torch.from_numpy(np.array(images)), geometry, thickness, filter).numpy()
