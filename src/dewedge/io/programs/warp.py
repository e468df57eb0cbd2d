"""Warp and WarpTools: the .xml of a tilt series, and its .tomostar.

Source: WarpLib (github.com/warpem/warp): a point p projects to centre + offset + Rz(AxisAngle) Ry(-angle) p
in Angstrom, the centre at N / 2, where angle is Angles + LevelAngleY. So our tilt angles are theirs, negated.
WarpTools inverts the microscope's angles on import; where that was switched off, tomograms are mirrored,
Warp's and ours.
"""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from dewedge import limits
from dewedge.errors import InputError, reason, shown
from dewedge.geometry import CtfParameters, Floats, TiltGeometry
from dewedge.io import star
from dewedge.io.entries import SeriesEntry
from dewedge.io.files import StrPath, is_file
from dewedge.io.mrc import read_mrc
from dewedge.io.programs.projection_model import to_geometry_arrays, x_tilt_notes
from dewedge.io.star import read_star
from dewedge.io.text_files import numbers, read_text
from dewedge.io.tilt_images import ImageSource, TiltImages, stack_images

# The tilt angle in a movie's name as SerialEM makes it: TS_01_041_-60.0.tif
_ANGLE_IN_NAME = re.compile(r"_(-?\d+\.\d+)(?:_|$)")


@dataclass(frozen=True, eq=False)
class WarpSeries:
    """A tilt series of Warp, all its tilts in their order.

    Parameters
    ----------
    path
        The .xml or .tomostar.
    tilt_deg
        ``(n,)`` tilt angles in our sense.
    axis_deg
        ``(n,)`` tilt-axis angles.
    shift_xy_A
        ``(n, 2)`` shifts in (x, y) and Angstrom.
    x_tilt_deg
        Tilt of the volume about x.
    used
        ``(n,)`` false for tilts that Warp leaves out.
    dose_e_per_A2
        ``(n,)`` exposure before each tilt.
    movies
        ``(n,)`` names of the movies, as written.
    data_folder
        Folder from which their names count; None if not told.
    ctf
        None if not measured.
    notes
        What is not used.
    """

    path: Path
    tilt_deg: Floats
    axis_deg: Floats
    shift_xy_A: Floats
    x_tilt_deg: float
    used: NDArray[np.bool_]
    dose_e_per_A2: Floats | None
    movies: tuple[str, ...]
    data_folder: Path | None
    ctf: CtfParameters | None
    notes: tuple[str, ...]


def read_warp(path: StrPath) -> WarpSeries:
    """Read the .xml or .tomostar of a tilt series.

    Raises
    ------
    InputError
        If the file cannot be read or is none of the two.
    """
    path = Path(path)
    series = _read_tomostar(path) if path.suffix.lower() == ".tomostar" else _read_xml(path)
    found = [_ANGLE_IN_NAME.search(PureWindowsPath(movie).stem) for movie in series.movies]
    nominal = numbers(match[1] for match in found if match is not None)
    if nominal and len(nominal) == len(series.movies):
        angles = np.array(nominal)
        if (
            min(np.ptp(angles), np.ptp(series.tilt_deg)) > 10
            and np.corrcoef(angles, series.tilt_deg)[0, 1] < -0.9
        ):
            note = (
                f"{path.name}: its angles have the sign of the movies' names, so they were imported into "
                "Warp without inversion: the tomogram is mirrored against IMOD's, as Warp's own"
            )
            return WarpSeries(**{**vars(series), "notes": (*series.notes, note)})
    return series


def is_warp_xml(path: StrPath) -> bool:
    """True if an .xml file is that of a tilt series of Warp.

    Errors as `dewedge.io.text_files.read_text`.
    """
    return "<TiltSeries" in read_text(path)[:2000]


