"""No step mixes tensors of a device with the CPU's; told without one, by torch's device ``meta``.

It computes shapes only, and refuses sums, choices and joints of two devices; products of matrices pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from comparisons import RANGE, make_pair
from test_gpu_images import IMAGES, SHAPE, geometry, turned
from torch import Tensor

from dewedge.learn.network import PRESETS, UNet
from dewedge.learn.objective import objective_of
from dewedge.learn.options import FitOptions
from dewedge.learn.sampling import CropSampler
from dewedge.physics.ctf import SignalToNoise, deconvolve, filter_strips, image_ctf, wiener
from dewedge.physics.exposure import weight_by_exposure
from dewedge.physics.iterative import sirt
from dewedge.physics.projection import Projector
from dewedge.physics.reconstruction import fbp
from dewedge.physics.wedge import wedge_mask

META = torch.device("meta")
VOLUME = (12, *SHAPE)


@pytest.mark.parametrize("objective", ["dewedge", "isonet", "noise2noise"])
@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
@pytest.mark.parametrize("preset", PRESETS)
def test_the_loss_and_its_gradient(objective: Any, interpolation: Any, preset: str):
    options = FitOptions(cube_size=16, epochs=1, objective=objective, online_fill=1.0)
    sampler = CropSampler(
        [make_pair(24, 40, 40)], 16, held_out=0, exact_rotations=0.5, interpolation=interpolation
    )
    sources = sampler.read([sampler.draw(i) for i in range(4)])
    there = sources._replace(groups=[(places, halves.to(META)) for places, halves in sources.groups])
    with META:
        network = UNet(replace(PRESETS[preset], channels=2))
    loss = objective_of(options)(network, sampler.rotate(there, META), 1.0)
    loss.backward()
    assert all(weights.grad is not None for weights in network.parameters())


def corrected(image: Tensor) -> Tensor:
    ctf = geometry().ctf
    assert ctf is not None
    response = image_ctf(ctf, 0, image.new_zeros(()), SHAPE, 8.0)
    snr = SignalToNoise().at(response.abs(), 8.0)
    strips = filter_strips(image, [wiener(response, snr)] * 2, image.new_ones(2, SHAPE[1]))
    return deconvolve(strips.expand(VOLUME), ctf.select([0]), 8.0, SignalToNoise())


@pytest.mark.parametrize(
    "step",
    [
        *(lambda images, name=name: fbp(images, geometry(), 16, name) for name in ("hamming", "radial")),
        lambda images: sirt(images, geometry(), 16, 2),
        lambda images: Projector(turned(), VOLUME).forward(images.new_zeros(VOLUME)),
        lambda images: Projector(turned(), VOLUME).adjoint(images),
        lambda images: weight_by_exposure(images, geometry()),
        lambda images: corrected(images[0]),
        lambda images: wedge_mask(VOLUME, RANGE, torch.eye(3), device=images.device),
    ],
)
def test_the_steps_of_reconstruction(step: Callable[[Tensor], Tensor]):
    assert step(torch.from_numpy(IMAGES).to(META)).device == META
