"""A project of WarpTools: its .settings file, its half tomograms, and where it keeps denoised ones.

Source: WarpLib (github.com/warpem/warp): in the processing folder, a tomogram is
reconstruction/NAME_10.00Apx.mrc, with the voxel size in Angstrom; those of its half-sets lie by that name in
reconstruction/even and odd, denoised ones in denoised. They are in the frame of the projection model of
`dewedge.io.programs.warp`. Their contrast is inverted by default, so that protein is bright.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath

from dewedge.errors import InputError, of_input, shown
from dewedge.geometry import TiltRange
from dewedge.io.entries import Entry, HalvesEntry, SeriesEntry
from dewedge.io.files import StrPath, files_and_folders, is_file, is_folder
from dewedge.io.programs.warp import is_warp_xml, parse_xml, read_warp, read_warp_series
from dewedge.io.text_files import number

RECONSTRUCTION, EVEN, ODD, DENOISED = "reconstruction", "even", "odd", "denoised"
_VOXEL_SIZE = re.compile(r"_\d+\.\d\dApx")


@dataclass(frozen=True)
class WarpSettings:
    """Folders and thickness that a .settings file tells of tilt series.

    Parameters
    ----------
    processing
        Folder of the .xml files and of all results.
    data
        Folder of the .tomostar files.
    depth_A
        Thickness of the tomograms in Angstrom; None if not told.
    """

    processing: Path
    data: Path
    depth_A: float | None


def read_warp_settings(path: StrPath) -> WarpSettings:
    """Read a .settings file.

    Raises
    ------
    InputError
        If it cannot be read, is none of Warp, or is one of frame series.
    """
    path = Path(path)
    root = parse_xml(path, "Settings")

    def param(section: str, name: str) -> str:
        values = (p.get("Value", "") for p in root.findall(f"{section}/Param") if p.get("Name") == name)
        return next(values, "").strip()

    def folder(name: str) -> Path:
        return path.parent / Path(*PureWindowsPath(name).parts)

    extension = param("Import", "Extension")
    if not extension.lower().endswith(".tomostar"):
        raise InputError(
            f"{path}: its data are {shown(extension)}: expected the settings of tilt series, *.tomostar"
        )
    data, processing = param("Import", "DataFolder"), param("Import", "ProcessingFolder")
    if not data:
        raise InputError(f"{path}: no DataFolder: expected the .settings file of a project of Warp")
    depth, pixel_size = number(param("Tomo", "DimensionsZ")), number(param("Import", "PixelSize"))
    return WarpSettings(
        processing=folder(processing or data),
        data=folder(data),
        depth_A=depth * pixel_size if depth and pixel_size and depth * pixel_size > 0 else None,
    )


def read_warp_project(
    path: StrPath,
    pixel_size_A: float | None = None,
    faults: list[InputError] | None = None,
    notes: list[str] | None = None,
) -> list[Entry]:
    """All tilt series of a .settings file: their half tomograms if Warp made some, else their images.

    Those that are deselected, as Warp does with what it could not process, are left out.

    Parameters
    ----------
    faults
        If given, the error of a series that cannot be read is appended to it, and the others are read.
    notes
        If given, a line on each series that is deselected is appended to it.

    Raises
    ------
    InputError
        If a file cannot be read, or there is no tilt series.
    """
    settings = read_warp_settings(path)
    entries: list[Entry] = []
    for file in _files_of_series(Path(path), settings):
        try:
            if _is_deselected(file):
                if notes is not None:
                    notes.append(f"{file}: deselected in Warp: left out")
                continue
            with of_input(file.stem):
                entry = read_warp_entry(file, pixel_size_A)
        except InputError as error:
            if faults is None:
                raise
            faults.append(error)
            continue
        if isinstance(entry, SeriesEntry) and settings.depth_A is not None:
            thickness = max(1, round(settings.depth_A / entry.geometry.pixel_size_A))
            entry = replace(entry, thickness=thickness)
        entries.append(entry)
    if not entries and not faults:
        raise InputError(f"{path}: all its tilt series are deselected: select some in Warp, or give .xml")
    return entries


def read_warp_entry(path: Path, pixel_size_A: float | None = None) -> Entry:
    """The half tomograms that Warp made of the series of an .xml; of one without, its images.

    Raises
    ------
    InputError
        If a file cannot be read, or there are half tomograms of several voxel sizes.
    """
    even = _tomograms(path, EVEN)
    pairs = [half for half in even if is_file(_other(half))] if path.suffix.lower() == ".xml" else []
    if len(pairs) > 1:
        sizes = ", ".join(half.name for half in pairs)
        raise InputError(
            f"{path}: half tomograms of several voxel sizes ({sizes}): give the files of one size in "
            f"{pairs[0].parent}"
        )
    if not pairs:
        return read_warp_series(path, pixel_size_A)
    entry = read_warp_halves(path, pairs[0], _other(pairs[0]))
    return replace(entry, notes=(*entry.notes, f"give {path.name} itself to use its images"))


def read_warp_halves(path: Path, half0: Path, half1: Path) -> HalvesEntry:
    """Half tomograms of the series of an .xml, which tells their tilt range.

    Raises
    ------
    InputError
        If the .xml cannot be read, or uses no tilts.
    """
    series = read_warp(path)
    tilts = series.tilt_deg[series.used]
    if tilts.size == 0:
        raise InputError(f"{path}: uses none of its tilts: expected at least two")
    full = half0.parent.parent / half0.name
    return HalvesEntry(
        name=path.stem,
        program="Warp",
        path=path,
        half0=half0,
        half1=half1,
        full=full if is_file(full) else None,
        tilt_range=TiltRange(float(tilts.min()), float(tilts.max()), series.x_tilt_deg).validated(),
        notes=(f"tilt range from {path.name}",),
    )


def xml_of_half(half: Path) -> Path | None:
    """The .xml of the series of a half tomogram in reconstruction/even or odd; None if there is none.

    Errors as `dewedge.io.text_files.read_text`.
    """
    folder = half.absolute().parent
    if folder.name not in (EVEN, ODD) or folder.parent.name != RECONSTRUCTION:
        return None
    xml = folder.parent.parent / f"{_VOXEL_SIZE.sub('', half.stem)}.xml"
    return xml if is_file(xml) and is_warp_xml(xml) else None


def denoised_path(half: Path) -> Path | None:
    """Path of the denoised tomogram that Warp keeps of a half tomogram; None for one in no project."""
    folder = half.absolute().parent
    if folder.name not in (EVEN, ODD) or folder.parent.name != RECONSTRUCTION:
        return None
    return folder.parent.parent / DENOISED / half.name


def is_tilt_settings(path: Path) -> bool:
    """True if a .settings file is that of tilt series."""
    try:
        read_warp_settings(path)
    except InputError:
        return False
    return True


def _files_of_series(path: Path, settings: WarpSettings) -> list[Path]:
    """Of each .tomostar the .xml in the processing folder, or itself; without a .tomostar all .xml files."""
    found = [
        {file.stem: file for file in files_and_folders(folder)[0] if file.suffix.lower() == suffix}
        if is_folder(folder)
        else {}
        for folder, suffix in ((settings.data, ".tomostar"), (settings.processing, ".xml"))
    ]
    tomostars, xmls = found[0], {stem: file for stem, file in found[1].items() if is_warp_xml(file)}
    files = [xmls.get(stem, file) for stem, file in tomostars.items()] or list(xmls.values())
    if not files:
        raise InputError(
            f"{path}: no .tomostar in {settings.data} and no .xml of a tilt series in {settings.processing}: "
            "expected the folders beside it, as Warp left them"
        )
    return files


def _is_deselected(path: Path) -> bool:
    """True if a user of Warp, or Warp itself, has deselected the series of an .xml."""
    return path.suffix.lower() == ".xml" and parse_xml(path, "TiltSeries").get("UnselectManual") == "True"


def _tomograms(path: Path, half: str) -> list[Path]:
    """Half tomograms of a series, of any voxel size."""
    folder = path.parent / RECONSTRUCTION / half
    files = files_and_folders(folder)[0] if is_folder(folder) else []
    return [
        file
        for file in files
        if file.suffix.lower() == ".mrc"
        and file.stem.startswith(path.stem)
        and _VOXEL_SIZE.fullmatch(file.stem.removeprefix(path.stem))
    ]


def _other(half: Path) -> Path:
    """The odd half tomogram of an even one."""
    return half.parent.with_name(ODD) / half.name
