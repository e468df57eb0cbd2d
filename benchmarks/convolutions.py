"""How near the network's convolutions come to the machine's peak, and what other ways of running it bring.

    python benchmarks/convolutions.py [--quick] [--threads N] [--device cpu|cuda] [--compile] [--json FILE]

- ``peak``: the rate of a product of matrices of 2048^2, per dtype.
- ``convolutions``: every kind of convolution of a network with 4 cubes of 48 voxels: the rate forward, and
  forward and backward (the first one takes no gradient of its input), channels last, per dtype.
- ``network``: milliseconds of the whole network, and the share of them that is not convolutions (activations,
  pooling, resizing, concatenation, casts).
- ``variants``: milliseconds of a step (forward, backward, Adam), and of a tile of 96 voxels (forward), one
  thing changed at a time. ``--compile`` tries torch.compile, which takes a minute and a C++ compiler.

Rates are GFLOP/s, two operations a multiply-add. All take turns, and each has its best round. On one thread
the clock is that of the processor; on more, and on a GPU, that of the wall.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from comparison.machine import measured_on
from torch import Tensor, nn

from dewedge.learn.network import PRESETS, NetworkConfig, UNet

SIZE, BATCH = 48, 4
NETWORKS = {"16 channels": NetworkConfig(channels=16), "default": PRESETS["default"]}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
LAST = torch.channels_last_3d
Job = Callable[[], object]


class Layer(NamedTuple):
    """A convolution and where it stands."""

    n_in: int
    n_out: int
    kernel: int
    edge: int
    first: bool

    @property
    def flop(self) -> float:
        return 2 * BATCH * self.n_in * self.n_out * self.kernel**3 * self.edge**3


def best_seconds(jobs: dict[str, Job], rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Shortest time of each job; all take turns, and a first round does not count."""
    best = dict.fromkeys(jobs, float("inf"))
    for round_ in range(rounds + 1):
        for name, job in jobs.items():
            start = clock()
            job()
            if round_:
                best[name] = min(best[name], clock() - start)
    return best


def layers_of(config: NetworkConfig) -> Counter[Layer]:
    """Each kind of convolution and how often it occurs."""
    found: list[Layer] = []

    def record(module: nn.Conv3d, inputs: tuple[Tensor], output: Tensor) -> None:
        shape = module.in_channels, module.out_channels, module.kernel_size[0], output.shape[-1]
        found.append(Layer(*shape, first=not found))

    network = UNet(config).to("meta")
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_hook(record)
    network(torch.empty(1, 1, SIZE, SIZE, SIZE, device="meta"))
    return Counter(found)


