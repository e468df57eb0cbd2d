"""What each network preset costs: arithmetic, time and memory of the fit and of refinement.

    python benchmarks/presets.py [--quick] [--json FILE]

Each preset runs in its own process: one step of the fit on 4 cubes of 48 voxels (forward, backward, Adam),
and one refined tile of 128 voxels. Memory is the peak resident size above that before the network was made.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from comparison.machine import measured_on
from torch.utils.flop_counter import FlopCounterMode

from dewedge.learn.network import PRESETS, UNet
from dewedge.learn.precision import preferred_precision
from dewedge.learn.tiling import TILE

CUBE, BATCH = 48, 4


def resident_bytes(key: str) -> int:
    """``VmRSS`` or, at its peak, ``VmHWM`` of this process (Linux)."""
    return 1024 * int(Path("/proc/self/status").read_text().split(f"{key}:")[1].split()[0])


def seconds(action: Callable[[], object], repeats: int) -> float:
    """Shortest time of ``action``, after one run that does not count."""
    action()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(name: str, what: str, repeats: int) -> dict[str, Any]:
    """Figures of one preset, for ``what`` of ``fit`` and ``refine``."""
    precision = preferred_precision(torch.device("cpu"))
    before = resident_bytes("VmRSS")
    network = UNet(PRESETS[name]).to(memory_format=torch.channels_last_3d)
    edge, batch = (CUBE, BATCH) if what == "fit" else (TILE, 1)
    volumes = torch.randn(batch, 1, edge, edge, edge)
    optimiser = torch.optim.Adam(network.parameters())

    def forward() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            return network(volumes).float()

    def step() -> None:
        forward().square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()

    def refine() -> None:
        with torch.no_grad():
            forward()

    elapsed = seconds(step if what == "fit" else refine, repeats)
    peak = resident_bytes("VmHWM") - before
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(volumes[:1])
    return {
        **measured_on(),
        "preset": name,
        "what": what,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "parameters": sum(p.numel() for p in network.parameters()),
        "multiply_adds_per_voxel": counter.get_total_flops() / 2 / edge**3,
        "microseconds_per_voxel": 1e6 * elapsed / volumes.numel(),
        "peak_bytes": peak,
        "peak_bytes_per_voxel": peak / volumes.numel(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="without the preset of the paper, once")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--one", nargs=2, metavar=("PRESET", "WHAT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    repeats = 1 if arguments.quick else 3
    if arguments.one:
        print(json.dumps(measure(*arguments.one, repeats)))
        return
    rows = []
    for name in PRESETS:
        if arguments.quick and name == "paper":
            continue
        for what in ("fit", "refine"):
            command = [sys.executable, __file__, "--one", name, what, *["--quick"][: arguments.quick]]
            rows.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
    print(json.dumps(rows, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
