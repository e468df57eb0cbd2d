"""Objectives of a fit: the loss of one batch, for each method, and what it asks of the fit."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dewedge.learn.batch import Batch
from dewedge.learn.grey_scale import GREY_PERCENTILES
from dewedge.learn.loss import cut_wedge, dewedge_loss, squared_error
from dewedge.learn.options import FitOptions
from dewedge.physics.fourier import frequencies, hamming_window
from dewedge.physics.rotation import Turns

Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Objective(ABC):
    """The loss of a batch, and what it asks of the crops and of the fit.

    A further one is a class here, its name in `OBJECTIVES` and in that field of
    :class:`~dewedge.learn.options.FitOptions`.

    Parameters
    ----------
    options
        Of the fit.
    shell_weight
        Weights of the frequencies of a squared error, ``(n, n, n // 2 + 1)``; none if not given.

    Attributes
    ----------
    needs_halves
        Whether it takes two half-sets; otherwise both are the full tomogram.
    against_truth
        Whether a truth stands in the place of half-set 1.
    swaps_halves
        Whether the half-sets change places in half of the crops.
    weighs_frequencies
        Whether it is a squared error, whose frequencies can be weighted.
    renormalises
        Whether filled inputs get the range of grey values of the measured ones.
    calibrates
        Whether the amplitude of what fills the wedge is measured when the fit is done.
    weighs_tilts
        Whether the transfer of the target's single tilts may be in its loss.
    adds_noise
        Whether its inputs get noise, of torch's random numbers.
    """

    options: FitOptions
    shell_weight: Tensor | None = None

    needs_halves: ClassVar[bool] = True
    against_truth: ClassVar[bool] = False
    swaps_halves: ClassVar[bool] = False
    weighs_frequencies: ClassVar[bool] = True
    renormalises: ClassVar[bool] = False
    calibrates: ClassVar[bool] = False
    weighs_tilts: ClassVar[bool] = False
    adds_noise: ClassVar[bool] = False

    @property
    def turns(self) -> Turns:
        """Exact rotations that crops are turned by."""
        return "all"

    @property
    def exact_rotations(self) -> float:
        """Share of the crops that an exact rotation turns."""
        return self.options.exact_rotations

    @property
    def has_rounds(self) -> bool:
        """True if the network's prediction replaces the missing wedge of its inputs after each round."""
        return True

    @property
    def further_passes(self) -> float:
        """Passes of the network, in the mean over batches, beside the one that the gradient needs."""
        return 0.0

    @abstractmethod
    def __call__(self, network: Network, batch: Batch, progress: float = 0.0) -> Tensor:
        """Loss of one batch.

        Parameters
        ----------
        network
            From ``(b, 1, n, n, n)`` to the same shape.
        progress
            Share of the fit that is done, between 0 and 1.
        """

    def inputs(self, batch: Batch) -> Tensor:
        """``(b, n, n, n)`` input of the network, but for the noise of IsoNet: v0 with the wedge cut."""
        return cut_wedge(batch.half0, batch.input_mask())


class DeWedge(Objective):
    """Cut a second wedge from v0, apply the network, compare with v1 (Wiedemann and Heckel 2024)."""

    calibrates = True
    weighs_tilts = True

    @property
    def has_rounds(self) -> bool:
        """False if every batch fills the wedge of its own inputs, as with an ``online_fill`` of 1."""
        return self.options.online_fill < 1

    @property
    def further_passes(self) -> float:
        """Share of the batches that fill the wedge of their own inputs, by one pass each."""
        return self.options.online_fill

    def __call__(self, network: Network, batch: Batch, progress: float = 0.0) -> Tensor:
        """Loss of one batch: that of `dewedge.learn.loss.dewedge_loss`."""
        input_mask, target_mask = batch.input_mask(), batch.target_mask()
        inputs = self.inputs(batch)
        if self._fills_online(progress):
            inputs = filled_online(network, inputs, input_mask, target_mask)
        return dewedge_loss(
            applied(network, inputs),
            batch.half1,
            input_mask,
            target_mask,
            self.options.wedge_weight,
            self.shell_weight,
            batch.target_transfer(),
        )

    def _fills_online(self, progress: float) -> bool:
        """At the end of a fit; what is validated is filled alike all along, so that losses compare."""
        if not torch.is_grad_enabled():
            return not self.has_rounds
        return progress >= 1 - self.options.online_fill


class Supervised(Objective):
    """Objective from half-set 0, the wedge cut, to a truth in the place of half-set 1."""

    against_truth = True

    def __call__(self, network: Network, batch: Batch, progress: float = 0.0) -> Tensor:
        """Loss of one batch: the mean squared error, by frequencies where these have weights."""
        error = applied(network, self.inputs(batch)) - batch.half1
        return error.square().mean() if self.shell_weight is None else squared_error(error, self.shell_weight)


class Noise2Noise(Supervised):
    """Objective from one half-set to the other, or back, as cryoCARE (Buchholz et al. 2019)."""

    against_truth = False
    swaps_halves = True

    @property
    def turns(self) -> Turns:
        """Quarter turns about the tilt axis, if they are asked for; otherwise none."""
        return "tilt axis" if self.options.quarter_turns else "none"

    @property
    def exact_rotations(self) -> float:
        """Share 1: no crop is interpolated."""
        return 1.0

    @property
    def has_rounds(self) -> bool:
        """False: no wedge is filled."""
        return False

    def inputs(self, batch: Batch) -> Tensor:
        """``(b, n, n, n)`` v0 with that wedge cut which has turned with the crop.

        Refinement cuts it, too, and there is nothing in it but what the cube's edges leave.
        """
        return cut_wedge(batch.half0, batch.target_mask())


class IsoNet(Objective):
    """Objective from the rotated crop, a wedge cut out and noise added, back to the crop (Liu et al. 2022).

    As in their program the error is the mean absolute one, and noise counts in the range of grey values.
    """

    needs_halves = False
    weighs_frequencies = False
    renormalises = True
    adds_noise = True

    @property
    def turns(self) -> Turns:
        """Exact rotations that move the missing wedge."""
        return "moving"

    def __call__(self, network: Network, batch: Batch, progress: float = 0.0) -> Tensor:
        """Loss of one batch: the mean absolute error from inputs with noise."""
        inputs = self.inputs(batch)
        level = isonet_noise_level(progress, self.options)
        if level > 0:
            noise = torch.randn_like(inputs)
            noise = cut_wedge(noise, batch.input_mask() * _noise_filter(inputs, self.options.noise_filter))
            gain = level * _grey_range(batch.half0) / noise.std(dim=(-3, -2, -1), keepdim=True)
            inputs = inputs + noise * gain
        return (applied(network, inputs) - batch.half0).abs().mean()


OBJECTIVES: dict[str, type[Objective]] = {
    "dewedge": DeWedge,
    "noise2noise": Noise2Noise,
    "isonet": IsoNet,
    "supervised": Supervised,
}


def objective_of(options: FitOptions) -> Objective:
    """Make the objective that the options name."""
    return OBJECTIVES[options.objective](options)


def isonet_noise_level(progress: float, options: FitOptions) -> float:
    """Noise added to the inputs when a share ``progress`` of the fit is done, in units of `_grey_range`.

    Of the published 30 rounds the 11th is the first with noise, and every fifth after it has more; as shares
    of the fit they hold for one that a budget ends.

    Examples
    --------
    >>> options = FitOptions(epochs=10, noise_level=0.05, noise_start=1 / 3, noise_interval=1 / 6)
    >>> [isonet_noise_level(progress, options) for progress in (0, 0.4, 1)]
    [0.0, 0.05, 0.25]
    """
    steps = math.floor((progress - options.noise_start) / options.noise_interval + 1e-9) + 1
    return options.noise_level * max(0, steps)


def applied(network: Network, volumes: Tensor) -> Tensor:
    """``(b, d, h, w)`` output of a network for volumes of that shape, float32."""
    return network(volumes.unsqueeze(1)).squeeze(1).float()


@torch.no_grad()
def filled_online(network: Network, inputs: Tensor, input_mask: Tensor, target_mask: Tensor) -> Tensor:
    """``(b, d, h, w)`` inputs whose own wedge, which has turned with them, is filled by a prediction of it.

    The network sees neither wedge, so nothing of the frequencies that were cut comes back with what it fills
    in. The masks are ``(b, d, h, w // 2 + 1)`` or broadcast to it: 1 at what the input keeps and, of the
    target's, at what was measured.
    """
    measured = cut_wedge(inputs, target_mask)
    prediction = applied(network, measured)
    return measured + cut_wedge(prediction, input_mask * (1 - target_mask))


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
    return radius.sqrt() * hamming_window(radius)
