"""RELION 5: the STAR file of a set of tilt series or tomograms, and the one of each tilt series.

Source: RELION 5 (github.com/3dem/relion): a point p projects to centre + shift + Rz(ZRot) Ry(YTilt) Rx(XTilt)
p, the centre at N / 2; its defocus is that of the image plus rlnTomoHand times its height along the beam.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dewedge import limits
from dewedge.errors import InputError, of_input, shown
from dewedge.geometry import CtfParameters, Floats, Microscope, TiltGeometry, TiltRange
from dewedge.io.entries import Entry, HalvesEntry, SeriesEntry
from dewedge.io.files import StrPath, is_file
from dewedge.io.programs.projection_model import to_geometry_arrays, x_tilt_notes
from dewedge.io.star import (
    Table,
    copy_star,
    find_named,
    number,
    numbers,
    read_star,
    require_few_rows,
    words,
    write_star,
)
from dewedge.io.tilt_images import ImageSource, TiltImages

DENOISED = "rlnTomoReconstructedTomogramDenoised"
TILT_STAR, NAME = "rlnTomoTiltSeriesStarFile", "rlnTomoName"
HALF1, HALF2, FULL = (f"rlnTomoReconstructedTomogram{end}" for end in ("Half1", "Half2", ""))
IMAGE, EVEN, ODD = (f"rlnMicrographName{end}" for end in ("", "Even", "Odd"))
Y_TILT, NOMINAL_TILT = "rlnTomoYTilt", "rlnTomoNominalStageTiltAngle"
# Our own: the exact transform where the columns above do not give it back to the last digit. Matrix and shift
# take raw (x, y) about index N // 2 to aligned.
TRANSFORM = ("dewedgeA11", "dewedgeA12", "dewedgeA21", "dewedgeA22", "dewedgeShiftX", "dewedgeShiftY")
MOVIE_PIXEL_SIZE, OPTICS_GROUP = "rlnMicrographOriginalPixelSize", "rlnOpticsGroupName"
MASK, TILT_MIN, TILT_MAX = "rlnMaskName", "rlnTiltMin", "rlnTiltMax"
# Our own: of half tomograms, whose tilt about x is in no column of the table of tomograms.
X_TILT, LAYOUT, PROGRAM = "dewedgeTiltX", "dewedgeVolumeAxes", "dewedgeProgram"


@dataclass(frozen=True)
class Optics:
    """Values of a tilt series' row in the STAR file of the set; None where nothing is told."""

    pixel_size_A: float | None = None
    microscope: Microscope = field(default_factory=Microscope)
    thickness: int | None = None
    movie_pixel_size_A: float | None = None
    optics_group: str | None = None


def is_relion(blocks: dict[str, Table]) -> bool:
    """True if these are the blocks of a set of tilt series or tomograms, or of one tilt series."""
    return any(NAME in t or _is_series(t) for t in blocks.values())


def read_relion(
    path: StrPath, pixel_size_A: float | None = None, faults: list[InputError] | None = None
) -> list[Entry]:
    """Every tilt series, or pair of half tomograms, of a STAR file of RELION 5.

    A row that names half tomograms which exist stands for them; else for its tilt series.

    Parameters
    ----------
    faults
        If given, the error of a row that cannot be read is appended to it, and the others are read.

    Raises
    ------
    InputError
        If a file cannot be read, or a row names neither half tomograms nor a tilt series.
    """
    path = Path(path)
    blocks = read_star(path)
    table = blocks.get("global") or next((t for t in blocks.values() if NAME in t), None)
    if table is None or NAME not in table:
        for name, series in blocks.items():
            if _is_series(series):
                return [_series(path, series, name or path.stem, path, Optics(pixel_size_A=pixel_size_A))]
        raise InputError(
            f"{path}: no column {NAME} nor {IMAGE}: expected a STAR file of RELION 5's tomograms"
        )
    require_few_rows(path, table)
    entries: list[Entry] = []
    for row in range(len(table[NAME])):
        try:
            with of_input(table[NAME][row]):
                entries.append(_row(path, table, row, pixel_size_A))
        except InputError as error:
            if faults is None:
                raise
            faults.append(error)
    return entries


