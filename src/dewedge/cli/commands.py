"""The verbs for data: what each takes, and the step of the pipeline it calls."""

# ruff: noqa: B008  (the sections are frozen)
from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter

from dewedge.errors import InputError
from dewedge.runtime.folder import CONFIG
from dewedge.settings.file import resolve_config
from dewedge.settings.sections import (
    ComputeSection,
    Config,
    CtfSection,
    DeviceSection,
    FitSection,
    ImagesSection,
    ReconstructSection,
    RefineSection,
    Section,
    SeriesSection,
    SplitSection,
    TileSection,
    TomogramsSection,
)


def _flags(title: str, order: int) -> Parameter:
    """All keys of a section as flags, under a title in the help."""
    return Parameter(name="*", group=Group(title, sort_key=order))


Series = Annotated[SeriesSection, _flags("Tilt series", 2)]
Tomograms = Annotated[TomogramsSection, _flags("Ready-made tomograms", 3)]
Split = Annotated[SplitSection, _flags("Split", 4)]
Images = Annotated[ImagesSection, _flags("Tilt images", 5)]
Reconstruct = Annotated[ReconstructSection, _flags("Reconstruction", 5)]
Ctf = Annotated[CtfSection, _flags("CTF and exposure", 6)]
Fit = Annotated[FitSection, _flags("Fit", 7)]
Refine = Annotated[RefineSection, _flags("Refinement", 8)]
Tiles = Annotated[TileSection, _flags("Refinement", 8)]
Device = Annotated[DeviceSection, _flags("Device", 9)]
Compute = Annotated[ComputeSection, _flags("Devices", 9)]
Output = Annotated[Path | None, Parameter(alias="-o")]


def run(
    *paths: Path,
    output: Output = None,
    config: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    recipe: str | None = None,
    fit_each: bool = False,
    no_check: bool = False,
    series: Series = SeriesSection(),
    tomograms: Tomograms = TomogramsSection(),
    split: Split = SplitSection(),
    images: Images = ImagesSection(),
    reconstruct: Reconstruct = ReconstructSection(),
    ctf: Ctf = CtfSection(),
    fit: Fit = FitSection(),
    refine: Refine = RefineSection(),
    compute: Compute = ComputeSection(),
) -> None:
    """From tilt series, or ready-made half-sets, to refined tomograms.

    Parameters
    ----------
    paths
        Tilt series or half tomograms: stacks, folders, files of AreTomo (.aln), RELION 5 (.star), Warp (.xml,
        .tomostar), SerialEM (.mdoc), IsoNet2 (.star), DeepDeWedge (.yaml), or of dewedge import (.star).
    output
        Folder of the results; of several series, each gets a folder in it.
    config
        TOML file with any of the keys of the flags below, as every run writes one; flags win over it.
    resume
        Continue the run in the output folder; no other flag is needed.
    overwrite
        Replace the run in the output folder.
    recipe
        The method, whose settings are the defaults: dewedge, paper (DeepDeWedge as published), cryocare or
        isonet.
    fit_each
        Fit a network to each tomogram, for the whole budget, instead of one to all of them.
    no_check
        Do not look at the input as dewedge check does; else its errors leave an input out.
    """
    resolved = resolve(
        config,
        output,
        resume,
        paths=list(paths),
        recipe=recipe,
        fit_each=fit_each,
        no_check=no_check,
        series=series,
        tomograms=tomograms,
        split=split,
        images=images,
        reconstruct=reconstruct,
        ctf=ctf,
        fit=fit,
        refine=refine,
        compute=compute,
    )
    from dewedge.pipeline.run import run as run_pipeline

    show_messages()
    run_pipeline(resolved, resume=resume, overwrite=overwrite)


def reconstruct(
    path: Path | None = None,
    *,
    output: Output = None,
    halves: bool = False,
    config: Path | None = None,
    overwrite: bool = False,
    series: Series = SeriesSection(),
    split: Split = SplitSection(),
    images: Images = ImagesSection(),
    reconstruct: Reconstruct = ReconstructSection(),
    ctf: Ctf = CtfSection(),
    seed: int | None = None,
    device: Device = DeviceSection(),
) -> None:
    """Reconstruct a tilt series: filtered back-projection, SIRT, or total variation.

    Parameters
    ----------
    path
        Tilt series: a stack, raw or aligned, or what else dewedge run takes.
    output
        The tomogram; STACK_rec.mrc if not given. Half-sets are named after it: _half0, _half1.
    halves
        Reconstruct both half-sets, too. As they are for a fit, gold beads are painted over in them and in the
        whole, and get a tomogram of their own: _beads.
    config
        TOML file with any of the keys of the flags below; flags win over it.
    overwrite
        Replace files that exist.
    seed
        Of --split random; 0 if neither given nor in the file.
    """
    resolved = resolve(
        config,
        None,
        paths=[] if path is None else [path],
        series=series,
        split=split,
        images=images,
        reconstruct=reconstruct,
        ctf=ctf,
        fit=_seed(seed),
        compute=device,
    )
    from dewedge.pipeline.reconstruct import reconstruct_file

    show_messages()
    reconstruct_file(resolved, output, halves=halves, overwrite=overwrite)


