"""The amplitude of what fills the missing wedge: as much of it as held-out space confirms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dewedge.geometry import TiltRange
from dewedge.learn.batch import Batch
from dewedge.learn.loss import cut_wedge
from dewedge.learn.objective import Network, applied, filled_online
from dewedge.physics.fourier import frequencies, multiplicity
from dewedge.physics.wedge import wedge_mask

CROPS = 64  # of the held-out region, from which it is measured
_SMOOTHED = (0.25, 0.5, 0.25)  # weights of a shell and its neighbours
_POWER = 0.5  # of the regression that a factor is


class WedgeAmplitude(NamedTuple):
    """Factors of the prediction in the missing wedge, for shells of one over the width.

    Parameters
    ----------
    factors
        Between 0 and 1, from zero frequency on; beyond the last shell its factor holds.
    width
        Edge in voxels of the cubes that it was measured with.
    """

    factors: tuple[float, ...]
    width: int

    def mask(self, shape_zyx: tuple[int, int, int], tilt_range: TiltRange, device: torch.device) -> Tensor:
        """``(d, h, w // 2 + 1)`` factors on the half-spectrum: 1 where tilts measured."""
        kz, ky, kx = frequencies(shape_zyx, device)
        place = (kz.square() + ky.square() + kx.square()).sqrt() * self.width
        table = torch.tensor(self.factors, device=device)
        place = place.clamp(max=len(table) - 1 - 1e-3)
        index = place.long()
        inside = torch.lerp(table[index], table[index + 1], place - index)
        measured = wedge_mask(shape_zyx, tilt_range, device=device)
        return measured + (1 - measured) * inside


@torch.no_grad()
def measure_amplitude(network: Network, batches: Sequence[Batch]) -> WedgeAmplitude:
    """Factors by which predictions of frequencies that were cut come closest to what was measured there.

    In rounds of a fit the wedge of the inputs is filled from all of half-set 0, also from what is then cut
    from a crop. The network learns to read these hints, which a tomogram to be refined does not hold, and
    what it fills in is too strong at high frequencies. So a wedge is cut from crops of the held-out region,
    whose own wedge is filled by a prediction without hints, and in the frequencies that only the target
    measured its regression on the prediction, sum F T* / sum abs(F)^2, is taken for each shell, at most 1.
    Such a crop is noisier than the tomogram to be refined, and lacks two wedges, so its prediction is worse
    and the regression lower: the factor is its root (docs/notebook/transfer.md).

    Parameters
    ----------
    network
        The fitted network.
    batches
        Crops of the held-out region, their half-set 0 as it was measured.
    """
    width = batches[0].half0.shape[-1]
    sums = np.zeros((2, width // 2 + 1))
    for batch in batches:
        input_mask, target_mask = batch.input_mask(), batch.target_mask()
        inputs = filled_online(network, cut_wedge(batch.half0, input_mask), input_mask, target_mask)
        predicted, target = (
            torch.fft.rfftn(v, dim=(-3, -2, -1)) for v in (applied(network, inputs), batch.half1)
        )
        only_target = (1 - input_mask) * target_mask * multiplicity(width, predicted.device)
        for total, values in zip(
            sums, ((predicted * target.conj()).real, predicted.abs().square()), strict=True
        ):
            total += _by_shells((only_target * values).sum(dim=0), width)
    common, power = sums
    slope = common / np.maximum(power, np.finfo(np.float64).tiny)
    slope[0] = 1.0  # zero frequency is in no wedge
    factors = np.convolve(np.pad(slope, 1, mode="edge"), _SMOOTHED, "valid").clip(0, 1) ** _POWER
    return WedgeAmplitude(tuple(float(factor) for factor in factors), width)


def _by_shells(values: Tensor, width: int) -> NDArray[np.float64]:
    """``(n // 2 + 1,)`` sums over shells of a half-spectrum, up to Nyquist."""
    kz, ky, kx = frequencies((width,) * 3, values.device)
    shell = ((kz.square() + ky.square() + kx.square()).sqrt() * width).round().long()
    sums = torch.bincount(shell.flatten(), values.double().flatten())
    return sums[: width // 2 + 1].cpu().numpy()