def warp_geometry(series: WarpSeries, image_shape_yx: tuple[int, int], pixel_size_A: float) -> TiltGeometry:
    """Geometry of all tilts, in their order, for raw images of this size.

    Errors as `dewedge.geometry.TiltGeometry`.
    """
    linear_yx, shift_yx = to_geometry_arrays(
        series.axis_deg, series.shift_xy_A / pixel_size_A, image_shape_yx, "N/2"
    )
    dose = series.dose_e_per_A2
    known = dose is not None and len(np.unique(dose)) == len(dose)
    return TiltGeometry(
        tilt_deg=series.tilt_deg,
        image_shape_yx=image_shape_yx,
        pixel_size_A=pixel_size_A,
        linear_yx=linear_yx,
        shift_yx=shift_yx,
        acquisition_order=np.argsort(np.argsort(dose)) if known and dose is not None else None,
        pre_exposure_e_per_A2=dose,
        ctf=series.ctf,
    )


def read_warp_series(path: StrPath, pixel_size_A: float | None = None) -> SeriesEntry:
    """The tilt series of a .xml or .tomostar: its stack, or the averages of its movies.

    The stack is NAME.st or NAME.mrc beside the file or in tiltstack/NAME; averages lie in the folder
    ``average`` beside the movies, those of half the frames in its folders even and odd.

    Raises
    ------
    InputError
        If a file cannot be read, no images are found, or they do not fit.
    """
    series = read_warp(path)
    name, n = series.path.stem, len(series.tilt_deg)
    kept = np.flatnonzero(series.used)
    notes = [f"alignment from {series.path.name}, its angles negated", *series.notes]
    stack = _stack(series)
    even = odd = None
    if stack is not None:
        depth = len(read_mrc(stack, stack=True).data)
        if depth not in (n, len(kept)):
            raise InputError(
                f"{stack}: {depth} images: expected {n}, or the {len(kept)} that {series.path.name} uses"
            )
        images: TiltImages | None = stack_images(stack, kept.tolist() if depth == n else None)
    else:
        movies = [series.movies[i] for i in kept] if series.movies else []
        images, even, odd = (_averages(series, movies, half) for half in ("", "even", "odd"))
    if even is None or odd is None:
        even = odd = None
    first = images or even
    if first is None:
        raise InputError(
            f"{series.path}: no images found: expected {name}.st or {name}.mrc beside it or in "
            f"tiltstack/{name}, or a folder average with the movies' averages"
        )
    pixel_size = pixel_size_A or first.first.voxel_size_A
    if pixel_size is None:
        raise InputError(f"{first.first.path}: no pixel size in its header: give --pixel-size in Angstrom")
    if len(kept) < n:
        notes.append(f"{series.path.name}: {n - len(kept)} of {n} tilts left out, as in Warp")
    return SeriesEntry(
        name=name,
        program="Warp",
        path=series.path,
        images=images,
        even=even,
        odd=odd,
        geometry=warp_geometry(series, first.shape[1:], pixel_size).select(kept),
        notes=(*notes, *x_tilt_notes([series.x_tilt_deg], series.path.name)),
    )


def parse_xml(path: Path, tag: str) -> ET.Element:
    """The outermost element of a file of Warp, which must have this tag.

    Raises
    ------
    InputError
        If the file cannot be read, is another one, or declares what could grow without bound.
    """
    text = read_text(path)
    # No file of Warp declares entities.
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InputError(f"{path}: declares a document type: expected a file of Warp, <{tag}>")
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise InputError(f"{path}: not an .xml file: {reason(error)}") from None
    if root.tag != tag:
        raise InputError(f"{path}: <{shown(root.tag)}>: expected a file of Warp, <{tag}>")
    return root


