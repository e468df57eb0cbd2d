"""The grey scale of what the network gets."""

from __future__ import annotations

import math

import torch

from dewedge.learn.grey_scale import PairGreyScale
from dewedge.learn.objective import Objective
from dewedge.learn.sampling import CropSampler

CROPS = 32  # that the standard deviation is taken of
BATCH = 4


def grey_scales_of_inputs(
    sampler: CropSampler, objective: Objective, device: torch.device
) -> list[PairGreyScale]:
    """Grey scales by which the inputs of the network have a standard deviation of 1, one for each tomogram.

    Crops that are turned and whose wedge is cut vary less than the half-sets they come from. The root of the
    mean variance of many of them divides the half-sets, and a tomogram to be refined is scaled to 1 as well.

    Raises
    ------
    InputError
        If the mask of a tomogram leaves no room for cubes.

    Source: Wiedemann and Heckel 2024, appendix B.
    """
    variances = []
    for first in range(0, CROPS, BATCH):
        batch = sampler.load([sampler.draw(first + i) for i in range(BATCH)], device)
        variances.append(objective.inputs(batch).var(dim=(-3, -2, -1)))
    std = math.sqrt(float(torch.cat(variances).mean()))
    return [PairGreyScale(s.mean, std * s.std_half, std * s.std_half) for s in sampler.grey_scales]
