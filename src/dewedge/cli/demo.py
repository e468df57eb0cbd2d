"""The verb demo."""

from __future__ import annotations

from pathlib import Path

from dewedge.cli.output import Folder, show_messages


def demo(*, output: Folder = Path("dewedge_demo"), overwrite: bool = False) -> None:
    """Simulate, run and evaluate, in a few minutes on a CPU.

    Parameters
    ----------
    output
        Folder of the results.
    overwrite
        Replace the demo in that folder.
    """
    from dewedge.pipeline.demo import demo as run_demo

    show_messages()
    run_demo(output, overwrite=overwrite)
