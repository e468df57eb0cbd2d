"""A tomogram whose missing wedge is filled by a network's prediction."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from dewedge.geometry import TiltRange
from dewedge.learn.grey_scale import match_grey_range
from dewedge.learn.network import UNet
from dewedge.learn.refine import RefineOptions, refine
from dewedge.physics.wedge import WedgeCut


def fill_wedge(
    source: NDArray[Any],
    network: UNet,
    tilt_range: TiltRange,
    options: RefineOptions,
    *,
    input_std: float,
    device: torch.device,
    renormalise: bool = False,
    fabric: Fabric | None = None,
) -> NDArray[np.float32]:
    """Fill the missing wedge of a tomogram by the network's prediction; what was measured stays.

    F^-1 W F v + F^-1 (1 - W) F f(v), ``(z, y, x)`` and in memory; parameters and errors as those of
    `dewedge.learn.refine.refine`. With
    ``renormalise`` the prediction, and then the result, get the range of grey values of v, as in IsoNet: what
    fills the wedge is as strong as what noise was taken from. The processes of ``fabric`` share the tiles;
    all have the result.

    Source: Wiedemann and Heckel 2024, Methods; Liu et al. 2022 (IsoNet).
    """
    filled = np.empty(source.shape, dtype=np.float32)
    first = fabric is None or fabric.is_global_zero
    output = filled if first else None
    refine([source], output, network, tilt_range, options, input_std=input_std, device=device, fabric=fabric)
    if fabric is not None and fabric.world_size > 1:
        everywhere = torch.from_numpy(filled).to(device)
        torch.distributed.broadcast(everywhere, src=0)
        filled = everywhere.cpu().numpy()
    measured = np.asarray(source, dtype=np.float32)
    if renormalise:
        match_grey_range(filled, measured)
    filled -= measured
    correction = torch.from_numpy(filled).to(device)
    WedgeCut(source.shape, tilt_range, device)(correction, inside=True)
    filled = correction.cpu().numpy()
    filled += measured
    if renormalise:
        match_grey_range(filled, measured)
    return filled
