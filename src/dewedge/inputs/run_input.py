"""One input of a run, opened: a tilt series, or ready-made half-sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dewedge.errors import InputError
from dewedge.geometry import CtfParameters, TiltRange
from dewedge.io.tilt_images import TiltImages
from dewedge.io.tilt_series import TiltSeries
from dewedge.io.volume_file import VolumeFile
from dewedge.runtime.made_of import Source, plain
from dewedge.settings.sections import ReconstructSection

# Specimen is everywhere, is found by its density, or is where a file says.
Mask = Path | Literal["none", "auto"]


@dataclass(frozen=True, eq=False)
class SeriesInput:
    """One tilt series, or the two of its even and its odd frames.

    Parameters
    ----------
    name
        Of the folder of its results, where there are several.
    series
        The series; or those of the even and of the odd frames, with one geometry.
    thickness
        Of its tomogram in raw pixels, by its metadata; None if they do not tell.
    mask
        Where specimen is.
    remarks
        Notes beside those of the series.
    selected
        Numbers of the images that were selected, as `numbers`; None for all.
    """

    name: str
    series: tuple[TiltSeries, ...]
    thickness: int | None = None
    mask: Mask = "none"
    remarks: tuple[str, ...] = ()
    selected: tuple[int, ...] | None = None

    @property
    def has_frames(self) -> bool:
        """True if its half-sets are averages of even and odd frames."""
        return len(self.series) == 2

    @property
    def tilt_range(self) -> TiltRange:
        """Range of its measured tilts."""
        return self.series[0].geometry.tilt_range

    @property
    def files(self) -> list[Path]:
        """Files of images, and of a mask, that it is read from."""
        images = [path for series in self.series for path in _image_files(series)]
        return [*images, *_mask_files(self.mask)]

    @property
    def values(self) -> dict[str, Any]:
        """Values read from metadata files, as JSON has them."""
        values: dict[str, Any] = plain({**asdict(self.series[0].geometry), "thickness": self.thickness})
        return values

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on what was read and assumed."""
        n, height, width = self.series[0].images.shape
        return (f"{n} images of {height} x {width} (y, x)", *self.series[0].notes, *self.remarks)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """``(n,)`` numbers of its images in their stack from 1; of single images, in their order."""
        if self.selected is not None:
            return np.array(self.selected)
        images: Any = self.series[0].images
        if isinstance(images, TiltImages) and len({source.path for source in images.sources}) == 1:
            return np.array([source.section + 1 for source in images.sources])
        return np.arange(1, len(images) + 1)

    def select(self, indices: NDArray[np.int64], remark: str) -> SeriesInput:
        """The images at rising ``(m,)`` indices, with one more remark.

        Those of one range of the stack are still memory-mapped.
        """
        series = tuple(
            replace(one, images=_selected(one.images, indices), geometry=one.geometry.select(indices))
            for one in self.series
        )
        selected = tuple(self.numbers[indices].tolist())
        return replace(self, series=series, remarks=(*self.remarks, remark), selected=selected)

    def binned_thickness(self, section: ReconstructSection) -> int:
        """Number of z slices of its binned tomogram.

        Raises
        ------
        InputError
            If neither the configuration nor the metadata tell.
        """
        thickness = section.thickness or self.thickness
        if thickness is None:
            raise InputError(
                f"{self.name}: no thickness: expected --thickness in unbinned pixels, as in IMOD"
            )
        return max(1, round(thickness / section.bin))

    def tomogram_shape(self, section: ReconstructSection) -> tuple[int, int, int]:
        """Shape (z, y, x) of its binned tomogram; errors as `binned_thickness`."""
        height, width = self.series[0].geometry.aligned_shape_yx
        return self.binned_thickness(section), height // section.bin, width // section.bin

    def voxel_size_A(self, section: ReconstructSection) -> float:
        """Edge of the voxels of its binned tomogram in Angstrom."""
        return self.series[0].geometry.pixel_size_A * section.bin


@dataclass(frozen=True, eq=False)
class HalvesInput:
    """Ready-made tomograms of both half-sets.

    Parameters
    ----------
    name, mask
        See `SeriesInput`.
    half0, half1
        The tomograms, of one shape.
    full
        That of all data; None if it is to be their mean.
    tilt_range
        Of their measured tilts.
    remarks
        Notes on what was read and assumed.
    ctf
        CTF parameters, one value each, at the untilted image; None if not known.
    """

    name: str
    half0: VolumeFile
    half1: VolumeFile
    full: VolumeFile | None
    tilt_range: TiltRange
    mask: Mask = "none"
    remarks: tuple[str, ...] = ()
    ctf: CtfParameters | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on what was read and assumed."""
        shape, voxel = self.half0.data.shape, self.half0.voxel_size_A
        size = "not known" if voxel is None else f"{voxel:g} A"
        text = f"half-sets of {shape} (z, y, x), voxel size {size}, tilts {self.tilt_range}"
        return (text, *self.remarks)

    @property
    def volumes(self) -> dict[str, VolumeFile]:
        """Its volumes, by what they are."""
        halves = {"half-set 0": self.half0, "half-set 1": self.half1}
        return halves if self.full is None else {**halves, "full tomogram": self.full}

    @property
    def files(self) -> list[Path]:
        """Files of volumes that it is read from."""
        return [*(volume.path for volume in self.volumes.values()), *_mask_files(self.mask)]

    @property
    def values(self) -> dict[str, Any]:
        """Values read from metadata files, as JSON has them."""
        ctf = None if self.ctf is None else asdict(self.ctf)
        values: dict[str, Any] = plain({"tilt_range": self.tilt_range.plain, "ctf": ctf})
        return values

    def tomogram_shape(self, section: ReconstructSection) -> tuple[int, int, int]:
        """Shape (z, y, x) of the tomograms."""
        depth, height, width = self.half0.data.shape
        return depth, height, width

    def voxel_size_A(self, section: ReconstructSection) -> float | None:
        """Edge of the voxels of the tomograms in Angstrom, if known."""
        return self.half0.voxel_size_A


RunInput = SeriesInput | HalvesInput


def source_of(item: RunInput, results: Sequence[Path]) -> Source:
    """Files and metadata that ``results`` are made of, if it is this input."""
    return Source(item.name, item.files, item.values, results)


def _selected(images: Any, indices: NDArray[np.int64]) -> NDArray[Any]:
    if isinstance(images, TiltImages):
        return images.select(indices).as_array()
    if np.array_equal(indices, np.arange(indices[0], indices[-1] + 1)):
        return images[int(indices[0]) : int(indices[-1]) + 1]
    return images[indices]


def _image_files(series: TiltSeries) -> list[Path]:
    """The stack, or all files that the images lie in."""
    images: Any = series.images
    if not isinstance(images, TiltImages):
        return [series.path]
    return list(dict.fromkeys(source.path for source in images.sources))


def _mask_files(mask: Mask) -> list[Path]:
    return [mask] if isinstance(mask, Path) else []
