"""The verb split."""

from __future__ import annotations

from pathlib import Path

from dewedge.cli.flags import SplitFlags, resolve, seed_given
from dewedge.cli.output import Folder, show_messages


def split(
    path: Path,
    *,
    output: Folder = Path(),
    config: Path | None = None,
    overwrite: bool = False,
    flags: SplitFlags = SplitFlags.defaults(),
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
    resolved = resolve(config, None, flags, paths=[path], fit=seed_given(seed))
    from dewedge.pipeline.split import split_file

    show_messages()
    split_file(resolved, output, overwrite=overwrite)
