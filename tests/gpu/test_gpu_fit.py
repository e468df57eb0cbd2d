"""The fit on a GPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from comparisons import CPU, RANGE, difference, fabric_on, make_network, make_pair, noise
from lightning_fabric import Fabric

from dewedge.geometry import TiltRange
from dewedge.learn.fit import fit
from dewedge.learn.muon import orthogonalised
from dewedge.learn.network import PRESETS, NetworkConfig
from dewedge.learn.options import FitOptions
from dewedge.learn.pairs import TomogramPair
from dewedge.learn.rounds import filled_inputs
from dewedge.learn.sampling import CropSampler
from dewedge.settings.file import resolve_config
from dewedge.settings.recipes import RECIPES, read_recipe

NETWORK = NetworkConfig(channels=4, levels=2)
OPTIONS = FitOptions(
    cube_size=16, batch_size=4, epoch_samples=16, epochs=3, validation_crops=4, update_interval=2
)
ONE_FIT = [name for name in RECIPES if read_recipe(name).network and len(read_recipe(name).stages) == 1]
# Of losses, relative: float32 in another order of sums; 8 and 11 bits, through 12 steps of the fit.
TOLERANCE = {"32-true": 1e-3, "16-mixed": 1e-2, "bf16-mixed": 3e-2}
MEMORY_GB = 12.0


def losses(fabric: Fabric, **options: Any) -> list[float]:
    """The loss curve of a small fit, with a round in it."""
    _, rows = fit([make_pair(24, 48, 48)], NETWORK, replace(OPTIONS, **options), fabric)
    return [loss for row in rows for loss in (row.fit_loss, row.validation_loss or 0.0)]


@pytest.fixture(scope="module")
def cpu_losses() -> list[float]:
    return losses(fabric_on(CPU))


@pytest.mark.parametrize(
    "precision",
    [
        "32-true",
        "bf16-mixed",
        pytest.param("16-mixed", marks=pytest.mark.gpu),
    ],  # Fabric: float16 on GPUs only
)
def test_the_loss_curve_is_that_of_the_cpu(device: torch.device, precision: str, cpu_losses: list[float]):
    if precision == "16-mixed" and device.type == "cpu":
        pytest.skip("float16 is for GPUs")
    assert losses(fabric_on(device, precision)) == pytest.approx(cpu_losses, rel=TOLERANCE[precision])


def test_filled_online_the_loss_curve_is_that_of_the_cpu(device: torch.device):
    options = {"online_fill": 1.0, "epochs": 1, "interpolation": "cubic"}
    assert losses(fabric_on(device), **options) == pytest.approx(losses(fabric_on(CPU), **options), rel=1e-3)


@pytest.mark.parametrize("optimiser", ["muon", "adam"])
def test_a_resumed_fit_is_the_unbroken_one(fabric: Fabric, tmp_path: Path, optimiser: Any):
    pair, options = (
        make_pair(24, 48, 48),
        replace(OPTIONS, schedule="constant", warm_up=0, optimiser=optimiser),
    )
    unbroken, rows = fit([pair], NETWORK, options, fabric)
    file = tmp_path / "checkpoint.safetensors"
    fit([pair], NETWORK, replace(options, epochs=2), fabric, checkpoint=file)
    resumed, resumed_rows = fit([pair], NETWORK, options, fabric, checkpoint=file, resume=True)
    assert [r.fit_loss for r in resumed_rows] == pytest.approx([r.fit_loss for r in rows], rel=1e-3)
    for name, weights in unbroken.weights.items():
        # Sums of a GPU have no fixed order, and Adam's first steps blow up what rounding leaves of a zero.
        torch.testing.assert_close(resumed.weights[name], weights, atol=2e-2, rtol=0)


@pytest.mark.parametrize("recipe", ONE_FIT)
def test_every_recipe_fits(device: torch.device, recipe: str):
    """A few steps with the smallest network of its kind, in its own precision."""
    tiny = {"channels": 2, "cube_size": 16, "epochs": 2, "epoch_samples": 4, "batch_size": 2}
    config = resolve_config(None, {"recipe": recipe, "fit": {**tiny, "update_interval": 1}})
    pair = make_pair(24, 40, 40)
    if config.fit.objective == "isonet":
        pair = TomogramPair(pair.half0, pair.half0, RANGE)
    precision = "bf16-mixed" if config.compute.precision == "auto" else config.compute.precision
    _, rows = fit([pair], config.fit.network(), config.fit.options(), fabric_on(device, precision))
    assert len(rows) == 2 and np.isfinite([row.fit_loss for row in rows]).all()


def test_the_inputs_of_a_round_are_those_of_the_cpu(device: torch.device):
    sampler = CropSampler([make_pair(24, 48, 48)], 16, held_out=0)
    weights = make_network(NETWORK).state_dict()
    ((inputs,),), ((expected,),) = (
        filled_inputs(sampler, NETWORK, weights, 0, fabric_on(where)) for where in (device, CPU)
    )
    assert difference(inputs.half0, expected.half0) < 1e-4


def test_crops_and_masks_are_those_of_the_cpu(device: torch.device):
    for interpolation in ("linear", "cubic"):
        sampler = CropSampler(
            [make_pair(24, 48, 48)], 16, held_out=0, exact_rotations=0.5, interpolation=interpolation
        )
        crops = [sampler.draw(i) for i in range(6)]
        batch, expected = sampler.load(crops, device), sampler.load(crops, CPU)
        assert difference(batch.half0, expected.half0) < 1e-5
        assert difference(batch.half1, expected.half1) < 1e-5
        # A frequency on the edge of the wedge may round to either side.
        for mask, of_cpu in (
            (batch.input_mask(), expected.input_mask()),
            (batch.target_mask(), expected.target_mask()),
        ):
            assert (mask.cpu() - of_cpu).abs().mean() < 1e-3


def test_muon_makes_matrices_of_all_sizes_orthogonal_as_on_the_cpu(device: torch.device):
    network = make_network(PRESETS["default"])
    matrices = [weights.detach().flatten(1) for weights in network.inner_weights()]
    results = orthogonalised([matrix.to(device) for matrix in matrices])
    for result, expected in zip(results, orthogonalised(matrices), strict=True):
        assert difference(result, expected) < 1e-3


def peak_GB(device: torch.device, config: NetworkConfig, options: FitOptions) -> float:
    """Most memory that a fit takes on a GPU; 0 on the CPU."""
    side = 2 * options.cube_size
    halves = noise(side, side, side), noise(side, side, side, seed=1)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    fit([TomogramPair(*halves, TiltRange(-60, 60))], config, options, fabric_on(device, "bf16-mixed"))
    return torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else 0.0


@pytest.mark.parametrize("preset", ["paper", "default"])
def test_the_memory_of_large_cubes_with_64_channels(device: torch.device, preset: str):
    large = device.type == "cuda"
    config = replace(PRESETS[preset], channels=64 if large else 2)
    options = FitOptions(
        cube_size=96 if large else 16, batch_size=4 if large else 2, epoch_samples=8, epochs=1,
        held_out=0, update_interval=None, frequency_weight="none", activation_checkpointing=True,
    )  # fmt: skip
    assert peak_GB(device, config, options) < MEMORY_GB
