"""The geometry of a tilt series: the only place that holds tilt angles and alignment."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dewedge.errors import InputError

Floats = NDArray[np.float64]


class TiltRange(NamedTuple):
    """Lowest and highest measured tilt angle, in degrees, about the y axis.

    A tilt at angle a measures the plane atan2(kz, kx) = a of the tomogram's Fourier transform.
    """

    min_deg: float
    max_deg: float

    def validated(self) -> TiltRange:
        """Return itself.

        Raises
        ------
        InputError
            Unless -90 <= min_deg < max_deg <= 90.
        """
        if not -90 <= self.min_deg < self.max_deg <= 90:
            raise InputError(
                f"tilt range {self.min_deg:g} to {self.max_deg:g} degrees: expected the lowest angle, "
                "then the highest, both between -90 and 90"
            )
        return self


@dataclass(frozen=True, kw_only=True, eq=False)
class TiltGeometry:
    """Geometry of one tilt series, in the order of its images.

    Coordinates are (y, x) in pixels of the raw image, about index N // 2 of each axis. A raw pixel p
    lies at ``linear_yx @ p + shift_yx`` in the aligned image, whose tilt axis is y. A point of the
    specimen projects to ``x_p = x cos(a) + z sin(a)`` in the aligned image at tilt angle a.

    Parameters
    ----------
    tilt_deg
        ``(n,)`` tilt angles in degrees.
    image_shape_yx
        Shape of the raw images.
    pixel_size_A
        Pixel size of the raw images in Angstrom.
    linear_yx
        ``(n, 2, 2)`` matrices that multiply raw (y, x) column vectors from the left. Identity if not given.
    shift_yx
        ``(n, 2)`` shifts in raw pixels, added after ``linear_yx``. Zero if not given.
    acquisition_order
        ``(n,)`` rank in time of each image, 0 for the first one taken; None if not known.
    pre_exposure_e_per_A2
        ``(n,)`` electrons per square Angstrom the specimen had received before each image; None if not known.
    defocus_um
        ``(n,)`` defocus in micrometres, positive is underfocus; None if not known.

    Raises
    ------
    InputError
        If a shape does not fit the number of tilts, a value is not finite, a tilt angle lies outside
        (-90, 90) or the pixel size is not positive.
    """

    tilt_deg: Floats
    image_shape_yx: tuple[int, int]
    pixel_size_A: float
    # Never None in an instance: __post_init__ fills in the defaults.
    linear_yx: Floats = None  # type: ignore[assignment]
    shift_yx: Floats = None  # type: ignore[assignment]
    acquisition_order: NDArray[np.int64] | None = None
    pre_exposure_e_per_A2: Floats | None = None
    defocus_um: Floats | None = None

    def __post_init__(self) -> None:
        tilts = np.array(self.tilt_deg, dtype=np.float64)
        if tilts.ndim != 1 or tilts.size == 0:
            raise InputError(f"tilt angles: expected a list of at least one angle, got shape {tilts.shape}")
        n = tilts.size
        self._set("tilt_deg", tilts, (n,))
        linear = np.broadcast_to(np.eye(2), (n, 2, 2)) if self.linear_yx is None else self.linear_yx
        self._set("linear_yx", linear, (n, 2, 2))
        self._set("shift_yx", np.zeros((n, 2)) if self.shift_yx is None else self.shift_yx, (n, 2))
        for name in ("pre_exposure_e_per_A2", "defocus_um"):
            if getattr(self, name) is not None:
                self._set(name, getattr(self, name), (n,))
        if self.acquisition_order is not None:
            self._set("acquisition_order", self.acquisition_order, (n,), np.int64)
            if not np.array_equal(np.sort(self.acquisition_order), np.arange(n)):
                raise InputError(f"acquisition order: expected every rank from 0 to {n - 1} once")
        if np.abs(tilts).max() >= 90:
            steepest = tilts[np.abs(tilts).argmax()]
            raise InputError(f"tilt angle {steepest:g}: expected degrees between -90 and 90")
        if not (np.isfinite(self.pixel_size_A) and self.pixel_size_A > 0):
            raise InputError(f"pixel size {self.pixel_size_A} A: expected a positive number")
        if np.abs(np.linalg.det(self.linear_yx)).min() < 1e-3:
            raise InputError("alignment transforms: expected invertible 2 x 2 matrices")

    def _set(self, name: str, value: ArrayLike, shape: tuple[int, ...], dtype: type = np.float64) -> None:
        array: NDArray[Any] = np.array(value, dtype=dtype)
        if array.shape != shape:
            raise InputError(f"{name}: expected shape {shape} for {shape[0]} tilts, got {array.shape}")
        if not np.isfinite(array).all():
            raise InputError(f"{name}: holds a value that is not finite")
        array.setflags(write=False)
        object.__setattr__(self, name, array)

    @property
    def n_tilts(self) -> int:
        return self.tilt_deg.size

    @property
    def tilt_range(self) -> TiltRange:
        """Range of the measured tilts; the rest is the missing wedge."""
        return TiltRange(float(self.tilt_deg.min()), float(self.tilt_deg.max()))

    @property
    def axis_angle_deg(self) -> float:
        """Mean tilt-axis angle in the raw image: degrees from y towards -x (IMOD, SerialEM; y upwards)."""
        # linear_yx[:, 1, 0] multiplies y in the equation for x: IMOD's A12.
        return float(np.degrees(np.arctan2(self.linear_yx[:, 1, 0].mean(), self.linear_yx[:, 1, 1].mean())))

    @property
    def is_aligned(self) -> bool:
        """True if raw and aligned coordinates are the same."""
        return bool(np.all(self.linear_yx == np.eye(2)) and np.all(self.shift_yx == 0))

    @property
    def aligned_shape_yx(self) -> tuple[int, int]:
        """Shape of the aligned image: the raw one, swapped where the axis lies nearer to x than to y."""
        height, width = self.image_shape_yx
        near_x = abs(np.sin(np.radians(self.axis_angle_deg))) > np.sqrt(0.5)
        return (width, height) if near_x else (height, width)

    def select(self, indices: ArrayLike) -> TiltGeometry:
        """Geometry of the images at ``indices`` of the present order; ranks in time are renumbered from 0."""
        index = np.asarray(indices)
        changes: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                changes[field.name] = value[index]
        if self.acquisition_order is not None:
            changes["acquisition_order"] = np.argsort(np.argsort(changes["acquisition_order"]))
        return replace(self, **changes)

    def aligned(self, binning: int, binned_shape_yx: tuple[int, int]) -> TiltGeometry:
        """Geometry of the images after alignment and binning to ``binned_shape_yx``."""
        return replace(
            self,
            image_shape_yx=binned_shape_yx,
            pixel_size_A=self.pixel_size_A * binning,
            linear_yx=np.broadcast_to(np.eye(2), (self.n_tilts, 2, 2)),
            shift_yx=np.zeros((self.n_tilts, 2)),
        )
