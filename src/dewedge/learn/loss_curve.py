"""The loss curve of a fit, as files hold it: its numbers are bounded where they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from dewedge import limits

# pydantic looks at the bounds where it reads a value, and nobody else does; what is not a number has none.
Count = Annotated[int, Field(ge=0, le=limits.STEPS)]
Seconds = Annotated[float, Field(ge=0, le=limits.NUMBER)]
Rate = Annotated[float, Field(ge=0, le=limits.NUMBER)]
Loss = Annotated[float, Field(ge=-limits.NUMBER, le=limits.NUMBER)]


@dataclass(frozen=True)
class EpochRow:
    """One row of the loss curve, as text a line.

    Parameters
    ----------
    epoch, step, samples
        Number of the epoch from 1; steps and sub-tomograms from the start of the fit to its end.
    seconds
        Wall-clock time of the fit so far.
    learning_rate
        Of the last step.
    fit_loss, validation_loss
        Mean loss of the epoch; that on the held-out region, None if nothing is held out.
    """

    epoch: Count
    step: Count
    samples: Count
    seconds: Seconds
    learning_rate: Rate
    fit_loss: Loss
    validation_loss: Loss | None

    @property
    def losses(self) -> str:
        """Both losses as text."""
        held_out = "" if self.validation_loss is None else f"  held-out {self.validation_loss:.4f}"
        return f"loss {self.fit_loss:.4f}{held_out}"

    def __str__(self) -> str:
        return f"epoch {self.epoch}  {self.losses}  {self.seconds:.0f} s"
