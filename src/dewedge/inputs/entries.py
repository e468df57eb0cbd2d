"""Tilt series and half tomograms as the configuration names them, or as they are found in its paths."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.io.entries import Entry, HalvesEntry, SeriesEntry
from dewedge.io.find import find_among, find_series
from dewedge.io.tilt_images import stack_images
from dewedge.io.tilt_series import TiltSeries, read_tilt_series
from dewedge.io.volume_file import file_of
from dewedge.runtime.faults import Faults
from dewedge.settings.base import Section
from dewedge.settings.recipes import read_recipe
from dewedge.settings.sections import Config, SeriesSection, TomogramsSection

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

# Of many half tomograms.
_NAMED = 6
_READY_MADE = "ready-made half-sets, which are used as they are"


def entries_of(config: Config, faults: Faults) -> list[Entry]:
    """Tilt series and half tomograms: those whose files are named, or else what lies in the paths.

    Raises
    ------
    InputError
        If nothing is named, keys do not go together, or a tilt range is not known.
    """
    given, paths = config.tomograms, config.paths
    if given.half0 or given.half1:
        if paths:
            raise InputError(
                f"{paths[0]}: expected tilt series or ready-made half-sets (--half0, --half1), got both"
            )
        _refuse_of_series(config)
        return [*_with_ranges(named_halves(given), given)]
    if paths and not names_files(config.series):
        notes: list[str] = []
        entries = find_series(
            *paths,
            pixel_size_A=config.series.pixel_size_A,
            axis_angle_deg=config.series.axis_angle_deg,
            faults=faults,
            notes=notes,
        )
        for note in notes:
            logger.warning(note)
    else:
        entries = [*named_series(config, faults)]
    if given.halves_only:
        entries = [entry for entry in entries if _has_halves(entry, faults)]
        faults.require_some(entries)
    # What is given for each by its place needs all places.
    by_place = (config.fit.mask, given.tilt_range, given.x_tilt, config.ctf.ctf_file)
    if faults and any(len(values) > 1 for values in by_place):
        raise faults[0]
    if not entries:
        return []
    if not any(isinstance(entry, HalvesEntry) for entry in entries):
        _refuse(given, "tilt series, whose files tell")
        return entries
    if all(isinstance(entry, HalvesEntry) for entry in entries):
        _refuse_of_series(
            config, "".join(f"; {note}" for note in entries[0].notes if note.startswith("give "))
        )
    else:
        tell_unused(entries, config)
    return with_ranges(entries, given)


def entries_among(files: Iterable[Path], config: Config, faults: Faults) -> list[Entry]:
    """Entries as `entries_of` gives, of what some files of folders hold; nothing if that is nothing.

    What is wrong with one is added to ``faults``.
    """
    entries = find_among(
        files,
        pixel_size_A=config.series.pixel_size_A,
        axis_angle_deg=config.series.axis_angle_deg,
        faults=faults,
    )
    found: list[Entry] = []
    for entry in entries:
        with faults.collected():
            if not config.tomograms.halves_only or _has_halves(entry, faults):
                found += with_ranges([entry], config.tomograms)
    return found


def named_series(config: Config, faults: Faults) -> list[SeriesEntry]:
    """Tilt series of the files that are named, one for each stack or pair of even and odd stacks.

    Raises
    ------
    InputError
        If no file is named, or files do not go together or with the split; of one that cannot be read the
        error is in ``faults``.
    """
    section, split = config.series, config.split.split
    stacks: list[Path] = config.paths
    odds: Sequence[Path | None] = [None] * len(stacks)
    if split == "frames" or section.even or section.odd:
        if split not in ("auto", "frames"):
            raise InputError(f"--even and --odd are for --split frames, got --split {split}")
        if config.paths or not section.even:
            raise InputError(
                "--split frames: expected --even and --odd, one stack each, and no other stack; or none of "
                "--even, --odd, --angles, --xf, --mdoc, to find them by their names"
            )
        _expect_one_each("--odd", section.odd, section.even)
        stacks, odds = section.even, section.odd
    if not stacks:
        raise InputError("nothing to read: expected a tilt series, or --half0 and --half1")
    entries = []
    for stack, odd, sidecars in zip(stacks, odds, _sidecars(section, stacks), strict=True):
        with faults.collected(_named(stack, odd)):
            entries.append(_named_entry(stack, odd, sidecars, section))
    return entries


def named_halves(section: TomogramsSection) -> list[HalvesEntry]:
    """Half tomograms of the files that are named.

    Raises
    ------
    InputError
        If there is not one of each kind for every tomogram.
    """
    _expect_one_each("--half1", section.half1, section.half0)
    if section.full:
        _expect_one_each("--full", section.full, section.half0)
    fulls: Sequence[Path | None] = section.full or [None] * len(section.half0)
    return [
        HalvesEntry(
            name=file_of(full or half0).stem,
            program="",
            path=half0,
            half0=half0,
            half1=half1,
            full=full,
        )
        for half0, half1, full in zip(section.half0, section.half1, fulls, strict=True)
    ]


def with_ranges(entries: Sequence[Entry], given: TomogramsSection) -> list[Entry]:
    """The entries, half tomograms with the tilt range and tilt about x given for all or for each of them.

    Raises
    ------
    InputError
        If no range is given and a file does not tell, or their number is another.
    """
    halves = [entry for entry in entries if isinstance(entry, HalvesEntry)]
    chosen = dict(zip((pair.name for pair in halves), _with_ranges(halves, given), strict=True))
    return [chosen.get(entry.name, entry) for entry in entries]


def _with_ranges(halves: Sequence[HalvesEntry], given: TomogramsSection) -> list[HalvesEntry]:
    if given.tilt_range:
        halves = [
            replace(pair, tilt_range=_with_angles(pair, angles), notes=(*pair.notes, "tilt range as given"))
            for pair, angles in zip(halves, ranges_for(given.tilt_range, len(halves)), strict=True)
        ]
    ranges = [known_range(pair) for pair in halves]
    if not given.x_tilt:
        return list(halves)
    about_x = _for_each("--x-tilt: expected one tilt about x", given.x_tilt, len(halves))
    return [
        replace(
            pair,
            tilt_range=tilt_range._replace(x_tilt_deg=tilt).validated(),
            notes=(*pair.notes, "tilt about x as given"),
        )
        for pair, tilt_range, tilt in zip(halves, ranges, about_x, strict=True)
    ]


def _with_angles(pair: HalvesEntry, angles: TiltRange) -> TiltRange:
    """Angles as given; the tilt about x that a file told stays."""
    return angles if pair.tilt_range is None else pair.tilt_range.with_angles(angles[:2])


def known_range(entry: HalvesEntry) -> TiltRange:
    """The tilt range of half tomograms.

    Raises
    ------
    InputError
        If it is not known.
    """
    if entry.tilt_range is None:
        raise InputError(
            f"{entry.path}: no tilt range known: expected --tilt-range, lowest and highest angle in degrees"
        )
    return entry.tilt_range


def ranges_given(given: TomogramsSection, count: int) -> list[TiltRange]:
    """The tilt range that is given for each of ``count`` tomograms, with the tilt about x, if that is.

    Errors as `ranges_for`.
    """
    about_x = _for_each("--x-tilt: expected one tilt about x", given.x_tilt or [0.0], count)
    return [
        angles._replace(x_tilt_deg=tilt).validated()
        for angles, tilt in zip(ranges_for(given.tilt_range, count), about_x, strict=True)
    ]


def ranges_for(ranges: Sequence[tuple[float, float]], count: int) -> list[TiltRange]:
    """The tilt range of each of ``count`` tomograms: the one for all, or its own.

    Raises
    ------
    InputError
        If their number is another, or one cannot be a tilt range.
    """
    validated = [TiltRange(*pair).validated() for pair in ranges]
    return _for_each("--tilt-range: expected lowest and highest tilt angle once", validated, count)


def _for_each(expected: str, given: Sequence[Value], count: int) -> list[Value]:
    """One value for each of ``count`` tomograms: the one for all, or its own."""
    if len(given) not in (1, count):
        raise InputError(f"{expected}, or for each of {count} tomograms, got {len(given)}")
    return [given[i % len(given)] for i in range(count)]


def tell_unused(entries: Sequence[Entry], config: Config) -> None:
    """Warn of keys that are ignored for those entries that are half tomograms, among tilt series."""
    names = [entry.name for entry in entries if isinstance(entry, HalvesEntry)]
    unused = ", ".join(f"{key} = {value}" for key, value in _unused_of_series(config))
    if names and unused:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        logger.warning("%s: not used for %s%s, %s", unused, ", ".join(names[:_NAMED]), more, _READY_MADE)


def _has_halves(entry: Entry, faults: Faults) -> bool:
    """True for half tomograms; a tilt series is at fault."""
    if isinstance(entry, HalvesEntry):
        return True
    faults.append(
        InputError(
            f"{entry.path}: {entry.name} has no half tomograms that exist: reconstruct them first (in RELION "
            "with 'Generate tomograms for denoising?' Yes)"
        )
    )
    return False


def _refuse_of_series(config: Config, remedy: str = "") -> None:
    """Refuse keys of tilt series, which would be ignored for half-sets."""
    for key, value in _unused_of_series(config):
        raise InputError(f"{key} = {value}: cannot be used with {_READY_MADE}{remedy}")


def _unused_of_series(config: Config) -> Iterator[tuple[str, object]]:
    """Keys that half-sets have no use for."""
    for section in (config.reconstruct, config.images, config.split, config.series):
        yield from _changed(section, config.recipe)


def _refuse(section: Section, given: str) -> None:
    """Refuse keys that would be ignored for what is given."""
    for key, value in _changed(section):
        raise InputError(f"{key} = {value}: cannot be used with {given}")


def _changed(section: Section, recipe: str | None = None) -> Iterator[tuple[str, object]]:
    """Keys of a section that are neither the defaults nor a recipe's own, with their values."""
    owns = [] if recipe is None else read_recipe(recipe).settings.values()
    own = {key: value for table in owns if isinstance(table, dict) for key, value in table.items()}
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if value not in (field.default, own.get(key, field.default)):
            yield key, value