def write_denoised(path: StrPath, output: StrPath, denoised: Mapping[str, str]) -> None:
    """Copy the STAR file of a set of tomograms, with the denoised ones of ``denoised`` by their names.

    The rest is kept, and a tomogram that is not denoised has ``N/A``, as RELION's own job writes it.

    Raises
    ------
    InputError
        If the file is none of a set, or a file cannot be read or written.
    """
    if not is_relion(read_star(path)):
        raise InputError(f"{path}: no column {NAME}: expected the STAR file of RELION 5's tomograms")
    copy_star(path, output, NAME, DENOISED, denoised)


def write_output_nodes(path: StrPath, tomograms: str) -> None:
    """Write the list of results that RELION takes into its pipeline when an external job has ended.

    Errors as `dewedge.io.star.write_star`.

    Parameters
    ----------
    tomograms
        Name of the STAR file of denoised tomograms, from the project's folder.
    """
    columns = ("rlnPipeLineNodeName", "rlnPipeLineNodeTypeLabel", "rlnPipeLineNodeTypeLabelDepth")
    row = (tomograms, "TomogramGroupMetadata.star.relion.tomo.denoise", 1)
    write_star(path, {"output_nodes": {column: [value] for column, value in zip(columns, row, strict=True)}})


def read_optics(path: StrPath, table: Table, row: int = 0) -> Optics:
    """Read the row of one tilt series.

    Raises
    ------
    InputError
        If a column holds something else than a number.
    """
    hand = number(path, table, "rlnTomoHand", row)
    thickness = number(path, table, "rlnTomoSizeZ", row)
    return Optics(
        pixel_size_A=number(path, table, "rlnTomoTiltSeriesPixelSize", row),
        microscope=Microscope(
            voltage_kV=number(path, table, "rlnVoltage", row),
            spherical_aberration_mm=number(path, table, "rlnSphericalAberration", row),
            amplitude_contrast=number(path, table, "rlnAmplitudeContrast", row),
            defocus_hand=None if hand is None or hand == 0 else int(np.sign(hand)),
        ),
        thickness=None if thickness is None else round(thickness),
        movie_pixel_size_A=number(path, table, MOVIE_PIXEL_SIZE, row),
        optics_group=words(table, OPTICS_GROUP, row),
    )


def is_set(table: Table) -> bool:
    """True if a table names tilt series or half tomograms, as one of particles does not."""
    return NAME in table and (TILT_STAR in table or HALF1 in table)


