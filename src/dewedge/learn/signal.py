"""Signal in the spectrum of sub-tomograms, measured by what both half-sets have in common."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dewedge.learn.batch import Batch
from dewedge.physics.fourier import frequencies, multiplicity

FEWEST_DEVIATIONS = 2.0  # of a shell's correlation by chance, below which it counts as no signal
# Least correlation that a shell counts with in a fit: what no weight holds down, noise would fill.
FLOOR = 0.05


def signal_weight(batches: Sequence[Batch], floor: float = 0.0) -> Tensor:
    """Weights of a squared error by which frequencies count as far as they hold signal.

    The error of a noisy target is the target's noise for the most part, at frequencies where there is nothing
    to be learnt; its gradient is noise as well. Each shell of frequencies is weighted by the correlation of
    both half-sets, which is the signal's share of the power. The weights are scaled so that the targets
    themselves have an error of 1: it is 1 for a prediction of zero, and 1 less the explained power for any
    other one. They depend on the distance from zero frequency alone, so what the loss says of rotations and
    wedges (`dewedge.learn.loss`) holds for each shell.

    Parameters
    ----------
    batches
        Sub-tomograms of both half-sets, ``(b, n, n, n)`` each.
    floor
        Correlation, 0 to 1, that every shell counts with at least. At 0, if no shell holds signal, all
        count alike.

    Returns
    -------
    Tensor
        ``(n, n, n // 2 + 1)`` weights of the half-spectrum, for means over voxels.
    """
    first = batches[0].half0
    n, device = first.shape[-1], first.device
    kz, ky, kx = frequencies(first.shape[-3:], device)
    shell = ((kz.square() + ky.square() + kx.square()).sqrt() * n).round().long()
    times = multiplicity(n, device).expand_as(shell)

    def shells(values: Tensor) -> Tensor:
        return torch.bincount(shell.flatten(), (values * times).double().flatten())

    sums = torch.zeros(3, int(shell.max()) + 1, dtype=torch.float64, device=device)
    for batch in batches:
        a, b = (torch.fft.rfftn(half, dim=(-3, -2, -1), norm="ortho") for half in (batch.half0, batch.half1))
        for total, product in zip(
            sums, ((a * b.conj()).real, a.abs().square(), b.abs().square()), strict=True
        ):
            total += shells(product.sum(dim=0))
    count = shells(torch.ones_like(times)) * sum(len(batch.half0) for batch in batches)
    common, *powers = sums
    correlation = common / (powers[0] * powers[1]).sqrt().clamp(min=torch.finfo(torch.float64).tiny)
    # Voxels of the half-spectrum are counted twice, once for each of two that hold the same.
    correlation[correlation < FEWEST_DEVIATIONS * (2 / count).sqrt()] = 0
    if not (correlation > 0).any():
        correlation = torch.ones_like(correlation)
    weight = correlation.clamp(min=floor)
    voxels = n**3 * sum(len(batch.half0) for batch in batches)
    weight *= voxels / (weight * powers[1]).sum()
    return weight[shell].float()
