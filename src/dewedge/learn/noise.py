"""The noise spectrum of half-sets, and the weight it gives each frequency in the loss."""

from __future__ import annotations

import torch
from torch import Tensor

from dewedge.learn.sampling import CropSampler
from dewedge.physics.fourier import frequencies, multiplicity
from dewedge.physics.wedge import wedge_mask

CROPS = 32
FLOOR = 0.05  # of the peak of the noise power: no frequency counts more than 20 times as much as another
_FIRST_INDEX = 2**40  # beyond every crop of a fit


def noise_weight(sampler: CropSampler, device: torch.device) -> Tensor:
    """Weight of each frequency in the loss, in inverse proportion to the noise power there.

    As in generalised least squares, residuals count by the inverse of their variance. The noise of FBP with
    the ramp filter grows with frequency; unweighted, the loss and its gradient are mostly noise at
    frequencies where there is little to learn. The noise power is that of the halves' difference over the
    measured frequencies of crops, averaged over directions. Beyond its peak it falls only where interpolation
    or a filter removed the signal as well, so there the weight stays that of the peak.

    Parameters
    ----------
    sampler
        Of the fit; its own crops tell the noise, with whatever interpolation their rotation brought.

    Returns
    -------
    Tensor
        ``(n, n, n // 2 + 1)`` float32 on the half-spectrum of a cube; the noise of the target adds
        as much to the loss as without weights.
    """
    n = sampler.size
    shape = (n, n, n)
    kz, ky, kx = frequencies(shape, device)
    distance = (kz.square() + ky.square() + kx.square()).sqrt()
    shell = (distance * n).round().long().clamp(min=1)  # zero frequency alone is too few to tell its noise
    columns = multiplicity(n, device).expand(shell.shape)
    power = torch.zeros(int(shell.max()) + 1, device=device)
    count = torch.zeros_like(power)
    for index in range(_FIRST_INDEX, _FIRST_INDEX + CROPS):
        batch = sampler.load([sampler.draw(index)], device)
        measured = wedge_mask(shape, batch.tilt_range, batch.rotation, device=device)[0] * columns
        difference = torch.fft.rfftn(batch.half0[0] - batch.half1[0], norm="ortho")
        power.index_add_(0, shell.ravel(), (measured * difference.abs().square()).ravel())
        count.index_add_(0, shell.ravel(), measured.ravel())
    noise = power / count.clamp(min=1)
    peak = noise.cummax(dim=0).values
    weight = 1 / peak.clamp(min=FLOOR * float(peak.max()))
    weight *= power.sum() / (weight * power).sum()
    return weight[shell]
