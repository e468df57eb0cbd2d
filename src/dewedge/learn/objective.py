"""What a fit minimises: the loss of one batch, for each method."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dewedge.learn.grey_scale import GREY_PERCENTILES
from dewedge.learn.loss import cut_wedge, dewedge_loss, squared_error
from dewedge.learn.options import FitOptions
from dewedge.learn.sampling import Batch
from dewedge.physics.fourier import frequencies
from dewedge.physics.wedge import wedge_mask

Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Objective:
    """The loss of a batch by the method of the options.

    Parameters
    ----------
    options
        Of the fit.
    shell_weight
        Weights of the frequencies of a squared error, ``(n, n, n // 2 + 1)``; none if not given.
    """

    options: FitOptions
    shell_weight: Tensor | None = None

    def __call__(self, network: Network, batch: Batch, progress: float = 0.0) -> Tensor:
        """Loss of one batch.

        Parameters
        ----------
        network
            From ``(b, 1, n, n, n)`` to the same shape.
        progress
            Share of the fit that is done.
        """
        weight = self.shell_weight
        match self.options.objective:
            case "dewedge":
                return self._dewedge(network, batch)
            case "isonet":
                return self._isonet(network, batch, progress)
            case "noise2noise" | "supervised":
                error = _apply(network, self.inputs(batch)) - batch.half1
                return error.square().mean() if weight is None else squared_error(error, weight)

    def inputs(self, batch: Batch) -> Tensor:
        """``(b, n, n, n)`` what the network gets, but for the noise of IsoNet: v0 with the wedge cut.

        It is the wedge in its own place, but for noise2noise that which has turned with the crop: refinement
        cuts it, too, and there is nothing in it but what the cube's edges leave.
        """
        turned = self.options.objective == "noise2noise"
        return cut_wedge(batch.half0, _target_mask(batch) if turned else _input_mask(batch))

    def _dewedge(self, network: Network, batch: Batch) -> Tensor:
        """Cut a second wedge from v0, apply the network, compare with v1 (Wiedemann and Heckel 2024)."""
        input_mask, target_mask = _input_mask(batch), _target_mask(batch)
        inputs = self.inputs(batch)
        if self._fills_online():
            inputs = _filled_online(network, inputs, input_mask, target_mask)
        return dewedge_loss(
            _apply(network, inputs),
            batch.half1,
            input_mask,
            target_mask,
            self.options.wedge_weight,
            self.shell_weight,
        )

    def _fills_online(self) -> bool:
        """Drawn while fitting; what is validated is filled as most crops are."""
        share = self.options.online_fill
        if share in (0, 1) or not torch.is_grad_enabled():
            return share > 0.5
        return float(torch.rand(())) < share

    def _isonet(self, network: Network, batch: Batch, progress: float) -> Tensor:
        """From the rotated crop, a wedge cut out and noise added, back to the crop: Liu et al. 2022.

        As in their program the error is the mean absolute one, and noise counts in the range of grey values.
        """
        inputs = self.inputs(batch)
        level = isonet_noise_level(progress, self.options)
        if level > 0:
            noise = torch.randn_like(inputs)
            noise = cut_wedge(noise, _input_mask(batch) * _noise_filter(inputs, self.options.noise_filter))
            gain = level * _grey_range(batch.half0) / noise.std(dim=(-3, -2, -1), keepdim=True)
            inputs = inputs + noise * gain
        return (_apply(network, inputs) - batch.half0).abs().mean()


def isonet_noise_level(progress: float, options: FitOptions) -> float:
    """Noise added to the inputs when a share ``progress`` of the fit is done, in units of `_grey_range`.

    Of the published 30 rounds the 11th is the first with noise, and every fifth after it has more; as shares
    of the fit they hold for one that a budget ends.
    """
    steps = math.floor((progress - options.noise_start) / options.noise_interval + 1e-9) + 1
    return options.noise_level * max(0, steps)


def _apply(network: Network, volumes: Tensor) -> Tensor:
    return network(volumes.unsqueeze(1)).squeeze(1).float()


@torch.no_grad()
def _filled_online(network: Network, inputs: Tensor, input_mask: Tensor, target_mask: Tensor) -> Tensor:
    """Inputs whose own wedge, which has turned with them, is filled by what the network makes of them.

    It sees neither wedge, so nothing of the frequencies that were cut comes back with what it fills in.
    """
    measured = cut_wedge(inputs, target_mask)
    prediction = _apply(network, measured)
    return measured + cut_wedge(prediction, input_mask * (1 - target_mask))


def _input_mask(batch: Batch) -> Tensor:
    depth, _, width = batch.half0.shape[-3:]  # the same for all frequencies along y
    return wedge_mask((depth, 1, width), batch.tilt_range, device=batch.half0.device)


def _target_mask(batch: Batch) -> Tensor:
    return wedge_mask(batch.half0.shape[-3:], batch.tilt_range, batch.rotation, device=batch.half0.device)


def _grey_range(volumes: Tensor) -> Tensor:
    """``(b, 1, 1, 1)`` ranges from a low to a high percentile: of Gaussian noise 3.5 standard deviations."""
    values = volumes.flatten(1)
    low, high = (
        values.kthvalue(max(1, round(share / 100 * values.shape[1]))).values for share in GREY_PERCENTILES
    )
    return (high - low)[:, None, None, None]


def _noise_filter(volumes: Tensor, name: str) -> Tensor:
    """Amplitude of the noise that a back-projection with this filter has at each frequency.

    The filter's, divided by the root of the density of the slices, 1 / the distance from the tilt axis.
    """
    kz, _, kx = frequencies(volumes.shape[-3:], volumes.device)
    radius = (kz.square() + kx.square()).sqrt().clamp(max=0.5)
    if name == "none":
        return radius.clamp(min=0.5 / volumes.shape[-1]).rsqrt()
    if name == "ramp":
        return radius.sqrt()
    return radius.sqrt() * (0.54 + 0.46 * torch.cos(2 * torch.pi * radius))