def names_files(section: SeriesSection) -> bool:
    """True if the user names the files of each stack, so that nothing is to be found."""
    return bool(section.angles or section.xf or section.mdoc or section.even or section.odd)


def _sidecars(section: SeriesSection, stacks: Sequence[Path]) -> list[dict[str, Path]]:
    """The files that are named for each stack."""
    named = {flag: getattr(section, flag) for flag in ("angles", "xf", "mdoc") if getattr(section, flag)}
    for flag, files in named.items():
        _expect_one_each(f"--{flag}", files, stacks)
    return [{flag: files[i] for flag, files in named.items()} for i in range(len(stacks))]


def _named(stack: Path, odd: Path | None) -> str:
    """Name of the tilt series of a stack or, with ``odd``, of the stacks of even and of odd frames."""
    name = stack.stem
    for ending in ("_EVN", "_EVEN", "_even", "_evn") if odd is not None else ():
        name = name.removesuffix(ending)
    return name


def _named_entry(
    stack: Path, odd: Path | None, sidecars: dict[str, Path], section: SeriesSection
) -> SeriesEntry:
    """The tilt series of a stack or, with ``odd``, of the stacks of its even and of its odd frames."""
    series, images = _read_stack(stack, sidecars, section), stack_images(stack)
    if odd is not None:
        _require_same_geometry(series, _read_stack(odd, sidecars, section))
    return SeriesEntry(
        name=_named(stack, odd),
        program="",
        path=stack,
        images=images if odd is None else None,
        even=None if odd is None else images,
        odd=None if odd is None else stack_images(odd),
        geometry=series.geometry,
        notes=series.notes,
    )


