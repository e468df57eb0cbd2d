"""Tilt series, or ready-made half-sets, opened and found usable before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dewedge import limits
from dewedge.errors import InputError
from dewedge.inputs.ctf import with_ctf, with_tomogram_ctf
from dewedge.inputs.entries import entries_of, known_range
from dewedge.inputs.mask import choose_mask, read_mask
from dewedge.inputs.open_files import allow_many_files
from dewedge.inputs.run_input import HalvesInput, Mask, RunInput, SeriesInput
from dewedge.io.entries import Entry, HalvesEntry, SeriesEntry
from dewedge.io.image_numbers import image_numbers, numbers_text
from dewedge.io.names import names_apart, require_distinct
from dewedge.io.tilt_series import FEWEST_TILTS, TiltSeries
from dewedge.learn.grey_scale import mean_and_covariance, measure_grey_scale
from dewedge.learn.pairs import TomogramPair
from dewedge.learn.sampling import held_out_side, largest_cube
from dewedge.learn.tiling import tile_axis
from dewedge.physics.tilt_axis import with_axis
from dewedge.runtime.faults import Faults
from dewedge.settings.fit import FitSection
from dewedge.settings.sections import Config
from dewedge.split import split_tilts

# Smaller cubes show too little of anything to be taken unasked.
_SMALLEST_CUBE = 16
# Along each axis of a tomogram; of fewer there is no spectrum that tells anything.
_FEWEST_VOXELS = 4


def read_inputs(config: Config) -> tuple[list[RunInput], Faults, Config]:
    """Open everything a run starts from, and require that it can be used.

    Returns
    -------
    list, Faults, Config
        The inputs that can be used; where there are some, what is wrong with the others; the configuration,
        with the cubes of `with_fitting_cubes`.

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
    require_distinct((item.name, item.files[0]) for item in inputs)
    for item in inputs:
        # The same for all: told before any time is spent.
        item.tomogram_shape(config.reconstruct)
    config, smaller = with_fitting_cubes(config, inputs)
    if smaller:
        inputs = [replace(item, remarks=(*item.remarks, smaller)) for item in inputs]
    usable: list[RunInput] = []
    for item in without_excluded(with_correction(inputs, config, faults), config):
        with faults.collected(item.name):
            require_usable(item, config)
            usable.append(item)
    faults.require_some(usable)
    return usable, faults, config


def read_all(config: Config) -> list[RunInput]:
    """Open all that the configuration names, with what their correction needs.

    Raises
    ------
    InputError
        If one of them cannot be opened.
    """
    faults = Faults()
    inputs = open_inputs(config, faults)
    faults.require_some(inputs)
    inputs = without_excluded(with_correction(inputs, config, faults), config)
    if faults:
        raise faults[0]
    return inputs


def read_one_series(config: Config) -> SeriesInput:
    """Open the one tilt series that the configuration names.

    Raises
    ------
    InputError
        If it names none or several, or it cannot be opened.
    """
    inputs = read_all(config)
    if len(inputs) != 1 or not isinstance(inputs[0], SeriesInput):
        names = ", ".join(item.name for item in inputs)
        raise InputError(f"expected one tilt series, got {names}")
    return inputs[0]


def open_inputs(config: Config, faults: Faults) -> list[RunInput]:
    """Open what the configuration names; what is wrong with one of several is added to ``faults``.

    Raises
    ------
    InputError
        If the configuration cannot be used.
    """
    allow_many_files()
    entries = entries_of(config, faults)
    inputs: list[RunInput] = []
    for i, entry in enumerate(entries):
        mask = choose_mask(config.fit.mask, i, len(entries))
        with faults.collected(entry.name):
            inputs.append(open_entry(entry, config, mask))
    return inputs


def open_entry(entry: Entry, config: Config, mask: Mask | None) -> RunInput:
    """Open a tilt series, or half tomograms; errors as `open_series` and `open_halves`."""
    return open_series(entry, config, mask) if isinstance(entry, SeriesEntry) else open_halves(entry, mask)


def read_entry(entry: Entry, config: Config) -> RunInput:
    """Open one input alone, and require that it can be used.

    Raises
    ------
    InputError
        As `read_inputs`.
    """
    faults = Faults()
    item = open_entry(entry, config, choose_mask(config.fit.mask, 0, 1))
    corrected = with_correction([item], config, faults)
    faults.require_some(corrected)
    require_usable(corrected[0], config)
    return corrected[0]


