"""SerialEM's .mdoc files: what the microscope recorded about each image of a tilt series."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dewedge import limits
from dewedge.errors import InputError, reason
from dewedge.geometry import Floats, TiltGeometry
from dewedge.io.files import StrPath, write_text_atomic
from dewedge.io.text_files import number, read_text

_AXIS_ANGLE = re.compile(r"tilt axis angle\s*=\s*([-+]?[0-9.]+)", re.IGNORECASE)
_DATE_FORMATS = ("%d-%b-%y %H:%M:%S", "%d-%b-%Y %H:%M:%S")


@dataclass(frozen=True, eq=False)
class Mdoc:
    """The mdoc of a tilt series, in the order of its stack (by ZValue).

    Parameters
    ----------
    tilt_deg
        ``(n,)`` nominal tilt angles in degrees.
    acquisition_order
        ``(n,)`` rank in time of each image: by DateTime if every section has one, else the order of the
        sections.
    pixel_size_A
        Pixel size of the stack in Angstrom; None if not given.
    axis_angle_deg
        Tilt-axis angle of the title, degrees from y, counter-clockwise positive; None if no title gives it.
        ``RotationAngle`` is no substitute: in SerialEM's files it is usually 90 degrees off.
    pre_exposure_e_per_A2
        ``(n,)`` electrons per square Angstrom before each image; None if not recorded.
    defocus_um
        ``(n,)`` target (nominal) defocus in micrometres, positive is underfocus; None if not recorded.
    voltage_kV
        Acceleration voltage; None if not given.
    image_file
        Name of the stack, without its folder; None if not given.
    image_shape_yx
        Shape of its images; None if not given.
    movie_files
        ``n`` names of the movies (SubFramePath), without their folders; None unless each section has one.
    """

    tilt_deg: Floats
    acquisition_order: NDArray[np.int64]
    pixel_size_A: float | None
    axis_angle_deg: float | None
    pre_exposure_e_per_A2: Floats | None
    defocus_um: Floats | None
    voltage_kV: float | None
    image_file: str | None
    image_shape_yx: tuple[int, int] | None
    movie_files: tuple[str, ...] | None


def read_mdoc(path: StrPath) -> Mdoc:
    """Read the mdoc of a tilt series' stack.

    Raises
    ------
    InputError
        If the file cannot be read, belongs to a montage or to single frames, or a tilt angle is missing.
    """
    document = _parse(path, read_text(path))
    header = document.global_data
    sections = [section for section in document.section_data if section.ZValue is not None]
    if header.Montage:
        raise InputError(f"{path}: the mdoc of a montage: expected that of a tilt series")
    if not sections:
        raise InputError(f"{path}: no [ZValue = ...] section: expected the mdoc of a tilt series' stack")
    sections.sort(key=lambda section: int(section.ZValue))
    z_values = [section.ZValue for section in sections]
    if len(set(z_values)) < len(z_values):
        raise InputError(f"{path}: a ZValue occurs twice: expected one section for each image")
    tilts = _column(sections, "TiltAngle")
    if tilts is None:
        raise InputError(f"{path}: a section has no TiltAngle: expected one for each image")

    order = _acquisition_order(sections)
    defocus_um = _column(sections, "TargetDefocus")
    pixel_sizes = _column(sections[:1], "PixelSpacing")
    pixel_size_A = header.PixelSpacing or (None if pixel_sizes is None else float(pixel_sizes[0]))
    found = (number(match[1]) for title in document.titles for match in _AXIS_ANGLE.finditer(title))
    angles = [angle for angle in found if angle is not None]
    size = header.ImageSize
    # Folders end in a slash or, on Windows, in a backslash.
    movies = tuple(PureWindowsPath(str(section.SubFramePath or "")).name for section in sections)
    return Mdoc(
        tilt_deg=tilts,
        acquisition_order=order,
        pixel_size_A=pixel_size_A if pixel_size_A and pixel_size_A > 0 else None,
        axis_angle_deg=angles[0] if angles else None,
        pre_exposure_e_per_A2=_pre_exposure(sections, order),
        defocus_um=-defocus_um if defocus_um is not None and defocus_um.any() else None,
        voltage_kV=header.Voltage if header.Voltage and header.Voltage > 0 else None,
        image_file=PureWindowsPath(header.ImageFile).name if header.ImageFile else None,
        image_shape_yx=(size[1], size[0]) if size else None,
        movie_files=movies if all(movies) else None,
    )


def write_mdoc(
    path: StrPath,
    geometry: TiltGeometry,
    image_file: str,
    exposure_e_per_A2: float = 0.0,
    voltage_kV: float = 300.0,
) -> None:
    """Write the mdoc of a stack that has this geometry, one minute between images.

    Errors as `dewedge.io.files.write_text_atomic`.

    Parameters
    ----------
    image_file
        File name of the stack.
    exposure_e_per_A2
        Electrons per square Angstrom that each image received.
    """
    height, width = geometry.image_shape_yx
    angle = geometry.axis_angle_deg
    order = geometry.acquisition_order
    ranks = np.arange(geometry.n_tilts) if order is None else order
    prior = (
        ranks * exposure_e_per_A2
        if geometry.pre_exposure_e_per_A2 is None
        else geometry.pre_exposure_e_per_A2
    )
    lines = [
        f"PixelSpacing = {geometry.pixel_size_A:g}",
        f"Voltage = {voltage_kV:g}",
        f"ImageFile = {image_file}",
        f"ImageSize = {width} {height}",
        "DataMode = 2",
        "",
        "[T = dewedge: simulated tilt series]",
        "",
        f"[T =     Tilt axis angle = {angle:.1f}, binning = 1]",
    ]
    for i, tilt in enumerate(geometry.tilt_deg):
        date = datetime(2024, 1, 1) + timedelta(minutes=int(ranks[i]))
        lines += [
            "",
            f"[ZValue = {i}]",
            f"TiltAngle = {tilt:.4f}",
            f"ExposureDose = {exposure_e_per_A2:g}",
            f"PriorRecordDose = {prior[i]:g}",
            f"PixelSpacing = {geometry.pixel_size_A:g}",
            f"RotationAngle = {angle:.1f}",
            *([] if geometry.ctf is None else [f"TargetDefocus = {-geometry.ctf.defocus_um[i]:g}"]),
            f"DateTime = {date:%d-%b-%Y  %H:%M:%S}",
        ]
    write_text_atomic(path, "\n".join(lines) + "\n")


def copy_mdoc(
    source: StrPath, path: StrPath, pixel_size_A: float, image_shape_yx: tuple[int, int] | None = None
) -> None:
    """Copy the mdoc of a stack for other stacks of the same tilts, of mode 2; it names none of them.

    Parameters
    ----------
    image_shape_yx
        Shape of their images; None to leave what is there.

    Raises
    ------
    InputError
        If ``source`` cannot be read, or ``path`` not written.
    """
    changed = {"PixelSpacing": f"{pixel_size_A:g}", "DataMode": "2"}
    if image_shape_yx is not None:
        changed["ImageSize"] = f"{image_shape_yx[1]} {image_shape_yx[0]}"
    lines = []
    for line in read_text(source).splitlines():
        key = line.partition("=")[0].strip()
        if key not in ("ImageFile", "MinMaxMean"):  # of the other images
            lines.append(f"{key} = {changed[key]}" if key in changed else line)
    write_text_atomic(path, "\n".join(lines) + "\n")


def _parse(path: StrPath, text: str) -> Any:
    """The library's `mdocfile.data_models.Mdoc`."""
    from mdocfile.data_models import Mdoc as Document

    # It warns on every run of keys it does not know and of keys it renames.
    logging.getLogger("mdocfile").setLevel(logging.ERROR)
    # In the mdoc of single frames SerialEM leaves out the brackets by which the library knows a title.
    lines = (line.rstrip() for line in text.splitlines())
    lines = (f"[{line}]" if line.startswith("T = ") else line for line in lines)
    try:
        return Document.from_string("\n".join(lines))
    except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise InputError(f"{path}: not an mdoc of SerialEM's format: {reason(error)}") from None