def _read_stack(stack: Path, sidecars: dict[str, Path], section: SeriesSection) -> TiltSeries:
    return read_tilt_series(
        stack,
        angles=sidecars.get("angles"),
        xf=sidecars.get("xf"),
        mdoc=sidecars.get("mdoc"),
        axis_angle_deg=section.axis_angle_deg,
        pixel_size_A=section.pixel_size_A,
    )


def _require_same_geometry(even: TiltSeries, odd: TiltSeries) -> None:
    if even.images.shape != odd.images.shape:
        raise InputError(
            f"{odd.path}: shape {odd.images.shape} (n, y, x): expected {even.images.shape}, that of "
            f"{even.path}"
        )
    same = {
        key: np.allclose(getattr(even.geometry, key), getattr(odd.geometry, key), atol=0.01)
        for key in ("tilt_deg", "linear_yx", "shift_yx")
    }
    if not same["tilt_deg"]:
        raise InputError(
            f"{odd.path}: its tilt angles are not those of {even.path}: expected one file of angles"
        )
    if not all(same.values()):
        raise InputError(f"{odd.path}: its alignment is not that of {even.path}: expected one .xf")


def _expect_one_each(flag: str, given: Sequence[Path], each: Sequence[Path]) -> None:
    if len(given) != len(each):
        names = ", ".join(path.name for path in each) or "none"
        raise InputError(f"{flag}: expected one file for each of {len(each)} ({names}), got {len(given)}")
