"""Voxels a second of refinement beside the same network tile by tile in float32, and its memory.

    python benchmarks/refine_speed.py [--quick] [--threads N] [--device cpu|cuda] [--json FILE]

Two questions, each an entry of the figures:

- ``compare``: `refine` of a volume in memory, as it is set by default but with one prediction a tile, and
  with the average over rotations, against a loop written here: cubes of 96 voxels that overlap by a third,
  cut one by one, wedge cut from each, float32, contiguous memory, one at a time, blended by a weight. Both
  use the default network. Voxels are those of the volume. All take turns; each has its best round.
- ``memory``: of `refine` from and to memory-mapped files of 256 cubed to 512 x 1024 x 1024 voxels (mostly
  holes, where the file system knows them), stopped when the first band of rows is written (``--quick``: small
  volumes, whole). ``anonymous_MB`` is the highest memory of the process above that before, without the pages
  of the files, which the system takes back when it needs them.

On one thread the clock is that of the processor; on more, and on a GPU, that of the wall.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from comparison.machine import measured_on

from dewedge.geometry import TiltRange
from dewedge.learn.loss import cut_wedge
from dewedge.learn.network import PRESETS, UNet
from dewedge.learn.precision import preferred_precision
from dewedge.learn.refine import RefineOptions, refine
from dewedge.physics.wedge import wedge_mask

PLAIN_TILE = 96
SHAPE_ZYX = (176, 320, 320)
QUICK_SHAPE_ZYX = (96, 128, 160)
MEMORY_SHAPES = ((256, 256, 256), (512, 512, 512), (512, 1024, 1024))
QUICK_MEMORY_SHAPES = ((32, 64, 64), (64, 128, 128))
TILT_RANGE = TiltRange(-60, 60)


def plain_refine(volume: np.ndarray, network: UNet, device: torch.device) -> np.ndarray:
    """Tile by tile, as published."""
    edge, stride = PLAIN_TILE, PLAIN_TILE - PLAIN_TILE // 3
    padding = [(0, -(n - edge) % stride if n > edge else edge - n) for n in volume.shape]
    padded = np.pad((volume - volume.mean()) / volume.std(), padding, mode="reflect")
    depth = np.minimum(np.arange(edge), np.arange(edge)[::-1]) + 1.0
    ramp = np.minimum(depth / (PLAIN_TILE // 3), 1).astype(np.float32)
    weight = ramp[:, None, None] * ramp[:, None] * ramp
    total, weights = np.zeros_like(padded), np.zeros_like(padded)
    mask = wedge_mask(3 * (edge,), TILT_RANGE)
    for corner in itertools.product(*(range(0, n - edge + 1, stride) for n in padded.shape)):
        here = tuple(slice(a, a + edge) for a in corner)
        cube = cut_wedge(torch.from_numpy(padded[here].copy()), mask)
        with torch.no_grad():
            prediction = network(cube[None, None].to(device))[0, 0].cpu().numpy()
        total[here] += weight * prediction
        weights[here] += weight
    whole = tuple(slice(n) for n in volume.shape)
    blended: np.ndarray = (total[whole] / weights[whole]) * volume.std() + volume.mean()
    return blended


def our_refine(
    volume: np.ndarray, network: UNet, device: torch.device, precision: Any, turns: Any, shifts: int = 1
) -> np.ndarray:
    output = np.empty_like(volume)
    refine(
        [volume],
        output,
        network,
        TILT_RANGE,
        RefineOptions(precision=precision, average_rotations=turns, average_shifts=shifts),
        input_std=1.0,
        device=device,
    )
    return output


def compare(quick: bool, device: torch.device, clock: Callable[[], float]) -> dict[str, Any]:
    shape = QUICK_SHAPE_ZYX if quick else SHAPE_ZYX
    volume = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    torch.manual_seed(0)
    plain_network, network = UNet(PRESETS["default"]).to(device).eval(), UNet(PRESETS["default"])
    network.load_state_dict(plain_network.state_dict())
    fast = preferred_precision(device)
    competitors: dict[str, Callable[[], np.ndarray]] = {
        "plain": lambda: plain_refine(volume, plain_network, device),
        "ours, 32-true, 1 prediction": lambda: our_refine(volume, network, device, "32-true", 1),
        f"ours, {fast}, 1 prediction": lambda: our_refine(volume, network, device, fast, 1),
        f"ours, {fast}, average of 4": lambda: our_refine(volume, network, device, fast, 2, 2),
    }
    best = dict.fromkeys(competitors, np.inf)
    for _ in range(1 if quick else 3):
        for name, competitor in competitors.items():
            start = clock()
            competitor()
            best[name] = min(best[name], clock() - start)
    return {
        "shape_zyx": shape,
        "voxels_per_second": {name: round(volume.size / s) for name, s in best.items()},
        "ratio_to_plain": {name: round(best["plain"] / s, 2) for name, s in best.items()},
    }


class Enough(Exception):
    """Raised to stop a refinement early."""


def memory(shape: tuple[int, int, int], whole: bool, device: torch.device) -> dict[str, Any]:
    """Peak of one refinement; in a process of its own."""
    network = UNet(PRESETS["default"])
    precision = preferred_precision(device)

    def used(key: str) -> int:
        return 1024 * int(Path("/proc/self/status").read_text().split(f"{key}:")[1].split()[0])

    with tempfile.TemporaryDirectory() as folder:
        source, output = (
            np.memmap(Path(folder) / name, np.float32, "w+", shape=shape) for name in ("source", "refined")
        )
        noise = np.random.default_rng(0).standard_normal(shape[1:], dtype=np.float32)
        for z in range(0, shape[0], 64):
            source[z] = noise
        # The first band ends with the first tile of the second one.
        tiles: list[int] = []

        def stop_after_a_band(done: int, total: int) -> None:
            tiles.append(done)
            if not whole and output[0, 0, 0] != 0:
                raise Enough

        start, peak, finished = used("RssAnon"), [0, 0], threading.Event()

        def watch() -> None:
            while not finished.wait(0.01):
                peak[0] = max(peak[0], used("RssAnon") - start)
                peak[1] = max(peak[1], used("RssFile") + used("RssShmem"))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            refine(
                [source],
                output,
                network,
                TILT_RANGE,
                RefineOptions(precision=precision),
                input_std=1.0,
                device=device,
                on_tile=stop_after_a_band,
            )
        except Enough:
            pass
        finally:
            finished.set()
            watcher.join()
    return {
        "shape_zyx": shape,
        "file_MB": round(4e-6 * np.prod(shape)),
        "anonymous_MB": round(peak[0] / 1e6),
        "mapped_MB": round(peak[1] / 1e6),
        "tiles": tiles[-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small volumes, one round")
    parser.add_argument("--threads", type=int, default=1, help="threads of the processor")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--memory", nargs=3, type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    if arguments.memory:
        print(json.dumps(memory(tuple(arguments.memory), arguments.quick, device)))
        return

    def wall() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    clock = time.process_time if arguments.threads == 1 and device.type == "cpu" else wall
    rows = []
    for shape in QUICK_MEMORY_SHAPES if arguments.quick else MEMORY_SHAPES:
        command = [sys.executable, __file__, "--memory", *map(str, shape), *["--quick"][: arguments.quick]]
        command += ["--threads", str(arguments.threads), "--device", arguments.device]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
    figures = {
        **measured_on(),
        "threads": arguments.threads,
        "device": arguments.device,
        "torch": torch.__version__,
        "compare": compare(arguments.quick, device, clock),
        "memory": rows,
    }
    print(json.dumps(figures, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
