"""The geometry of a tilt series: the only place that holds tilt angles, alignment and CTF parameters."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dewedge import limits
from dewedge.errors import InputError

Floats = NDArray[np.float64]

_LARGEST_DEFOCUS_UM = 30.0


LEVEL_DEG = 0.5  # a smaller tilt about x moves the wedge by no more than the width of its edge
# Of a `TiltRange`, where a caller gives one: the tilt about x may be left out.
TiltRangeLike = tuple[float, float] | tuple[float, float, float]


class TiltRange(NamedTuple):
    """Lowest and highest measured tilt angle, in degrees, about the y axis, and the tilt about x.

    A tilt at angle a measures the plane atan2(kz, kx) = a of the tomogram's Fourier transform. Other programs
    level a tomogram: they turn it so that the specimen lies flat, and its wedge turns with it. Where the
    specimen was then tilted about x by t before it was tilted about y, the plane is atan2(kz', kx) = a with
    kz' = kz cos t + ky sin t, as of the point z' = z cos t + y sin t. Our own tomograms have t = 0.
    """

    min_deg: float
    max_deg: float
    x_tilt_deg: float = 0.0

    def __str__(self) -> str:
        turned = f", turned by {self.x_tilt_deg:g} about x" if self.x_tilt_deg else ""
        return f"{self.min_deg:.4g} to {self.max_deg:.4g} degrees{turned}"

    @property
    def is_level(self) -> bool:
        """True if the tilt about x is none, or so small that the wedge is the same but for its edge."""
        return abs(self.x_tilt_deg) < LEVEL_DEG

    def with_angles(self, angles: TiltRangeLike) -> TiltRange:
        """Other angles about y; the tilt about x stays unless there is one among them."""
        return TiltRange(*angles) if len(angles) > 2 else TiltRange(angles[0], angles[1], self.x_tilt_deg)

    @property
    def plain(self) -> list[float]:
        """Both angles, and the tilt about x where there is one, as JSON has them."""
        return list(self) if self.x_tilt_deg else [self.min_deg, self.max_deg]

    def validated(self) -> TiltRange:
        """Return itself.

        Raises
        ------
        InputError
            Unless -90 <= min_deg < max_deg <= 90, and the tilt about x is between -45 and 45.
        """
        if not -90 <= self.min_deg < self.max_deg <= 90:
            raise InputError(
                f"tilt range {self.min_deg:g} to {self.max_deg:g} degrees: expected the lowest angle, "
                "then the highest, both between -90 and 90"
            )
        if not -45 <= self.x_tilt_deg <= 45:
            raise InputError(f"tilt about x of {self.x_tilt_deg:g} degrees: expected between -45 and 45")
        return self


@dataclass(frozen=True, kw_only=True)
class Microscope:
    """What a contrast transfer function needs beside the defocus; None where nothing tells.

    Parameters
    ----------
    voltage_kV, spherical_aberration_mm, amplitude_contrast, defocus_hand
        As of `CtfParameters`.

    Raises
    ------
    InputError
        If a value cannot be.
    """

    voltage_kV: float | None = None
    spherical_aberration_mm: float | None = None
    amplitude_contrast: float | None = None
    defocus_hand: int | None = None

    def __post_init__(self) -> None:
        _require_microscope(self)

    def completed(self, other: Microscope | CtfParameters | None) -> Microscope:
        """The same, what is not known taken from another one."""
        missing = [each.name for each in fields(self) if getattr(self, each.name) is None]
        return self if other is None else replace(self, **{name: getattr(other, name) for name in missing})


@dataclass(frozen=True, kw_only=True, eq=False)
class CtfParameters:
    """Parameters of the contrast transfer function of each image of a tilt series.

    Parameters
    ----------
    defocus_u_um, defocus_v_um
        ``(n,)`` defocus along and across the direction ``astigmatism_deg`` of each image, in micrometres, at
        the tilt axis; positive is underfocus. Without astigmatism if ``defocus_v_um`` is not given.
    astigmatism_deg
        ``(n,)`` degrees from x towards y, counter-clockwise where y points upwards, in the image that the
        geometry describes (raw, or aligned). Zero if not given.
    phase_shift_deg
        ``(n,)`` additional phase shift, of a phase plate, in degrees. Zero if not given.
    voltage_kV, spherical_aberration_mm, amplitude_contrast
        Of the microscope; None if the file did not tell.
    defocus_hand
        1 if the defocus grows with the height z cos(a) - x sin(a) of a point of the specimen, -1 if it falls
        (RELION's ``rlnTomoHand``); None if not known.
    nominal
        True for what the microscope was asked for, false for what was measured in the images.

    Raises
    ------
    InputError
        If a shape does not fit the number of images, a value is not finite, or a value cannot be: defocus
        beyond 30 micrometres, voltage outside 20 to 3000 kV, negative spherical aberration, amplitude
        contrast outside 0 to 1.
    """

    defocus_u_um: Floats
    # Never None in an instance: __post_init__ fills in the defaults.
    defocus_v_um: Floats = None  # type: ignore[assignment]
    astigmatism_deg: Floats = None  # type: ignore[assignment]
    phase_shift_deg: Floats = None  # type: ignore[assignment]
    voltage_kV: float | None = None
    spherical_aberration_mm: float | None = None
    amplitude_contrast: float | None = None
    defocus_hand: int | None = None
    nominal: bool = False

    def __post_init__(self) -> None:
        n = np.size(self.defocus_u_um)
        if np.ndim(self.defocus_u_um) != 1 or n == 0:
            raise InputError("defocus: expected one value for each tilt image")
        _set(self, "defocus_u_um", self.defocus_u_um, (n,))
        for name, default in (
            ("defocus_v_um", self.defocus_u_um),
            ("astigmatism_deg", np.zeros(n)),
            ("phase_shift_deg", np.zeros(n)),
        ):
            value = getattr(self, name)
            _set(self, name, default if value is None else value, (n,))
        largest = max(np.abs(self.defocus_u_um).max(), np.abs(self.defocus_v_um).max())
        if largest > _LARGEST_DEFOCUS_UM:
            raise InputError(f"defocus {largest:g} um: expected micrometres, at most {_LARGEST_DEFOCUS_UM:g}")
        _require_microscope(self)

    @property
    def defocus_um(self) -> Floats:
        """``(n,)`` mean defocus of each image."""
        return (self.defocus_u_um + self.defocus_v_um) / 2

    def select(self, indices: ArrayLike) -> CtfParameters:
        """Parameters of the images at ``(m,)`` indices, in their order."""
        return replace(self, **_selected(self, np.asarray(indices)))

    def turned(self, angle_deg: ArrayLike) -> CtfParameters:
        """Parameters of images turned counter-clockwise by ``(n,)`` angles."""
        return replace(self, astigmatism_deg=self.astigmatism_deg + np.asarray(angle_deg, dtype=np.float64))


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
    ctf
        Defocus and the rest of the contrast transfer function's parameters; None if not known.
    told
        What files tell of the microscope apart from the defocus, such as an mdoc its voltage.

    Raises
    ------
    InputError
        If a shape does not fit the number of tilts, a value is not finite, a tilt angle lies outside
        (-90, 90), the pixel size is not positive, a matrix cannot be inverted, a rank is missing, or there
        are more tilts or pixels than is believed (`dewedge.limits`).

    Examples
    --------
    >>> geometry = TiltGeometry(tilt_deg=[-60, 0, 60], image_shape_yx=(100, 200), pixel_size_A=10.0)
    >>> str(geometry.tilt_range)
    '-60 to 60 degrees'
    >>> geometry.select([0, 1]).n_tilts
    2
    """

    tilt_deg: Floats
    image_shape_yx: tuple[int, int]
    pixel_size_A: float
    # Never None in an instance: __post_init__ fills in the defaults.
    linear_yx: Floats = None  # type: ignore[assignment]
    shift_yx: Floats = None  # type: ignore[assignment]
    acquisition_order: NDArray[np.int64] | None = None
    pre_exposure_e_per_A2: Floats | None = None
    ctf: CtfParameters | None = None
    told: Microscope = field(default_factory=Microscope)

    def __post_init__(self) -> None:
        tilts = np.array(self.tilt_deg, dtype=np.float64)
        if tilts.ndim != 1 or tilts.size == 0:
            raise InputError(f"tilt angles: expected a list of at least one angle, got shape {tilts.shape}")
        n = tilts.size
        if n > limits.TILTS or max(self.image_shape_yx) > limits.AXIS:
            raise InputError(
                f"{n} tilt images of {self.image_shape_yx} pixels (y, x): expected at most {limits.TILTS}, "
                f"of {limits.AXIS} pixels along an axis"
            )
        _set(self, "tilt_deg", tilts, (n,))
        linear = np.broadcast_to(np.eye(2), (n, 2, 2)) if self.linear_yx is None else self.linear_yx
        _set(self, "linear_yx", linear, (n, 2, 2))
        _set(self, "shift_yx", np.zeros((n, 2)) if self.shift_yx is None else self.shift_yx, (n, 2))
        if self.pre_exposure_e_per_A2 is not None:
            _set(self, "pre_exposure_e_per_A2", self.pre_exposure_e_per_A2, (n,))
        if self.ctf is not None and self.ctf.defocus_u_um.size != n:
            raise InputError(f"defocus: expected {n} values for {n} tilts, got {self.ctf.defocus_u_um.size}")
        if self.acquisition_order is not None:
            _set(self, "acquisition_order", self.acquisition_order, (n,), np.int64)
            if not np.array_equal(np.sort(self.acquisition_order), np.arange(n)):
                raise InputError(f"acquisition order: expected every rank from 0 to {n - 1} once")
        if np.abs(tilts).max() >= 90:
            steepest = tilts[np.abs(tilts).argmax()]
            raise InputError(f"tilt angle {steepest:g}: expected degrees between -90 and 90")
        if not (np.isfinite(self.pixel_size_A) and self.pixel_size_A > 0):
            raise InputError(f"pixel size {self.pixel_size_A} A: expected a positive number")
        if np.abs(np.linalg.det(self.linear_yx)).min() < 1e-3:
            raise InputError("alignment transforms: expected invertible 2 x 2 matrices")

    @property
    def n_tilts(self) -> int:
        """Number of tilt images."""
        return self.tilt_deg.size

    @property
    def tilt_range(self) -> TiltRange:
        """Range of the measured tilts; the rest is the missing wedge."""
        return TiltRange(float(self.tilt_deg.min()), float(self.tilt_deg.max()))

    @property
    def microscope(self) -> Microscope:
        """All that is known of the microscope: what came with the defocus, else what is told beside it."""
        return Microscope().completed(self.ctf).completed(self.told)

    @property
    def axis_angle_deg(self) -> float:
        """Mean tilt-axis angle in the raw image: degrees from y towards -x (IMOD, SerialEM; y upwards)."""
        return float(_axis_angles_deg(self.linear_yx.mean(axis=0)))

    @property
    def is_aligned(self) -> bool:
        """True if raw and aligned coordinates are the same."""
        return bool(np.all(self.linear_yx == np.eye(2)) and np.all(self.shift_yx == 0))

    @property
    def aligned_shape_yx(self) -> tuple[int, int]:
        """Shape of the aligned image: the raw one, swapped where the axis lies nearer to x than to y.

        Examples
        --------
        >>> geometry = TiltGeometry(tilt_deg=[-60, 0, 60], image_shape_yx=(100, 200), pixel_size_A=10.0)
        >>> geometry.moved(90, 0).aligned_shape_yx
        (200, 100)
        """
        height, width = self.image_shape_yx
        near_x = abs(np.sin(np.radians(self.axis_angle_deg))) > np.sqrt(0.5)
        return (width, height) if near_x else (height, width)

    def select(self, indices: ArrayLike) -> TiltGeometry:
        """Geometry of the images at ``(m,)`` indices of the present order; ranks in time are renumbered."""
        index = np.asarray(indices)
        changes = _selected(self, index)
        if self.ctf is not None:
            changes["ctf"] = self.ctf.select(index)
        if self.acquisition_order is not None:
            changes["acquisition_order"] = np.argsort(np.argsort(changes["acquisition_order"]))
        return replace(self, **changes)

    def moved(self, angle_deg: float, shift_x: float | Floats) -> TiltGeometry:
        """Geometry with all aligned images turned about their middle, then shifted along x.

        The angle adds to `axis_angle_deg`; the shift, one for all images or one each, is in pixels of the raw
        images.
        """
        angle = np.radians(angle_deg)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shift_yx = np.zeros((self.n_tilts, 2))
        shift_yx[:, 1] = shift_x
        return replace(self, linear_yx=turn @ self.linear_yx, shift_yx=self.shift_yx @ turn.T + shift_yx)

    def aligned(self, binning: int, binned_shape_yx: tuple[int, int]) -> TiltGeometry:
        """Geometry of the images after alignment and binning to ``binned_shape_yx``."""
        return replace(
            self,
            image_shape_yx=binned_shape_yx,
            pixel_size_A=self.pixel_size_A * binning,
            linear_yx=np.broadcast_to(np.eye(2), (self.n_tilts, 2, 2)),
            shift_yx=np.zeros((self.n_tilts, 2)),
            ctf=None if self.ctf is None else self.ctf.turned(-_axis_angles_deg(self.linear_yx)),
        )


def _set(
    instance: object, name: str, value: ArrayLike, shape: tuple[int, ...], dtype: type = np.float64
) -> None:
    """Give a frozen dataclass a read-only copy of an array."""
    array: NDArray[Any] = np.array(value, dtype=dtype)
    if array.shape != shape:
        raise InputError(f"{name}: expected shape {shape} for {shape[0]} tilts, got {array.shape}")
    if not np.isfinite(array).all():
        raise InputError(f"{name}: holds a value that is not finite")
    array.setflags(write=False)
    object.__setattr__(instance, name, array)


def _require_microscope(instance: Microscope | CtfParameters) -> None:
    """Refuse values of a microscope that cannot be."""
    for name, low, high, unit in (
        ("voltage_kV", 20.0, 3000.0, "kV"),
        ("spherical_aberration_mm", 0.0, 100.0, "mm"),
        ("amplitude_contrast", 0.0, 1.0, "of the contrast"),
    ):
        number = getattr(instance, name)
        if number is not None and not low <= number <= high:
            raise InputError(f"{name} {number:g}: expected a number from {low:g} to {high:g} {unit}")
    if instance.defocus_hand not in (None, 1, -1):
        raise InputError(f"defocus hand {instance.defocus_hand}: expected 1 or -1")


def _selected(instance: CtfParameters | TiltGeometry, index: NDArray[Any]) -> dict[str, Any]:
    """Every array of the dataclass at ``index``."""
    values = {each.name: getattr(instance, each.name) for each in fields(instance)}
    return {name: value[index] for name, value in values.items() if isinstance(value, np.ndarray)}


def _axis_angles_deg(linear_yx: Floats) -> Floats:
    """Tilt-axis angle of ``(..., 2, 2)`` transforms."""
    # linear_yx[..., 1, 0] multiplies y in the equation for x: IMOD's A12.
    angles: Floats = np.degrees(np.arctan2(linear_yx[..., 1, 0], linear_yx[..., 1, 1]))
    return angles
