"""A tilt series: the stack, and its geometry from the files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dewedge.errors import InputError
from dewedge.geometry import CtfParameters, Floats, Microscope, TiltGeometry
from dewedge.io.angles import read_tilt_angles
from dewedge.io.files import StrPath
from dewedge.io.half_names import without_half
from dewedge.io.mdoc import Mdoc, read_mdoc
from dewedge.io.mrc import read_mrc
from dewedge.io.volume_file import VolumeFile
from dewedge.io.xf import read_xf, xf_to_geometry_arrays

FEWEST_TILTS = 5
# Largest difference in degrees, beyond a common offset, between a refined and the nominal angle of one image.
ANGLE_TOLERANCE = 1.5


@dataclass(frozen=True, eq=False)
class TiltSeries:
    """A tilt series as its files give it; nothing is aligned or binned yet.

    Parameters
    ----------
    name
        The stack's file name without its suffix.
    images
        ``(n, y, x)`` memory-mapped tilt images in the file's own type.
    geometry
        Their geometry, in the same order.
    origin_xyz_A, labels
        From the stack's header.
    notes
        What was read from which file and what was assumed, one line each.
    """

    name: str
    path: Path
    images: NDArray[Any]
    geometry: TiltGeometry
    origin_xyz_A: tuple[float, float, float]
    labels: tuple[str, ...]
    notes: tuple[str, ...]


class Sidecars(NamedTuple):
    """Files found beside a stack by their names; ``aligned`` if the stack's own name says it is aligned."""

    angles: Path | None
    xf: Path | None
    mdoc: Path | None
    aligned: bool


class _Recorded(NamedTuple):
    """What an mdoc tells about the images, in their order."""

    acquisition_order: NDArray[np.int64] | None = None
    pre_exposure_e_per_A2: Floats | None = None
    ctf: CtfParameters | None = None
    told: Microscope = Microscope()


def find_sidecars(stack: StrPath, of_whole: bool = False) -> Sidecars:
    """Find TS.tlt (else TS.rawtlt), TS.xf and TS.mrc.mdoc (else TS.mdoc) beside a stack TS.mrc.

    Of an aligned stack TS.ali or TS_ali.mrc too; its .xf has been applied already and is left out. With
    ``of_whole`` a stack of even or odd frames, TS_EVN.mrc, has those of TS.mrc unless it has its own.
    """
    stack = Path(stack)
    aligned = stack.suffix.lower() == ".ali" or stack.stem.endswith("_ali")
    own = stack.stem.removesuffix("_ali") if aligned else stack.stem
    roots = dict.fromkeys((own, without_half(own) or own)) if of_whole else [own]

    def find(*endings: str, first: Sequence[str] = ()) -> Path | None:
        names = [*first, *(root + ending for root in roots for ending in endings)]
        return next((path for name in names if (path := stack.with_name(name)).is_file()), None)

    return Sidecars(
        angles=find(".tlt", ".rawtlt"),
        xf=None if aligned else find(".xf"),
        mdoc=find(".mdoc", ".mrc.mdoc", ".st.mdoc", first=[f"{stack.name}.mdoc"]),
        aligned=aligned,
    )


