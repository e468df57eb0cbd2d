"""The self-supervised loss of DeepDeWedge."""

from __future__ import annotations

import torch
from torch import Tensor

from dewedge.physics.fourier import multiplicity


def cut_wedge(volumes: Tensor, mask: Tensor) -> Tensor:
    """F^-1 M F v: multiply the spectra of real ``(..., d, h, w)`` volumes with half-spectrum masks.

    These are ``(..., d, h, w // 2 + 1)`` or broadcast to it.
    """
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
    transfer: Tensor | None = None,
) -> Tensor:
    """Mean over voxels of W W_R |H F f(x~) - F t|^2 + c (1 - W) W_R |H F f(x~) - F t|^2.

    With c = 2, and masks whose joint law is symmetric under exchange, its expectation over masks and noise is
    the supervised loss on the frequencies measured by at least one of the two, plus the target's noise there.
    With H, each frequency of the supervised loss counts by H^2, and what is between the planes of the target
    costs nothing (docs/notebook/transfer.md).

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
    transfer
        H, ``(b, d, h, w // 2 + 1)``: the target's transfer relative to its mean, as
        `dewedge.physics.transfer` has it; 1 if not given.

    Source: Wiedemann and Heckel 2024, equation 3 and proposition 1.
    """
    weight = target_mask * (input_mask + wedge_weight * (1 - input_mask))
    if shell_weight is not None:
        weight = weight * shell_weight
    if transfer is None:
        return squared_error(prediction - target, weight)
    return _mean_power(transfer * _spectrum(prediction) - _spectrum(target), weight, target)


def squared_error(error: Tensor, weight: Tensor) -> Tensor:
    """Mean over voxels of ``(b, d, h, w)`` errors squared, the power of their spectra weighted.

    ``weight`` is ``(b, d, h, w // 2 + 1)`` or broadcasts to it.
    """
    return _mean_power(_spectrum(error), weight, error)


def _spectrum(volumes: Tensor) -> Tensor:
    return torch.fft.rfftn(volumes, dim=(-3, -2, -1), norm="ortho")


def _mean_power(spectrum: Tensor, weight: Tensor, volumes: Tensor) -> Tensor:
    """Weighted power of half-spectra, by the voxels of their volumes."""
    power = spectrum.real.square() + spectrum.imag.square()
    return (weight * power * multiplicity(volumes.shape[-1], volumes.device)).sum() / volumes.numel()
