"""The verb report."""

from __future__ import annotations

from pathlib import Path

from dewedge.cli.output import Output, show_messages


def report(
    *paths: Path,
    output: Output = None,
    overwrite: bool = False,
) -> None:
    """Make the pages of runs again, and of several runs an index: docs/guide/report.md.

    Every run writes report.html into the folder of each tomogram, and of several tomograms an index into its
    own. Made again, they tell of what dewedge trust and dewedge evaluate have found since then.

    Parameters
    ----------
    paths
        Folders of runs; they need not be finished.
    output
        File of the index of several runs; reports.html in the working folder if not given.
    overwrite
        Replace that index. Pages in the folders of runs are always replaced.
    """
    show_messages()
    from dewedge.pipeline.report import report

    report(paths, output, overwrite=overwrite)