def open_series(entry: SeriesEntry, config: Config, mask: Mask | None) -> SeriesInput:
    """Open a tilt series: its frames if they are asked for, or are there and nothing is asked for.

    Raises
    ------
    InputError
        If what is asked for, whole images or even and odd frames, is not there.
    """
    split = config.split.split
    frames = split == "frames" or (split == "auto" and entry.has_frames)
    remarks = [f"read from {entry.path.name} ({entry.program})"] if entry.program else []
    if frames:
        remarks.append("half-sets are the averages of even and of odd frames")
    if config.reconstruct.thickness is None and entry.thickness is not None:
        remarks.append(f"thickness {entry.thickness} pixels from {entry.program}'s metadata")
    series: tuple[TiltSeries, ...] = entry.open_frames() if frames else (entry.open(),)
    turn_deg, shift = config.series.axis_turn_deg, config.series.axis_shift
    if turn_deg or shift:
        series = tuple(replace(each, geometry=with_axis(each.geometry, turn_deg, shift)) for each in series)
        remarks.append(
            f"all images turned by {turn_deg:+g} degrees and shifted by {shift:+g} pixels, as asked"
        )
    return SeriesInput(entry.name, series, entry.thickness, mask or "none", tuple(remarks))


def open_halves(entry: HalvesEntry, mask: Mask | None) -> HalvesInput:
    """Open half tomograms whose tilt range is known; their own mask counts if none is given.

    Raises
    ------
    InputError
        If a file cannot be read, shapes differ, or the tilt range is not known.
    """
    half0, half1, full = entry.open()
    remarks = (f"half-sets {' and '.join(names_apart([entry.half0, entry.half1]))}", *entry.notes)
    mask = mask or entry.mask or "none"
    return HalvesInput(entry.name, half0, half1, full, known_range(entry), mask, remarks, entry.ctf)


def with_correction(inputs: Sequence[RunInput], config: Config, faults: Faults) -> list[RunInput]:
    """The inputs with all that their correction for CTF and exposure needs; at fault is what lacks some.

    Raises
    ------
    InputError
        If CTF files are given, but not one for each input.
    """
    section = config.ctf
    if section.ctf_file and len(section.ctf_file) != len(inputs):
        names = ", ".join(item.name for item in inputs)
        raise InputError(
            f"--ctf-file: expected one file for each of {len(inputs)} inputs ({names}), got "
            f"{len(section.ctf_file)}"
        )
    completed: list[RunInput] = []
    for i, item in enumerate(inputs):
        with faults.collected(item.name):
            if isinstance(item, SeriesInput):
                file = section.ctf_file[i] if section.ctf_file else None
                series, notes = with_ctf(item.series, section, file)
                completed.append(replace(item, series=series, remarks=(*item.remarks, *notes)))
            else:
                ctf, notes = with_tomogram_ctf(item.half0, item.ctf, section)
                completed.append(replace(item, ctf=ctf, remarks=(*item.remarks, *notes)))
    return completed


def without_excluded(inputs: Sequence[RunInput], config: Config) -> list[RunInput]:
    """The one tilt series without the images that the configuration excludes; others as they are.

    Raises
    ------
    InputError
        If there are several inputs, no such images, or fewer than five would be left.
    """
    numbers = image_numbers(config.series.exclude_tilts)
    if not numbers:
        return list(inputs)
    item = inputs[0]
    if len(inputs) != 1 or not isinstance(item, SeriesInput):
        raise InputError("--exclude-tilts: expected one tilt series, whose images are counted")
    n = item.numbers.size
    unknown = np.setdiff1d(numbers, item.numbers)
    if unknown.size > 0:
        raise InputError(
            f"--exclude-tilts: image {unknown[-1]} of {item.name}: expected some of "
            f"{numbers_text(item.numbers.tolist())}"
        )
    kept = np.flatnonzero(~np.isin(item.numbers, numbers))
    if kept.size < FEWEST_TILTS:
        raise InputError(
            f"--exclude-tilts: {kept.size} of {n} images of {item.name} would be left; expected at least "
            f"{FEWEST_TILTS}"
        )
    left_out = ",".join(config.series.exclude_tilts)
    return [item.select(kept, f"{len(numbers)} of {n} images left out as asked: {left_out}")]


