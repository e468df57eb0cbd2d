"""Refinement on a GPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from comparisons import CPU, RANGE, difference, make_network, noise

from dewedge.learn.fill import fill_wedge
from dewedge.learn.network import PRESETS, NetworkConfig
from dewedge.learn.refine import RefineOptions, refine, tiles_that_fit

NETWORK = NetworkConfig(channels=4, levels=2)
# Relative to the standard deviation of the result.
TOLERANCE = {"32-true": 1e-4, "16-mixed": 5e-3, "bf16-mixed": 4e-2}


def refined(device: torch.device, config: NetworkConfig = NETWORK, **options: Any) -> np.ndarray:
    """A small tomogram with a strong bead, clipped, in several bands of several tiles."""
    source = 100 + 3 * noise(16, 24, 40)
    source[4:7, 5:8, 9:12] = -300
    output = np.empty_like(source)
    chosen = RefineOptions(tile=16, overlap=8, average_rotations=2, average_shifts=config.fold, **options)
    refine([source], output, make_network(config), RANGE, chosen, input_std=0.8, clip=6.0, device=device)
    return output


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "precision", ["32-true", "bf16-mixed", pytest.param("16-mixed", marks=pytest.mark.gpu)]
)
def test_the_result_is_that_of_the_cpu(device: torch.device, preset: str, precision: Any):
    if precision == "16-mixed" and device.type == "cpu":
        pytest.skip("float16 is for GPUs")
    config = replace(PRESETS[preset], channels=4)
    result = refined(device, config, precision=precision)
    assert difference(result, refined(CPU, config)) < TOLERANCE[precision]


def test_several_tiles_at_once_are_as_one_at_a_time(device: torch.device):
    one = refined(device, tiles_at_once=1)
    assert difference(refined(device, tiles_at_once=4), one) < 1e-5
    assert difference(refined(device), one) < 1e-5


def test_half_sets_are_refined_as_on_the_cpu(device: torch.device):
    results = []
    for where in (device, CPU):
        halves, output = [noise(20, 24, 28, seed=i) for i in (0, 1)], np.empty((20, 24, 28), np.float32)
        refine(
            halves,
            output,
            make_network(NETWORK),
            RANGE,
            RefineOptions(tile=16, overlap=8),
            input_std=1.0,
            device=where,
        )
        results.append(output)
    assert difference(*results) < 1e-4


@pytest.mark.parametrize("renormalise", [False, True])
def test_the_wedge_is_filled_as_on_the_cpu(device: torch.device, renormalise: bool):
    options = {"input_std": 1.0, "renormalise": renormalise}
    result, expected = (
        fill_wedge(
            noise(20, 24, 28),
            make_network(NETWORK),
            RANGE,
            RefineOptions(tile=16, overlap=8),
            device=where,
            **options,
        )
        for where in (device, CPU)
    )
    assert difference(result, expected) < 1e-4


@pytest.mark.gpu
@pytest.mark.parametrize("preset", PRESETS)
def test_as_many_tiles_as_are_thought_to_fit_do(gpu: torch.device, preset: str):
    """And half of the memory, which they are meant to take, is not far exceeded."""
    network, edge = make_network(PRESETS[preset]), 128
    count = tiles_that_fit(network, edge**3, gpu)
    free, _ = torch.cuda.mem_get_info()
    torch.cuda.reset_peak_memory_stats()
    source, output = noise(edge, edge, edge * count), np.empty((edge, edge, edge * count), np.float32)
    refine(
        [source], output, network, RANGE, RefineOptions(tile=edge, overlap=0, precision="bf16-mixed"),
        input_std=1.0, device=gpu,
    )  # fmt: skip
    assert torch.cuda.max_memory_allocated() < 0.75 * free
