"""The steps of a fit: batches, their gradients, and what is done where memory is short."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from lightning_fabric import Fabric
from torch import Tensor

from dewedge.errors import InputError, is_out_of_memory
from dewedge.learn.ahead import made_ahead
from dewedge.learn.batch import Batch, Crop
from dewedge.learn.muon import Muon
from dewedge.learn.network import UNet
from dewedge.learn.objective import Objective
from dewedge.learn.options import FitOptions, learning_rate
from dewedge.learn.sampling import CropSampler
from dewedge.learn.seeded import seeded
from dewedge.learn.threads import Threads

# Reads and rotates crops; called where, and when, their gradient is made.
Load = Callable[[], Batch]


class Steps:
    """The steps of a fit, on this process.

    On a CPU the crops of a batch are divided over threads. Within layers as small as these, threads would
    wait for each other more than they compute, and for one that other work on the machine holds up.

    Parameters
    ----------
    plain
        The network, which is set up for its processes here.
    sampler, objective
        What batches are drawn from, and their loss.
    on_shortage
        Called, with what is done about it, when memory runs out.

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
        self.plain = plain
        self.network, self.optimiser = fabric.setup(plain, optimiser_of(plain, options))
        self.rate = options.learning_rate  # of the last step
        self.parts = 1  # in which the gradient of what is loaded at once is made
        self.on_shortage = on_shortage
        self.local_batch, rest = divmod(options.batch_size, fabric.world_size)
        if rest:
            raise InputError(
                f"batch size {options.batch_size} cannot be divided over {fabric.world_size} processes"
            )
        # Random numbers of a step (dropout, noise) are drawn from one generator, in one order.
        draws = objective.adds_noise or plain.config.dropout > 0
        alone = fabric.device.type == "cpu" and fabric.world_size == 1 and not draws
        self.threads = Threads(self.local_batch) if alone else None
        self.loaded = self.local_batch // (self.threads.count if self.threads else 1)  # crops at once

    def batches(self, done: int, count: int) -> Iterator[list[Load]]:
        """Draw the ``count`` batches after ``done`` steps, of this process, in what is loaded at once.

        Errors as `dewedge.learn.sampling.CropSampler.draw`.
        """
        options, fabric = self.options, self.fabric

        def drawn(step: int) -> list[Crop]:
            first = step * options.batch_size + fabric.global_rank * self.local_batch
            return [self.sampler.draw(first + i) for i in range(self.local_batch)]

        steps = range(done, done + count)
        if fabric.device.type == "cuda":
            for sources in made_ahead(lambda step: self.sampler.read(drawn(step), pin=True), steps):
                yield [partial(self.sampler.rotate, sources, fabric.device)]
        else:
            for crops in map(drawn, steps):
                yield [
                    partial(self.sampler.load, crops[first : first + self.loaded], fabric.device)
                    for first in range(0, self.local_batch, self.loaded)
                ]

    def step(self, batch: list[Load], done: int, progress: float) -> Tensor:
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
        loss = None
        while loss is None:
            try:
                loss = self._gradient(batch, done, progress)
            except (MemoryError, RuntimeError) as error:
                # Of several processes the others would wait for this one.
                if not is_out_of_memory(error) or fabric.world_size > 1 or not self._spare_memory():
                    raise
            if loss is None:  # not in the clause above, in which the error still holds what filled the memory
                self.optimiser.zero_grad()
                if fabric.device.type == "cuda":
                    torch.cuda.empty_cache()
        if options.gradient_clip is not None:
            fabric.clip_gradients(
                self.network, self.optimiser, max_norm=options.gradient_clip, error_if_nonfinite=False
            )
        self.optimiser.step()
        self.optimiser.zero_grad()
        return loss

    def _spare_memory(self) -> bool:
        """Hold less in memory from now on; false if nothing is left to be done."""
        if self.threads is not None and self.threads.count > 1:
            self.threads = None
            self.on_shortage("the parts of a batch take turns from now on")
        elif self.parts == 1 and self.loaded > 1:
            self.parts = 2
            self.on_shortage("the gradient of a batch is made in parts from now on")
        else:
            return False
        return True

    def _gradient(self, batch: list[Load], done: int, progress: float) -> Tensor:
        """Add the gradient of one batch; its loss, of this process."""
        if len(batch) == 1:
            return self._backward(batch[0](), done, progress)
        found = (self.threads.map if self.threads else map)(partial(self._gradient_of, progress), batch)
        losses, gradients = zip(*found, strict=True)
        for parameter, *of_parts in zip(self.plain.parameters(), *gradients, strict=True):
            parameter.grad = sum(of_parts[1:], of_parts[0])  # in one order, hence always the same
        return torch.stack(losses).sum()

    def _gradient_of(self, progress: float, load: Load) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Loss and gradient of a part of a batch, in a thread; each is the part's share of the batch's."""
        total = torch.zeros(())
        gradients: tuple[Tensor, ...] = ()
        for part, share in self._in_parts(load()):
            loss = self.objective(self._autocast, part, progress) * share
            found = torch.autograd.grad(loss, list(self.plain.parameters()))
            gradients = tuple(map(torch.add, gradients, found)) if gradients else found
            total = total + loss.detach()
        return total, gradients

    def _autocast(self, volumes: Tensor) -> Tensor:
        """What the network that is set up does, which may be called from one thread alone."""
        with self.fabric.autocast():
            prediction: Tensor = self.plain(volumes)
        return prediction

    def _backward(self, batch: Batch, done: int, progress: float) -> Tensor:
        """Add the gradient of one batch by way of its processes; its loss, of this process."""
        options, fabric = self.options, self.fabric
        first = done * options.batch_size + fabric.global_rank * self.local_batch
        total = torch.zeros((), device=fabric.device)
        for part, share in self._in_parts(batch):
            with seeded(options.seed, first, fabric.device):
                loss = self.objective(self.network, part, progress) * share
                fabric.backward(loss)
            total = total + loss.detach()
            first += len(part.half0)
        return total

    def _in_parts(self, batch: Batch) -> Iterator[tuple[Batch, float]]:
        """The parts of what was loaded at once, each with its share of the whole batch."""
        size = -(-self.loaded // self.parts)
        for begin in range(0, self.loaded, size):
            part = batch.part(begin, begin + size)
            yield part, len(part.half0) / self.local_batch


def optimiser_of(network: UNet, options: FitOptions) -> torch.optim.Optimizer:
    """Make the optimiser that the options name, for all weights of a network."""
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
