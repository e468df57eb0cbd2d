"""AreTomo's .aln: the alignment of a tilt series.

Sources: AreTomo2 and AreTomo3 (github.com/czimaginginstitute): they sample the raw image at
R(ROT) p + (TX, TY), R turning counter-clockwise, and write .xf files that say the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dewedge import limits
from dewedge.errors import InputError, shown
from dewedge.geometry import CtfParameters, Floats, TiltGeometry
from dewedge.io.files import StrPath
from dewedge.io.programs.projection_model import to_geometry_arrays
from dewedge.io.text_files import numbers, read_text

Ints = NDArray[np.int64]

_COLUMNS = "SEC ROT GMAG TX TY SMEAN SFIT SCALE BASE TILT"
_HEADER = re.compile(r"#\s*(\w+)\s*=\s*(.*)")
# Largest difference between an image's refined and nominal angle, beyond what all images share.
_ANGLE_TOLERANCE_DEG = 1.5


@dataclass(frozen=True, eq=False)
class Aln:
    """A .aln file: the images that were not dark, sorted by tilt angle.

    Parameters
    ----------
    raw_shape
        ``(n, y, x)`` of the raw stack.
    sec
        ``(rows,)`` numbers of the rows' images, as written.
    axis_deg
        ``(rows,)`` tilt-axis angles, ROT: IMOD's.
    shift_xy
        ``(rows, 2)`` TX and TY in raw pixels.
    tilt_deg
        ``(rows,)`` tilt angles, with the offset alpha added.
    dark_slot, dark_tilt_deg
        ``(darks,)`` places of the dark images among all, sorted by angle, as written; and their angles.
    alpha_deg, beta_deg
        Offsets of the angle about the tilt axis and about x; beta was not applied.
    has_offsets
        True if the file gives them.
    n_patches
        Number of patches that were aligned on their own.
    thickness
        Of the specimen in raw pixels, as AreTomo3 measures it; None if not told.
    """

    path: Path
    raw_shape: tuple[int, int, int]
    sec: Ints
    axis_deg: Floats
    shift_xy: Floats
    tilt_deg: Floats
    dark_slot: Ints
    dark_tilt_deg: Floats
    alpha_deg: float
    beta_deg: float
    has_offsets: bool
    n_patches: int
    thickness: int | None


def read_aln(path: StrPath) -> Aln:
    """Read an alignment of AreTomo.

    Raises
    ------
    InputError
        If the file cannot be read, lacks the size of the raw stack, or a line has not its ten columns.
    """
    path = Path(path)
    header: dict[str, str] = {}
    darks: list[list[float]] = []
    rows: list[list[float]] = []
    for place, line in enumerate(read_text(path).splitlines(), start=1):
        if line.startswith("#"):
            if "Local Alignment" in line:
                break
            match = _HEADER.match(line)
            if match and match[1] == "DarkFrame":
                darks.append(_numbers(path, place, match[2], 3, "frame, section and angle of a dark image"))
            elif match:
                header[match[1]] = match[2]
        elif line.strip():
            rows.append(_numbers(path, place, line, 10, f"the ten columns {_COLUMNS}"))
    if not rows or "RawSize" not in header:
        raise InputError(f"{path}: not an alignment of AreTomo: no RawSize, or no line of {_COLUMNS}")
    width, height, n = (int(x) for x in _numbers(path, 0, header["RawSize"], 3, "RawSize = x y n"))
    if max(len(rows), len(darks)) > limits.TILTS:
        raise InputError(f"{path}: {len(rows)} images: expected at most {limits.TILTS}")
    offsets = {
        name: _numbers(path, 0, header[name], 1, f"{name} in degrees")[0]
        for name in ("AlphaOffset", "BetaOffset")
        if name in header
    }
    table, dark = np.array(rows), np.array(darks).reshape(-1, 3)
    thickness = _numbers(path, 0, header.get("Thickness", "0"), 1, "Thickness in pixels")[0]
    if min(width, height, n) < 1 or len(table) > n:
        raise InputError(
            f"{path}: {len(table)} aligned images of a stack of size {header['RawSize'].strip()}"
        )
    return Aln(
        path=path,
        raw_shape=(n, height, width),
        sec=table[:, 0].astype(np.int64),
        axis_deg=table[:, 1],
        shift_xy=table[:, 3:5],
        tilt_deg=table[:, 9],
        dark_slot=dark[:, 0].astype(np.int64),
        dark_tilt_deg=dark[:, 2],
        alpha_deg=offsets.get("AlphaOffset", 0.0),
        beta_deg=offsets.get("BetaOffset", 0.0),
        has_offsets=bool(offsets),
        n_patches=int(_numbers(path, 0, header.get("NumPatches", "0"), 1, "NumPatches")[0]),
        thickness=round(thickness) if thickness >= 1 else None,
    )


def aln_geometry(aln: Aln, pixel_size_A: float, ctf: CtfParameters | None = None) -> TiltGeometry:
    """Geometry of the images of the rows, in their order.

    Errors as `dewedge.geometry.TiltGeometry`.
    """
    shape = aln.raw_shape[1:]
    linear_yx, shift_yx = to_geometry_arrays(aln.axis_deg, aln.shift_xy, shape, "(N-1)/2")
    return TiltGeometry(
        tilt_deg=aln.tilt_deg,
        image_shape_yx=shape,
        pixel_size_A=pixel_size_A,
        linear_yx=linear_yx,
        shift_yx=shift_yx,
        ctf=ctf,
    )


def aln_sections(aln: Aln, raw_tilt_deg: Floats | None = None) -> Ints:
    """Sections of the raw stack, counted from 0, that the rows belong to.

    SEC counts from 1 in AreTomo3 and from 0 in AreTomo2; in files of releases in between it counts the images
    that are not dark. The nominal angles of the stack decide where they are known.

    Parameters
    ----------
    raw_tilt_deg
        ``(n,)`` nominal angles of the raw stack, in its order.

    Raises
    ------
    InputError
        If no reading of SEC fits the size of the stack and its angles.
    """
    n = aln.raw_shape[0]
    # Releases that write no offsets count from 0.
    readings = [aln.sec - 1, aln.sec] if aln.has_offsets else [aln.sec, aln.sec - 1]
    slots = slots_of_rows(aln)
    if slots is not None and np.array_equal(aln.sec - aln.sec.min(), np.arange(len(aln.sec))):
        readings.append(slots if raw_tilt_deg is None else np.argsort(raw_tilt_deg, kind="stable")[slots])
    fitting = [
        (_misfit_deg(aln, sections, raw_tilt_deg), i)
        for i, sections in enumerate(readings)
        if sections.min() >= 0 and sections.max() < n and len(np.unique(sections)) == len(sections)
    ]
    misfit, best = min(fitting, default=(np.inf, 0))
    if np.isfinite(misfit):
        return readings[best]
    hint = "" if raw_tilt_deg is None else " and its tilt angles"
    raise InputError(
        f"{aln.path}: its column SEC does not fit a stack of {n} images{hint}: give the stack it was made "
        "from"
    )


def slots_of_rows(aln: Aln) -> Ints | None:
    """Places of the rows among all images sorted by angle; None if the file lists not all images."""
    n_dark = len(aln.dark_tilt_deg)
    if len(aln.sec) + n_dark != aln.raw_shape[0]:
        return None
    slot = np.empty(aln.raw_shape[0], dtype=np.int64)
    # The dark images' angles lack or have the offset; their places do not change by it.
    dark = aln.dark_slot
    if len(np.unique(dark)) == n_dark and n_dark and dark.min() >= 0 and dark.max() < aln.raw_shape[0]:
        return np.setdiff1d(np.arange(aln.raw_shape[0]), dark)
    slot[np.argsort(np.concatenate([aln.tilt_deg, aln.dark_tilt_deg]), kind="stable")] = np.arange(len(slot))
    return slot[: len(aln.sec)]


def _misfit_deg(aln: Aln, sections: Ints, raw_tilt_deg: Floats | None) -> float:
    """Distance of the rows' angles, less alpha, from those of these sections; inf if they disagree."""
    if raw_tilt_deg is None:
        # A mere count of the images that are not dark says nothing of where the dark ones are.
        slots = slots_of_rows(aln)
        counts = np.array_equal(sections, np.arange(len(sections)))
        return 0.0 if slots is None or not counts or np.array_equal(sections, slots) else np.inf
    difference = aln.tilt_deg - raw_tilt_deg[sections]
    common = float(np.median(difference))
    if np.abs(difference - common).max() > _ANGLE_TOLERANCE_DEG:
        return np.inf
    # Evenly spaced angles fit one section further too, by a whole step more.
    return round(abs(common - aln.alpha_deg), 1) if aln.has_offsets else 0.0


def _numbers(path: Path, line: int, text: str, count: int, expected: str) -> list[float]:
    values = numbers(text.split(maxsplit=count))
    if values is None or len(values) != count:
        where = f"{path}, line {line}" if line else str(path)
        raise InputError(f"{where}: expected {expected}, got {shown(text)}")
    return values