def with_fitting_cubes(
    config: Config, inputs: Sequence[RunInput], *, of_recipe: bool = False
) -> tuple[Config, str]:
    """The configuration with smaller cubes where no tomogram has room for them, and a note that says so.

    Cubes that were asked for stay, as do those that suit some of the tomograms; then the note is empty. Those
    that a recipe has stay, too, unless they are ``of_recipe`` for certain and are to be made smaller.

    Raises
    ------
    InputError
        If the thickness of a tomogram is not known.
    """
    section = config.fit
    if config.model is not None or ("cube_size" in section.model_fields_set and not of_recipe):
        return config, ""
    shapes = [item.tomogram_shape(config.reconstruct) for item in inputs]
    sizes = [largest_cube(shape, section.cube_size, section.held_out) for shape in shapes]
    size = min(sizes)
    if max(sizes) == section.cube_size or size < _SMALLEST_CUBE:
        return config, ""
    note = (
        f"cubes of {size} voxels are taken, not of {section.cube_size}, for which "
        f"{shapes[sizes.index(size)]} (z, y, x) has no room: larger ones, by less --bin or a larger "
        "--thickness, show the network more"
    )
    return config.model_copy(update={"fit": section.model_copy(update={"cube_size": size})}), note


def require_cubes_for_network(section: FitSection) -> None:
    """Refuse cubes that do not suit the network.

    Raises
    ------
    InputError
        If they do not.
    """
    multiple = section.network().multiple
    if section.cube_size % multiple:
        raise InputError(
            f"--cube-size {section.cube_size}: expected a multiple of {multiple} for this network"
        )


def require_usable(item: RunInput, config: Config) -> None:
    """Refuse an input that is too small, has a mask or tiles that do not fit, or data of no use.

    Raises
    ------
    InputError
        If it is one.
    """
    shape = item.tomogram_shape(config.reconstruct)
    require_three_axes(item.name, shape)
    network = config.fit.network()
    tile = config.refine.edge(network, config.fit.cube_size)
    for edge in shape:
        tile_axis(edge, tile, config.refine.overlap, network.multiple)
    if config.model is None:
        held_out_side(item.name, shape, config.fit.cube_size, config.fit.held_out)
    if isinstance(item.mask, Path):
        read_mask(item.mask, shape)
    if isinstance(item, HalvesInput):
        pair = TomogramPair(item.half0.data, item.half1.data, item.tilt_range, name=item.name)
        measure_grey_scale(pair, names=[str(item.half0.path), str(item.half1.path)])
        if item.full is not None:
            mean_and_covariance([item.full.data], [str(item.full.path)])
        return
    if not item.has_frames:
        split_tilts(item.series[0].geometry, config.split.of_tilts, config.split.fraction, config.fit.seed)
    for series in item.series:
        require_sound_images(series)


def require_three_axes(name: str, shape_zyx: Sequence[int]) -> None:
    """Refuse what is an image, or a few, rather than a tomogram.

    Raises
    ------
    InputError
        If it has fewer voxels along an axis than any network could make something of.
    """
    if min(shape_zyx) < _FEWEST_VOXELS:
        raise InputError(
            f"{name}: a tomogram of {tuple(shape_zyx)} (z, y, x): expected at least {_FEWEST_VOXELS} voxels "
            "along each axis: give all of it or, of a tilt series, a larger --thickness or less --bin"
        )


def require_sound_images(series: TiltSeries) -> None:
    """Refuse images that are constant or hold values that are not finite.

    Raises
    ------
    InputError
        If there is one, or one holds values beyond `dewedge.limits.PIXEL`.
    """
    for i, (image, tilt) in enumerate(zip(series.images, series.geometry.tilt_deg, strict=True)):
        low, high = float(image.min()), float(image.max())
        where = f"{series.path}: image {i + 1} (at {tilt:g} degrees)"
        if not np.isfinite([low, high]).all():
            raise InputError(
                f"{where} holds NaN or infinite values: leave this tilt out or export the stack again"
            )
        if max(-low, high) > limits.PIXEL:
            raise InputError(
                f"{where} holds {max(low, high, key=abs):g}: leave this tilt out or export it again"
            )
        if low == high:
            raise InputError(f"{where} is constant ({low:g}): leave this tilt out or export the stack again")
