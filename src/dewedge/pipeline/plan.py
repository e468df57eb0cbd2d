"""What a run would do, write and take: told, and nothing of it done."""

from __future__ import annotations

from collections.abc import Sequence

from dewedge.check.finding import Finding, errors
from dewedge.errors import InputError, printable
from dewedge.inputs.ctf import series_correction
from dewedge.inputs.run_input import HalvesInput, SeriesInput
from dewedge.pipeline.check import check_inputs
from dewedge.pipeline.earlier import NOT_READ, not_as_asked
from dewedge.pipeline.given_model import with_model
from dewedge.pipeline.reconstruct import reconstruction_label
from dewedge.pipeline.resources import find_shortage, predict
from dewedge.pipeline.run import Prepared, prepared
from dewedge.pipeline.stages import Tomogram, is_fitted
from dewedge.runtime.faults import Faults
from dewedge.runtime.folder import ResultFolder
from dewedge.runtime.results import described, lines
from dewedge.runtime.stored import missing_halves
from dewedge.settings.file import differences
from dewedge.settings.sections import Config
from dewedge.split import split_tilts


def plan(config: Config, *, resume: bool = False, overwrite: bool = False) -> None:
    """Print what `dewedge.pipeline.run.run` would do with the same arguments; nothing is written.

    Told are inputs found and left out, what is done with each, the fit, settings that are not the defaults,
    files, and the forecast of `dewedge check`.

    Raises
    ------
    InputError
        As the run would: if it could not begin, or an input cannot be used; and if the disk would be full.
    """
    config = with_model(config)
    ready = prepared(config, resume=resume, overwrite=overwrite)
    config, tomograms, faults = ready.config, ready.tomograms, ready.faults
    warnings: list[Finding] = []
    faults += not_as_asked(ready.earlier, ready.folder, config)
    if not config.no_check:
        wrong = Faults()
        usable, warnings = check_inputs([tomogram.item for tomogram in tomograms], config, wrong)
        tomograms = [tomogram for tomogram in tomograms if tomogram.item in usable]
        faults += wrong
    predicted = predict([tomogram.item for tomogram in tomograms], config)
    short = [] if predicted is None else find_shortage(predicted, config)
    told = [line for tomogram in tomograms for line in _of_tomogram(tomogram, config, resume)]
    told += [f"{one.name}: would keep what is there: {NOT_READ} ({one.fault})" for one in ready.earlier]
    told += [f"left out: {fault}" for fault in faults]
    told += [f"{warning.severity}: {warning}" for warning in warnings]
    told += [_of_fit(tomograms, config), *_of_settings(config)]
    told += [*_of_files(ready, tomograms, config), *_of_folder(ready)]
    if predicted is not None:
        free = predicted.free_memory_GB
        memory = "" if free is None else f"; free are {free:.1f} GB of memory"
        whole = " (from the beginning)" if resume else ""
        told.append(f"forecast{whole}: {predicted}{memory}, {predicted.free_disk_GB:.1f} GB of disk")
    told += [f"{finding.severity}: {finding}" for finding in short]
    for line in told:
        print(printable(line))
    print("dry run: nothing was done, and nothing written")
    if faults:
        raise faults.summary(ready.total)
    if errors(short):
        raise InputError("the run would not come to its end: see above")


def _of_tomogram(tomogram: Tomogram, config: Config, resume: bool) -> list[str]:
    """What was read of an input, and what would be done with it."""
    item, section, folder = tomogram.item, config.reconstruct, tomogram.folder
    size_A = item.voxel_size_A(section)
    voxels = "voxel size not known" if size_A is None else f"voxels of {size_A:g} A"
    if resume and folder.full.exists() and not missing_halves(folder):
        steps = ["take half-sets and full tomogram that are there"]
    elif resume and config.files.half_sets == "drop" and folder.full.exists() and folder.result.exists():
        steps = ["take the full tomogram that is there, whose half-sets were not kept"]
    elif isinstance(item, HalvesInput):
        steps = ["copy half-sets" + (", deconvolved" if config.ctf.ctf == "wiener-tomogram" else "")]
    else:
        steps = _to_reconstruct(item, config)
    if resume and folder.result.exists():
        steps.append("keep the refined tomogram that is there, unless its network is fitted anew")
    else:
        steps.append("fit a network to it" if is_fitted(tomogram, config) else "fit no network to it")
        steps.append(f"refine the {'full tomogram' if config.refine.refine == 'full' else 'half-sets'}")
    return [
        f"{item.name}: tomogram of {item.tomogram_shape(section)} (z, y, x), {voxels}",
        *(f"  {note}" for note in item.notes),
        f"  would {'; '.join(steps)}",
    ]


