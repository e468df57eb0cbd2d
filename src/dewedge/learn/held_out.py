"""The loss on crops of the region that is held out of a fit."""

from __future__ import annotations

import torch
from lightning_fabric import Fabric
from torch import nn

from dewedge.learn.batch import Batch
from dewedge.learn.objective import Objective
from dewedge.learn.options import FitOptions
from dewedge.learn.sampling import CropSampler
from dewedge.learn.seeded import seeded


def validation_batches(sampler: CropSampler, options: FitOptions, fabric: Fabric) -> list[Batch]:
    """Load the crops that losses are compared on; none if nothing is held out."""
    crops = sampler.validation(options.validation_crops if options.held_out > 0 else 0)
    size = options.batch_size
    return [sampler.load(crops[i : i + size], fabric.device) for i in range(0, len(crops), size)]


@torch.no_grad()
def validation_loss(
    network: nn.Module,
    batches: list[Batch],
    objective: Objective,
    fabric: Fabric,
) -> float | None:
    """Mean loss of a network over crops, the same on all processes; None without any crop."""
    if not batches:
        return None
    network.eval()
    # Noise that an objective adds is always the same, so that losses can be compared.
    with fabric.autocast(), seeded(objective.options.seed, 0, fabric.device):
        losses = [objective(network, batch) for batch in batches]
    network.train()
    sizes = [len(batch.half0) for batch in batches]
    mean = sum(float(loss) * size for loss, size in zip(losses, sizes, strict=True)) / sum(sizes)
    # What follows from it, such as the end of the fit, must follow on all processes alike.
    return float(fabric.broadcast(mean))