def relion_geometry(
    path: StrPath, table: Table, image_shape_yx: tuple[int, int], optics: Optics
) -> tuple[TiltGeometry, tuple[str, ...]]:
    """Geometry of the images of a tilt series' table, in its order, and notes.

    Raises
    ------
    InputError
        If columns are missing or hold no numbers, or the pixel size is not known.
    """
    pixel_size = optics.pixel_size_A
    if pixel_size is None:
        raise InputError(f"{path}: no pixel size: give --pixel-size, or the STAR file of all tilt series")
    if pixel_size <= 0:
        raise InputError(f"{path}: pixel size {pixel_size:g} A: expected a positive number")
    name = Path(path).name
    notes: list[str] = []
    if Y_TILT in table:
        tilts = numbers(path, table, Y_TILT)
        axis = numbers(path, table, "rlnTomoZRot")
        shift_A = np.stack([numbers(path, table, f"rlnTomo{a}ShiftAngst") for a in "XY"], axis=1)
        notes += [f"alignment from {name}", *x_tilt_notes(numbers(path, table, "rlnTomoXTilt", 0.0), name)]
    elif NOMINAL_TILT in table:
        tilts = numbers(path, table, NOMINAL_TILT)
        axis = numbers(path, table, "rlnTomoNominalTiltAxisAngle")
        shift_A = np.zeros((len(tilts), 2))
        notes.append(f"{name} is not aligned: images are turned by the nominal tilt axis, not shifted")
    else:
        raise InputError(f"{path}: no tilt angles: expected the column {Y_TILT} or {NOMINAL_TILT}")
    linear_yx, shift_yx = to_geometry_arrays(axis, shift_A / pixel_size, image_shape_yx, "N/2")
    if TRANSFORM[0] in table:
        values = np.stack([numbers(path, table, column) for column in TRANSFORM], axis=1)
        linear_yx, shift_yx = values[:, :4].reshape(-1, 2, 2)[:, ::-1, ::-1], values[:, 5:3:-1]
        notes.append(f"{name}: exact transforms from {TRANSFORM[0]} to {TRANSFORM[-1]}, not RELION's columns")
    exposure = numbers(path, table, "rlnMicrographPreExposure") if _exposure_known(table) else None
    geometry = TiltGeometry(
        tilt_deg=tilts,
        image_shape_yx=image_shape_yx,
        pixel_size_A=pixel_size,
        linear_yx=linear_yx,
        shift_yx=shift_yx,
        acquisition_order=_order(path, table, exposure),
        pre_exposure_e_per_A2=exposure,
        ctf=_ctf(path, table, optics),
        told=optics.microscope,
    )
    return geometry, tuple(notes)


def _row(path: Path, table: Table, row: int, pixel_size_A: float | None) -> Entry:
    name = table[NAME][row]
    optics = read_optics(path, table, row)
    if pixel_size_A is not None:
        optics = replace(optics, pixel_size_A=pixel_size_A)
    half1, half2, star = (words(table, column, row) for column in (HALF1, HALF2, TILT_STAR))
    if half1 and half2 and (star is None or is_file(find_named(half1, path))):
        return _halves(path, table, row, name, optics)
    if star is not None:
        star_path = find_named(star, path)
        tables = [t for t in read_star(star_path).values() if _is_series(t)]
        if not tables:
            raise InputError(f"{star_path}: no column {IMAGE} with tilt angles: expected a tilt series")
        return _series(star_path, tables[0], name, path, optics, words(table, PROGRAM, row))
    if "rlnTomoTiltSeriesName" in table:
        raise InputError(
            f"{path}: of RELION 4 or made for its particles: expected RELION 5's {TILT_STAR} or {HALF1}; "
            "of Warp give the .xml or .tomostar files"
        )
    raise InputError(f"{path}: {shown(name)} has neither {TILT_STAR} nor {HALF1} and {HALF2}")


def _series(
    path: Path, table: Table, name: str, star: Path, optics: Optics, program: str | None = None
) -> SeriesEntry:
    lone: list[str] = []
    images, even, odd = (_images(path, table, column) for column in (IMAGE, EVEN, ODD))
    if (even is None) != (odd is None):
        lone.append(f"{path.name}: only one of the even and odd averages exists: not used")
        even = odd = None
    first = images or even
    if first is None:
        example = (table.get(IMAGE) or table[EVEN])[0]
        raise InputError(f"{path}: none of the images named in {IMAGE} exists, such as {shown(example)}")
    if optics.pixel_size_A is None:
        optics = replace(optics, pixel_size_A=first.first.voxel_size_A)
    geometry, notes = relion_geometry(path, table, first.shape[1:], optics)
    return SeriesEntry(
        name=name,
        program=program or "RELION",
        path=star,
        images=images,
        even=even,
        odd=odd,
        geometry=geometry,
        thickness=optics.thickness,
        movie_pixel_size_A=optics.movie_pixel_size_A,
        optics_group=optics.optics_group,
        notes=(*notes, *lone),
    )


