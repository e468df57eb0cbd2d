"""The fit of the network to half-sets of tomograms."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn.utils import convert_conv3d_weight_memory_format

from dewedge import limits
from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.learn.amplitude import CROPS as CALIBRATION_CROPS
from dewedge.learn.amplitude import WedgeAmplitude, measure_amplitude
from dewedge.learn.batch import Batch
from dewedge.learn.checkpoint import Model
from dewedge.learn.held_out import validation_batches, validation_loss
from dewedge.learn.loss_curve import EpochRow
from dewedge.learn.network import NetworkConfig, UNet
from dewedge.learn.objective import Objective, objective_of
from dewedge.learn.options import FitOptions
from dewedge.learn.pairs import TomogramPair
from dewedge.learn.rounds import filled_inputs, round_epochs
from dewedge.learn.sampling import CropSampler
from dewedge.learn.signal import FLOOR, signal_weight
from dewedge.learn.standardise import grey_scales_of_inputs
from dewedge.learn.state import FitState, restore_fit, save_fit
from dewedge.learn.steps import Steps, tuned_convolutions

CHECKPOINT_INTERVAL_S = 60.0
WEIGHING_CROPS = 64  # whose half-sets tell how frequencies count
WEIGHING_BATCH = 4
CLOCK_STEPS = 8  # after which several processes agree on the time


def fit(
    pairs: Sequence[TomogramPair],
    network_config: NetworkConfig,
    options: FitOptions,
    fabric: Fabric,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
    initial: dict[str, Tensor] | None = None,
    stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
    on_shortage: Callable[[str], None] = lambda remedy: None,
    on_resume: Callable[[FitState], None] = lambda state: None,
    on_step: Callable[[FitState, float], None] = lambda state, progress: None,
    on_epoch: Callable[[FitState, UNet], None] = lambda state, network: None,
    on_round: Callable[[int, FitState], None] = lambda number, state: None,
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
        File for the state of the fit, written at most once a minute, at the end and where it is stopped; None
        for none.
    resume
        Continue from ``checkpoint`` if it exists. On a CPU, with a limit in epochs, the result is that of an
        unbroken fit.
    initial
        Weights to start from; random ones if not given.
    stop
        Asked after each step, of several processes after some: true to write the checkpoint and end there.
    clock
        Seconds that ``options.budget_s`` counts.
    on_shortage
        Called, with what is done about it, when memory runs out the first time.
    on_resume, on_step, on_epoch
        Called on every process once a checkpoint was read; after a step, with the share of the fit that is
        done; and after an epoch, with the network of now.
    on_round
        Called after the epoch at whose end the wedge of the inputs was replaced, with how often it was.

    Returns
    -------
    Model, list of EpochRow
        The last weights, or those of the epoch with the lowest loss on the held-out region, as
        ``options.keep`` says; the loss curve.

    Raises
    ------
    InputError
        If the data or the checkpoint cannot be used.
    KeyboardInterrupt
        Where ``stop`` was true.

    Source: Wiedemann and Heckel 2024, algorithm 1.
    """
    run = _Fit(pairs, network_config, options, fabric, initial, on_shortage)
    state = run.state
    if resume and checkpoint is not None and checkpoint.exists():
        state = run.restore(checkpoint)
        on_resume(state)
    started = clock() - state.seconds
    saved = time.monotonic()

    def since_start() -> float:
        return float(fabric.broadcast(clock() - started))

    while not state.finished(options):
        with tuned_convolutions():
            loss = run.epoch(since_start, on_step, stop)
        if loss is None and run.stopped:
            if checkpoint is not None:
                run.save(checkpoint)
            raise KeyboardInterrupt
        if loss is None:
            break
        run.record(loss)
        if state.overfits(options, run.interval):
            state.cool(options)
        ends_round = state.ends_round(run.interval) and not state.finished(options)
        if ends_round:
            run.renew(run.weights())
            state.seconds = since_start()
        on_epoch(state, run.plain)
        if ends_round:
            on_round(state.round_(run.interval), state)
        done = state.finished(options)
        # The first process decides: others would wait for it, or it for them, where their clocks differ.
        due = fabric.broadcast(done or run.stopped or time.monotonic() - saved > CHECKPOINT_INTERVAL_S)
        if checkpoint is not None and due:
            run.save(checkpoint)
            saved = time.monotonic()
        if run.stopped and not done:
            raise KeyboardInterrupt
    return run.model(), state.rows


