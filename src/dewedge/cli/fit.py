"""The verb fit."""

from __future__ import annotations

from pathlib import Path

from dewedge.cli.flags import FitFlags, resolve
from dewedge.cli.output import Output, show_messages


def fit(
    *,
    output: Output = None,
    config: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    recipe: str | None = None,
    no_check: bool = False,
    flags: FitFlags = FitFlags.defaults(),
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
        The method, whose settings are the defaults: dewedge, deepdewedge (as published), cryocare.
    no_check
        Take tomograms of different voxel sizes, and what seem to be tilt images.
    """
    resolved = resolve(config, output, flags, resume=resume, recipe=recipe, no_check=no_check)
    from dewedge.pipeline.fit import fit_files

    show_messages()
    fit_files(resolved, resume=resume, overwrite=overwrite)
