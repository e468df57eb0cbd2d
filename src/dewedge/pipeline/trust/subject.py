"""What is judged: one tomogram of a finished run."""

from __future__ import annotations

from dataclasses import dataclass

from dewedge.inputs.run_input import SeriesInput
from dewedge.learn.checkpoint import Model
from dewedge.runtime.folder import ResultFolder
from dewedge.settings.sections import ComputeSection, Config


@dataclass(frozen=True, eq=False)
class Subject:
    """One tomogram of a finished run, and what its parts of `dewedge trust` need.

    Parameters
    ----------
    run
        The folder of the run.
    folder
        That of the tomogram: the run's own, or one in it.
    model
        The network that refined it.
    config
        That of the run; its fit has the budget that was asked for.
    compute
        Where to compute.
    series
        What it was made of; None of half tomograms, or where that is not there any more.
    """

    run: ResultFolder
    folder: ResultFolder
    model: Model
    config: Config
    compute: ComputeSection
    series: SeriesInput | None = None

    @property
    def name(self) -> str:
        """Name of the tomogram's folder."""
        return self.folder.name

    @property
    def has_own_fit(self) -> bool:
        """False where the network was fitted to several tomograms."""
        return self.folder.model.is_file()
