"""What a fit minimises: the loss of one batch, for each method."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dewedge.learn.loss import cut_wedge, dewedge_loss
from dewedge.learn.options import FitOptions
from dewedge.learn.sampling import Batch
from dewedge.physics.fourier import frequencies
from dewedge.physics.rotation import rotate_cubes
from dewedge.physics.wedge import wedge_mask

Network = Callable[[Tensor], Tensor]

# Objectives whose crops stay as they lie in the tomogram.
WITHOUT_ROTATION = ("noise2noise", "equivariant")


@dataclass(frozen=True, eq=False)
class Objective:
    """The loss of a batch by the method of the options.

    Parameters
    ----------
    options
        Of the fit.
    frequency_weight
        Weight of each frequency of the half-spectrum of a cube.
    """

    options: FitOptions
    frequency_weight: Tensor | float = 1.0

    def __call__(self, network: Network, batch: Batch, round_: int = 0, fill: bool = False) -> Tensor:
        """Loss of one batch.

        Parameters
        ----------
        network
            From ``(b, 1, n, n, n)`` to the same shape.
        round_
            How often the wedge of the inputs was replaced before.
        fill
            Fill the wedge of the inputs by the network's own prediction first.
        """
        match self.options.objective:
            case "dewedge":
                return self._dewedge(network, batch, fill)
            case "noise2noise":
                # Refinement cuts the wedge as well; there is nothing in it but what the cube's edges leave.
                inputs = cut_wedge(batch.half0, _input_mask(batch))
                return (_apply(network, inputs) - batch.half1).square().mean()
            case "isonet":
                return self._isonet(network, batch, round_)
            case "equivariant":
                return self._equivariant(network, batch)
            case "supervised":
                inputs = cut_wedge(batch.half0, _input_mask(batch))
                return (_apply(network, inputs) - batch.half1).square().mean()

    def _dewedge(self, network: Network, batch: Batch, fill: bool) -> Tensor:
        """Cut a second wedge from v0, apply the network, compare with v1 (Wiedemann and Heckel 2024)."""
        input_mask, target_mask = _input_mask(batch), _target_mask(batch)
        source = batch.half0
        inputs = cut_wedge(source, input_mask)
        if fill:
            with torch.no_grad():
                predicted = _apply(network, inputs)
            source = source + cut_wedge(predicted - source, 1 - target_mask)
            inputs = cut_wedge(source, input_mask)
        prediction, target = _apply(network, inputs), batch.half1
        if self.options.loss_margin:
            window = _window(target.shape[-1], self.options.loss_margin, target.device)
            prediction, target = prediction * window, target * window
        return dewedge_loss(
            prediction, target, input_mask, target_mask, self.options.wedge_weight, self.frequency_weight
        )

    def _isonet(self, network: Network, batch: Batch, round_: int) -> Tensor:
        """From the rotated crop, a wedge cut out and noise added, back to the crop: Liu et al. 2022."""
        input_mask = _input_mask(batch)
        inputs = cut_wedge(batch.half0, input_mask)
        level = isonet_noise_level(round_, self.options)
        if level > 0:
            noise = torch.randn_like(inputs)
            noise = cut_wedge(noise, input_mask * _noise_filter(inputs, self.options.noise_filter))
            inputs = inputs + noise * (level / noise.std(dim=(-3, -2, -1), keepdim=True))
        return (_apply(network, inputs) - batch.half0).square().mean()

    def _equivariant(self, network: Network, batch: Batch) -> Tensor:
        """Data consistency, and what the prediction is when turned, cut and predicted again: ICECREAM."""
        mask = _input_mask(batch)
        prediction = _apply(network, batch.half0)
        consistency = cut_wedge(prediction - batch.half1, mask).square().mean()
        size = prediction.shape[-1]
        turned = rotate_cubes(prediction.unsqueeze(1), batch.rotation, size).squeeze(1)
        again = _apply(network, cut_wedge(turned, mask))
        with torch.no_grad():
            other = _apply(network, batch.half1)
            target = rotate_cubes(other.unsqueeze(1), batch.rotation, size).squeeze(1)
        equivariance = cut_wedge(again - target, _target_mask(batch)).square().mean()
        return consistency + self.options.wedge_weight * equivariance


def isonet_noise_level(round_: int, options: FitOptions) -> float:
    """Noise added to the inputs after ``round_`` replacements, in standard deviations."""
    steps = math.floor((round_ + 1 - options.noise_first) / options.noise_interval) + 1
    return options.noise_level * max(0, steps)


def _apply(network: Network, volumes: Tensor) -> Tensor:
    return network(volumes.unsqueeze(1)).squeeze(1).float()


def _input_mask(batch: Batch) -> Tensor:
    depth, _, width = batch.half0.shape[-3:]  # the same for all frequencies along y
    return wedge_mask((depth, 1, width), batch.tilt_range, device=batch.half0.device)


def _target_mask(batch: Batch) -> Tensor:
    return wedge_mask(batch.half0.shape[-3:], batch.tilt_range, batch.rotation, device=batch.half0.device)


def _noise_filter(volumes: Tensor, name: str) -> Tensor | float:
    """Amplitude of the noise that a reconstruction with this filter has at each frequency.

    The filter's, divided by the root of the density of the slices, 1 / the distance from the tilt axis.
    """
    if name == "none":
        return 1.0
    kz, _, kx = frequencies(volumes.shape[-3:], volumes.device)
    radius = (kz.square() + kx.square()).sqrt()
    ramp = radius.clamp(max=0.5).sqrt()
    if name == "ramp":
        return ramp
    return ramp * (0.54 + 0.46 * torch.cos(2 * torch.pi * radius.clamp(max=0.5)))


def _window(size: int, margin: int, device: torch.device) -> Tensor:
    """``(n, n, n)`` 1 inside, falling to the faces over ``margin`` voxels by a raised cosine."""
    index = torch.arange(size, device=device)
    depth = torch.minimum(index, size - 1 - index) + 0.5
    edge = torch.sin(torch.pi / 2 * (depth / margin).clamp(max=1)).square()
    return edge[:, None, None] * edge[:, None] * edge
