"""Signal in the spectrum of sub-tomograms, measured by what both half-sets have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dewedge.learn.sampling import Batch
from dewedge.physics.fourier import frequencies, multiplicity

FEWEST_DEVIATIONS = 2.0  # of a shell's correlation by chance, below which it counts as no signal
# Least correlation that a shell counts with in a fit: what no weight holds down, noise would fill.
FLOOR = 0.05
# Correlations between which the prediction begins to fill the wedge of the inputs: docs/empiar-10499.md.
FILLED = (0.5, 0.75)


@dataclass(frozen=True, eq=False)
class Signal:
    """Signal and power of sub-tomograms by shells of frequency.

    Parameters
    ----------
    size
        Edge n of the sub-tomograms in voxels.
    correlation
        ``(shells,)`` float64 correlation of both half-sets at frequencies i / n; 0 where it may be chance.
    power
        ``(shells,)`` power of half-set 1 in each shell, in the mean over its frequencies.
    """

    size: int
    correlation: Tensor
    power: Tensor

    def weight(self, floor: float = 0.0) -> Tensor:
        """Weights of a squared error by which frequencies count as far as they hold signal.

        The error of a noisy target is the target's noise for the most part, at frequencies where there is
        nothing to be learnt; its gradient is noise as well. Each shell of frequencies is weighted by the
        correlation of both half-sets, which is the signal's share of the power. The weights are scaled so
        that the targets themselves have an error of 1: it is 1 for a prediction of zero, and 1 less the
        explained power for any other one. They depend on the distance from zero frequency alone, so what the
        loss says of rotations and wedges (`dewedge.learn.loss`) holds for each shell.

        Parameters
        ----------
        floor
            Correlation that every shell counts with at least. At 0, if no shell holds signal, all count
            alike.

        Returns
        -------
        Tensor
            ``(n, n, n // 2 + 1)`` weights of the half-spectrum, for means over voxels.
        """
        shell = _shells(self.size, self.correlation.device)
        correlation = self.correlation
        if not (correlation > 0).any():
            correlation = torch.ones_like(correlation)
        weight = correlation.clamp(min=floor)[shell]
        times = multiplicity(self.size, shell.device)
        weight = weight * self.size**3 / (weight * self.power[shell] * times).sum()
        return weight.float()

    def filled(self, distance: Tensor) -> Tensor:
        """Share of a prediction that fills the wedge of the inputs, at frequencies in cycles per voxel.

        What fills the wedge was made from all of half-set 0, also from what is then cut from a crop: a hint
        that a tomogram to be refined does not hold. A fit to such inputs trusts them too much where there is
        little signal, and its prediction is too strong there. So the wedge is filled where both half-sets
        agree, and left empty where they do not.
        """
        low, high = FILLED
        share = ((self.correlation - low) / (high - low)).clamp(0, 1)
        # Beyond the first shells without signal nothing is filled, whatever chance says.
        gain = (0.5 - 0.5 * torch.cos(torch.pi * share)).cummin(dim=0).values.to(distance)
        place = (distance * self.size).clamp(max=len(gain) - 1)
        below = place.floor().long().clamp(max=len(gain) - 2)
        return torch.lerp(gain[below], gain[below + 1], place - below)


def measure_signal(batches: Sequence[Batch]) -> Signal:
    """Measure signal and power of both half-sets' sub-tomograms, ``(b, n, n, n)`` each."""
    first = batches[0].half0
    n, device = first.shape[-1], first.device
    shell = _shells(n, device)
    times = multiplicity(n, device).expand_as(shell)

    def summed(values: Tensor) -> Tensor:
        return torch.bincount(shell.flatten(), (values * times).double().flatten())

    sums = torch.zeros(3, int(shell.max()) + 1, dtype=torch.float64, device=device)
    for batch in batches:
        a, b = (torch.fft.rfftn(half, dim=(-3, -2, -1), norm="ortho") for half in (batch.half0, batch.half1))
        for total, product in zip(
            sums, ((a * b.conj()).real, a.abs().square(), b.abs().square()), strict=True
        ):
            total += summed(product.sum(dim=0))
    count = summed(torch.ones_like(times)) * sum(len(batch.half0) for batch in batches)
    common, *powers = sums
    correlation = common / (powers[0] * powers[1]).sqrt().clamp(min=torch.finfo(torch.float64).tiny)
    # Voxels of the half-spectrum are counted twice, once for each of two that hold the same.
    correlation[correlation < FEWEST_DEVIATIONS * (2 / count).sqrt()] = 0
    return Signal(n, correlation, powers[1] / count)


def _shells(n: int, device: torch.device) -> Tensor:
    """``(n, n, n // 2 + 1)`` number of the shell of each frequency of a cube of n voxels."""
    kz, ky, kx = frequencies((n, n, n), device)
    return ((kz.square() + ky.square() + kx.square()).sqrt() * n).round().long()
