"""The verb check."""

from __future__ import annotations

from pathlib import Path

from dewedge.cli.flags import StoredRunFlags, resolve
from dewedge.cli.output import Output, show_messages


def check(
    *paths: Path,
    json: Path | None = None,
    output: Output = None,
    config: Path | None = None,
    flags: StoredRunFlags = StoredRunFlags.defaults(),
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
    resolved = resolve(config, output, flags, paths=list(paths))
    from dewedge.pipeline.check import check_files

    show_messages()
    check_files(resolved, json)
