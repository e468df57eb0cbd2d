"""The verb refine."""

from __future__ import annotations

from pathlib import Path

from dewedge.cli.flags import RefineFlags
from dewedge.cli.output import Output, show_messages
from dewedge.errors import InputError
from dewedge.io.volume_file import ZarrVersion


def refine(
    model: Path,
    *tomograms: Path,
    output: Output = None,
    half0: list[Path] | None = None,
    half1: list[Path] | None = None,
    tilt_range: tuple[float, float] | None = None,
    x_tilt: float | None = None,
    beads: Path | None = None,
    tv: Path | None = None,
    zarr_version: ZarrVersion = "0.5",
    overwrite: bool = False,
    no_check: bool = False,
    dry_run: bool = False,
    flags: RefineFlags = RefineFlags.defaults(),
) -> None:
    """Refine tomograms with a fitted model, which knows all about itself.

    Parameters
    ----------
    model
        The model.safetensors of a run or a fit.
    tomograms
        Full tomograms: MRC, or OME-Zarr (X.zarr; its level 1 is X.zarr/1).
    output
        File of the result, OME-Zarr if it is named so (.zarr), or folder of several; else
        TOMOGRAM_refined.mrc beside each tomogram.
    half0
        Half-set 0, in place of a full tomogram: both halves are refined and averaged.
    half1
        Half-set 1.
    tilt_range
        Lowest and highest tilt angle, where they are not those of the model.
    x_tilt
        Tilt about x in degrees by which they were levelled, where it is not that of the model.
    beads
        Tomogram of the gold beads that were painted over (beads.mrc, NAME_beads.mrc), to be added to the
        result.
    tv
        Total-variation reconstruction at twice the voxel size (tv.mrc), which has its share in the result.
    zarr_version
        Version of OME-Zarr: 0.5, in few files (shards), or 0.4, which copick and others with zarr 2 read.
    overwrite
        Replace files that exist.
    no_check
        Take tomograms of another voxel size than the model's, and what seem to be tilt images.
    dry_run
        Only tell what would be done, written and taken, and write nothing.
    """
    from dewedge.pipeline.refine import refine_with_model

    show_messages()
    sources = [[path] for path in tomograms]
    if len(half0 or []) != len(half1 or []):
        raise InputError(
            f"--half1: expected {len(half0 or [])} files, one for each --half0, got {len(half1 or [])}"
        )
    if tomograms and half0:
        raise InputError(
            f"{tomograms[0]}: given beside --half0, so taken for a full tomogram: give --half0 and --half1 "
            "once for each pair, as in --half0 A.mrc --half1 B.mrc --half0 C.mrc --half1 D.mrc, and full "
            "tomograms by a command of their own"
        )
    sources += [list(pair) for pair in zip(half0 or [], half1 or [], strict=True)]
    refine_with_model(
        model,
        sources,
        output,
        tilt_range,
        x_tilt,
        flags.refine,
        flags.compute,
        beads=beads,
        tv=tv,
        zarr_version=zarr_version,
        overwrite=overwrite,
        no_check=no_check,
        dry_run=dry_run,
    )
