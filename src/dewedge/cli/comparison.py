"""The verb compare."""

# ruff: noqa: B008  (the sections are frozen)
from __future__ import annotations

from pathlib import Path

from dewedge.cli.commands import (
    Compute,
    Ctf,
    Fit,
    Images,
    Output,
    Reconstruct,
    Refine,
    Series,
    Split,
    Tomograms,
    flags_given,
    show_messages,
)
from dewedge.settings.sections import (
    ComputeSection,
    CtfSection,
    FitSection,
    ImagesSection,
    ReconstructSection,
    RefineSection,
    SeriesSection,
    SplitSection,
    TomogramsSection,
)


def compare(
    *paths: Path,
    output: Output = None,
    methods: list[str] | None = None,
    config: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
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
    """Carry out several methods on one tilt series, and compare them: compare.html.

    Parameters
    ----------
    paths
        One tilt series or pair of half tomograms, as dewedge run takes it.
    output
        Folder of the results, with a folder for each method.
    methods
        Of fbp, sirt, tv, cryocare, isonet, cryocare+isonet, deepdewedge, dewedge: separated by commas, or
        repeated. If not given: fbp,cryocare,isonet,deepdewedge,dewedge. A flag given below holds for all of
        them; without it each has the setting of its recipe, which need not be the default shown there.
        --objective, --algorithm and --iterations, which make a method what it is, are refused.
    config
        TOML file with keys of the flags below, which hold for all methods, as every comparison writes one
        (compare.toml); flags win over it, and both over the methods' own settings.
    resume
        Continue the comparison in the output folder; no other flag is needed. Methods can be added.
    overwrite
        Replace the comparison in the output folder.
    no_check
        Do not look at the input as dewedge check does.
    """
    from dewedge.pipeline.compare.compare import SETTINGS
    from dewedge.pipeline.compare.compare import compare as compare_methods
    from dewedge.pipeline.compare.methods import read_comparison

    show_messages()
    if config is None and resume and output is not None and (output / SETTINGS).is_file():
        config = output / SETTINGS
    flags = flags_given(
        paths=list(paths),
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
    settings = read_comparison(config, flags, methods)
    compare_methods(settings, output, resume=resume, overwrite=overwrite)
