"""What a run starts from, checked before anything is written: tilt series, or ready-made half-sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.io.mrc import Mrc, read_mrc
from dewedge.io.tilt_series import TiltSeries, read_tilt_series
from dewedge.learn.network import PRESETS
from dewedge.learn.sampling import TomogramPair, held_out_side, measure_grey_scale
from dewedge.pipeline.config import Config, FitSection, ReconstructSection, SeriesSection, TomogramsSection
from dewedge.pipeline.mask import choose_mask, read_mask
from dewedge.split import split_tilts


@dataclass(frozen=True, eq=False)
class SeriesInput:
    """One tilt series, or the two of its even and its odd frames.

    Parameters
    ----------
    name
        Of the folder of its results, where there are several.
    series
        The series; or those of the even and of the odd frames, with one geometry.
    """

    name: str
    series: tuple[TiltSeries, ...]

    @property
    def tilt_range(self) -> TiltRange:
        return self.series[0].geometry.tilt_range

    @property
    def notes(self) -> tuple[str, ...]:
        """What was read and assumed."""
        n, height, width = self.series[0].images.shape
        return (f"{n} images of {height} x {width} (y, x)", *self.series[0].notes)

    def tomogram_shape(self, section: ReconstructSection) -> tuple[int, int, int]:
        """Shape (z, y, x) of its binned tomogram."""
        height, width = self.series[0].geometry.aligned_shape_yx
        return binned_thickness(section), height // section.bin, width // section.bin


@dataclass(frozen=True, eq=False)
class HalvesInput:
    """Ready-made tomograms of both half-sets, and of the whole unless that is to be their mean."""

    name: str
    half0: Mrc
    half1: Mrc
    full: Mrc | None
    tilt_range: TiltRange

    @property
    def notes(self) -> tuple[str, ...]:
        shape, voxel = self.half0.data.shape, self.half0.voxel_size_A
        size = "not known" if voxel is None else f"{voxel:g} A"
        low, high = self.tilt_range
        return (f"half-sets of {shape} (z, y, x), voxel size {size}, tilts {low:g} to {high:g} degrees",)

    def tomogram_shape(self, section: ReconstructSection) -> tuple[int, int, int]:
        """Shape (z, y, x) of the tomograms."""
        depth, height, width = self.half0.data.shape
        return depth, height, width


RunInput = SeriesInput | HalvesInput


def binned_thickness(section: ReconstructSection) -> int:
    """Number of z slices of the binned tomogram."""
    if section.thickness is None:
        raise InputError("no thickness: expected --thickness in unbinned pixels, as in IMOD")
    return max(1, round(section.thickness / section.bin))


def read_inputs(config: Config) -> list[RunInput]:
    """Open everything a run starts from, and check that it can be used.

    Raises
    ------
    InputError
        If a file is missing or damaged, data are not finite or constant, or files do not fit each other.
    """
    inputs: list[RunInput]
    if config.tomograms.half0 or config.tomograms.half1:
        if config.stacks:
            raise InputError(
                f"{config.stacks[0]}: expected tilt series or ready-made half-sets (--half0, --half1), got "
                "both"
            )
        inputs = [*read_halves(config.tomograms)]
    else:
        inputs = [*read_series(config.stacks, config.series, config.split.split)]
    names = [item.name for item in inputs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two inputs are named {name}: expected different names, for each gets a folder")
    for i, item in enumerate(inputs):
        shape = item.tomogram_shape(config.reconstruct)
        check_cube(item.name, shape, config.fit)
        mask = choose_mask(config.fit.mask, i, len(inputs))
        if mask not in ("none", "auto"):
            read_mask(Path(mask), shape)
        if isinstance(item, HalvesInput):
            measure_grey_scale(
                TomogramPair(item.half0.data, item.half1.data, item.tilt_range, name=item.name)
            )
        else:
            if config.split.split != "frames":
                split_tilts(
                    item.series[0].geometry, config.split.split, config.split.fraction, config.fit.seed
                )
            for series in item.series:
                check_images(series)
    return inputs


def read_series(stacks: Sequence[Path], section: SeriesSection, split: str) -> list[SeriesInput]:
    """Open tilt series, one for each stack or, with ``split`` frames, for each pair of stacks."""
    if split == "frames":
        if stacks or not section.even:
            raise InputError("--split frames: expected --even and --odd, one stack each, and no other stack")
        _expect_one_each("--odd", section.odd, section.even)
        even, odd = (_read_stacks(paths, section) for paths in (section.even, section.odd))
        return [_frames(a, b) for a, b in zip(even, odd, strict=True)]
    if section.even or section.odd:
        raise InputError(f"--even and --odd are for --split frames, got --split {split}")
    if not stacks:
        raise InputError("nothing to read: expected a tilt series, or --half0 and --half1")
    return [SeriesInput(series.name, (series,)) for series in _read_stacks(stacks, section)]


def read_halves(section: TomogramsSection) -> list[HalvesInput]:
    """Open ready-made tomograms of half-sets."""
    _expect_one_each("--half1", section.half1, section.half0)
    if section.full:
        _expect_one_each("--full", section.full, section.half0)
    if len(section.tilt_range) not in (1, len(section.half0)):
        raise InputError(
            f"--tilt-range: expected lowest and highest tilt angle once, or for each of {len(section.half0)} "
            f"tomograms, got {len(section.tilt_range)}"
        )
    ranges = [TiltRange(*pair).validated() for pair in section.tilt_range]
    inputs = []
    for i, path in enumerate(section.half0):
        half0, half1 = read_mrc(path), read_mrc(section.half1[i])
        full = read_mrc(section.full[i]) if section.full else None
        for other in (half1, full):
            if other is not None and other.data.shape != half0.data.shape:
                raise InputError(
                    f"{other.path}: shape {other.data.shape} (z, y, x): expected {half0.data.shape}, that of "
                    f"{path}"
                )
        name = path.stem if full is None else full.path.stem
        inputs.append(HalvesInput(name, half0, half1, full, ranges[i % len(ranges)]))
    return inputs


def check_cube(name: str, shape_zyx: tuple[int, int, int], section: FitSection) -> None:
    """Refuse cubes that do not suit the network, or do not fit the tomogram beside its held-out region."""
    multiple = 2 ** PRESETS[section.preset].levels
    if section.cube_size % multiple:
        raise InputError(
            f"--cube-size {section.cube_size}: expected a multiple of {multiple} for this network"
        )
    held_out_side(name, shape_zyx, section.cube_size, section.held_out)


def check_images(series: TiltSeries) -> None:
    """Refuse images that are constant or hold values that are not finite."""
    for i, (image, tilt) in enumerate(zip(series.images, series.geometry.tilt_deg, strict=True)):
        low, high = float(image.min()), float(image.max())
        where = f"{series.path}: image {i + 1} (at {tilt:g} degrees)"
        if not np.isfinite([low, high]).all():
            raise InputError(
                f"{where} holds NaN or infinite values: leave this tilt out or export the stack again"
            )
        if low == high:
            raise InputError(f"{where} is constant ({low:g}): leave this tilt out or export the stack again")


def _read_stacks(stacks: Sequence[Path], section: SeriesSection) -> list[TiltSeries]:
    sidecars = {}
    for flag in ("angles", "xf", "mdoc"):
        given = getattr(section, flag)
        if given:
            _expect_one_each(f"--{flag}", given, stacks)
        sidecars[flag] = given or [None] * len(stacks)
    return [
        read_tilt_series(
            stack,
            angles=sidecars["angles"][i],
            xf=sidecars["xf"][i],
            mdoc=sidecars["mdoc"][i],
            axis_angle_deg=section.axis_angle_deg,
            pixel_size_A=section.pixel_size_A,
        )
        for i, stack in enumerate(stacks)
    ]


def _frames(even: TiltSeries, odd: TiltSeries) -> SeriesInput:
    if even.images.shape != odd.images.shape:
        raise InputError(
            f"{odd.path}: shape {odd.images.shape} (n, y, x): expected {even.images.shape}, that of "
            f"{even.path}"
        )
    if not np.allclose(even.geometry.tilt_deg, odd.geometry.tilt_deg, atol=0.01):
        raise InputError(
            f"{odd.path}: its tilt angles are not those of {even.path}: expected one file of angles"
        )
    name = even.name
    for ending in ("_EVN", "_EVEN", "_even", "_evn"):
        name = name.removesuffix(ending)
    return SeriesInput(name, (even, odd))


def _expect_one_each(flag: str, given: Sequence[Path], each: Sequence[Path]) -> None:
    if len(given) != len(each):
        names = ", ".join(path.name for path in each) or "none"
        raise InputError(f"{flag}: expected one file for each of {len(each)} ({names}), got {len(given)}")