def read_tilt_series(
    stack: StrPath,
    *,
    angles: StrPath | None = None,
    xf: StrPath | None = None,
    mdoc: StrPath | None = None,
    axis_angle_deg: float | None = None,
    pixel_size_A: float | None = None,
) -> TiltSeries:
    """Open a tilt series; what is not given is looked for beside the stack (`find_sidecars`).

    Tilt angles come from ``angles``, else .tlt, .rawtlt or the mdoc. With an .xf the images are raw and it
    aligns them. Without, they are rotated by ``axis_angle_deg``, or by the tilt-axis angle of an mdoc that
    describes this very stack; else they are taken as aligned, with the tilt axis along y.

    Parameters
    ----------
    axis_angle_deg
        Tilt-axis angle in the images, degrees from y, counter-clockwise positive; instead of ``xf``.
    pixel_size_A
        Pixel size in Angstrom; else that of the stack's header, else of the mdoc.

    Raises
    ------
    InputError
        If a file cannot be read, there are no tilt angles, numbers of images do not agree, the pixel size is
        not known, or there are fewer than five images.
    """
    mrc = read_mrc(stack, stack=True)
    n, height, width = mrc.data.shape
    if n < FEWEST_TILTS:
        raise InputError(f"{stack}: expected a stack of at least {FEWEST_TILTS} tilt images, got {n}")
    if xf is not None and axis_angle_deg is not None:
        raise InputError(
            f"{stack}: expected an .xf file or a tilt-axis angle, got both: the .xf holds the angle"
        )
    found = find_sidecars(stack, of_whole=True)
    notes: list[str] = []

    angle_path = _path(angles) or found.angles
    document, mdoc_path = _mdoc(mrc.path, n, _path(mdoc), found.mdoc, angle_path is not None, notes)
    if angle_path is not None:
        tilts = read_tilt_angles(angle_path)
        _expect_count(angle_path, len(tilts), "angles", mrc.path, n)
        notes.append(f"tilt angles from {angle_path.name}")
    elif document is not None:
        tilts = document.tilt_deg
        notes.append(f"tilt angles from {mdoc_path.name}")
    else:
        raise InputError(
            f"{mrc.path}: no tilt angles: give the angle file, or put {mrc.path.stem}.tlt, .rawtlt or "
            f"{mrc.path.name}.mdoc beside the stack"
        )
    if np.ptp(tilts) == 0:
        raise InputError(
            f"{angle_path or mdoc_path}: expected the angles of a tilt series, all are {tilts[0]:g}"
        )

    recorded = _Recorded() if document is None else _recorded(document, mdoc_path.name, tilts, notes)
    if recorded.acquisition_order is None:
        notes.append("order of acquisition not known: the order of the stack stands for it")
    pixel_size = _pixel_size_A(mrc, document, pixel_size_A, notes)

    xf_path = _path(xf) or (found.xf if axis_angle_deg is None else None)
    if xf_path is not None:
        matrices, shifts = read_xf(xf_path)
        _expect_count(xf_path, len(matrices), "transforms", mrc.path, n)
        linear_yx, shift_yx = xf_to_geometry_arrays(matrices, shifts, (height, width))
        notes.append(f"alignment from {xf_path.name}: the images are raw")
        if np.abs(shifts).max() > max(height, width) / 2:
            notes.append(
                f"{xf_path.name} shifts images by more than half their size: made for another binning?"
            )
    else:
        angle = _axis_angle(mrc, document, mdoc_path, found.aligned, axis_angle_deg, notes)
        # On (y, x): IMOD's A = [[cos, sin], [-sin, cos]] on (x, y) with both axes reversed.
        cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        linear_yx, shift_yx = np.tile([[cos, -sin], [sin, cos]], (n, 1, 1)), np.zeros((n, 2))

    geometry = TiltGeometry(
        tilt_deg=tilts,
        image_shape_yx=(height, width),
        pixel_size_A=pixel_size,
        linear_yx=linear_yx,
        shift_yx=shift_yx,
        **recorded._asdict(),
    )
    return TiltSeries(mrc.path.stem, mrc.path, mrc.data, geometry, mrc.origin_xyz_A, mrc.labels, tuple(notes))


def _path(path: StrPath | None) -> Path | None:
    return None if path is None else Path(path)


def _expect_count(path: Path, count: int, what: str, stack: Path, n: int) -> None:
    if count != n:
        raise InputError(
            f"{path}: {count} {what} for {n} images in {stack.name}: expected one for each image; give "
            "the file that belongs to this stack"
        )


def _mdoc(
    stack: Path, n: int, given: Path | None, found: Path | None, dispensable: bool, notes: list[str]
) -> tuple[Mdoc | None, Path]:
    """The mdoc and its path; one that was merely found may be left out with a note if ``dispensable``."""
    path = given or found
    if path is None:
        return None, stack
    try:
        document = read_mdoc(path)
        _expect_count(path, len(document.tilt_deg), "sections", stack, n)
    except InputError as error:
        if given is not None or not dispensable:
            raise
        notes.append(f"mdoc not used: {error}")
        return None, path
    return document, path


