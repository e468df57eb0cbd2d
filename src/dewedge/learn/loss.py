"""The self-supervised loss of DeepDeWedge."""

from __future__ import annotations

import torch
from torch import Tensor

from dewedge.physics.fourier import multiplicity


def cut_wedge(volumes: Tensor, mask: Tensor) -> Tensor:
    """F^-1 M F v: multiply the spectra of real ``(..., d, h, w)`` volumes with half-spectrum masks."""
    return torch.fft.irfftn(
        torch.fft.rfftn(volumes, dim=(-3, -2, -1)) * mask, s=volumes.shape[-3:], dim=(-3, -2, -1)
    )


def dewedge_loss(
    prediction: Tensor,
    target: Tensor,
    input_mask: Tensor,
    target_mask: Tensor,
    wedge_weight: float = 2.0,
    shell_weight: Tensor | None = None,
) -> Tensor:
    """Mean over voxels of ||W W_R F(f(x~) - t)||^2 + c ||(1 - W) W_R F(f(x~) - t)||^2.

    With c = 2, and masks whose joint law is symmetric under exchange, its expectation over masks and noise is
    the supervised loss on the frequencies measured by at least one of the two, plus the target's noise there.

    Parameters
    ----------
    prediction, target
        ``(b, d, h, w)`` f(x~) and t, float32.
    input_mask
        W, ``(b, d, h, w // 2 + 1)`` or broadcastable: what the input keeps.
    target_mask
        W_R, likewise: what the target measured. Frequencies outside it do not count.
    wedge_weight
        c, the weight of the frequencies cut from the input only.
    shell_weight
        Further weights, ``(d, h, w // 2 + 1)``, such as those of `dewedge.learn.signal`; none if not given.

    Source: Wiedemann and Heckel 2024, equation 3 and proposition 1.
    """
    weight = target_mask * (input_mask + wedge_weight * (1 - input_mask))
    return squared_error(prediction - target, weight if shell_weight is None else weight * shell_weight)


def squared_error(error: Tensor, weight: Tensor) -> Tensor:
    """Mean over voxels of ``(b, d, h, w)`` errors squared, the power of their spectra weighted."""
    spectrum = torch.fft.rfftn(error, dim=(-3, -2, -1), norm="ortho")
    power = spectrum.real.square() + spectrum.imag.square()
    return (weight * power * multiplicity(error.shape[-1], error.device)).sum() / error.numel()