def split(
    path: Path,
    *,
    output: Annotated[Path, Parameter(alias="-o")] = Path(),
    config: Path | None = None,
    overwrite: bool = False,
    series: Series = SeriesSection(),
    split: Split = SplitSection(),
    seed: int | None = None,
) -> None:
    """Split a tilt series into two half-sets: STACK_half0.mrc and STACK_half1.mrc, each with .tlt (and .xf).

    Parameters
    ----------
    path
        Tilt series: a stack, raw or aligned, or what else dewedge run takes.
    output
        Folder of the results.
    config
        TOML file with any of the keys of the flags below; flags win over it.
    overwrite
        Replace files that exist.
    seed
        Of --split random; 0 if neither given nor in the file.
    """
    resolved = resolve(config, None, paths=[path], series=series, split=split, fit=_seed(seed))
    from dewedge.pipeline.split import split_file

    show_messages()
    split_file(resolved, output, overwrite=overwrite)


def fit(
    *,
    output: Output = None,
    config: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    recipe: str | None = None,
    tomograms: Tomograms = TomogramsSection(),
    fit: Fit = FitSection(),
    compute: Compute = ComputeSection(),
) -> None:
    """Fit a network to tomograms of half-sets.

    Parameters
    ----------
    output
        Folder of the model, its loss curve, configuration and log.
    config
        TOML file with any of the keys of the flags below, as every fit writes one; flags win over it.
    resume
        Continue the fit in the output folder; no other flag is needed.
    overwrite
        Replace the fit in the output folder.
    recipe
        The method, whose settings are the defaults: dewedge, paper (DeepDeWedge as published) or cryocare.
    """
    resolved = resolve(config, output, resume, recipe=recipe, tomograms=tomograms, fit=fit, compute=compute)
    from dewedge.pipeline.fit import fit_files

    show_messages()
    fit_files(resolved, resume=resume, overwrite=overwrite)


def refine(
    model: Path,
    *tomograms: Path,
    output: Output = None,
    half0: list[Path] | None = None,
    half1: list[Path] | None = None,
    tilt_range: tuple[float, float] | None = None,
    beads: Path | None = None,
    overwrite: bool = False,
    tiles: Tiles = TileSection(),
    compute: Compute = ComputeSection(),
) -> None:
    """Refine tomograms with a fitted model, which knows all about itself.

    Parameters
    ----------
    model
        The model.safetensors of a run or a fit.
    tomograms
        Full tomograms.
    output
        File of the result, or folder of several; else TOMOGRAM_refined.mrc beside each tomogram.
    half0
        Half-set 0, in place of a full tomogram: both halves are refined and averaged.
    half1
        Half-set 1.
    tilt_range
        Lowest and highest tilt angle, where they are not those of the model.
    beads
        Tomogram of the gold beads that were painted over (beads.mrc, NAME_beads.mrc), to be added to the
        result.
    overwrite
        Replace files that exist.
    """
    from dewedge.pipeline.refine import refine_with_model

    show_messages()
    sources = [[path] for path in tomograms]
    if len(half0 or []) != len(half1 or []):
        raise InputError(
            f"--half1: expected {len(half0 or [])} files, one for each --half0, got {len(half1 or [])}"
        )
    sources += [list(pair) for pair in zip(half0 or [], half1 or [], strict=True)]
    refine_with_model(model, sources, output, tilt_range, tiles, compute, beads=beads, overwrite=overwrite)


def _seed(seed: int | None) -> dict[str, int]:
    return {} if seed is None else {"seed": seed}


def resolve(config: Path | None, output: Path | None, resume: bool = False, **given: Any) -> Config:
    """The configuration of the file, or of the run to resume, overridden by the flags that were given."""
    if config is None and resume and output is not None and (output / CONFIG).is_file():
        config = output / CONFIG
    flags: dict[str, Any] = {} if output is None else {"output": output}
    return resolve_config(config, flags | flags_given(**given))


def flags_given(**given: Any) -> dict[str, Any]:
    """Keys of the configuration for which there was a flag."""
    flags: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, Section):
            flags[name] = value.model_dump(exclude_unset=True)
        elif value:
            flags[name] = value
    return flags


def show_messages() -> None:
    """Show what happens on the terminal."""
    from dewedge.runtime.log import show_on_terminal

    show_on_terminal()
