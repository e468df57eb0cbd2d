"""Tilt series, or ready-made half-sets, opened and found usable before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.inputs.ctf import with_ctf, with_tomogram_ctf
from dewedge.inputs.mask import choose_mask, read_mask
from dewedge.inputs.open_files import allow_many_files
from dewedge.inputs.run_input import HalvesInput, Mask, RunInput, SeriesInput
from dewedge.io.entries import Entry, HalvesEntry, SeriesEntry
from dewedge.io.find import find_series
from dewedge.io.tilt_images import stack_images
from dewedge.io.tilt_series import FEWEST_TILTS, TiltSeries, read_tilt_series
from dewedge.learn.network import network_config
from dewedge.learn.sampling import TomogramPair, held_out_side, measure_grey_scale
from dewedge.learn.tiling import tile_axis, tile_size
from dewedge.runtime.faults import Faults
from dewedge.settings.image_numbers import image_numbers
from dewedge.settings.recipes import read_recipe
from dewedge.settings.sections import (
    Config,
    FitSection,
    Section,
    SeriesSection,
    TomogramsSection,
)
from dewedge.split import split_tilts


def read_inputs(config: Config) -> tuple[list[RunInput], Faults]:
    """Open everything a run starts from, and require that it can be used.

    Returns
    -------
    list, Faults
        The inputs that can be used and, where there are some, what is wrong with the others.

    Raises
    ------
    InputError
        If the configuration cannot be used, or no input: a file is missing or damaged, data are not finite or
        constant, or files do not fit each other.
    """
    require_cubes_for_network(config.fit)
    faults = Faults()
    inputs = open_inputs(config, faults)
    faults.require_some(inputs)
    names = [item.name for item in inputs]
    for item in inputs:
        if names.count(item.name) > 1:
            raise InputError(
                f"two inputs are named {item.name}: expected different names, for each gets a folder"
            )
        if Path(item.name).name != item.name:
            raise InputError(f"{item.name!r}: expected a name that can be that of a folder")
        # The same for all: told before any time is spent.
        item.tomogram_shape(config.reconstruct)
    usable: list[RunInput] = []
    for item in without_excluded(with_correction(inputs, config, faults), config):
        with faults.collected():
            require_usable(item, config)
            usable.append(item)
    faults.require_some(usable)
    return usable, faults


def read_one_series(config: Config) -> SeriesInput:
    """Open the one tilt series that the configuration names."""
    faults = Faults()
    inputs = open_inputs(config, faults)
    faults.require_some(inputs)
    inputs = without_excluded(with_correction(inputs, config, faults), config)
    if faults:
        raise faults[0]
    if len(inputs) != 1 or not isinstance(inputs[0], SeriesInput):
        names = ", ".join(item.name for item in inputs)
        raise InputError(f"expected one tilt series, got {names}")
    return inputs[0]


def open_inputs(config: Config, faults: Faults) -> list[RunInput]:
    """Open what the configuration names; what is wrong with one of several is added to ``faults``."""
    allow_many_files()
    entries = entries_of(config, faults)
    inputs: list[RunInput] = []
    for i, entry in enumerate(entries):
        mask = choose_mask(config.fit.mask, i, len(entries))
        with faults.collected():
            if isinstance(entry, SeriesEntry):
                inputs.append(open_series(entry, config, mask))
            else:
                inputs.append(open_halves(entry, mask))
    return inputs


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
        for section in (config.reconstruct, config.images, config.split, config.series):
            _refuse(section, "ready-made half-sets, which are used as they are", config.recipe)
        return [*named_halves(given)]
    if paths and not _names_files(config.series):
        entries = find_series(
            *paths,
            pixel_size_A=config.series.pixel_size_A,
            axis_angle_deg=config.series.axis_angle_deg,
            faults=faults,
        )
    else:
        entries = [*named_series(config, faults)]
    # What is given for each by its place needs all places.
    if faults and any(len(values) > 1 for values in (config.fit.mask, given.tilt_range, config.ctf.ctf_file)):
        raise faults[0]
    if not any(isinstance(entry, HalvesEntry) for entry in entries):
        _refuse(given, "tilt series, whose files tell")
        return entries
    return with_ranges(entries, given.tilt_range)


def named_series(config: Config, faults: Faults) -> list[SeriesEntry]:
    """Tilt series of the files that are named, one for each stack or pair of even and odd stacks."""
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
        with faults.collected():
            entries.append(_named_entry(stack, odd, sidecars, section))
    return entries


def named_halves(section: TomogramsSection) -> list[HalvesEntry]:
    """Half tomograms of the files that are named."""
    _expect_one_each("--half1", section.half1, section.half0)
    if section.full:
        _expect_one_each("--full", section.full, section.half0)
    ranges = ranges_for(section.tilt_range, len(section.half0))
    fulls: Sequence[Path | None] = section.full or [None] * len(section.half0)
    return [
        HalvesEntry(
            name=(full or half0).stem,
            program="",
            path=half0,
            half0=half0,
            half1=half1,
            full=full,
            tilt_range=tilt_range,
        )
        for half0, half1, full, tilt_range in zip(section.half0, section.half1, fulls, ranges, strict=True)
    ]


def with_ranges(entries: Sequence[Entry], ranges: Sequence[tuple[float, float]]) -> list[Entry]:
    """The entries, half tomograms with the tilt range that is given for all or for each of them, if any.

    Raises
    ------
    InputError
        If none is given and a file does not tell, or their number is another.
    """
    halves = [entry for entry in entries if isinstance(entry, HalvesEntry)]
    if not ranges:
        for pair in halves:
            known_range(pair)
        return list(entries)
    chosen = {
        pair.name: replace(pair, tilt_range=tilt_range, notes=(*pair.notes, "tilt range as given"))
        for pair, tilt_range in zip(halves, ranges_for(ranges, len(halves)), strict=True)
    }
    return [chosen.get(entry.name, entry) for entry in entries]


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


def open_series(entry: SeriesEntry, config: Config, mask: Mask | None) -> SeriesInput:
    """Open a tilt series: its frames if they are asked for, or are there and nothing is asked for."""
    split = config.split.split
    frames = split == "frames" or (split == "auto" and entry.has_frames)
    remarks = [f"read from {entry.path.name} ({entry.program})"] if entry.program else []
    if frames:
        remarks.append("half-sets are the averages of even and of odd frames")
    if config.reconstruct.thickness is None and entry.thickness is not None:
        remarks.append(f"thickness {entry.thickness} pixels from {entry.program}'s metadata")
    series = entry.open_frames() if frames else (entry.open(),)
    return SeriesInput(entry.name, series, entry.thickness, mask or "none", tuple(remarks))


def open_halves(entry: HalvesEntry, mask: Mask | None) -> HalvesInput:
    """Open half tomograms whose tilt range is known; their own mask counts if none is given."""
    half0, half1, full = entry.open()
    remarks = (f"half-sets {entry.half0.name} and {entry.half1.name}", *entry.notes)
    mask = mask or entry.mask or "none"
    return HalvesInput(entry.name, half0, half1, full, known_range(entry), mask, remarks, entry.ctf)


def with_correction(inputs: Sequence[RunInput], config: Config, faults: Faults) -> list[RunInput]:
    """The inputs with all that their correction for CTF and exposure needs; at fault is what lacks some."""
    section = config.ctf
    if section.ctf_file and len(section.ctf_file) != len(inputs):
        names = ", ".join(item.name for item in inputs)
        raise InputError(
            f"--ctf-file: expected one file for each of {len(inputs)} inputs ({names}), got "
            f"{len(section.ctf_file)}"
        )
    completed: list[RunInput] = []
    for i, item in enumerate(inputs):
        with faults.collected():
            if isinstance(item, SeriesInput):
                file = section.ctf_file[i] if section.ctf_file else None
                series, notes = with_ctf(item.series, section, file)
                completed.append(replace(item, series=series, remarks=(*item.remarks, *notes)))
            else:
                ctf, notes = with_tomogram_ctf(item.half0, item.ctf, section)
                completed.append(replace(item, ctf=ctf, remarks=(*item.remarks, *notes)))
    return completed


def without_excluded(inputs: Sequence[RunInput], config: Config) -> list[RunInput]:
    """The one tilt series without the images that the configuration excludes; others as they are."""
    numbers = image_numbers(config.series.exclude_tilts)
    if not numbers:
        return list(inputs)
    item = inputs[0]
    if len(inputs) != 1 or not isinstance(item, SeriesInput):
        raise InputError("--exclude-tilts: expected one tilt series, whose images are counted")
    n = item.series[0].geometry.n_tilts
    if numbers[-1] > n:
        raise InputError(f"--exclude-tilts: image {numbers[-1]} of {item.name}, which has {n}")
    kept = np.setdiff1d(np.arange(n), np.array(numbers) - 1)
    if kept.size < FEWEST_TILTS:
        raise InputError(
            f"--exclude-tilts: {kept.size} of {n} images of {item.name} would be left; expected at least "
            f"{FEWEST_TILTS}"
        )
    left_out = ",".join(config.series.exclude_tilts)
    return [item.select(kept, f"{len(numbers)} of {n} images left out as asked: {left_out}")]


def ranges_for(ranges: Sequence[tuple[float, float]], count: int) -> list[TiltRange]:
    """The tilt range of each of ``count`` tomograms: the one for all, or its own."""
    if len(ranges) not in (1, count):
        raise InputError(
            f"--tilt-range: expected lowest and highest tilt angle once, or for each of {count} tomograms, "
            f"got {len(ranges)}"
        )
    validated = [TiltRange(*pair).validated() for pair in ranges]
    return [validated[i % len(validated)] for i in range(count)]


def require_cubes_for_network(section: FitSection) -> None:
    """Refuse cubes that do not suit the network."""
    multiple = network_config(section.preset, section.channels, section.dropout).multiple
    if section.cube_size % multiple:
        raise InputError(
            f"--cube-size {section.cube_size}: expected a multiple of {multiple} for this network"
        )


def require_usable(item: RunInput, config: Config) -> None:
    """Refuse an input that is too small, has a mask or tiles that do not fit, or data of no use."""
    shape = item.tomogram_shape(config.reconstruct)
    network = network_config(config.fit.preset, config.fit.channels, config.fit.dropout)
    tile = config.refine.tile or tile_size(network, config.fit.cube_size)
    for edge in shape:
        tile_axis(edge, tile, config.refine.overlap, network.multiple)
    held_out_side(item.name, shape, config.fit.cube_size, config.fit.held_out)
    if isinstance(item.mask, Path):
        read_mask(item.mask, shape)
    if isinstance(item, HalvesInput):
        measure_grey_scale(TomogramPair(item.half0.data, item.half1.data, item.tilt_range, name=item.name))
        return
    if not item.has_frames:
        split_tilts(item.series[0].geometry, config.split.of_tilts, config.split.fraction, config.fit.seed)
    for series in item.series:
        require_sound_images(series)


def require_sound_images(series: TiltSeries) -> None:
    """Refuse images that are constant or hold values that are not finite."""
    for i, (image, tilt) in enumerate(zip(series.images, series.geometry.tilt_deg, strict=True)):
        low, high = float(image.min()), float(image.max())
        where = f"{series.path}: image {i + 1} (at {tilt:g} degrees)"
        if not np.isfinite([low, high]).all():
            raise InputError(
                f"{where} holds NaN or infinite values: leave this tilt out or export the stack again"
            )
        if low == high:
            raise InputError(f"{where} is constant ({low:g}): leave this tilt out or export the stack again")


def _refuse(section: Section, given: str, recipe: str | None = None) -> None:
    """Refuse keys that would be ignored for what is given, unless they are a recipe's own."""
    owns = [] if recipe is None else read_recipe(recipe).settings.values()
    own = {key: value for table in owns if isinstance(table, dict) for key, value in table.items()}
    for key, field in type(section).model_fields.items():
        if getattr(section, key) not in (field.default, own.get(key, field.default)):
            raise InputError(f"{key} = {getattr(section, key)}: cannot be used with {given}")


def _names_files(section: SeriesSection) -> bool:
    """True if the user names the files of each stack, so that nothing is to be found."""
    return bool(section.angles or section.xf or section.mdoc or section.even or section.odd)


def _sidecars(section: SeriesSection, stacks: Sequence[Path]) -> list[dict[str, Path]]:
    """The files that are named for each stack."""
    named = {flag: getattr(section, flag) for flag in ("angles", "xf", "mdoc") if getattr(section, flag)}
    for flag, files in named.items():
        _expect_one_each(f"--{flag}", files, stacks)
    return [{flag: files[i] for flag, files in named.items()} for i in range(len(stacks))]


def _named_entry(
    stack: Path, odd: Path | None, sidecars: dict[str, Path], section: SeriesSection
) -> SeriesEntry:
    """The tilt series of a stack or, with ``odd``, of the stacks of its even and of its odd frames."""
    series = _read_stack(stack, sidecars, section)
    name, images = series.name, stack_images(stack)
    if odd is not None:
        _require_same_geometry(series, _read_stack(odd, sidecars, section))
        for ending in ("_EVN", "_EVEN", "_even", "_evn"):
            name = name.removesuffix(ending)
    return SeriesEntry(
        name=name,
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
