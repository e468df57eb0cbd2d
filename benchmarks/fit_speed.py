"""Sub-tomograms a second of the fit beside a plain one of the published data path, and where its time goes.

    python benchmarks/fit_speed.py [--quick] [--threads N] [--device cpu|cuda] [--json FILE]

Three questions, each an entry of the figures:

- ``compare``: `fit` against the plain fit written here, at the same network (16 channels at full resolution,
  as published), cubes of 48 voxels and batch; then `fit` with the presets ``default`` and ``large``. The
  plain one rotates both cubes and the wedge mask of each sample by SciPy's cubic splines, transforms whole
  complex spectra, and runs the network in float32 in contiguous memory. Its data are in memory, and its mask
  is rotated at the size of the cube: both favour it. All take turns; each has its best round.
- ``shares``: of one step of ours, the parts timed one by one. ``data`` is the share of drawing, reading,
  rotating, masks and Fourier transforms.
- ``starvation`` (CUDA only): share of the time of a step in which no kernel runs.

On one thread the clock is that of the processor, which other work on the machine changes little; on more, and
on a GPU, it is that of the wall.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from comparison.machine import measured_on
from lightning_fabric import Fabric
from scipy import ndimage
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, convert_conv3d_weight_memory_format

from dewedge.geometry import TiltRange
from dewedge.learn.fit import fit
from dewedge.learn.loss import cut_wedge, dewedge_loss
from dewedge.learn.network import PRESETS, NetworkConfig, UNet
from dewedge.learn.options import FitOptions
from dewedge.learn.pairs import TomogramPair
from dewedge.learn.precision import Precision, preferred_precision
from dewedge.learn.sampling import CropSampler
from dewedge.learn.steps import optimiser_of
from dewedge.physics.rotation import random_rotation

SIZE, BATCH = 48, 4
SHAPE_ZYX = (96, 160, 160)
FULL_RESOLUTION = NetworkConfig(channels=16)
DATA = ("draw, read, rotate", "masks", "transforms and loss")


def make_pair() -> TomogramPair:
    rng = np.random.default_rng(0)
    truth = ndimage.gaussian_filter(rng.standard_normal(SHAPE_ZYX, dtype=np.float32), 1.5)
    half0, half1 = (truth / truth.std() + 2 * rng.standard_normal(SHAPE_ZYX, np.float32) for _ in range(2))
    return TomogramPair(half0, half1, TiltRange(-60, 60))


def whole_mask(size: int, tilt_range: TiltRange) -> np.ndarray:
    """``(n, n, n)`` wedge mask of a whole spectrum, zero frequency in the centre."""
    kz, kx = (k - size // 2 for k in np.ogrid[:size, :size])
    angle = np.degrees(np.arctan2(kz, kx))
    angle = np.where(angle > 90, angle - 180, np.where(angle <= -90, angle + 180, angle))
    measured = (angle >= tilt_range.min_deg) & (angle <= tilt_range.max_deg)
    return np.repeat(measured[:, None], size, axis=1).astype(np.float32)


class PlainFit:
    """The published fit without our conveniences: no clipping, one process."""

    def __init__(self, pair: TomogramPair, config: NetworkConfig, device: torch.device) -> None:
        self.pair, self.device = pair, device
        self.rng = np.random.default_rng(0)
        self.network = UNet(config).to(device)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=4e-4)
        self.mask = whole_mask(SIZE, pair.tilt_range)

    def sample(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Input, target, and mask of the target of one sample."""
        edge = int(np.ceil(np.sqrt(2) * SIZE))
        corner = [self.rng.integers(n - edge + 1) for n in SHAPE_ZYX]
        here = tuple(slice(a, a + edge) for a in corner)
        rotation = random_rotation(self.rng)
        half0, half1 = (self.rotated(half[here], rotation) for half in (self.pair.half0, self.pair.half1))
        spectrum = torch.fft.fftn(torch.from_numpy(half0)) * torch.from_numpy(np.fft.ifftshift(self.mask))
        target_mask = np.fft.ifftshift(self.rotated(self.mask, rotation))
        return torch.fft.ifftn(spectrum).real.numpy(), half1, target_mask

    def rotated(self, volume: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        centre = np.array(volume.shape) // 2
        offset = centre - rotation.T @ np.full(3, SIZE // 2)
        return ndimage.affine_transform(volume, rotation.T, offset, (SIZE, SIZE, SIZE), order=3)

    def step(self) -> None:
        columns = zip(*(self.sample() for _ in range(BATCH)), strict=True)
        inputs, target, target_mask = (
            torch.from_numpy(np.stack(column)).to(self.device) for column in columns
        )
        mask = torch.from_numpy(np.fft.ifftshift(self.mask)).to(self.device)
        prediction = self.network(inputs.unsqueeze(1)).squeeze(1)
        error = torch.fft.fftn(prediction - target, dim=(1, 2, 3), norm="ortho")
        both = (mask * target_mask * error).abs().square().mean()
        wedge = ((1 - mask) * target_mask * error).abs().square().mean()
        (both + 2 * wedge).backward()
        self.optimiser.step()
        self.optimiser.zero_grad()


def our_round(
    pair: TomogramPair,
    config: NetworkConfig,
    precision: Precision,
    device: torch.device,
    steps: int,
    clock: Callable[[], float],
) -> float:
    """Seconds a step of `fit`; its first step does not count."""
    fabric = Fabric(accelerator=device.type, devices=1, precision=precision)
    fabric.launch()
    options = FitOptions(
        cube_size=SIZE, batch_size=BATCH, epochs=1, epoch_samples=(steps + 1) * BATCH, held_out=0
    )
    times: list[float] = []
    fit([pair], config, options, fabric, on_step=lambda state, progress: times.append(clock()))
    return (times[-1] - times[0]) / steps


def plain_round(plain: PlainFit, steps: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(steps):
        plain.step()
    return (clock() - start) / steps


def compare(quick: bool, device: torch.device, clock: Callable[[], float]) -> dict[str, Any]:
    pair = make_pair()
    fast = preferred_precision(device)
    plain = PlainFit(pair, FULL_RESOLUTION, device)
    steps = 2 if quick else 8

    def ours(config: NetworkConfig, precision: Precision, count: int = steps) -> Callable[[], float]:
        return lambda: our_round(pair, config, precision, device, count, clock)

    competitors: dict[str, Callable[[], float]] = {
        "plain": lambda: plain_round(plain, max(1, steps // 4), clock),
        "ours, 32-true": ours(FULL_RESOLUTION, "32-true", max(1, steps // 2)),
        f"ours, {fast}": ours(FULL_RESOLUTION, fast),
        f"default, {fast}": ours(PRESETS["default"], fast, 2 * steps),
        f"large, {fast}": ours(PRESETS["large"], fast, 2 * steps),
    }
    plain_round(plain, 1, clock)
    best = dict.fromkeys(competitors, np.inf)
    for _ in range(1 if quick else 3):
        for name, competitor in competitors.items():
            best[name] = min(best[name], competitor())
    return {
        "samples_per_second": {name: round(BATCH / seconds, 2) for name, seconds in best.items()},
        "ratio_to_plain": {name: round(best["plain"] / seconds, 2) for name, seconds in best.items()},
    }


def parts(config: NetworkConfig, device: torch.device) -> dict[str, Callable[[], object]]:
    """What a step of `fit` does, one after the other."""
    pair, options = make_pair(), FitOptions(cube_size=SIZE, epochs=1)
    precision = preferred_precision(device)
    sampler = CropSampler([pair], SIZE, held_out=0, exact_rotations=options.exact_rotations)
    network = convert_conv3d_weight_memory_format(UNet(config).to(device), torch.channels_last_3d)
    optimiser = optimiser_of(network, options)
    indices = itertools.count()

    def load() -> Any:
        return sampler.load([sampler.draw(next(indices)) for _ in range(BATCH)], device)

    def masks() -> tuple[Tensor, Tensor]:
        return batch.input_mask(), batch.target_mask()

    def forward() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            output: Tensor = network(batch.half0.unsqueeze(1)).squeeze(1).float()
        return output

    def loss() -> None:
        cut_wedge(batch.half0, input_mask)
        dewedge_loss(prediction, batch.half1, input_mask, target_mask).backward()
        prediction.grad = None

    def both_ways() -> None:
        forward().backward(torch.ones_like(batch.half0))

    def update() -> None:
        clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()

    batch = load()
    input_mask, target_mask = masks()
    prediction = forward().detach().requires_grad_()
    both_ways()
    return {
        DATA[0]: load,
        DATA[1]: masks,
        DATA[2]: loss,
        "network, forward": forward,
        "network, backward": both_ways,
        "clipping, Muon": update,
    }


def shares(quick: bool, device: torch.device, clock: Callable[[], float]) -> list[dict[str, Any]]:
    """Milliseconds of each part, the mean of a round in the best round, and the share of the data."""
    rows = []
    for name, config in {"16 channels": FULL_RESOLUTION, **PRESETS}.items():
        if name == "paper":
            continue
        jobs = parts(config, device)
        best = dict.fromkeys(jobs, np.inf)
        for _ in range(1 if quick else 4):
            for part, job in jobs.items():
                # Crops differ in their rotations.
                repeats = 2 if quick else 20 if part == DATA[0] else 4
                job()
                start = clock()
                for _ in range(repeats):
                    job()
                best[part] = min(best[part], (clock() - start) / repeats)
        best["network, backward"] -= best["network, forward"]
        total = sum(best.values())
        rows.append(
            {
                "network": name,
                "ms": {part: round(1e3 * seconds, 1) for part, seconds in best.items()},
                "total_ms": round(1e3 * total, 1),
                "data": round(sum(best[part] for part in DATA) / total, 3),
            }
        )
    return rows


def starvation(device: torch.device) -> dict[str, float]:
    """Share of the time of a step in which the device has nothing to do."""
    pair, shares = make_pair(), {}
    for name in ("default", "paper"):
        steps = 40
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            seconds = our_round(
                pair, PRESETS[name], preferred_precision(device), device, steps, time.perf_counter
            )
        busy = sum(event.self_device_time_total for event in profile.key_averages()) * 1e-6 / (steps + 1)
        shares[name] = round(1 - busy / seconds, 3)
    return shares


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps and rounds")
    parser.add_argument("--threads", type=int, default=1, help="threads of the processor")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)

    def wall() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    clock = time.process_time if arguments.threads == 1 and device.type == "cpu" else wall
    figures = {
        **measured_on(),
        "threads": arguments.threads,
        "device": arguments.device,
        "torch": torch.__version__,
        "compare": compare(arguments.quick, device, clock),
        "shares": shares(arguments.quick, device, clock),
    }
    if device.type == "cuda":
        figures["starvation"] = starvation(device)
    print(json.dumps(figures, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
