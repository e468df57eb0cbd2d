"""The fit of the network to half-sets of tomograms."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils import convert_conv3d_weight_memory_format

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.learn.checkpoint import Model
from dewedge.learn.muon import Muon
from dewedge.learn.network import NetworkConfig, UNet
from dewedge.learn.objective import Objective
from dewedge.learn.options import FitOptions, learning_rate
from dewedge.learn.rounds import filled_inputs, round_epochs
from dewedge.learn.sampling import Batch, CropSampler, TomogramPair
from dewedge.learn.signal import FLOOR, signal_weight
from dewedge.learn.standardise import grey_scales_of_inputs
from dewedge.learn.state import EpochRow, FitState, restore_fit, save_fit
from dewedge.physics.rotation import Turns

CHECKPOINT_INTERVAL_S = 60.0
WEIGHING_CROPS = 64  # whose half-sets tell how frequencies count
WEIGHING_BATCH = 4


def fit(
    pairs: Sequence[TomogramPair],
    network_config: NetworkConfig,
    options: FitOptions,
    fabric: Fabric,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
    initial: dict[str, Tensor] | None = None,
    clock: Callable[[], float] = time.monotonic,
    on_step: Callable[[FitState, float], None] = lambda state, progress: None,
    on_epoch: Callable[[FitState, UNet], None] = lambda state, network: None,
) -> tuple[Model, list[EpochRow]]:
    """Fit a network to pairs of half-sets.

    Parameters
    ----------
    pairs
        One or more tomograms.
    network_config, options
        What is fitted, and how.
    fabric
        A launched Fabric: devices, precision, processes.
    checkpoint
        File for the state of the fit, written at most once a minute and at the end; None for none.
    resume
        Continue from ``checkpoint`` if it exists. On a CPU, with a limit in epochs, the result is that of an
        unbroken fit.
    initial
        Weights to start from; random ones if not given.
    clock
        Seconds that ``options.budget_s`` counts.
    on_step, on_epoch
        Called on every process after a step, with the share of the fit that is done, and after an epoch, with
        the network of now.

    Returns
    -------
    Model, list of EpochRow
        The last weights, or those of the epoch with the lowest loss on the held-out region, as
        ``options.keep`` says; the loss curve.

    Raises
    ------
    InputError
        If the data or the checkpoint cannot be used.

    Source: Wiedemann and Heckel 2024, algorithm 1.
    """
    # As cryoCARE (Buchholz et al. 2019) and IsoNet (Liu et al. 2022) turn and swap their crops.
    denoises, fills = options.objective == "noise2noise", options.objective == "isonet"
    turns: Turns = "moving" if fills else "all"
    if denoises:
        turns = "tilt axis" if options.quarter_turns else "none"
    sampler = CropSampler(
        pairs,
        options.cube_size,
        seed=options.seed,
        held_out=options.held_out,
        exact_rotations=1.0 if denoises else options.exact_rotations,
        turns=turns,
        swap_halves=denoises,
        interpolation=options.interpolation,
        supervised=options.objective == "supervised",
        clip=options.clip,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        plain = UNet(network_config)
    plain.activation_checkpointing = options.activation_checkpointing
    if initial is not None:
        plain.load_state_dict(initial)
    if options.cube_size % plain.multiple:
        raise InputError(
            f"cube size {options.cube_size}: expected a multiple of {plain.multiple} for this network"
        )
    plain = convert_conv3d_weight_memory_format(plain.to(fabric.device), torch.channels_last_3d)
    network, optimiser = fabric.setup(plain, _optimiser(plain, options))
    by_signal = options.frequency_weight == "signal" and not fills
    objective = Objective(options, signal_weight(_drawn(sampler, fabric), FLOOR) if by_signal else None)
    if options.standardise == "inputs":
        sampler.grey_scales = grey_scales_of_inputs(sampler, objective, fabric.device)
    of_measured = sampler.grey_scales
    validation = _validation_batches(sampler, options, fabric)
    judged = objective
    if validation and not fills:
        # Alike inside and outside the wedge: the loss of no prediction is 1.
        judged = Objective(replace(options, wedge_weight=1.0), signal_weight(validation))
    state = FitState()
    interval = round_epochs(sampler, network_config, options)
    best = _weights(plain)
    updating: dict[str, Tensor] = {}
    identity = {"network": asdict(network_config), "options": asdict(options), "data": _fingerprint(sampler)}

    def fill(weights: dict[str, Tensor], round_: int) -> None:
        sampler.grey_scales = of_measured
        sampler.inputs = filled_inputs(sampler, network_config, weights, round_, fabric, renormalise=fills)
        if options.standardise == "inputs":
            sampler.grey_scales = grey_scales_of_inputs(sampler, objective, fabric.device)

    def loss_of_best() -> float:
        """On the inputs of now, since losses of other inputs do not compare."""
        loss = _validation_loss(_network(network_config, best, fabric), validation, judged, fabric)
        return math.inf if loss is None else loss

    if resume and checkpoint is not None and checkpoint.exists():
        state, best, updating = restore_fit(checkpoint, identity, plain, optimiser)
        if state.rows and state.ends_round(interval):
            updating = _weights(plain)  # a fit that ended with a round did not replace them any more
        if updating:
            fill(updating, state.round_(interval))
            validation = _validation_batches(sampler, options, fabric)
            state.best_loss = loss_of_best()

    started = clock() - state.seconds
    saved = time.monotonic()
    local = options.batch_size // fabric.world_size
    if local * fabric.world_size != options.batch_size:
        raise InputError(
            f"batch size {options.batch_size} cannot be divided over {fabric.world_size} processes"
        )

    while not state.finished(options):
        losses: list[Tensor] = []
        for _ in range(options.epoch_steps):
            progress = state.progress(options)
            if progress >= 1:
                break
            rate = learning_rate(progress, options)
            for group in optimiser.param_groups:
                group["lr"] = rate
            first = state.step * options.batch_size + fabric.global_rank * local
            batch = sampler.load([sampler.draw(first + i) for i in range(local)], fabric.device)
            with _seeded(options.seed, first, fabric.device):
                loss = objective(network, batch, progress)
                fabric.backward(loss)
            if options.gradient_clip is not None:
                fabric.clip_gradients(
                    network, optimiser, max_norm=options.gradient_clip, error_if_nonfinite=False
                )
            optimiser.step()
            optimiser.zero_grad()
            losses.append(loss.detach())
            state.step += 1
            state.seconds = float(fabric.broadcast(clock() - started))
            on_step(state, state.progress(options))
        if not losses:
            break
        fit_loss = _mean_over_processes(torch.stack(losses).mean(), fabric)
        if not math.isfinite(fit_loss):
            raise InputError("the fit diverged (loss is not finite); use a lower learning rate")
        row = EpochRow(
            epoch=len(state.rows) + 1,
            step=state.step,
            samples=state.step * options.batch_size,
            seconds=state.seconds,
            learning_rate=rate,
            fit_loss=fit_loss,
            validation_loss=_validation_loss(plain, validation, judged, fabric),
        )
        if state.record(row):
            best = _weights(plain)
        if state.stalls(options):
            state.cool(options)
        if state.ends_round(interval) and not state.finished(options):
            updating = _weights(plain)
            fill(updating, state.round_(interval))
            validation = _validation_batches(sampler, options, fabric)
            state.best_loss = loss_of_best()
            state.seconds = float(fabric.broadcast(clock() - started))
        on_epoch(state, plain)
        done = state.finished(options)
        if checkpoint is not None and (done or time.monotonic() - saved > CHECKPOINT_INTERVAL_S):
            if fabric.is_global_zero:
                save_fit(checkpoint, identity, state, best, updating, plain, optimiser)
            fabric.barrier()
            saved = time.monotonic()

    scales = [scale.std_full / scale.std_half for scale in sampler.grey_scales]
    ranges = [pair.tilt_range for pair in pairs]
    details = {
        "options": asdict(options),
        "epochs": [asdict(row) for row in state.rows],
        "best_epoch": state.best_epoch,
        "kept_epoch": len(state.rows) if options.keep == "last" else state.best_epoch,
    }
    model = Model(
        weights=_weights(plain) if options.keep == "last" else best,
        network=network_config,
        cube_size=options.cube_size,
        full_std=sum(scales) / len(scales),
        clip=options.clip,
        tilt_range=TiltRange(min(r.min_deg for r in ranges), max(r.max_deg for r in ranges)),
        details=details,
    )
    return model, state.rows


@contextmanager
def _seeded(seed: int, index: int, device: torch.device) -> Iterator[None]:
    """Random numbers of torch (dropout, added noise) that are a function of (seed, index)."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0]))
        yield