def _halves(path: Path, table: Table, row: int, name: str, optics: Optics) -> HalvesEntry:
    half1, half2 = (find_named(table[column][row], path) for column in (HALF1, HALF2))
    full, mask, star = (words(table, column, row) for column in (FULL, MASK, TILT_STAR))
    low, high = (number(path, table, column, row) for column in (TILT_MIN, TILT_MAX))
    notes: list[str] = []
    tilt_range = None
    if low is not None and high is not None:
        tilt_range = TiltRange(low, high, number(path, table, X_TILT, row) or 0.0).validated()
    elif star is not None and is_file(find_named(star, path)):
        tables = [t for t in read_star(find_named(star, path)).values() if Y_TILT in t]
        if tables:
            tilts = numbers(star, tables[0], Y_TILT)
            about_x = numbers(star, tables[0], "rlnTomoXTilt", 0.0)
            tilt_range = TiltRange(float(tilts.min()), float(tilts.max()), float(about_x.mean())).validated()
            notes.append(f"tilt range from {Path(star).name}; give that file to use its images")
    layout = words(table, LAYOUT, row) or "zyx"
    if layout not in ("zyx", "-zyx", "yzx"):
        raise InputError(f"{path}: {LAYOUT} {shown(layout)}: expected zyx, -zyx or yzx")
    return HalvesEntry(
        name=name,
        program=words(table, PROGRAM, row) or "RELION",
        path=path,
        half0=half1,
        half1=half2,
        full=find_named(full, path) if full and is_file(find_named(full, path)) else None,
        mask=None if mask is None else find_named(mask, path),
        tilt_range=tilt_range,
        layout=layout,  # type: ignore[arg-type]
        notes=tuple(notes),
    )


def _is_series(table: Table) -> bool:
    has_images = bool(table.get(IMAGE) or table.get(EVEN))
    return has_images and (Y_TILT in table or NOMINAL_TILT in table)


def _images(path: Path, table: Table, column: str) -> TiltImages | None:
    """The images of a column, each NUMBER@STACK or a file; None if the first does not exist."""
    if column not in table:
        return None
    require_few_rows(path, table)
    sources = []
    for row in range(len(table[column])):
        text = words(table, column, row)
        if text is None:
            return None
        count, _, name = text.rpartition("@")
        if count and not (count.isascii() and count.isdigit() and len(count) < limits.NUMBER_CHARACTERS):
            raise InputError(
                f"{path}: {shown(text)} in {column}: expected NUMBER@STACK or the name of a file"
            )
        # Only the first is searched for: the rest lie where it does, unless they name another folder.
        sources.append(ImageSource(find_named(name, path), int(count or 1) - 1))
        if len(sources) == 1 and not is_file(sources[0].path):
            return None
    return TiltImages(sources)


def _exposure_known(table: Table) -> bool:
    column = table.get("rlnMicrographPreExposure", [])
    return len(set(column)) > 1


def _order(path: StrPath, table: Table, exposure: Floats | None) -> NDArray[np.int64] | None:
    """Rank in time by the number of the movie, else by the exposure before it."""
    for values in (
        numbers(path, table, "rlnTomoTiltMovieIndex") if "rlnTomoTiltMovieIndex" in table else None,
        exposure,
    ):
        if values is not None and len(np.unique(values)) == len(values):
            return np.argsort(np.argsort(values))
    return None


def _ctf(path: StrPath, table: Table, optics: Optics) -> CtfParameters | None:
    common = asdict(optics.microscope)
    if "rlnDefocusU" in table:
        return CtfParameters(
            defocus_u_um=numbers(path, table, "rlnDefocusU") * 1e-4,
            defocus_v_um=numbers(path, table, "rlnDefocusV") * 1e-4,
            astigmatism_deg=numbers(path, table, "rlnDefocusAngle", 0.0),
            phase_shift_deg=numbers(path, table, "rlnPhaseShift", 0.0),
            **common,
        )
    nominal = numbers(path, table, "rlnTomoNominalDefocus", 0.0)
    if not nominal.any():
        return None
    return CtfParameters(defocus_u_um=-nominal, nominal=True, **common)
