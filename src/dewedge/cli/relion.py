"""The command dewedge-relion: an external job of RELION 5, with RELION's flags and those of dewedge run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dewedge.cli import guarded
from dewedge.cli.app import new_app
from dewedge.cli.flags import StoredRunFlags, resolve
from dewedge.cli.output import show_messages
from dewedge.runtime.folder import CONFIG
from dewedge.runtime.relion_job import relion_job


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; return its exit status, as that of `dewedge.cli.main`."""
    arguments = [_dashed(word) for word in (sys.argv[1:] if argv is None else argv)]
    folder = _job_folder(arguments)
    app = new_app("dewedge-relion")
    app.default(denoise)

    def command() -> None:
        # RELION must know of wrong flags, too: without a file that tells, the job would run for ever.
        with nullcontext() if folder is None else relion_job(folder):
            app(arguments, exit_on_error=False, print_error=False)

    return guarded(command)


def denoise(
    *,
    o: Path,
    in_tomograms: Annotated[Path, Parameter(alias=("--in-mics", "--in-movies"))],
    j: int | None = None,
    fit_on: str | None = None,
    fit_each: bool = False,
    model: Path | None = None,
    config: Path | None = None,
    recipe: str | None = None,
    no_check: bool = False,
    overwrite: bool = False,
    pipeline_control: Path | None = None,
    flags: StoredRunFlags = StoredRunFlags.defaults(),
) -> None:
    """Denoise tomograms of RELION 5 and fill their missing wedge, as an external job of a RELION project.

    RELION gives the first three flags, and takes all others as Params or as additional arguments; underscores
    may stand for dashes. Started again in the same folder, it goes on where it stopped.

    Parameters
    ----------
    o
        Folder of the job.
    in_tomograms
        The tomograms.star of a job "Reconstruct tomograms" with half tomograms for denoising.
    j
        Threads on the CPU; if not given, one for each core.
    fit_on
        Names of the tomograms (rlnTomoName) that the network is fitted to, as TS_01:TS_03; it is applied to
        all. If not given, it is fitted to all.
    fit_each
        Fit a network to each tomogram, for the whole budget, instead of one to all of them.
    model
        The model.safetensors of an earlier job, which is applied to all tomograms; no network is fitted.
    config
        TOML file with any of the keys of the flags below, as every run writes one; flags win over it.
    recipe
        The method, whose settings are the defaults: dewedge, deepdewedge (as published), cryocare or
        isonet.
    no_check
        Do not look at the input as dewedge check does; else its errors leave an input out.
    overwrite
        Begin anew in the job's folder.
    pipeline_control
        Given by RELION to programs it takes for its own: the folder of the job once more.
    """
    resume = not overwrite and (o / CONFIG).is_file()
    resolved = resolve(
        config,
        o,
        flags,
        resume=resume,
        paths=[in_tomograms],
        recipe=recipe,
        fit_each=fit_each,
        model=model,
        fit_on=[] if fit_on is None else fit_on.split(":"),
        no_check=no_check,
        tomograms=flags.tomograms.model_dump(exclude_unset=True) | {"halves_only": True},
        output_format="mrc",
    )
    from dewedge.pipeline.relion import denoise_tomograms

    show_messages(sys.stdout)
    denoise_tomograms(in_tomograms, resolved, j, resume=resume, overwrite=overwrite)


def _dashed(word: str) -> str:
    """A flag with dashes, where RELION and its users write underscores; other words as they are."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value


def _job_folder(arguments: Sequence[str]) -> Path | None:
    """The folder after --o; None if there is none."""
    return next((Path(value) for flag, value in pairwise(arguments) if flag == "--o"), None)