def _recorded(document: Mdoc, name: str, tilts: Floats, notes: list[str]) -> _Recorded:
    """Bring the mdoc's columns into the order of the images, which may have been sorted by angle since."""
    index = _match(tilts, document.tilt_deg)
    if index is None:
        notes.append(
            f"order, dose and defocus of {name} not used: its tilt angles are not those of the images"
        )
        return _Recorded()
    if (index != np.arange(len(index))).any():
        notes.append(f"sections of {name} matched to the images by tilt angle")
    notes.append(f"order of acquisition from {name}")

    def pick(values: Floats | None) -> Floats | None:
        return None if values is None else values[index]

    defocus_um = pick(document.defocus_um)
    ctf = None
    if defocus_um is not None:
        ctf = CtfParameters(defocus_u_um=defocus_um, voltage_kV=document.voltage_kV, nominal=True)
    told = Microscope(voltage_kV=document.voltage_kV)
    return _Recorded(document.acquisition_order[index], pick(document.pre_exposure_e_per_A2), ctf, told)


def _match(tilts: Floats, nominal: Floats) -> NDArray[np.intp] | None:
    """Index of each tilt's nominal angle, up to a common offset: by position, else by rank, else None."""
    by_rank = np.empty(len(tilts), dtype=np.intp)
    by_rank[np.argsort(tilts, kind="stable")] = np.argsort(nominal, kind="stable")
    for index in (np.arange(len(tilts)), by_rank):
        difference = tilts - nominal[index]
        if np.abs(difference - np.median(difference)).max() < ANGLE_TOLERANCE:
            return index
    return None


def _pixel_size_A(mrc: VolumeFile, document: Mdoc | None, given: float | None, notes: list[str]) -> float:
    recorded = None if document is None else document.pixel_size_A
    if given is not None:
        return given
    header = mrc.voxel_size_A
    # Many programs write 1 A where they do not know.
    if header == 1 and recorded is not None:
        header = None
    if header is None and recorded is None:
        raise InputError(
            f"{mrc.path}: no pixel size in its header nor in an mdoc: give --pixel-size in Angstrom"
        )
    if header is None:
        notes.append(f"pixel size {recorded:g} A from the mdoc")
        return float(recorded)  # type: ignore[arg-type]
    if header == 1:
        notes.append("pixel size 1 A in the stack's header: often a mere filler; --pixel-size overrides it")
    elif recorded is not None and abs(header / recorded - 1) > 0.01:
        notes.append(f"pixel size {header:g} A from the stack's header; the mdoc says {recorded:g} A")
    else:
        notes.append(f"pixel size {header:g} A from the stack's header")
    return header


def _axis_angle(
    mrc: VolumeFile,
    document: Mdoc | None,
    mdoc_path: Path,
    aligned: bool,
    given: float | None,
    notes: list[str],
) -> float:
    """Angle by which the images are rotated, 0 if they are taken as aligned."""
    if given is not None:
        notes.append(f"tilt-axis angle {given:g} degrees as given: images are rotated by it, not shifted")
        return given
    if aligned:
        notes.append(f"{mrc.path.name} is an aligned stack by its name")
    elif document is None:
        notes.append("no .xf: images are taken as aligned, tilt axis along y")
    elif not _describes(document, mrc):
        other = f"{mdoc_path.name} is of another stack ({document.image_file})"
        notes.append(f"no .xf, and {other}: images are taken as aligned, tilt axis along y")
    elif document.axis_angle_deg is None:
        raise InputError(
            f"{mdoc_path}: no tilt-axis angle in its title: give --axis-angle (0 for aligned images) or --xf"
        )
    else:
        angle = document.axis_angle_deg
        notes.append(
            f"no .xf: images are rotated by the tilt-axis angle {angle:g} degrees of {mdoc_path.name}"
        )
        return angle
    return 0.0


def _describes(document: Mdoc, mrc: VolumeFile) -> bool:
    """True if the mdoc is of this very stack, by name and image size, not of the one this was made from."""
    same_name = document.image_file is None or Path(document.image_file).stem == mrc.path.stem
    return same_name and document.image_shape_yx in (None, mrc.data.shape[1:])
