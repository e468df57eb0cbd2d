"""Whether a fit has converged, by its held-out loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from dewedge.learn.loss_curve import EpochRow, convergence


def rows(losses: Sequence[float | None]) -> list[EpochRow]:
    return [EpochRow(i, i, i, float(i), 1e-3, 1.0, loss) for i, loss in enumerate(losses, 1)]


@pytest.mark.parametrize("seed", range(5))
def test_a_slope_is_told_from_a_plateau(seed: int):
    noise = 0.004 * np.random.default_rng(seed).normal(size=80)
    falling, epochs = np.linspace(1.0, 0.6, 80), np.arange(80)
    plateau = 0.6 + 0.4 * np.exp(-epochs / 6)
    assert convergence(rows(falling + noise)).startswith(
        "not converged: the held-out loss still fell, from 0.7"
    )
    assert convergence(rows(falling[::-1] + noise)).startswith("fitted for too long: the held-out loss rose")
    # Alternating noise has no trend of its own.
    assert convergence(rows(plateau + 0.004 * (-1.0) ** epochs)).startswith("converged: ")


def test_the_end_of_a_rate_that_falls_is_no_slope():
    """A loss that falls to the last epoch, but by nearly nothing of all it fell."""
    losses = 0.6 + 0.4 * np.exp(-np.arange(40) / 6)
    assert losses[-1] < losses[-2] and convergence(rows(losses)).startswith("converged: ")


def test_what_cannot_be_told_is_not():
    assert "2 epochs" in convergence(rows([1.0, 0.5]))
    assert convergence(rows([None] * 40)) == "convergence not told: nothing was held out"