def _to_reconstruct(item: SeriesInput, config: Config) -> list[str]:
    """What is done to a tilt series before the fit."""
    geometry, section = item.series[0].geometry, config.reconstruct
    binned = f", bin by {section.bin}" if section.bin > 1 else ""
    ctf = series_correction(item.series, config.ctf).ctf
    corrected = "" if ctf == "none" else f", correct the CTF ({ctf})"
    if item.has_frames:
        counts = (geometry.n_tilts, geometry.n_tilts)
    else:
        split, seed = config.split, config.fit.seed
        first, second = split_tilts(geometry, split.of_tilts, split.fraction, seed)
        counts = (first.size, second.size)
    return [
        f"align{binned}{corrected}",
        f"split into half-sets of {counts[0]} and {counts[1]} tilts",
        f"reconstruct: {reconstruction_label(section)}",
    ]


def _of_fit(tomograms: Sequence[Tomogram], config: Config) -> str:
    """The network, what it is fitted to, and when the fit ends."""
    if config.model is not None:
        return f"fit no network: apply that of {config.model}"
    fit, network, options = config.fit, config.fit.network(), config.fit.options()
    names = [tomogram.name for tomogram in tomograms if is_fitted(tomogram, config)]
    what = f"{len(names)} tomograms" if len(names) > 1 else ", ".join(names)
    each = ", a network to each" if config.fit_each else ""
    limits = [] if options.epochs is None else [f"{options.epochs} epochs"]
    limits += [] if fit.budget is None else [str(fit.budget)]
    start = "" if fit.init == "random" else f", from the weights {fit.init}"
    return (
        f"fit to {what}{each}: recipe {config.recipe}, {network.channels} channels{start}, cubes of "
        f"{options.cube_size} voxels, for at most {' or '.join(limits)}"
    )


def _of_settings(config: Config) -> list[str]:
    """Settings that are not the defaults."""
    changed = [each for each in differences(config) if each.key != "paths"]
    if not changed:
        return ["settings: the defaults"]
    return [
        "settings that are not the defaults:",
        *(f"  {each.key} = {each.value} (default {each.default})" for each in changed),
    ]


def _of_files(ready: Prepared, tomograms: Sequence[Tomogram], config: Config) -> list[str]:
    """Files that would be there at the end."""
    run, folders = ResultFolder(ready.folder.path), [tomogram.folder for tomogram in tomograms]
    written = [run.config_file, run.inputs, run.log, run.report]
    for tomogram in tomograms:
        folder, series = tomogram.folder, isinstance(tomogram.item, SeriesInput)
        written += [folder.report, folder.slices, folder.full]
        written += folder.halves if config.files.half_sets == "keep" else []
        written += folder.refined_as(config.output_format)
        written += [folder.planes] if series else []
        written += [folder.beads] if series and config.images.gold == "auto" else []
        written += [folder.mask] if tomogram.item.mask != "none" else []
        coarse = series and config.reconstruct.algorithm == "fbp" and config.refine.tv_share > 0
        written += [folder.tv] if coarse else []
        written += folder.of_fit if config.fit_each else []
        written += [folder.log] if ready.folder.by_turns else []
    if config.model is not None:
        written.append(run.model)
    elif not config.fit_each:
        written += run.of_fit
    return [
        "files at the end (beads where gold is found):",
        *(f"  {line}" for line in lines(described(run, folders, written))),
    ]


def _of_folder(ready: Prepared) -> list[str]:
    """What becomes of results that are in the folder now."""
    there = sum(path.exists() for path in set(ready.folder.results))
    if not there:
        return []
    what = "kept, and the run goes on with them" if ready.folder.resume else "replaced"
    return [f"{there} files of an earlier run there would be {what}"]