class _Fit:
    """The parts of one fit, and the steps it is made of."""

    def __init__(
        self,
        pairs: Sequence[TomogramPair],
        network_config: NetworkConfig,
        options: FitOptions,
        fabric: Fabric,
        initial: dict[str, Tensor] | None,
        on_shortage: Callable[[str], None],
    ) -> None:
        self.options, self.fabric, self.config = options, fabric, network_config
        self.objective = objective_of(options)
        self.sampler = _sampler(pairs, self.objective)
        self.plain = _initial_network(network_config, options, initial, fabric.device)
        if options.frequency_weight == "signal" and self.objective.weighs_frequencies:
            weight = signal_weight(_drawn(self.sampler, fabric), FLOOR)
            self.objective = replace(self.objective, shell_weight=weight)
        self.steps = Steps(self.plain, self.sampler, self.objective, options, fabric, on_shortage)
        self._standardise()
        self.first_scales = self.sampler.grey_scales
        self.validation = validation_batches(self.sampler, options, fabric)
        self.judged = self.objective
        if self.validation and self.objective.weighs_frequencies:
            # Alike inside and outside the wedge: the loss of no prediction is 1.
            alike = replace(options, wedge_weight=1.0)
            weight = signal_weight(self.validation)
            self.judged = replace(self.objective, options=alike, shell_weight=weight)
        self.interval = round_epochs(self.sampler, network_config, options)
        self.identity = {
            "network": asdict(network_config),
            "options": asdict(options),
            "data": _fingerprint(self.sampler),
        }
        self.state = FitState()
        self.stopped = False
        self.best = self.weights()
        self.updating: dict[str, Tensor] = {}

    def epoch(
        self,
        since_start: Callable[[], float],
        on_step: Callable[[FitState, float], None],
        stop: Callable[[], bool],
    ) -> float | None:
        """Make the steps of an epoch, or fewer at the end of the fit; their mean loss, None without any.

        Where the fit was stopped within an epoch, the rest of it follows, and none of it counts anew. None,
        too, where it is to stop: then `stopped` is true, and the losses so far are in the state.
        """
        options, state, fabric = self.options, self.state, self.fabric
        losses = [torch.tensor(loss, device=fabric.device) for loss in state.losses]
        left = options.epoch_steps - len(losses)
        batches = self.steps.batches(state.step, left)
        for _ in range(left):
            progress = state.progress(options)
            if progress >= 1:
                break
            losses.append(self.steps.step(next(batches), state.step, progress))
            state.step += 1
            # Counted over epochs, of which each may have fewer.
            if fabric.world_size == 1 or state.step % CLOCK_STEPS == 0:
                state.seconds = since_start()
                self.stopped = bool(fabric.broadcast(stop()))
            on_step(state, state.progress(options))
            if self.stopped:
                break
        state.seconds = since_start()
        if not losses:
            return None
        if self.stopped and len(losses) < options.epoch_steps and state.progress(options) < 1:
            means = fabric.all_reduce(torch.stack(losses), reduce_op="mean")
            assert isinstance(means, Tensor)
            state.losses = means.tolist()
            return None
        state.losses = []
        return _mean_over_processes(torch.stack(losses).mean(), fabric)

    def record(self, loss: float) -> None:
        """Append the row of an epoch with this mean loss to the loss curve, and keep the best weights."""
        state = self.state
        held_out = validation_loss(self.plain, self.validation, self.judged, self.fabric)
        for value in (loss, held_out):
            if value is not None and not abs(value) <= limits.NUMBER:
                raise InputError(f"the fit diverged (loss {value:g}); use a lower learning rate")
        row = EpochRow(
            epoch=len(state.rows) + 1,
            step=state.step,
            samples=state.step * self.options.batch_size,
            seconds=state.seconds,
            learning_rate=self.steps.rate,
            fit_loss=loss,
            validation_loss=held_out,
        )
        if state.record(row):
            self.best = self.weights()

    def renew(self, weights: dict[str, Tensor]) -> None:
        """Fill the wedge of the inputs by what these weights predict."""
        self.updating, sampler, fabric = weights, self.sampler, self.fabric
        sampler.grey_scales = self.first_scales
        round_ = self.state.round_(self.interval)
        renormalise = self.objective.renormalises
        sampler.inputs = filled_inputs(sampler, self.config, weights, round_, fabric, renormalise=renormalise)
        self._standardise()
        self.validation = validation_batches(sampler, self.options, fabric)
        if self.options.keep == "best":  # judged anew: losses of other inputs do not compare
            best = _on_device(UNet(self.config), self.best, fabric.device)
            loss = validation_loss(best, self.validation, self.judged, fabric)
            self.state.best_loss = math.inf if loss is None else loss

    def _standardise(self) -> None:
        if self.options.standardise == "inputs":
            self.sampler.grey_scales = grey_scales_of_inputs(self.sampler, self.objective, self.fabric.device)

    def weights(self) -> dict[str, Tensor]:
        """The weights of now, copied to the CPU."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self.plain.state_dict().items()}

    def save(self, checkpoint: Path) -> None:
        """Write the checkpoint, on the first process alone."""
        if self.fabric.is_global_zero:
            save_fit(
                checkpoint,
                self.identity,
                self.state,
                self.best,
                self.updating,
                self.plain,
                self.steps.optimiser,
                self.fabric.strategy.precision,
            )
        self.fabric.barrier()

    def restore(self, checkpoint: Path) -> FitState:
        """Take weights and state from the checkpoint, and fill the wedge of the inputs as it was."""
        self.state, self.best, updating = restore_fit(
            checkpoint, self.identity, self.plain, self.steps.optimiser, self.fabric.strategy.precision
        )
        at_its_end = bool(self.state.rows) and self.state.step == self.state.rows[-1].step
        if at_its_end and self.state.ends_round(self.interval):
            updating = self.weights()  # a fit that ended with a round did not replace them any more
        if updating:
            self.renew(updating)
        return self.state

    def model(self) -> Model:
        """The result, of the weights that the options ask for."""
        options, state = self.options, self.state
        scales = [scale.std_full / scale.std_half for scale in self.sampler.grey_scales]
        sizes = {pair.voxel_size_A for pair in self.sampler.pairs}
        last = options.keep == "last"
        weights = self.weights() if last else self.best
        return Model(
            weights=weights,
            network=self.config,
            cube_size=options.cube_size,
            full_std=sum(scales) / len(scales),
            clip=options.clip,
            wedge_amplitude=self._amplitude(weights),
            tilt_range=_widest([pair.tilt_range for pair in self.sampler.pairs]),
            details={
                "options": asdict(options),
                "epochs": [asdict(row) for row in state.rows],
                "kept_epoch": len(state.rows) if last else state.best_epoch,
            },
            voxel_size_A=sizes.pop() if len(sizes) == 1 else None,
        )

    def _amplitude(self, weights: dict[str, Tensor]) -> WedgeAmplitude | None:
        """Of what these weights fill the wedge with; None without a region held out, or any wedge to fill."""
        sampler, fabric = self.sampler, self.fabric
        crops = sampler.validation(CALIBRATION_CROPS)
        if not crops or not self.objective.calibrates:
            return None
        sampler.as_measured()
        batches = [
            sampler.load(crops[first : first + WEIGHING_BATCH], fabric.device)
            for first in range(0, len(crops), WEIGHING_BATCH)
        ]
        network = _on_device(UNet(self.config), weights, fabric.device).eval()
        with fabric.autocast():
            return measure_amplitude(network, batches)


def _sampler(pairs: Sequence[TomogramPair], objective: Objective) -> CropSampler:
    options = objective.options
    return CropSampler(
        pairs,
        options.cube_size,
        seed=options.seed,
        held_out=options.held_out,
        exact_rotations=objective.exact_rotations,
        turns=objective.turns,
        swap_halves=objective.swaps_halves,
        interpolation=options.interpolation,
        supervised=objective.against_truth,
        clip=options.clip,
        transfers=options.measured == "tilts" and objective.weighs_tilts,
    )


def _initial_network(
    config: NetworkConfig, options: FitOptions, weights: dict[str, Tensor] | None, device: torch.device
) -> UNet:
    """The network with these weights, or random ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        network = UNet(config)
    network.activation_checkpointing = options.activation_checkpointing
    if options.cube_size % network.multiple:
        raise InputError(
            f"cube size {options.cube_size}: expected a multiple of {network.multiple} for this network"
        )
    return _on_device(network, weights, device)


