"""What each method makes of the data: the recipes of the package, at the sizes of the comparison."""

from __future__ import annotations

import bisect
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ablation import BFLOAT16, settings_of
from jobs import SIZES, Job
from lightning_fabric import Fabric
from peers import denoise
from specimens import Data, Volume, voxel_size_A

from dewedge.io.mrc import read_mrc, write_mrc
from dewedge.learn.amplitude import WedgeAmplitude
from dewedge.learn.blend import sections_of_tv
from dewedge.learn.fit import fit
from dewedge.learn.grey_scale import measure_grey_scale
from dewedge.learn.network import UNet
from dewedge.learn.pairs import TomogramPair
from dewedge.learn.refine import RefineOptions, refine
from dewedge.learn.state import FitState
from dewedge.physics.iterative import coarse_tv, sirt, tv
from dewedge.pipeline.initial import initial_weights
from dewedge.runtime.devices import choose_precision
from dewedge.settings.file import merged
from dewedge.settings.recipes import read_recipe
from dewedge.settings.sections import Config

# Shares of the fit after which the truth may choose the weights, for the methods of SELECTED_BY_TRUTH; dense
# at the beginning, since what learns noise by heart is best before.
LOOKS = tuple(np.geomspace(1 / 64, 1, 16))
SELECTED_BY_TRUTH = ("cryocare", "isonet")
BF16 = " bf16"  # a recipe that asks for float32, with this after its name


@dataclass(frozen=True, eq=False)
class Estimate:
    """A volume, and what it took: samples and seconds of all fits, and seconds of refinement."""

    volume: Volume
    samples: int = 0
    seconds: float = 0.0
    refine_s: float = 0.0
    selected_by_truth: bool = False


# Of a process on its cores, whatever else they do; a GPU's work takes no time of the process.
clock = time.perf_counter if torch.cuda.is_available() else time.process_time


class Stopwatch:
    """Seconds, without those spent looking at the truth."""

    def __init__(self) -> None:
        self.paused_s = 0.0

    def __call__(self) -> float:
        return clock() - self.paused_s


def estimate(job: Job, data: Sequence[Data], peers: Path | None = None) -> Estimate:
    """The estimate of the first specimen; the fit is that of all."""
    first = data[0]
    match job.method:
        case "noise-free fbp":
            if first.noise_free is None:
                raise SystemExit(f"{job.specimen}: expected a specimen with white noise for {job.method}")
            return Estimate(first.noise_free)
        case "fbp":
            return Estimate(first.full)
        case "sirt" | "tv":
            start = clock()
            images = torch.from_numpy(np.array(first.images))
            reconstruct = sirt if job.method == "sirt" else tv
            volume = reconstruct(images, first.geometry, first.thickness).numpy()
            return Estimate(volume, seconds=clock() - start)
        case "topaz-10a" | "topaz-20a":
            return by_peer(job.method, first, voxel_size_A(job), peers)
        case "oracle":
            return fitted(job, "dewedge", data, job.budget_s, truth=True)
    stages = read_recipe(job.method.removesuffix(BF16)).stages
    result = Estimate(first.full)
    for stage in stages:
        data = [replace(first, full=result.volume), *data[1:]]
        step = fitted(job, stage, data, job.budget_s / len(stages))
        result = replace(
            step,
            samples=result.samples + step.samples,
            seconds=result.seconds + step.seconds,
            refine_s=result.refine_s + step.refine_s,
        )
    return result


def by_peer(peer: str, data: Data, voxel_A: float, python: Path | None) -> Estimate:
    """What another program makes of the FBP; its pretrained network has seen other data."""
    if python is None:
        raise SystemExit(f"{peer}: expected --peers, the Python of its environment (docs/notebook/peers.md)")
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "fbp.mrc", Path(folder) / "denoised.mrc"
        write_mrc(source, data.full, voxel_A, what="FBP")
        start = os.times()
        denoise(peer, source, output, python)
        end = os.times()
        seconds = end.children_user + end.children_system - start.children_user - start.children_system
        return Estimate(np.array(read_mrc(output).data), seconds=seconds)