def convolution_jobs(layer: Layer, dtype: torch.dtype, device: torch.device) -> tuple[Job, Job]:
    """One convolution forward, and forward and backward."""
    module = nn.Conv3d(layer.n_in, layer.n_out, layer.kernel, padding=layer.kernel // 2)
    module = module.to(device, dtype, memory_format=LAST)
    volume = torch.randn(BATCH, layer.n_in, *3 * [layer.edge], device=device, dtype=dtype)
    volume = volume.to(memory_format=LAST).requires_grad_(not layer.first)
    with torch.no_grad():
        gradient = torch.randn_like(module(volume))

    def forward() -> None:
        with torch.no_grad():
            module(volume)

    def both() -> None:
        module(volume).backward(gradient)
        module.zero_grad()
        volume.grad = None

    return forward, both


def network_jobs(config: NetworkConfig, dtype: torch.dtype, device: torch.device) -> tuple[Job, Job]:
    """The whole network as it is run, with autocast."""
    network = UNet(config).to(device, memory_format=LAST)
    volume = torch.randn(BATCH, 1, SIZE, SIZE, SIZE, device=device)

    def run() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            output: Tensor = network(volume)
        return output.float()

    def both() -> None:
        run().sum().backward()
        network.zero_grad()

    def forward() -> None:
        with torch.no_grad():
            run()

    return forward, both


def measure_network(
    config: NetworkConfig, rounds: int, device: torch.device, clock: Callable[[], float]
) -> dict[str, Any]:
    layers = layers_of(config)
    jobs: dict[str, Job] = {}
    for name, dtype in DTYPES.items():
        whole = network_jobs(config, dtype, device)
        for what, job in zip(("forward", "both"), whole, strict=True):
            jobs[f"{name} {what}"] = job
        for i, layer in enumerate(layers):
            for what, job in zip(("forward", "both"), convolution_jobs(layer, dtype, device), strict=True):
                jobs[f"{name} {what} {i}"] = job
    seconds = best_seconds(jobs, rounds, clock)
    # Backward takes twice the forward pass; the first layer's once.
    rows = []
    for i, (layer, count) in enumerate(layers.items()):
        row: dict[str, Any] = {**layer._asdict(), "count": count}
        for name in DTYPES:
            row[f"{name} forward"] = round(layer.flop / seconds[f"{name} forward {i}"] / 1e9)
            flop = (2 if layer.first else 3) * layer.flop
            row[f"{name} both"] = round(flop / seconds[f"{name} both {i}"] / 1e9)
        rows.append(row)
    network = {}
    for name in DTYPES:
        for what in ("forward", "both"):
            whole_s = seconds[f"{name} {what}"]
            of_layers = sum(n * seconds[f"{name} {what} {i}"] for i, n in enumerate(layers.values()))
            network[f"{name} {what}"] = {
                "ms": round(1e3 * whole_s),
                "not convolutions": round(1 - of_layers / whole_s, 2),
            }
    return {"convolutions": rows, "network": network}


def step_job(
    config: NetworkConfig,
    device: torch.device,
    *,
    memory_format: torch.memory_format = LAST,
    weights: torch.dtype = torch.float32,
    autocast: bool = True,
    fused: bool = False,
    compiled: bool = False,
) -> Job:
    network = UNet(config).to(device, weights, memory_format=memory_format)
    optimiser = torch.optim.Adam(network.parameters(), fused=fused)
    run = torch.compile(network) if compiled else network
    volume = torch.randn(BATCH, 1, SIZE, SIZE, SIZE, device=device, dtype=weights)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            output = run(volume)
        output.float().square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def forward_job(
    config: NetworkConfig,
    device: torch.device,
    *,
    weights: torch.dtype = torch.float32,
    memory_format: torch.memory_format = LAST,
    inference: bool = False,
    compiled: bool = False,
) -> Job:
    network = UNet(config).to(device, weights, memory_format=memory_format)
    run = torch.compile(network) if compiled else network
    volume = torch.randn(1, 1, 2 * SIZE, 2 * SIZE, 2 * SIZE, device=device, dtype=weights)
    autocast = torch.autocast(device.type, torch.bfloat16) if weights == torch.float32 else nullcontext()

    def forward() -> None:
        with torch.inference_mode() if inference else torch.no_grad(), autocast:
            run(volume)

    return forward


def variants(
    config: NetworkConfig, rounds: int, device: torch.device, clock: Callable[[], float], compiled: bool
) -> dict[str, float]:
    step, forward = partial(step_job, config, device), partial(forward_job, config, device)
    bf16 = torch.bfloat16
    jobs: dict[str, Job] = {
        "step: as it is": step(),
        "step: float32": step(autocast=False),
        "step: contiguous": step(memory_format=torch.contiguous_format),
        "step: weights in bfloat16": step(weights=bf16, autocast=False),
        "step: fused Adam": step(fused=True),
        "tile: as it is": forward(),
        "tile: contiguous": forward(memory_format=torch.contiguous_format),
        "tile: weights in bfloat16": forward(weights=bf16),
        "tile: inference_mode": forward(inference=True),
    }
    if compiled:
        jobs["step: torch.compile"] = step(compiled=True)
        jobs["tile: torch.compile"] = forward(compiled=True)
    return {name: round(1e3 * s, 1) for name, s in best_seconds(jobs, rounds, clock).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, the default network alone")
    parser.add_argument("--threads", type=int, default=1, help="threads of the processor")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compile", action="store_true", help="also torch.compile")
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device, rounds = torch.device(arguments.device), 1 if arguments.quick else 5

    def wall() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    clock = time.process_time if arguments.threads == 1 and device.type == "cpu" else wall
    matrices = {name: torch.randn(2048, 2048, device=device, dtype=dtype) for name, dtype in DTYPES.items()}
    products = {name: partial(torch.mm, matrix, matrix) for name, matrix in matrices.items()}
    peak = best_seconds(dict(products), rounds, clock)
    figures: dict[str, Any] = {
        **measured_on(),
        "threads": arguments.threads,
        "device": arguments.device,
        "torch": torch.__version__,
        "peak": {name: round(2 * 2048**3 / seconds / 1e9) for name, seconds in peak.items()},
    }
    for name, config in NETWORKS.items():
        if arguments.quick and name != "default":
            continue
        figures[name] = measure_network(config, rounds, device, clock)
        figures[name]["variants"] = variants(config, rounds, device, clock, arguments.compile)
    print(json.dumps(figures, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
