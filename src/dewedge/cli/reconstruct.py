"""The verb reconstruct."""

from __future__ import annotations

from pathlib import Path

from dewedge.cli.flags import ReconstructFlags, resolve, seed_given
from dewedge.cli.output import Output, show_messages


def reconstruct(
    path: Path | None = None,
    *,
    output: Output = None,
    halves: bool = False,
    config: Path | None = None,
    overwrite: bool = False,
    flags: ReconstructFlags = ReconstructFlags.defaults(),
    seed: int | None = None,
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
    resolved = resolve(config, None, flags, paths=[] if path is None else [path], fit=seed_given(seed))
    from dewedge.pipeline.reconstruct import reconstruct_file

    show_messages()
    reconstruct_file(resolved, output, halves=halves, overwrite=overwrite)