def fitted(job: Job, recipe: str, data: Sequence[Data], budget_s: float, truth: bool = False) -> Estimate:
    """Fit the network of a recipe and refine the first specimen."""
    config, network_settings = configuration(job, recipe, budget_s or 1.0)
    initial = initial_weights(config.fit)
    options = config.fit.options()
    network = replace(config.fit.network(), **network_settings)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = choose_precision(config.compute, device)
    fabric = Fabric(accelerator=device.type, devices=1, precision=precision)
    fabric.launch()
    if truth:
        options = replace(options, objective="supervised", clip=None)
    pairs, full_std = pairs_to_fit(options.objective, data, options.clip)
    if options.standardise == "inputs":
        full_std = 1.0
    first = data[0]
    tile = config.refine.edge(network, options.cube_size)

    def refined(
        weights: UNet,
        region: tuple[slice, ...] = (slice(None),),
        wedge_amplitude: WedgeAmplitude | None = None,
        tv_share: float = 0.0,
    ) -> Volume:
        halves = config.refine.refine == "halves"
        sources = [source[region] for source in ([first.half0, first.half1] if halves else [first.full])]
        output = np.empty(sources[0].shape, np.float32)
        refine(
            sources,
            output,
            weights,
            first.tilt_range,
            RefineOptions(
                tile=tile,
                overlap=min(config.refine.overlap, tile // 3),
                average_rotations=config.refine.average_rotations,
                average_shifts=weights.config.fold,
                precision=precision,
            ),
            input_std=1.0 if halves else full_std,
            clip=options.clip,
            wedge_amplitude=wedge_amplitude,
            tv_share=tv_share,
            device=device,
        )
        return output

    if budget_s == 0 and initial is not None:
        unfitted = UNet(network)
        unfitted.load_state_dict(initial)
        return Estimate(refined(unfitted.eval()))

    watch = Stopwatch()
    best: tuple[float, UNet | None] = (-1.0, None)
    looks = 0

    def look(state: FitState, network: UNet) -> None:
        """Score the weights of now on the middle of the specimen, a few times a fit, off the clock."""
        nonlocal best, looks
        passed = bisect.bisect_right(LOOKS, state.progress(options))
        if passed == looks:
            return
        start = clock()
        looks = passed
        copy = UNet(network.config)
        copy.load_state_dict(network.state_dict())
        region = middle(first.full.shape)
        score = first.score(refined(copy, region), region)
        if score > best[0]:
            best = (score, copy)
        watch.paused_s += clock() - start

    by_truth = recipe in SELECTED_BY_TRUTH
    hooks: dict[str, Any] = {"on_epoch": look} if by_truth else {}
    model, rows = fit(pairs, network, options, fabric, clock=watch, initial=initial, **hooks)
    start = clock()
    confirmed = config.refine.wedge_amplitude == "confirmed"
    # What the program refines has total variation in it; an oracle is to be a network alone.
    share = 0.0 if truth else config.refine.tv_share
    volume = refined(
        best[1] or model.build(),
        wedge_amplitude=model.wedge_amplitude if confirmed else None,
        tv_share=share,
    )
    if share > 0:
        coarse = coarse_tv(torch.from_numpy(np.array(first.images)), first.geometry, first.thickness).numpy()
        for section, of_tv in zip(volume, sections_of_tv(coarse, first.full.shape, share), strict=True):
            section += of_tv
    return Estimate(
        volume, rows[-1].samples, rows[-1].seconds, refine_s=clock() - start, selected_by_truth=by_truth
    )


def pairs_to_fit(
    objective: str, data: Sequence[Data], clip: float | None
) -> tuple[list[TomogramPair], float]:
    """What a network is fitted to, and the standard deviation to which the whole is scaled for it."""
    if objective == "supervised":
        truths = [d.truth for d in data if d.truth is not None]
        return [
            TomogramPair(d.full, truth - truth.mean() + d.full.mean(), d.tilt_range)
            for d, truth in zip(data, truths, strict=True)
        ], 1.0
    if objective == "isonet":
        return [TomogramPair(d.full, d.full, d.tilt_range) for d in data], 1.0
    pairs = [TomogramPair(d.half0, d.half1, d.tilt_range, full=d.full, planes=d.planes) for d in data]
    scales = [measure_grey_scale(pair, clip=clip) for pair in pairs]
    return pairs, statistics.fmean(scale.std_full / scale.std_half for scale in scales)


def middle(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The middle half of y and x, all of z: a sixth of the published network's tiles."""
    _, *lateral = shape
    return (slice(None), *(slice(size // 4, size // 4 + size // 2) for size in lateral))


def configuration(job: Job, recipe: str, budget_s: float) -> tuple[Config, dict[str, Any]]:
    """The settings of a recipe at the size and with the change of a job; keys of the network apart."""
    size = SIZES[job.size]
    sizes: dict[str, object] = {
        "budget": f"{budget_s}s",
        "cube_size": job.cube_size,
        "epoch_samples": size.epoch_samples,
        "epochs": "none" if size.max_epochs is None else size.max_epochs,
        "seed": job.seed,
    }
    if job.budget_s <= size.budget_s:  # rounds as published are longer than that
        if recipe == "deepdewedge":
            sizes["update_interval"] = size.update_interval
        if recipe in SELECTED_BY_TRUTH and size.round_samples is not None:
            sizes["epoch_samples"] = size.round_samples
        if recipe == "isonet" and size.round_samples is not None:
            sizes["update_interval"] = 1
    bfloat16 = BFLOAT16 if job.method.endswith(BF16) else {}
    settings = merged([
        read_recipe(recipe).settings, {"fit": sizes}, bfloat16, settings_of(job.method, job.change)
    ])  # fmt: skip
    if size.channels is not None and settings["fit"].get("preset") == "paper":
        settings["fit"]["channels"] = size.channels
    network = settings.pop("network", {})
    return Config.model_validate(settings).resolved(), network