def _optimiser(network: UNet, options: FitOptions) -> torch.optim.Optimizer:
    if options.optimiser == "adam":
        return torch.optim.Adam(network.parameters(), lr=options.learning_rate)
    inner = network.inner_weights()
    chosen = {id(weights) for weights in inner}
    others = [parameter for parameter in network.parameters() if id(parameter) not in chosen]
    return Muon(inner, others, lr=options.learning_rate)


def _drawn(sampler: CropSampler, fabric: Fabric) -> list[Batch]:
    """The first crops of the fit, as they were measured."""
    return [
        sampler.load([sampler.draw(first + i) for i in range(WEIGHING_BATCH)], fabric.device)
        for first in range(0, WEIGHING_CROPS, WEIGHING_BATCH)
    ]


def _validation_batches(sampler: CropSampler, options: FitOptions, fabric: Fabric) -> list[Batch]:
    crops = sampler.validation(options.validation_crops if options.held_out > 0 else 0)
    size = options.batch_size
    return [sampler.load(crops[i : i + size], fabric.device) for i in range(0, len(crops), size)]


@torch.no_grad()
def _validation_loss(
    network: nn.Module,
    batches: list[Batch],
    objective: Objective,
    fabric: Fabric,
) -> float | None:
    if not batches:
        return None
    network.eval()
    with fabric.autocast():
        losses = [objective(network, batch) for batch in batches]
    network.train()
    sizes = [len(batch.half0) for batch in batches]
    mean = sum(float(loss) * size for loss, size in zip(losses, sizes, strict=True)) / sum(sizes)
    # What follows from it, such as the end of the fit, must follow on all processes alike.
    return float(fabric.broadcast(mean))


def _mean_over_processes(value: Tensor, fabric: Fabric) -> float:
    reduced = fabric.all_reduce(value, reduce_op="mean")
    assert isinstance(reduced, Tensor)
    return float(reduced)


def _weights(network: UNet) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


def _network(config: NetworkConfig, weights: dict[str, Tensor], fabric: Fabric) -> UNet:
    network = UNet(config)
    network.load_state_dict(weights)
    return convert_conv3d_weight_memory_format(network.to(fabric.device), torch.channels_last_3d)


def _fingerprint(sampler: CropSampler) -> list[dict[str, Any]]:
    """What tells the data of a fit from other data."""
    return [
        {"shape": list(pair.shape_zyx), "tilt_range": list(pair.tilt_range), "grey_scale": list(scale)}
        for pair, scale in zip(sampler.pairs, sampler.grey_scales, strict=True)
    ]
