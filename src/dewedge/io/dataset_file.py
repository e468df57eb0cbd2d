"""The dataset file: what was found, as STAR files in RELION 5's layout.

STAR and not TOML, so that RELION 5 and the programs that read its files can read ours: NAME.star has a row
for each tilt series or pair of half tomograms, and tilt_series/SERIES.star a row for each image. Columns are
RELION's where it has one; the axes of a volume, the program of origin and transforms to the last digit are
our own, which others pass over. `dewedge.io.programs.relion.read_relion` reads both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dewedge.errors import InputError
from dewedge.geometry import Microscope
from dewedge.io.entries import Entry, HalvesEntry, SeriesEntry
from dewedge.io.files import StrPath
from dewedge.io.names import require_distinct
from dewedge.io.programs.projection_model import from_geometry_arrays, to_geometry_arrays
from dewedge.io.programs.relion import (
    EVEN,
    FULL,
    HALF1,
    HALF2,
    IMAGE,
    LAYOUT,
    MASK,
    MOVIE_PIXEL_SIZE,
    NAME,
    ODD,
    OPTICS_GROUP,
    PROGRAM,
    TILT_MAX,
    TILT_MIN,
    TILT_STAR,
    TRANSFORM,
    X_TILT,
    Y_TILT,
)
from dewedge.io.star import name_within, write_star
from dewedge.io.tilt_images import TiltImages

# What stands where a row has no value.
_NONE = "None"


def write_dataset(path: StrPath, entries: Sequence[Entry]) -> None:
    """Write a dataset file, and beside it ``tilt_series/NAME.star`` for every tilt series.

    Raises
    ------
    InputError
        If a file cannot be written, or two entries have one name.
    """
    path = Path(path)
    folder = path.parent
    stars = iter(tilt_stars(path, entries))
    rows = []
    for entry in entries:
        if isinstance(entry, SeriesEntry):
            star = next(stars)
            write_star(star, {star.stem: _tilt_table(entry, folder)})
            rows.append(_series_row(entry, name_within(star, folder)))
        else:
            rows.append(_halves_row(entry, folder))
    columns = list(dict.fromkeys(column for row in rows for column in row))
    # A column that no entry fills is left out.
    columns = [column for column in columns if any(row.get(column, _NONE) != _NONE for row in rows)]
    write_star(path, {"global": {c: [row.get(c, _NONE) for row in rows] for c in columns}})


def tilt_stars(path: StrPath, entries: Sequence[Entry]) -> list[Path]:
    """The files of the tilt series that `write_dataset` writes beside ``path``, in their order.

    Raises
    ------
    InputError
        If two entries have one name, or two series' names differ only in signs that a file name lacks.
    """
    folder = Path(path).parent / "tilt_series"
    require_distinct((entry.name, path) for entry in entries)
    if not entries:
        raise ValueError("expected at least one entry")
    series = [entry.name for entry in entries if isinstance(entry, SeriesEntry)]
    stars = [folder / (re.sub(r"[^\w.+-]", "_", name) + ".star") for name in series]
    for star in stars:
        if stars.count(star) > 1:
            both = " and ".join(name for name, other in zip(series, stars, strict=True) if other == star)
            raise InputError(f"{path}: {both} would both be {star.name}: expected other names")
    return stars


def _series_row(entry: SeriesEntry, star: str) -> dict[str, object]:
    geometry = entry.geometry
    return {
        NAME: entry.name,
        **_microscope(geometry.microscope),
        MOVIE_PIXEL_SIZE: _or_none(entry.movie_pixel_size_A),
        OPTICS_GROUP: _or_none(entry.optics_group),
        "rlnTomoTiltSeriesPixelSize": geometry.pixel_size_A,
        TILT_STAR: star,
        "rlnTomoSizeX": geometry.aligned_shape_yx[1],
        "rlnTomoSizeY": geometry.aligned_shape_yx[0],
        "rlnTomoSizeZ": _or_none(entry.thickness),
        PROGRAM: entry.program,
    }


def _microscope(known: Microscope) -> dict[str, object]:
    """RELION's columns of the microscope, in the table of the set."""
    return {
        "rlnVoltage": _or_none(known.voltage_kV),
        "rlnSphericalAberration": _or_none(known.spherical_aberration_mm),
        "rlnAmplitudeContrast": _or_none(known.amplitude_contrast),
        "rlnTomoHand": _or_none(known.defocus_hand),
    }


