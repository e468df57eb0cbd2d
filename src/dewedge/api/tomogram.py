"""Tomograms, and pairs of half-sets, as arrays that know their voxels and tilts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dewedge.check.volumes import check_tomogram, check_voxel_sizes, require_sound
from dewedge.errors import InputError
from dewedge.geometry import TiltRange, TiltRangeLike
from dewedge.inputs.run_input import Mask
from dewedge.io.files import StrPath
from dewedge.io.formats import read_volume, write_volume
from dewedge.io.volume_file import file_of
from dewedge.physics.transfer import MeasuredPlanes
from dewedge.pipeline.ready_made import fill_mean
from dewedge.runtime.folder import require_new


@dataclass(frozen=True, eq=False, repr=False)
class Tomogram:
    """A tomogram; where numpy expects an array it is one.

    Parameters
    ----------
    data
        ``(z, y, x)`` array, in memory or memory-mapped, of any grey scale; the tilt axis is y.
    voxel_size_A
        Edge of a voxel in Angstrom; None if not known.
    tilt_range
        Lowest and highest measured tilt angle in degrees, and the tilt about x by which the specimen was
        turned, if it was (`dewedge.geometry.TiltRange`); None if not known.
    name
        For messages and labels.
    beads
        ``(z, y, x)`` gold beads that were painted over in ``data``; a refinement adds them to its result.
        None if there are none.
    origin_xyz_A
        Origin in Angstrom, x first, as MRC files have it.
    labels
        Labels of the file it is from.
    tv
        ``(z, y, x)`` total-variation reconstruction of the same images at twice the voxel size; a refinement
        gives it its share of the result. None if there is none.
    planes
        What the tilts that it was reconstructed from measured; None if not known.

    Raises
    ------
    InputError
        If the array has not three axes, the beads have another shape, or there can be no such tilt range.

    Examples
    --------
    >>> tomogram = Tomogram(np.zeros((4, 8, 8), dtype=np.float32), voxel_size_A=10.0, tilt_range=(-60, 60))
    >>> tomogram
    <Tomogram tomogram: (4, 8, 8) (z, y, x), voxel size 10 A, tilts -60 to 60 degrees>
    >>> float(np.mean(tomogram))
    0.0
    """

    data: NDArray[Any]
    voxel_size_A: float | None = None
    tilt_range: TiltRangeLike | None = None
    name: str = "tomogram"
    beads: NDArray[np.float32] | None = None
    origin_xyz_A: tuple[float, float, float] = (0.0, 0.0, 0.0)
    labels: tuple[str, ...] = ()
    tv: NDArray[np.float32] | None = None
    planes: MeasuredPlanes | None = None

    def __post_init__(self) -> None:
        if self.data.ndim != 3:
            raise InputError(f"{self.name}: shape {self.data.shape}: expected three axes (z, y, x)")
        if self.beads is not None and self.beads.shape != self.data.shape:
            raise InputError(
                f"{self.name}: beads of shape {self.beads.shape} (z, y, x): expected {self.data.shape}"
            )
        if self.tilt_range is not None:
            TiltRange(*self.tilt_range).validated()

    @classmethod
    def read(
        cls,
        path: StrPath,
        *,
        tilt_range: TiltRangeLike | None = None,
        beads: StrPath | None = None,
        tv: StrPath | None = None,
        no_check: bool = False,
    ) -> Tomogram:
        """Open an MRC file, memory-mapped, or an OME-Zarr image (``X.zarr``, ``X.zarr/1``), read by parts.

        A file of half precision is read as float32 into memory, for sums of float16 soon overflow.

        Parameters
        ----------
        path
            The tomogram.
        tilt_range
            Lowest and highest measured tilt angle in degrees, which the file does not tell.
        beads
            MRC file of the gold beads that were painted over in it (beads.mrc).
        tv
            MRC file of its total-variation reconstruction at twice the voxel size (tv.mrc).
        no_check
            Whether it may be what seems to be a stack of tilt images.

        Raises
        ------
        InputError
            If a file cannot be read, shapes differ, or it seems to be a stack of tilt images.
        """
        mrc = read_volume(path)
        if not no_check:
            require_sound(check_tomogram(file_of(mrc.path).stem, "tomogram", mrc))
        half_precision = mrc.data.dtype == np.float16
        return cls(
            mrc.data.astype(np.float32) if half_precision else mrc.data,
            mrc.voxel_size_A,
            tilt_range,
            str(path),
            None if beads is None else read_volume(beads).data,
            mrc.origin_xyz_A,
            mrc.labels,
            None if tv is None else read_volume(tv).data,
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape ``(z, y, x)`` in voxels."""
        depth, height, width = self.data.shape
        return depth, height, width

    @property
    def files(self) -> list[Path]:
        """Files that ``data``, ``beads`` and ``tv`` are memory-mapped from."""
        names = [getattr(array, "filename", None) for array in (self.data, self.beads, self.tv)]
        return [Path(name) for name in names if name is not None]

    def save(self, path: StrPath, *, overwrite: bool = False) -> None:
        """Write ``data``, without the beads, as float32: OME-Zarr if the name ends in .zarr, else MRC.

        Raises
        ------
        InputError
            If the file cannot be written, or exists and is not to be overwritten.
        """
        require_new([Path(path)], overwrite)
        write_volume(
            path,
            self.data,
            self.voxel_size_A,
            origin_xyz_A=self.origin_xyz_A,
            labels=self.labels,
            what=Path(self.name).name,
        )

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Part of the data, as of an array."""
        part: NDArray[Any] = self.data[index]
        return part

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.data, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        voxel = "not known" if self.voxel_size_A is None else f"{self.voxel_size_A:g} A"
        tilts = "not known" if self.tilt_range is None else TiltRange(*self.tilt_range)
        return f"<Tomogram {self.name}: {self.shape} (z, y, x), voxel size {voxel}, tilts {tilts}>"


class Halves:
    """The tomograms of both half-sets of a series and of all its data; they unpack as three.

    Parameters
    ----------
    half0, half1
        Tomograms of one shape and of independent noise.
    full
        That of all data; their mean if not given, which is made in memory when it is first asked for.
    name
        For messages; that of ``half0`` if not given.
    mask
        Where there is specimen, if the files tell: "none" for everywhere, "auto", or an MRC file.
    no_check
        Whether voxel sizes may differ.

    Raises
    ------
    InputError
        If shapes or voxel sizes differ.

    Examples
    --------
    >>> halves = Halves(Tomogram(np.zeros((4, 8, 8))), Tomogram(np.ones((4, 8, 8))))
    >>> half0, half1, full = halves
    >>> float(full[0, 0, 0])
    0.5
    """

    def __init__(
        self,
        half0: Tomogram,
        half1: Tomogram,
        full: Tomogram | None = None,
        *,
        name: str = "",
        mask: Mask = "none",
        no_check: bool = False,
    ) -> None:
        for other in (half1, full):
            if other is not None and other.shape != half0.shape:
                raise InputError(
                    f"{other.name}: shape {other.shape} (z, y, x): expected {half0.shape}, "
                    f"that of {half0.name}"
                )
        if not no_check:
            parts = {"half-set 0": half0, "half-set 1": half1, "full tomogram": full}
            given = {f"{part} {each.name}": each for part, each in parts.items() if each is not None}
            sizes_A = {part: each.voxel_size_A for part, each in given.items()}
            require_sound(check_voxel_sizes(name or half0.name, sizes_A))
        self.half0, self.half1, self.name, self.mask = half0, half1, name or half0.name, mask
        self._full = full

    @cached_property
    def full(self) -> Tomogram:
        """The tomogram of all data."""
        if self._full is not None:
            return self._full
        mean = np.empty(self.half0.shape, dtype=np.float32)
        fill_mean(mean, [self.half0.data, self.half1.data])
        half = self.half0
        return replace(half, data=mean, planes=None, name=f"mean of {half.name} and {self.half1.name}")

    def __iter__(self) -> Iterator[Tomogram]:
        return iter((self.half0, self.half1, self.full))

    def __repr__(self) -> str:
        return f"<Halves {self.half0!r}, {self.half1!r}>"


TomogramLike = Tomogram | NDArray[Any] | StrPath


def as_tomogram(given: object, *, no_check: bool = False) -> Tomogram:
    """Tomogram that a value, an array or a file stands for.

    Raises
    ------
    InputError
        If it is none of them, or cannot be used.
    """
    if isinstance(given, Tomogram):
        return given
    if isinstance(given, np.ndarray):
        return Tomogram(given)
    if isinstance(given, str | os.PathLike):
        return Tomogram.read(given, no_check=no_check)
    raise InputError(
        f"expected a tomogram: a dewedge.Tomogram, an array or a file, got {type(given).__name__}"
    )


def as_halves(given: object) -> Halves:
    """The half-sets that a pair, or a pair and the full tomogram, stand for.

    Raises
    ------
    InputError
        If it is no pair, or shapes differ.
    """
    if isinstance(given, Halves):
        return given
    if isinstance(given, tuple | list) and len(given) in (2, 3):
        return Halves(*map(as_tomogram, given))
    raise InputError(
        "expected a list of pairs of half-sets, fit([(half0, half1)]), or of what reconstruct returns, got "
        f"{type(given).__name__}"
    )


def tilt_keys(tilt_range: TiltRangeLike | Sequence[TiltRangeLike]) -> dict[str, Any]:
    """Keys of the configuration that a tilt range stands for, or one for each tomogram.

    Examples
    --------
    >>> tilt_keys((-60, 60))
    {'tilt_range': [(-60, 60)]}
    >>> tilt_keys([TiltRange(-60, 60), TiltRange(-50, 50, 8)])
    {'tilt_range': [(-60, 60), (-50, 50)], 'x_tilt': [0.0, 8]}
    """
    given: Any = tilt_range
    ranges = list(given) if _is_list(given) and all(map(_is_list, given)) else [given]
    turned = [_is_list(each) and len(each) == 3 for each in ranges]
    about_x = [each[2] if has else 0.0 for each, has in zip(ranges, turned, strict=True)]
    keys = {"tilt_range": [each[:2] if has else each for each, has in zip(ranges, turned, strict=True)]}
    return keys | ({"x_tilt": about_x} if any(about_x) else {})


def _is_list(value: object) -> bool:
    return isinstance(value, (tuple, list))