def _read_xml(path: Path) -> WarpSeries:
    root = parse_xml(path, "TiltSeries")
    angles = _column(path, root, "Angles")
    if angles is None:
        raise InputError(f"{path}: no <Angles>: expected the .xml of an aligned tilt series of Warp")
    n = len(angles)
    if n > limits.TILTS:
        raise InputError(f"{path}: {n} tilts: expected at most {limits.TILTS}")

    def column(name: str) -> Floats:
        values = _column(path, root, name)
        if values is None or len(values) != n:
            raise InputError(f"{path}: <{name}>: expected {n} numbers, one for each tilt")
        return values

    used = (root.findtext("UseTilt") or "").split()
    movies = tuple(line.strip() for line in (root.findtext("MoviePath") or "").splitlines() if line.strip())
    notes: list[str] = []
    movement = [_grid(path, root, f"GridMovement{axis}") for axis in "XY"]
    shift_xy_A = np.stack([column(f"AxisOffset{axis}") for axis in "XY"], axis=1)
    largest = max((float(np.abs(grid).max()) for grid in movement if grid is not None), default=0.0)
    if all(grid is not None and grid.size in (1, n) and grid.shape[1:] == (1, 1) for grid in movement):
        # One value for each tilt: part of its shift.
        shift_xy_A = shift_xy_A - np.stack([np.broadcast_to(grid.ravel(), n) for grid in movement], axis=1)  # type: ignore[union-attr]
    elif largest > 0:
        notes.append(f"{path.name}: local movement, up to {largest:.2g} A, is not used, the global shift is")
    warp = [_grid(path, root, f"GridVolumeWarp{axis}") for axis in "XYZ"]
    largest = max((float(np.abs(grid).max()) for grid in warp if grid is not None), default=0.0)
    if largest > 0:
        notes.append(f"{path.name}: warping of the volume, up to {largest:.2g} A, is not used")
    if _attribute_numbers(path, root, "MagnificationCorrection", "1, 0, 0, 1") != [1, 0, 0, 1]:
        notes.append(f"{path.name}: its correction of magnification is not used")
    level_x, level_y = (_attribute_numbers(path, root, f"LevelAngle{axis}", "0")[0] for axis in "XY")
    folder = root.get("DataDirectory")
    return WarpSeries(
        path=path,
        tilt_deg=-(angles + level_y),
        axis_deg=column("AxisAngle"),
        shift_xy_A=shift_xy_A,
        x_tilt_deg=level_x,
        used=np.array([word == "True" for word in used]) if len(used) == n else np.ones(n, dtype=bool),
        dose_e_per_A2=_column(path, root, "Dose"),
        movies=movies if len(movies) == n else (),
        data_folder=Path(folder) if folder else None,
        ctf=_ctf(path, root, n),
        notes=tuple(notes),
    )


def _read_tomostar(path: Path) -> WarpSeries:
    tables = [table for table in read_star(path).values() if "wrpAngleTilt" in table]
    if not tables:
        raise InputError(f"{path}: no column wrpAngleTilt: expected a .tomostar of Warp")
    table = tables[0]
    tilts = -star.numbers(path, table, "wrpAngleTilt")
    dose = star.numbers(path, table, "wrpDose") if "wrpDose" in table else None
    return WarpSeries(
        path=path,
        tilt_deg=tilts,
        axis_deg=star.numbers(path, table, "wrpAxisAngle", 0.0),
        shift_xy_A=np.zeros((len(tilts), 2)),
        x_tilt_deg=0.0,
        used=np.ones(len(tilts), dtype=bool),
        dose_e_per_A2=dose,
        movies=tuple(table.get("wrpMovieName", ())),
        data_folder=None,
        ctf=None,
        notes=(f"{path.name} is not aligned: images are turned by the nominal tilt axis, not shifted",),
    )