def _halves_row(entry: HalvesEntry, folder: Path) -> dict[str, object]:
    def name(path: Path | None) -> str:
        return _NONE if path is None else name_within(path, folder)

    return {
        NAME: entry.name,
        HALF1: name(entry.half0),
        HALF2: name(entry.half1),
        FULL: name(entry.full),
        MASK: name(entry.mask),
        TILT_MIN: _NONE if entry.tilt_range is None else entry.tilt_range.min_deg,
        TILT_MAX: _NONE if entry.tilt_range is None else entry.tilt_range.max_deg,
        X_TILT: _NONE if entry.tilt_range is None else entry.tilt_range.x_tilt_deg or _NONE,
        LAYOUT: entry.layout,
        PROGRAM: entry.program,
    }


def _tilt_table(entry: SeriesEntry, folder: Path) -> dict[str, Sequence[object]]:
    geometry = entry.geometry
    table: dict[str, Sequence[object]] = {}
    for column, images in ((IMAGE, entry.images), (EVEN, entry.even), (ODD, entry.odd)):
        if images is not None:
            table[column] = _image_names(images, folder)
    axis_deg, shift_xy = from_geometry_arrays(
        geometry.linear_yx, geometry.shift_yx, geometry.image_shape_yx, "N/2"
    )
    table |= {
        "rlnTomoXTilt": np.zeros(geometry.n_tilts).tolist(),
        Y_TILT: geometry.tilt_deg.tolist(),
        "rlnTomoZRot": axis_deg.tolist(),
        "rlnTomoXShiftAngst": (shift_xy[:, 0] * geometry.pixel_size_A).tolist(),
        "rlnTomoYShiftAngst": (shift_xy[:, 1] * geometry.pixel_size_A).tolist(),
    }
    again = to_geometry_arrays(axis_deg, shift_xy, geometry.image_shape_yx, "N/2")
    if not all(map(np.array_equal, again, (geometry.linear_yx, geometry.shift_yx))):
        values = [geometry.linear_yx[:, ::-1, ::-1].reshape(-1, 4), geometry.shift_yx[:, ::-1]]
        table |= dict(zip(TRANSFORM, np.concatenate(values, axis=1).T.tolist(), strict=True))
    if geometry.pre_exposure_e_per_A2 is not None:
        table["rlnMicrographPreExposure"] = geometry.pre_exposure_e_per_A2.tolist()
    if geometry.acquisition_order is not None:
        table["rlnTomoTiltMovieIndex"] = (geometry.acquisition_order + 1).tolist()
    ctf = geometry.ctf
    if ctf is not None and ctf.nominal:
        table["rlnTomoNominalDefocus"] = (-ctf.defocus_um).tolist()
    elif ctf is not None:
        table |= {
            "rlnDefocusU": (ctf.defocus_u_um * 1e4).tolist(),
            "rlnDefocusV": (ctf.defocus_v_um * 1e4).tolist(),
            "rlnDefocusAngle": ctf.astigmatism_deg.tolist(),
            "rlnPhaseShift": ctf.phase_shift_deg.tolist(),
        }
    return table


def _image_names(images: TiltImages, folder: Path) -> list[str]:
    return [f"{section + 1:06d}@{name_within(path, folder)}" for path, section in images.sources]


def _or_none(value: object | None) -> object:
    return _NONE if value is None else value
