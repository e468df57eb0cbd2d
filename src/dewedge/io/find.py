"""Find the tilt series and half tomograms that lie on the disk, whichever program left them there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.io.entries import Entry, SeriesEntry
from dewedge.io.file_entries import (
    VOLUME_SUFFIXES,
    Overrides,
    aretomo_entry,
    entries_of_file,
    entries_of_set,
    full_beside,
    halves_entry,
    imod_entry,
    is_stack_of_halves,
    warp_entry,
)
from dewedge.io.files import StrPath, files_and_folders, open_input
from dewedge.io.half_names import is_half, pair_halves, without_half
from dewedge.io.names import require_distinct
from dewedge.io.programs.deepdewedge import is_deepdewedge, read_deepdewedge
from dewedge.io.programs.imod import STACK_SUFFIXES, has_sidecars
from dewedge.io.programs.warp import is_warp_xml
from dewedge.io.programs.warp_project import is_tilt_settings
from dewedge.io.tilt_series import find_sidecars

# Folders within folders are looked into so deep; links that lead round end there.
DEPTH = 2


def find_series(
    *paths: StrPath,
    pixel_size_A: float | None = None,
    axis_angle_deg: float | None = None,
    tilt_range: TiltRange | None = None,
    faults: list[InputError] | None = None,
    notes: list[str] | None = None,
) -> list[Entry]:
    """Every tilt series and pair of half tomograms in files and folders.

    A file stands for what it describes: a stack or its .tlt, .xf, .edf or .mdoc; an .aln; a STAR file of
    RELION 5, IsoNet2 or `dewedge.io.dataset_file`; Warp's .settings, .xml or .tomostar; DeepDeWedge's
    .yaml; a half tomogram, for itself and the other half. A folder stands for all it holds, or else its
    folders hold. Where several files describe one series, the first of STAR, .aln, .xf and .tlt, Warp
    counts, and a note says so.

    Parameters
    ----------
    paths
        Files and folders.
    pixel_size_A
        Pixel size of all raw images in Angstrom, instead of the files'.
    axis_angle_deg
        Tilt-axis angle, instead of an .xf.
    tilt_range
        Of half tomograms, instead of the files'.
    faults
        If given, the error of a series that cannot be read is appended to it, and the others are found.
    notes
        If given, what is said of a folder within a folder, or a file in one, that is closed to this user or
        damaged and may be of no series, or of a series that is deselected in Warp, is appended to it; such
        are passed over.

    Returns
    -------
    list
        `dewedge.io.entries.SeriesEntry` and `HalvesEntry`, in the order of the paths, then by name.

    Raises
    ------
    InputError
        If a path holds nothing known, a file is broken, halves are unmatched, or two series have one name.
    """
    overrides = Overrides(pixel_size_A, axis_angle_deg, tilt_range, faults, notes)
    entries: list[Entry] = []
    seen: set[tuple[str, str]] = set()
    for given in paths:
        for entry in _tolerant(_in_path, Path(given), overrides):
            # Both halves of one tomogram, or a stack and its .xf, may be given.
            identity = (entry.name, str(entry.path.resolve()))
            if identity not in seen:
                seen.add(identity)
                entries.append(_with_range(entry, overrides))
    if faults is not None:
        # A series that is broken may be given by several of its files.
        faults[:] = {str(fault): fault for fault in faults}.values()
    require_distinct((entry.name, entry.path) for entry in entries)
    return entries


def find_among(
    files: Iterable[Path],
    *,
    pixel_size_A: float | None = None,
    axis_angle_deg: float | None = None,
    faults: list[InputError],
) -> list[Entry]:
    """Every tilt series and pair of half tomograms that some files of folders hold, for one who lists these.

    Of two of one name that in fewer folders counts. Nothing found is no error. Parameters, and what is at
    fault, as `find_series`.
    """
    overrides = Overrides(pixel_size_A, axis_angle_deg, None, faults, [])
    folders: dict[Path, list[Path]] = {}
    for path in sorted(files):
        folders.setdefault(path.parent, []).append(path)
    found: dict[str, Entry] = {}
    for folder in sorted(folders, key=lambda folder: len(folder.parts)):
        for entry in _of_files(folders[folder], overrides):
            found.setdefault(entry.name, entry)
    if not found:
        known = [path for own in folders.values() for path in own]
        found = {entry.name: entry for entry in _halves_by_folder(known, overrides)}
    return list(found.values())


def _in_path(path: Path, overrides: Overrides) -> list[Entry]:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if not path.is_file() and not path.is_dir():
        raise InputError(f"{path}: expected a file or folder, this is neither")
    if path.is_dir():
        return _in_folder(path, overrides)
    # IMOD's tilt.com and newst.com stand for the folder that they lie in.
    is_com = path.suffix.lower() == ".com"
    return _in_folder(path.parent, overrides) if is_com else entries_of_file(path, overrides)


def _tolerant(
    read: Callable[[Path, Overrides], list[Entry]], path: Path, overrides: Overrides
) -> list[Entry]:
    """What is read, or nothing and the error in ``faults`` where there is such a list."""
    try:
        entries = read(path, overrides)
        require_distinct((entry.name, entry.path) for entry in entries)
        return entries
    except InputError as error:
        if overrides.faults is None or isinstance(error, _NothingFound):
            raise
        overrides.faults.append(error)
        return []


def _in_folder(folder: Path, overrides: Overrides, depth: int = 0) -> list[Entry]:
    files, folders = files_and_folders(folder)
    known = [] if overrides.faults is None else overrides.faults
    before = len(known)
    entries = _of_files(files, overrides)
    if not entries and len(known) == before and depth < DEPTH:
        below = [inner for inner in folders if _is(_can_be_read, inner, overrides)]
        entries = _halves_in_folders(below, overrides)
        for inner in below if not entries else []:
            try:
                entries += _tolerant(lambda p, o: _in_folder(p, o, depth + 1), inner, overrides)
            except _NothingFound:
                continue
    if not entries and len(known) == before:
        raise _NothingFound(
            f"{folder}: no tilt series with angles (.tlt, .rawtlt, .mdoc), .aln, STAR file, Warp .xml or "
            "half tomograms found: give the file itself"
        )
    return entries


def _can_be_read(path: Path) -> bool:
    if path.is_dir():
        files_and_folders(path)
    else:
        with open_input(path):
            pass
    return True


def _is(told: Callable[[Path], bool], path: Path, overrides: Overrides) -> bool:
    """What is told of one of many; False, and a note, where it cannot be read."""
    try:
        return told(path)
    except InputError as error:
        if overrides.notes is None:
            raise
        overrides.notes.append(f"passed over: {error}")
        return False


class _NothingFound(InputError):
    """A folder in which there is nothing known."""


def _of_files(files: list[Path], overrides: Overrides) -> list[Entry]:
    """Everything that the files of one folder hold, by the first program that describes it."""
    found: dict[str, Entry] = {}
    # Series that cannot be read: what other files say of them is not told, too.
    broken: set[str] = set()
    faults = [] if overrides.faults is None else overrides.faults

    def add(path: Path, read: Callable[[Path, Overrides], list[Entry]], stem: str) -> None:
        if stem in broken:
            return
        if stem in found:
            note = f"{path.name} not used: {found[stem].path.name} describes the same series"
            found[stem] = replace(found[stem], notes=(*found[stem].notes, note))
            return
        before = len(faults)
        for entry in _tolerant(read, path, overrides):
            found.setdefault(entry.name, entry)
        if len(faults) > before:
            broken.add(stem)

    def add_all(path: Path, read: Callable[[Path, Overrides], list[Entry]]) -> None:
        for entry in _tolerant(read, path, overrides):
            found.setdefault(entry.name, entry)

    def with_suffix(*suffixes: str) -> list[Path]:
        return [path for path in files if path.suffix.lower() in suffixes]

    for path in with_suffix(".star"):
        if _is(_can_be_read, path, overrides):
            add_all(path, entries_of_set)
    for path in with_suffix(".aln"):
        add(path, lambda p, o: [aretomo_entry(p, o)], path.stem)
    stacks = [path for path in with_suffix(*STACK_SUFFIXES) if has_sidecars(path) or is_stack_of_halves(path)]
    # TS.st before TS_ali.mrc: the raw stack has the images as they were taken.
    for path in sorted(stacks, key=lambda p: (find_sidecars(p).aligned, p.name)):
        root = without_half(path.stem) if not has_sidecars(path) else path.stem.removesuffix("_ali")
        used = found.get(root)
        if used is None or not _reads(used, path):
            add(path, lambda p, o: [imod_entry(p, o)], root)
    for path in with_suffix(".settings"):
        if _is(is_tilt_settings, path, overrides):
            add_all(path, entries_of_file)
    of_warp = [p for p in with_suffix(".xml") if _is(is_warp_xml, p, overrides)]
    for path in of_warp + with_suffix(".tomostar"):
        stems = (path.stem, path.stem.split(".")[0])
        stem = next((s for s in stems if s in found or s in broken), path.stem)
        add(path, lambda p, o: [warp_entry(p, o)], stem)
    for path in with_suffix(".yaml", ".yml"):
        if _is(is_deepdewedge, path, overrides):
            add_all(path, lambda p, _: [*read_deepdewedge(p)])
    if not found:
        halves = [p for p in with_suffix(*VOLUME_SUFFIXES) if is_half(p)]
        if not all(_only_in_folder(path) for path in halves):
            for pair in pair_halves(halves, overrides.faults):
                found[pair.name] = halves_entry(
                    pair.name, pair.half0, pair.half1, full_beside(pair.half0, pair.name)
                )
    return [found[name] for name in sorted(found)]


def _reads(entry: Entry, path: Path) -> bool:
    """True if a stack's images are already among those of a series."""
    if not isinstance(entry, SeriesEntry):
        return False
    stacks = (images for images in (entry.images, entry.even, entry.odd) if images is not None)
    return any(path == source.path for images in stacks for source in images.sources)


def _only_in_folder(path: Path) -> bool:
    """True if nothing but the folder's name tells which half a file is."""
    return without_half(path.stem) == path.stem


def _halves_in_folders(folders: list[Path], overrides: Overrides) -> list[Entry]:
    """Tomograms of one name in folders such as even and odd."""
    return _halves_by_folder([p for folder in folders for p in files_and_folders(folder)[0]], overrides)


def _halves_by_folder(files: list[Path], overrides: Overrides) -> list[Entry]:
    """Tomograms of one name among files in folders such as even and odd."""
    files = [
        path
        for path in files
        if path.suffix.lower() in VOLUME_SUFFIXES and is_half(path) and _only_in_folder(path)
    ]
    return [
        halves_entry(pair.name, pair.half0, pair.half1, None) for pair in pair_halves(files, overrides.faults)
    ]


def _with_range(entry: Entry, overrides: Overrides) -> Entry:
    if overrides.tilt_range is None or isinstance(entry, SeriesEntry):
        return entry
    given = overrides.tilt_range.validated()
    known = entry.tilt_range
    return replace(entry, tilt_range=given if known is None else known.with_angles(given[:2]))
