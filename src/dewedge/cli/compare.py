"""The verb compare."""

from __future__ import annotations

from pathlib import Path

from dewedge.cli.flags import RunFlags, flags_given
from dewedge.cli.output import Output, show_messages


def compare(
    *paths: Path,
    output: Output = None,
    methods: list[str] | None = None,
    config: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    no_check: bool = False,
    flags: RunFlags = RunFlags.defaults(),
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
        them. Without it each has the setting of its recipe, which need not be the default shown there.
        --objective, --algorithm and --iterations, which make a method what it is, are refused.
    config
        TOML file with keys of the flags below, such as the compare.toml that every comparison writes. They
        hold for all methods. Flags win over it, and both over the methods' own settings.
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
    given = flags_given(flags, paths=list(paths), no_check=no_check)
    settings = read_comparison(config, given, methods)
    compare_methods(settings, output, resume=resume, overwrite=overwrite)