def _column(sections: list[Any], key: str) -> Floats | None:
    """``(n,)`` values of a key; None unless every section has a finite one."""
    values = np.array(
        [np.nan if getattr(s, key) is None else getattr(s, key) for s in sections], dtype=np.float64
    )
    return values if (np.abs(values) <= limits.NUMBER).all() else None


def _acquisition_order(sections: list[Any]) -> NDArray[np.int64]:
    times = [_time(section.DateTime) for section in sections]
    known = [time for time in times if time is not None]
    if len(known) < len(sections):
        return np.arange(len(sections))
    order = np.empty(len(sections), dtype=np.int64)
    order[sorted(range(len(sections)), key=known.__getitem__)] = np.arange(len(sections))
    return order


def _time(text: str | None) -> datetime | None:
    for date_format in _DATE_FORMATS:
        try:
            return datetime.strptime(" ".join((text or "").split()), date_format)
        except ValueError:
            continue
    return None


def _pre_exposure(sections: list[Any], order: NDArray[np.int64]) -> Floats | None:
    prior = _column(sections, "PriorRecordDose")
    if prior is not None and prior.any():
        return prior
    exposure = _column(sections, "ExposureDose")
    if exposure is None or not exposure.any():
        return None
    return exposure_before(exposure, order)


def exposure_before(exposure_e_per_A2: Floats, order: NDArray[np.int64]) -> Floats:
    """``(n,)`` exposure before each image, of what each received and its rank in time."""
    in_time = exposure_e_per_A2[np.argsort(order)]
    before: Floats = (np.cumsum(in_time) - in_time)[order]
    return before
