"""What a run starts from, checked before anything is written: tilt series, or ready-made half-sets."""

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
from dewedge.inputs.run_input import HalvesInput, RunInput, SeriesInput
from dewedge.io.entries import HalvesEntry, SeriesEntry
from dewedge.io.find import find_series
from dewedge.io.tilt_series import FEWEST_TILTS, TiltSeries, read_tilt_series
from dewedge.learn.grey_scale import measure_grey_scale
from dewedge.learn.pairs import TomogramPair
from dewedge.learn.sampling import held_out_side
from dewedge.learn.tiling import tile_axis
from dewedge.runtime.faults import collected, expect_some
from dewedge.settings.base import Section
from dewedge.settings.fit import FitSection
from dewedge.settings.image_numbers import image_numbers
from dewedge.settings.recipes import read_recipe
from dewedge.settings.sections import (
    Config,
    SeriesSection,
    TomogramsSection,
)
from dewedge.split import split_tilts


def read_inputs(config: Config) -> tuple[list[RunInput], list[InputError]]:
    """Open everything a run starts from, and check that it can be used.

    Returns
    -------
    list, list
        The inputs that can be used and, where there are some, what is wrong with the others.

    Raises
    ------
    InputError
        If the configuration cannot be used, or no input: a file is missing or damaged, data are not finite or
        constant, or files do not fit each other.
    """
    check_network(config.fit)
    faults: list[InputError] = []
    inputs = open_inputs(config, faults)
    expect_some(inputs, faults)
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
        with collected(faults):
            check_input(item, config)
            usable.append(item)
    expect_some(usable, faults)
    return usable, faults


def open_inputs(config: Config, faults: list[InputError]) -> list[RunInput]:
    """Open what the configuration names; what is wrong with one of several is added to ``faults``."""
    allow_many_files()
    given = config.tomograms
    if given.half0 or given.half1:
        if config.paths:
            raise InputError(
                f"{config.paths[0]}: expected tilt series or ready-made half-sets (--half0, --half1), got "
                "both"
            )
        for section in (config.reconstruct, config.images, config.split, config.series):
            _refuse(section, "ready-made half-sets, which are used as they are", config.recipe)
        inputs: list[RunInput] = [*read_halves(given, faults)]
    elif config.paths and not _names_files(config.series):
        return find_inputs(config, faults)
    else:
        _refuse(given, "tilt series, whose files tell")
        inputs = [*read_series(config, faults)]
    masks = config.fit.mask
    return [replace(item, mask=choose_mask(masks, i, len(inputs)) or "none") for i, item in enumerate(inputs)]


def read_one_series(config: Config) -> SeriesInput:
    """Open the one tilt series that the configuration names."""
    faults: list[InputError] = []
    inputs = open_inputs(config, faults)
    expect_some(inputs, faults)
    inputs = without_excluded(with_correction(inputs, config, faults), config)
    if faults:
        raise faults[0]
    if len(inputs) != 1 or not isinstance(inputs[0], SeriesInput):
        names = ", ".join(item.name for item in inputs)
        raise InputError(f"expected one tilt series, got {names}")
    return inputs[0]


def with_correction(inputs: Sequence[RunInput], config: Config, faults: list[InputError]) -> list[RunInput]:
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
        with collected(faults):
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


def find_inputs(config: Config, faults: list[InputError]) -> list[RunInput]:
    """Open what lies in files and folders, whichever program left it there."""
    masks, ranges = config.fit.mask, config.tomograms.tilt_range
    # What is given for each by its place needs all places.
    by_place = any(len(given) > 1 for given in (masks, ranges, config.ctf.ctf_file))
    entries = find_series(
        *config.paths,
        pixel_size_A=config.series.pixel_size_A,
        axis_angle_deg=config.series.axis_angle_deg,
        broken=None if by_place else faults,
    )
    halves = [entry for entry in entries if isinstance(entry, HalvesEntry)]
    for pair in halves:
        if not ranges and pair.tilt_range is None:
            raise InputError(
                f"{pair.path}: no tilt range known: expected --tilt-range, lowest and highest angle in "
                "degrees"
            )
    if not halves:
        _refuse(config.tomograms, "tilt series, whose files tell")
    if halves and ranges:
        chosen = ranges_for(ranges, len(halves))
        given = {entry.name: tilt_range for entry, tilt_range in zip(halves, chosen, strict=True)}
        entries = [
            replace(entry, tilt_range=given[entry.name], notes=(*entry.notes, "tilt range as given"))
            if isinstance(entry, HalvesEntry)
            else entry
            for entry in entries
        ]
    inputs: list[RunInput] = []
    for i, entry in enumerate(entries):
        mask = choose_mask(masks, i, len(entries))
        with collected(faults):
            if isinstance(entry, SeriesEntry):
                inputs.append(series_input(entry, config, mask or "none"))
            else:
                inputs.append(halves_input(entry, mask or str(entry.mask or "none")))
    return inputs


def series_input(entry: SeriesEntry, config: Config, mask: str) -> SeriesInput:
    """Open a tilt series: its frames if they are asked for, or are there and nothing is asked for."""
    split = config.split.split
    frames = split == "frames" or (split == "auto" and entry.has_frames)
    remarks = [f"read from {entry.path.name} ({entry.program})"]
    if frames:
        remarks.append("half-sets are the averages of even and of odd frames")
    if config.reconstruct.thickness is None and entry.thickness is not None:
        remarks.append(f"thickness {entry.thickness} pixels from {entry.program}'s metadata")
    series = entry.open_frames() if frames else (entry.open(),)
    return SeriesInput(entry.name, series, entry.thickness, mask, tuple(remarks))