def _ctf(path: Path, root: ET.Element, n: int) -> CtfParameters | None:
    """Parameters of each tilt; None unless there is a defocus for each."""
    values = {p.get("Name", ""): p.get("Value", "") for p in root.findall("CTF/Param")}
    defocus = _grid(path, root, "GridCTF")
    if defocus is None or defocus.size != n or n == 1:
        return None

    def each(tag: str) -> Floats:
        grid = _grid(path, root, tag)
        return np.zeros(n) if grid is None or grid.size != n else grid.ravel()

    def value(name: str) -> float | None:
        return _floats(path, values[name], name)[0] if values.get(name) else None

    delta = each("GridCTFDefocusDelta")
    return CtfParameters(
        defocus_u_um=defocus.ravel() + delta / 2,
        defocus_v_um=defocus.ravel() - delta / 2,
        astigmatism_deg=each("GridCTFDefocusAngle"),
        phase_shift_deg=180 * each("GridCTFPhase"),
        voltage_kV=value("Voltage"),
        spherical_aberration_mm=value("Cs"),
        amplitude_contrast=value("Amplitude"),
        defocus_hand=-1 if root.get("AreAnglesInverted") == "True" else 1,
    )


def _grid(path: Path, root: ET.Element, tag: str) -> Floats | None:
    """Values of a grid, ``(z, y, x)`` or, for one in four dimensions, ``(w, z, y, x)``; None if absent."""
    element = root.find(tag)
    if element is None:
        return None
    axes = (
        ("Duration", "Depth", "Height", "Width")
        if "Duration" in element.attrib
        else ("Depth", "Height", "Width")
    )
    nodes = element.findall("Node")
    if len(nodes) > limits.NODES:
        raise InputError(f"{path}: <{tag}>: {len(nodes)} nodes: expected at most {limits.NODES}")
    shape = tuple(int(_floats(path, element.get(axis, "1"), f"{tag} {axis}")[0]) for axis in axes)
    if min(shape) < 1 or math.prod(shape) != len(nodes):
        raise InputError(f"{path}: <{tag}>: expected {shape} nodes, got {len(nodes)}")
    grid = np.empty(shape)
    for node in nodes:
        place = tuple(int(_floats(path, node.get(axis, "0"), tag)[0]) for axis in "WZYX"[-len(shape) :])
        if any(not 0 <= i < size for i, size in zip(place, shape, strict=True)):
            raise InputError(f"{path}: <{tag}>: a node lies outside its grid")
        grid[place] = _floats(path, node.get("Value", ""), tag)[0]
    return grid


def _column(path: Path, root: ET.Element, tag: str) -> Floats | None:
    text = root.findtext(tag)
    return np.array(_floats(path, text, tag)) if text and text.strip() else None


def _attribute_numbers(path: Path, root: ET.Element, name: str, default: str) -> list[float]:
    return _floats(path, root.get(name) or default, name)


def _floats(path: Path, text: str, what: str) -> list[float]:
    values = numbers(re.split(r"[\s,;]+", text.strip()))
    if values is None:
        raise InputError(f"{path}: expected numbers in {what}, got {shown(text)}")
    return values


def _stack(series: WarpSeries) -> Path | None:
    folder, name = series.path.parent, series.path.stem
    folders = (folder, folder / "tiltstack" / name, folder / name)
    # 00254.warp.xml may lie beside 00254.mrc.
    names = (name, name.split(".")[0])
    candidates = (f / f"{n}{suffix}" for f in folders for n in names for suffix in (".st", ".mrc"))
    return next((path for path in candidates if is_file(path)), None)


def _averages(series: WarpSeries, movies: list[str], half: str) -> TiltImages | None:
    """Averages of the movies, of all frames or of half of them; None if not all are there."""
    sources = []
    for movie in movies:
        name = PureWindowsPath(movie)
        bases = (series.data_folder, series.path.parent, series.path.parent.parent)
        folders = [base / Path(*name.parent.parts) for base in bases if base is not None]
        candidates = (f / "average" / half / f"{name.stem}.mrc" for f in folders)
        found = next((path for path in candidates if is_file(path)), None)
        if found is None:
            return None
        sources.append(ImageSource(found, 0))
    return TiltImages(sources) if sources else None