def _on_device(network: UNet, weights: dict[str, Tensor] | None, device: torch.device) -> UNet:
    if weights is not None:
        network.load_state_dict(weights)
    return convert_conv3d_weight_memory_format(network.to(device), torch.channels_last_3d)


def _drawn(sampler: CropSampler, fabric: Fabric) -> list[Batch]:
    """The first crops of the fit, as they were measured."""
    return [
        sampler.load([sampler.draw(first + i) for i in range(WEIGHING_BATCH)], fabric.device)
        for first in range(0, WEIGHING_CROPS, WEIGHING_BATCH)
    ]


def _widest(ranges: Sequence[TiltRange]) -> TiltRange:
    about_x = {each.x_tilt_deg for each in ranges}
    return TiltRange(
        min(each.min_deg for each in ranges),
        max(each.max_deg for each in ranges),
        about_x.pop() if len(about_x) == 1 else 0.0,
    )


def _mean_over_processes(value: Tensor, fabric: Fabric) -> float:
    reduced = fabric.all_reduce(value, reduce_op="mean")
    assert isinstance(reduced, Tensor)
    return float(reduced)


def _fingerprint(sampler: CropSampler) -> list[dict[str, Any]]:
    """What tells the data of a fit from other data."""
    return [
        {"shape": list(pair.shape_zyx), "tilt_range": pair.tilt_range.plain, "grey_scale": list(scale)}
        for pair, scale in zip(sampler.pairs, sampler.grey_scales, strict=True)
    ]