def halves_input(entry: HalvesEntry, mask: str) -> HalvesInput:
    """Open half tomograms whose tilt range is known."""
    half0, half1, full = entry.open()
    assert entry.tilt_range is not None
    remarks = (f"half-sets {entry.half0.name} and {entry.half1.name}", *entry.notes)
    return HalvesInput(entry.name, half0, half1, full, entry.tilt_range, mask, remarks, entry.ctf)


def read_series(config: Config, faults: list[InputError]) -> list[SeriesInput]:
    """Open tilt series with the files that are named, one for each stack or pair of even and odd stacks."""
    section, split = config.series, config.split.split
    if split == "frames" or section.even or section.odd:
        if split not in ("auto", "frames"):
            raise InputError(f"--even and --odd are for --split frames, got --split {split}")
        if config.paths or not section.even:
            raise InputError(
                "--split frames: expected --even and --odd, one stack each, and no other stack; or none of "
                "--even, --odd, --angles, --xf, --mdoc, to find them by their names"
            )
        _expect_one_each("--odd", section.odd, section.even)
        inputs = []
        pairs = zip(section.even, section.odd, _sidecars(section, section.even), strict=True)
        for even, odd, sidecars in pairs:
            with collected(faults):
                inputs.append(_frames(*(_read_stack(stack, sidecars, section) for stack in (even, odd))))
        return inputs
    if not config.paths:
        raise InputError("nothing to read: expected a tilt series, or --half0 and --half1")
    inputs = []
    for stack, sidecars in zip(config.paths, _sidecars(section, config.paths), strict=True):
        with collected(faults):
            series = _read_stack(stack, sidecars, section)
            inputs.append(SeriesInput(series.name, (series,)))
    return inputs


def read_halves(section: TomogramsSection, faults: list[InputError]) -> list[HalvesInput]:
    """Open ready-made tomograms of half-sets."""
    _expect_one_each("--half1", section.half1, section.half0)
    if section.full:
        _expect_one_each("--full", section.full, section.half0)
    ranges = ranges_for(section.tilt_range, len(section.half0))
    inputs = []
    for i, path in enumerate(section.half0):
        with collected(faults):
            entry = HalvesEntry(
                name=path.stem if not section.full else section.full[i].stem,
                program="",
                path=path,
                half0=path,
                half1=section.half1[i],
                full=section.full[i] if section.full else None,
                tilt_range=ranges[i],
            )
            inputs.append(halves_input(entry, "none"))
    return inputs


def ranges_for(ranges: Sequence[tuple[float, float]], count: int) -> list[TiltRange]:
    """The tilt range of each of ``count`` tomograms: the one for all, or its own."""
    if len(ranges) not in (1, count):
        raise InputError(
            f"--tilt-range: expected lowest and highest tilt angle once, or for each of {count} tomograms, "
            f"got {len(ranges)}"
        )
    validated = [TiltRange(*pair).validated() for pair in ranges]
    return [validated[i % len(validated)] for i in range(count)]


def check_network(section: FitSection) -> None:
    """Refuse cubes that do not suit the network."""
    multiple = section.network().multiple
    if section.cube_size % multiple:
        raise InputError(
            f"--cube-size {section.cube_size}: expected a multiple of {multiple} for this network"
        )


def check_input(item: RunInput, config: Config) -> None:
    """Refuse an input that is too small, has a mask or tiles that do not fit, or data of no use."""
    shape = item.tomogram_shape(config.reconstruct)
    network = config.fit.network()
    tile = config.refine.edge(network, config.fit.cube_size)
    for edge in shape:
        tile_axis(edge, tile, config.refine.overlap, network.multiple)
    held_out_side(item.name, shape, config.fit.cube_size, config.fit.held_out)
    if item.mask not in ("none", "auto"):
        read_mask(Path(item.mask), shape)
    if isinstance(item, HalvesInput):
        measure_grey_scale(TomogramPair(item.half0.data, item.half1.data, item.tilt_range, name=item.name))
        return
    if not item.has_frames:
        split_tilts(item.series[0].geometry, config.split.of_tilts, config.split.fraction, config.fit.seed)
    for series in item.series:
        check_images(series)


def check_images(series: TiltSeries) -> None:
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


def _read_stack(stack: Path, sidecars: dict[str, Path], section: SeriesSection) -> TiltSeries:
    return read_tilt_series(
        stack,
        angles=sidecars.get("angles"),
        xf=sidecars.get("xf"),
        mdoc=sidecars.get("mdoc"),
        axis_angle_deg=section.axis_angle_deg,
        pixel_size_A=section.pixel_size_A,
    )


def _frames(even: TiltSeries, odd: TiltSeries) -> SeriesInput:
    if even.images.shape != odd.images.shape:
        raise InputError(
            f"{odd.path}: shape {odd.images.shape} (n, y, x): expected {even.images.shape}, that of "
            f"{even.path}"
        )
    if not np.allclose(even.geometry.tilt_deg, odd.geometry.tilt_deg, atol=0.01):
        raise InputError(
            f"{odd.path}: its tilt angles are not those of {even.path}: expected one file of angles"
        )
    name = even.name
    for ending in ("_EVN", "_EVEN", "_even", "_evn"):
        name = name.removesuffix(ending)
    return SeriesInput(name, (even, odd))


def _expect_one_each(flag: str, given: Sequence[Path], each: Sequence[Path]) -> None:
    if len(given) != len(each):
        names = ", ".join(path.name for path in each) or "none"
        raise InputError(f"{flag}: expected one file for each of {len(each)} ({names}), got {len(given)}")
