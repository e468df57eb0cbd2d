"""The verb run."""

from __future__ import annotations

from pathlib import Path

from dewedge.cli.flags import StoredRunFlags, Watch, resolve
from dewedge.cli.output import Output, show_messages
from dewedge.errors import InputError
from dewedge.io.volume_file import ZarrVersion
from dewedge.runtime.first_process import is_first_process
from dewedge.settings.sections import OutputFormat, WatchSection


def run(
    *paths: Path,
    output: Output = None,
    config: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    share: bool = False,
    recipe: str | None = None,
    fit_each: bool = False,
    fit_on: list[str] | None = None,
    model: Path | None = None,
    to_warp: bool = False,
    no_check: bool = False,
    output_format: OutputFormat | None = None,
    zarr_version: ZarrVersion | None = None,
    trust: bool = False,
    watch: Watch = WatchSection.defaults(),
    dry_run: bool = False,
    flags: StoredRunFlags = StoredRunFlags.defaults(),
) -> None:
    """From tilt series, or ready-made half-sets, to refined tomograms.

    Parameters
    ----------
    paths
        Tilt series or half tomograms: stacks, folders, or files that describe them. These are of AreTomo
        (.aln), RELION 5 (.star), Warp (.settings, .xml, .tomostar), SerialEM (.mdoc), IsoNet2 (.star),
        DeepDeWedge (.yaml), or of dewedge import (.star).
    output
        Folder of the results; of several series, each gets a folder in it.
    config
        TOML file with any of the keys of the flags below, as every run writes one; flags win over it.
    resume
        Continue the run in the output folder; no other flag is needed.
    overwrite
        Replace the run in the output folder.
    share
        With --fit-each or --model: begin the run or, where the same command has begun it, take part in it.
        The tasks of a job array do so; each takes tomograms that none has taken.
    recipe
        The method, whose settings are the defaults: dewedge, deepdewedge (as published), cryocare or
        isonet.
    fit_each
        Fit a network to each tomogram, for the whole budget, instead of one to all of them.
    fit_on
        Name of an input that the network is fitted to, to be given for each of them; it is applied to the
        other inputs, too.
    model
        The model.safetensors of an earlier run or fit, which is applied to all inputs; no network is fitted.
    to_warp
        Copy each refined tomogram of a project of Warp to where Warp keeps denoised ones. That is the folder
        denoised beside reconstruction, by the name of its half tomograms.
    no_check
        Do not look at the input as dewedge check does; else its errors leave an input out.
    output_format
        Format of the refined tomogram: mrc, zarr (OME-Zarr with its pyramid, refined.zarr), or both.
    zarr_version
        Version of OME-Zarr: 0.5, in few files (shards), or 0.4, which copick and others with zarr 2 read.
    trust
        When it is done, tell how far the filled wedge is to be believed, as dewedge trust --quick does.
    dry_run
        Only tell what would be done, written and taken, and write nothing.
    """
    resolved = resolve(
        config,
        output,
        flags,
        resume=resume,
        paths=list(paths),
        recipe=recipe,
        fit_each=fit_each,
        fit_on=fit_on,
        model=model,
        to_warp=to_warp,
        no_check=no_check,
        output_format=output_format,
        zarr_version=zarr_version,
        watch=watch.model_dump(exclude_unset=True),
    )
    if share and (trust or dry_run or resolved.watch.live):
        raise InputError(
            "--share: one of several processes at a run: expected no --trust, --dry-run or --live"
        )
    if resolved.watch.live:
        if trust:
            raise InputError("--trust: of a finished run: expected no --live; dewedge trust does it later")
        if dry_run:
            raise InputError("--dry-run: of inputs that are there: expected no --live")
        from dewedge.pipeline.watch.watch import watch as run_watch

        show_messages()
        run_watch(resolved, resume=resume, overwrite=overwrite)
        return
    if resolved.watch != WatchSection():
        raise InputError("--fit-first, --settle, --look-every, --until-idle: of folders watched with --live")
    if dry_run:
        from dewedge.pipeline.plan import plan

        show_messages()
        plan(resolved, resume=resume, overwrite=overwrite)
        return
    from dewedge.pipeline.run import run as run_pipeline

    show_messages()
    if not trust or resolved.output is None:
        run_pipeline(resolved, resume=resume, overwrite=overwrite, share=share)
        return
    from dewedge.pipeline.report import halves_until_judged
    from dewedge.pipeline.trust.trust import QUICK, print_trust
    from dewedge.pipeline.trust.trust import trust as judge

    with halves_until_judged(resolved.output, resolved.files.half_sets):
        run_pipeline(resolved, resume=resume, overwrite=overwrite, keep_halves=True)
        if is_first_process():
            print_trust(judge(resolved.output, resolved.compute, parts=QUICK))
