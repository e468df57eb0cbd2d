"""The steps of a fit: batches, their gradients, and what is done where memory is short."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from dewedge.errors import InputError, is_out_of_memory
from dewedge.learn.ahead import made_ahead
from dewedge.learn.muon import Muon
from dewedge.learn.network import UNet
from dewedge.learn.objective import Objective
from dewedge.learn.options import FitOptions, learning_rate
from dewedge.learn.sampling import Batch, CropSampler, Sources


class Steps:
    """The steps of a fit, on this process.

    Parameters
    ----------
    plain
        The network, which is set up for its processes here.
    sampler, objective
        What batches are drawn from, and their loss.
    on_shortage
        Called, with what is done about it, when memory runs out the first time.

    Raises
    ------
    InputError
        If a batch cannot be divided over the processes.
    """

    def __init__(
        self,
        plain: UNet,
        sampler: CropSampler,
        objective: Objective,
        options: FitOptions,
        fabric: Fabric,
        on_shortage: Callable[[str], None],
    ) -> None:
        self.sampler, self.objective, self.options, self.fabric = sampler, objective, options, fabric
        self.network, self.optimiser = fabric.setup(plain, optimiser_of(plain, options))
        self.rate = options.learning_rate  # of the last step
        self.parts = 1  # in which the gradient of a batch is made
        self.on_shortage = on_shortage
        self.local_batch, rest = divmod(options.batch_size, fabric.world_size)
        if rest:
            raise InputError(
                f"batch size {options.batch_size} cannot be divided over {fabric.world_size} processes"
            )

    def batches(self, done: int, count: int) -> Iterator[Batch]:
        """The ``count`` batches after ``done`` steps, of this process."""
        options, fabric = self.options, self.fabric

        def read(step: int) -> Sources:
            first = step * options.batch_size + fabric.global_rank * self.local_batch
            crops = [self.sampler.draw(first + i) for i in range(self.local_batch)]
            return self.sampler.read(crops, pin=fabric.device.type == "cuda")

        steps = range(done, done + count)
        for sources in made_ahead(read, steps) if fabric.device.type == "cuda" else map(read, steps):
            yield self.sampler.rotate(sources, fabric.device)

    def step(self, batch: Batch, done: int, progress: float) -> Tensor:
        """Change the weights by the gradient of one batch.

        Parameters
        ----------
        done, progress
            Steps before this one, and the share of the fit that is done.

        Returns
        -------
        Tensor
            Its loss, of this process.
        """
        options, fabric = self.options, self.fabric
        self.rate = learning_rate(progress, options)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate
        try:
            loss = self._gradient(batch, done, progress)
        except (MemoryError, RuntimeError) as error:
            # Of several processes the others would wait for this one.
            if not is_out_of_memory(error) or self.parts > 1 or fabric.world_size > 1 or self.local_batch < 2:
                raise
            loss = None
        if loss is None:  # not in the clause above, in which the error still holds what filled the memory
            self.parts = 2
            self.optimiser.zero_grad()
            if fabric.device.type == "cuda":
                torch.cuda.empty_cache()
            self.on_shortage("the gradient of a batch is made in two parts from now on")
            loss = self._gradient(batch, done, progress)
        if options.gradient_clip is not None:
            fabric.clip_gradients(
                self.network, self.optimiser, max_norm=options.gradient_clip, error_if_nonfinite=False
            )
        self.optimiser.step()
        self.optimiser.zero_grad()
        return loss

    def _gradient(self, batch: Batch, done: int, progress: float) -> Tensor:
        """Add the gradient of one batch, of its parts in turn; its loss, of this process."""
        options, fabric = self.options, self.fabric
        first = done * options.batch_size + fabric.global_rank * self.local_batch
        total = torch.zeros((), device=fabric.device)
        size = -(-self.local_batch // self.parts)
        for begin in range(0, self.local_batch, size):
            part = batch if self.parts == 1 else batch.part(begin, begin + size)
            with _seeded(options.seed, first + begin, fabric.device):
                loss = self.objective(self.network, part, progress)
                if self.parts > 1:
                    loss = loss * (len(part.half0) / self.local_batch)
                fabric.backward(loss)
            total = loss.detach() if self.parts == 1 else total + loss.detach()
        return total


def optimiser_of(network: UNet, options: FitOptions) -> torch.optim.Optimizer:
    """The optimiser that the options name, for all weights of a network."""
    if options.optimiser == "adam":
        return torch.optim.Adam(network.parameters(), lr=options.learning_rate)
    inner = network.inner_weights()
    chosen = {id(weights) for weights in inner}
    others = [parameter for parameter in network.parameters() if id(parameter) not in chosen]
    return Muon(inner, others, lr=options.learning_rate)


@contextmanager
def tuned_convolutions() -> Iterator[None]:
    """On a GPU, try the algorithms for the shapes of convolutions, which stay the same, and keep the best."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


@contextmanager
def _seeded(seed: int, index: int, device: torch.device) -> Iterator[None]:
    """Random numbers of torch (dropout, added noise) that are a function of (seed, index)."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0]))
        yield
