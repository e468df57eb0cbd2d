"""The loss curve of a fit, as files hold it: its numbers are bounded where they are read."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from dewedge import limits

# Fewer epochs do not tell a trend from noise.
_FEWEST_EPOCHS = 8
# Of what a fit gained in all, the share that its last quarter may gain once it has converged.
_GAIN = 0.05

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
        """Loss of the epoch and, if there is one, that on the held-out region, as text."""
        held_out = "" if self.validation_loss is None else f"  held-out {self.validation_loss:.4f}"
        return f"loss {self.fit_loss:.4f}{held_out}"

    def __str__(self) -> str:
        return f"epoch {self.epoch}  {self.losses}  {self.seconds:.0f} s"


def rise_of_mean(before: Sequence[float], last: Sequence[float]) -> tuple[float, float]:
    """Mean of two or more losses less that of as many before them, and the standard error of that."""
    variances = statistics.variance(before) + statistics.variance(last)
    return statistics.fmean(last) - statistics.fmean(before), math.sqrt(variances / len(last))


def convergence(rows: Sequence[EpochRow]) -> str:
    """Tell in words if a fit has converged, by its held-out loss: its last quarter against the one before.

    A difference counts beyond one standard error; a fall, beyond a share of all that was gained, too, for a
    rate that falls to zero lets the loss fall a little to the end.
    """
    losses = [row.validation_loss for row in rows if row.validation_loss is not None]
    if not losses:
        return "convergence not told: nothing was held out"
    if len(losses) < _FEWEST_EPOCHS:
        return f"convergence not told by {len(losses)} epoch{'s' if len(losses) > 1 else ''}"
    n = len(losses) // 4
    before, last = losses[-2 * n : -n], losses[-n:]
    rise, error = rise_of_mean(before, last)
    means = f"from {statistics.fmean(before):.4f} to {statistics.fmean(last):.4f} in its last quarter"
    if -rise > max(error, _GAIN * (losses[0] - statistics.fmean(last))):
        return f"not converged: the held-out loss still fell, {means}"
    if rise > error:
        return f"fitted for too long: the held-out loss rose, {means}"
    return "converged: the held-out loss hardly fell in its last quarter"
