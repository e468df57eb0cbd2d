"""The verb check."""

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
    resolve,
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


def check(
    *paths: Path,
    json: Path | None = None,
    output: Output = None,
    config: Path | None = None,
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
    """Tell what is wrong with the input, and what a run will take, before anything is computed.

    Parameters
    ----------
    paths
        What dewedge run takes; the flags are those of dewedge run, too.
    json
        File to write all that was measured and found to.
    output
        Folder where the results of a run would go; only its free space is looked at.
    config
        TOML file with any of the keys of the flags below; flags win over it.
    """
    resolved = resolve(
        config,
        output,
        paths=list(paths),
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
    from dewedge.pipeline.check import check_files

    show_messages()
    check_files(resolved, json)
