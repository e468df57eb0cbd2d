"""Entries: tilt series and half tomograms, as the files of other programs describe them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from dewedge.errors import InputError
from dewedge.geometry import CtfParameters, TiltGeometry, TiltRange
from dewedge.io.formats import read_volume
from dewedge.io.names import plain_name
from dewedge.io.tilt_images import TiltImages
from dewedge.io.tilt_series import FEWEST_TILTS, TiltSeries
from dewedge.io.volume_file import VolumeFile

# Order of the axes of a volume's array, slowest first; -z where z runs against ours.
Layout = Literal["zyx", "-zyx", "yzx"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SeriesEntry:
    """A tilt series and where its images lie.

    Parameters
    ----------
    name
        Name of the series, a plain one (`dewedge.io.names`): its results are named after it.
    program
        Whose files it was read from: IMOD, AreTomo, RELION, Warp ...
    path
        The file that describes it.
    images
        Its images, in the order of the geometry; None if only ``even`` and ``odd`` are there.
    even, odd
        Averages of the even and of the odd movie frames, or both None.
    geometry
        Geometry of the images, whichever of them.
    thickness
        Thickness in raw pixels with which the other program reconstructs; None if not known.
    movie_pixel_size_A
        Pixel size of the movies that the images are sums of; None if not known.
    optics_group
        Name of RELION's group of optics; None if not known.
    notes
        What was read from which file, assumed, and left out, one line each.

    Raises
    ------
    InputError
        If the name is no plain one, images do not fit the geometry, or they are fewer than five.
    """

    name: str
    program: str
    path: Path
    images: TiltImages | None
    geometry: TiltGeometry
    even: TiltImages | None = None
    odd: TiltImages | None = None
    thickness: int | None = None
    movie_pixel_size_A: float | None = None
    optics_group: str | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        plain_name(self.name, self.path)
        if (self.even is None) != (self.odd is None):
            raise ValueError("expected both of even and odd, or none")
        given = [images for images in (self.images, self.even, self.odd) if images is not None]
        if not given:
            raise ValueError("expected images, or even and odd")
        expected = (self.geometry.n_tilts, *self.geometry.image_shape_yx)
        for images in given:
            if images.shape != expected:
                raise InputError(
                    f"{images.first.path}: images of shape {images.shape} (n, y, x): expected {expected}, as "
                    f"{self.path.name} says"
                )
        if self.geometry.n_tilts < FEWEST_TILTS:
            raise InputError(
                f"{self.path}: expected at least {FEWEST_TILTS} tilt images, got {self.geometry.n_tilts}"
            )

    @property
    def has_frames(self) -> bool:
        """True if there are averages of even and odd frames."""
        return self.even is not None

    def open(self) -> TiltSeries:
        """The whole tilt series.

        Raises
        ------
        InputError
            If only averages of even and odd frames are there.
        """
        if self.images is None:
            raise InputError(f"{self.path}: only even and odd averages are there: expected --split frames")
        return self._series(self.images)

    def open_frames(self) -> tuple[TiltSeries, TiltSeries]:
        """The series of the even and of the odd frames.

        Raises
        ------
        InputError
            If they are not there.
        """
        if self.even is None or self.odd is None:
            raise InputError(
                f"{self.path}: no averages of even and odd frames found: expected them beside the tilt "
                "series, named like it with _EVN and _ODD or _even and _odd"
            )
        return self._series(self.even), self._series(self.odd)

    def _series(self, images: TiltImages) -> TiltSeries:
        first = images.first
        return TiltSeries(
            name=self.name,
            path=first.path,
            images=images.as_array(),
            geometry=self.geometry,
            origin_xyz_A=first.origin_xyz_A,
            labels=first.labels,
            notes=self.notes,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class HalvesEntry:
    """Two ready-made tomograms of independent noise.

    Parameters
    ----------
    name, program, path
        See `SeriesEntry`.
    half0, half1
        The tomograms of the even and of the odd tilts or frames.
    full
        The tomogram of all data; None if not there.
    mask
        A mask of the specimen; None if not there.
    tilt_range
        Measured tilts in our frame, that of the opened tomograms; None if no file tells.
    layout
        Order of the axes in the files. ``open`` undoes it.
    ctf
        CTF parameters of the tomogram, one value each, at the untilted image; None if not known.
    notes
        See `SeriesEntry`.

    Raises
    ------
    InputError
        If the name is no plain one.
    """

    name: str
    program: str
    path: Path
    half0: Path
    half1: Path
    full: Path | None = None
    mask: Path | None = None
    tilt_range: TiltRange | None = None
    layout: Layout = "zyx"
    ctf: CtfParameters | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        plain_name(self.name, self.path)

    def open(self) -> tuple[VolumeFile, VolumeFile, VolumeFile | None]:
        """Half 0, half 1 and the full tomogram, read by parts, as ``(z, y, x)`` arrays in our frame.

        Raises
        ------
        InputError
            If a file cannot be read or shapes differ.
        """
        half0, half1 = self._oriented(self.half0), self._oriented(self.half1)
        full = None if self.full is None else self._oriented(self.full)
        for other in (half1, full):
            if other is not None and other.data.shape != half0.data.shape:
                raise InputError(
                    f"{other.path}: shape {other.data.shape} (z, y, x): expected {half0.data.shape}, that of "
                    f"{half0.path}"
                )
        return half0, half1, full

    def open_mask(self) -> VolumeFile | None:
        """The mask, in our frame; None if there is none.

        Errors as `open`.
        """
        return None if self.mask is None else self._oriented(self.mask)

    def _oriented(self, path: Path) -> VolumeFile:
        volume = read_volume(path)
        data = volume.data
        if self.layout == "yzx":
            data = data.transpose(1, 0, 2)
        elif self.layout == "-zyx":
            data = data[::-1]
        return replace(volume, data=data)


Entry = SeriesEntry | HalvesEntry
