"""What one GPU makes of dewedge: speeds, memory, the dearest operations, and a fit of two minutes.

    python benchmarks/gpu.py [--limit-s 480] [--device cuda|cpu] [--quick] [--json FILE]
    python benchmarks/gpu.py report [--json FILE] [--page FILE]

The parts follow each other by importance; what does not fit into the limit is left out, and named. The
figures are written after each part. A part that fails, as where a small GPU's memory ends, leaves its error
and lets the next one begin. ``report`` writes the tables into docs/notebook/gpu.md. With ``--quick`` all is
tiny, to try the program itself.

- fit: sub-tomograms a second of `fit`, batches of 4. ``waits`` is the share of a step that is not spent when
  the batch is in the GPU's memory already: the GPU waits for data. ``reading_ms`` is what one thread needs to
  read and standardise a batch.
- refine: voxels a second of `refine`, one prediction a tile, from and to memory.
- demo: `dewedge run` on the specimen of `dewedge demo`, with a budget of two minutes.
- profile: the ten dearest operations of steps of the fit, by the profiler of torch, and the share of the time
  in which no kernel runs.
"""

from __future__ import annotations

import argparse
import json
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from comparison.machine import commit, machine
from lightning_fabric import Fabric
from torch.nn.utils import convert_conv3d_weight_memory_format

from dewedge.geometry import TiltRange
from dewedge.learn.fit import fit
from dewedge.learn.network import PRESETS, NetworkConfig, UNet
from dewedge.learn.objective import objective_of
from dewedge.learn.options import FitOptions
from dewedge.learn.pairs import TomogramPair
from dewedge.learn.precision import preferred_precision
from dewedge.learn.refine import RefineOptions, refine
from dewedge.learn.sampling import CropSampler
from dewedge.learn.state import FitState
from dewedge.learn.steps import optimiser_of
from dewedge.learn.tiling import tile_size
from dewedge.pipeline.demo import SHAPE_ZYX, SNR, TILT_RANGE, TILT_STEP_DEG, VOXEL_SIZE_A
from dewedge.pipeline.evaluate import evaluate_files
from dewedge.pipeline.run import run
from dewedge.pipeline.simulate import simulate_files
from dewedge.runtime.folder import ResultFolder
from dewedge.settings.file import resolve_config

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "gpu.json"
PAGE = ROOT / "docs" / "notebook" / "gpu.md"
BEGIN, END = "<!-- figures: python benchmarks/gpu.py report -->", "<!-- end of figures -->"
NOTHING = "Nothing of dewedge has been measured on a GPU yet."
BATCH = 4
DEAREST = 10
Figures = dict[str, Any]


class OutOfTime(Exception):
    """Raised when the limit of all parts is reached."""


class Enough(Exception):
    """Raised when a part has had its time."""


@dataclass(frozen=True)
class Sizes:
    """What is measured on.

    Parameters
    ----------
    cubes
        Edges of sub-tomograms.
    steps
        Of the fit between two looks at the clock; the first ones, which tune convolutions, do not count.
    channels
        Of all presets; None for their own.
    shape_zyx, refined_shape_zyx
        Of the tomograms that are fitted and refined.
    tile
        Of refinement; None for that of the preset.
    seconds
        For the timing of a part, at most.
    demo_fit, demo_shape_zyx, tilt_step_deg, box
        Of the demonstration: settings of its fit, its specimen, and the boxes of particles that are scored.
    """

    cubes: tuple[int, int]
    steps: int
    channels: int | None
    shape_zyx: tuple[int, int, int]
    refined_shape_zyx: tuple[int, int, int]
    tile: int | None
    seconds: float
    demo_fit: Figures
    demo_shape_zyx: tuple[int, int, int]
    tilt_step_deg: float
    box: int


WHOLE = Sizes(
    cubes=(48, 96),
    steps=8,
    channels=None,
    shape_zyx=(192, 256, 256),
    refined_shape_zyx=(256, 512, 512),
    tile=None,
    seconds=8.0,
    demo_fit={"budget": "2min"},
    demo_shape_zyx=SHAPE_ZYX,
    tilt_step_deg=TILT_STEP_DEG,
    box=32,
)
QUICK = Sizes(
    cubes=(8, 16),
    steps=2,
    channels=2,
    shape_zyx=(48, 48, 48),
    refined_shape_zyx=(24, 40, 48),
    tile=32,
    seconds=0.2,
    demo_fit={"epochs": 1, "epoch_samples": 8, "cube_size": 16, "channels": 2, "validation_crops": 2},
    demo_shape_zyx=(32, 48, 48),
    tilt_step_deg=12.0,
    box=16,
)


@dataclass(frozen=True)
class Bench:
    """The device and the sizes of all parts."""

    device: torch.device
    sizes: Sizes

    @property
    def precision(self) -> Any:
        return preferred_precision(self.device)

    def network(self, preset: str) -> NetworkConfig:
        channels = self.sizes.channels
        return PRESETS[preset] if channels is None else replace(PRESETS[preset], channels=channels)

    def clock(self) -> float:
        """Seconds, when the device has done all it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def peak_GB(self) -> float | None:
        return round(torch.cuda.max_memory_allocated() / 1e9, 2) if self.device.type == "cuda" else None

    def fabric(self) -> Fabric:
        fabric = Fabric(accelerator=self.device.type, devices=1, precision=self.precision)
        fabric.launch()
        return fabric

    def pair(self) -> TomogramPair:
        rng = np.random.default_rng(0)
        halves = (rng.standard_normal(self.sizes.shape_zyx, dtype=np.float32) for _ in range(2))
        return TomogramPair(*halves, TiltRange(-60, 60))

    def options(self, cube: int, saving: bool = False) -> FitOptions:
        return FitOptions(
            cube_size=cube,
            batch_size=BATCH,
            budget_s=1000.0,
            epoch_samples=10**6,
            held_out=0,
            update_interval=None,
            frequency_weight="none",
            activation_checkpointing=saving,
        )


def seconds_each(bench: Bench, action: Callable[[], object], most: float = np.inf) -> float:
    """Mean time of an action, after some runs that do not count."""
    for _ in range(2):
        action()
    start, count = bench.clock(), 0
    while count < 2 or (bench.clock() - start < bench.sizes.seconds / 4 and count < most):
        action()
        count += 1
    return (bench.clock() - start) / count


def resident_step(bench: Bench, preset: str, cube: int, saving: bool = False) -> tuple[Any, Any]:
    """A step of the fit on a batch that is in memory, and reading a batch."""
    options, fabric = bench.options(cube, saving), bench.fabric()
    objective = objective_of(options)
    sampler = CropSampler(
        [bench.pair()],
        cube,
        held_out=0,
        exact_rotations=options.exact_rotations,
        interpolation=options.interpolation,
        clip=options.clip,
    )
    plain = UNet(bench.network(preset)).to(fabric.device)
    plain.activation_checkpointing = saving
    plain = convert_conv3d_weight_memory_format(plain, torch.channels_last_3d)
    network, optimiser = fabric.setup(plain, optimiser_of(plain, options))
    crops = iter([sampler.draw(i) for i in range(100 * BATCH)] * 100)

    def read() -> Any:
        return sampler.read([next(crops) for _ in range(BATCH)], pin=fabric.device.type == "cuda")

    sources = read()

    def step() -> None:
        fabric.backward(objective(network, sampler.rotate(sources, fabric.device)))
        if options.gradient_clip is not None:
            fabric.clip_gradients(
                network, optimiser, max_norm=options.gradient_clip, error_if_nonfinite=False
            )
        optimiser.step()
        optimiser.zero_grad()

    return step, read


@contextmanager
def tuned_convolutions(on: bool = True) -> Iterator[None]:
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = on
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def measure_fit(bench: Bench, preset: str, cube: int, saving: bool = False) -> Figures:
    times: list[float] = []

    def on_step(state: FitState, progress: float) -> None:
        # Seldom, so that the processor runs ahead as it does in a fit.
        if state.step % bench.sizes.steps == 0:
            times.append(bench.clock())
            if len(times) > 1 and times[-1] - times[0] > bench.sizes.seconds:
                raise Enough

    with suppress(Enough):
        fit(
            [bench.pair()],
            bench.network(preset),
            bench.options(cube, saving),
            bench.fabric(),
            on_step=on_step,
        )
    peak = bench.peak_GB()
    a_step = (times[-1] - times[0]) / (bench.sizes.steps * (len(times) - 1))
    with tuned_convolutions():
        step, read = resident_step(bench, preset, cube, saving)
        resident = seconds_each(bench, step)
    return {
        "samples_per_s": round(BATCH / a_step, 2),
        "step_ms": round(1e3 * a_step, 2),
        "resident_ms": round(1e3 * resident, 2),
        "reading_ms": round(1e3 * seconds_each(bench, read), 2),
        "waits": round(max(0.0, 1 - resident / a_step), 3),
        "peak_GB": peak,
    }


def measure_refine(bench: Bench, preset: str, tuned: bool = False) -> Figures:
    config, shape = bench.network(preset), bench.sizes.refined_shape_zyx
    source = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    output, done = np.empty_like(source), [(0, 1, bench.clock())]
    tile = bench.sizes.tile or tile_size(config, bench.sizes.cubes[0])

    def on_tile(count: int, total: int) -> None:
        done.append((count, total, bench.clock()))
        # The first call tunes and allocates, and does not count.
        if len(done) > 2 and done[-1][2] - done[1][2] > bench.sizes.seconds:
            raise Enough

    try:
        with tuned_convolutions(tuned):
            refine(
                [source], output, UNet(config), TiltRange(-60, 60),
                RefineOptions(tile=tile, precision=bench.precision), input_std=1.0, device=bench.device,
                on_tile=on_tile,
            )  # fmt: skip
    except Enough:
        pass
    (first, _, since), (last, total, now) = done[min(1, len(done) - 2)], done[-1]
    whole = {"whole_s": round(now - done[0][2], 2)} if last == total else {}
    share = (last - first) / total
    return {
        "voxels_per_s": round(share * source.size / (now - since)),
        "tile": tile,
        **whole,
        "peak_GB": bench.peak_GB(),
    }


def measure_demo(bench: Bench) -> Figures:
    sizes = bench.sizes
    low, high = TILT_RANGE
    angles = np.arange(low, high + sizes.tilt_step_deg / 2, sizes.tilt_step_deg).tolist()
    with tempfile.TemporaryDirectory() as name:
        folder, results = Path(name), ResultFolder(Path(name) / "run")
        files = simulate_files(
            folder,
            "specimen",
            shape_zyx=sizes.demo_shape_zyx,
            voxel_size_A=VOXEL_SIZE_A,
            tilt_deg=angles,
            snr=SNR,
        )
        given = {
            "paths": [files.stack],
            "output": results.path,
            "no_check": True,
            "reconstruct": {"thickness": sizes.demo_shape_zyx[0]},
            "fit": sizes.demo_fit,
            "compute": {"device": bench.device.type},
        }
        start = bench.clock()
        run(resolve_config(None, given))
        run_s = bench.clock() - start
        estimates = {"FBP": results.full, "refined": results.refined}
        scores = evaluate_files(estimates, files.truth, TILT_RANGE, files.particles, sizes.box)
        samples = int(results.loss_table.read_text().splitlines()[-1].split(",")[2])
    return {
        "run_s": round(run_s, 1),
        "samples": samples,
        "scores": {name: asdict(score) for name, score in scores.items()},
        "peak_GB": bench.peak_GB(),
    }


def measure_profile(bench: Bench, preset: str, cube: int) -> Figures:
    on_gpu = bench.device.type == "cuda"
    activities = [torch.profiler.ProfilerActivity.CPU]
    activities += [torch.profiler.ProfilerActivity.CUDA] if on_gpu else []
    with tuned_convolutions():
        step, _ = resident_step(bench, preset, cube)
        elapsed = seconds_each(bench, step)
        steps = 4 if on_gpu else 1
        with torch.profiler.profile(activities=activities) as profile:
            for _ in range(steps):
                step()
            bench.clock()
    events = profile.key_averages()
    own = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    # Kernels are events of their own, beside the operations that their times are added to.
    operations = [event for event in events if event.device_type == torch.autograd.DeviceType.CPU]
    dearest = sorted(operations, key=lambda event: -getattr(event, own))[:DEAREST]
    total = sum(getattr(event, own) for event in operations)
    idle = {"idle": round(max(0.0, 1 - 1e-6 * total / steps / elapsed), 3)} if on_gpu else {}
    return {
        "step_ms": round(1e3 * elapsed, 2),
        **idle,
        "operations": [
            {
                "name": event.key,
                "calls": event.count // steps,
                "ms": round(1e-3 * getattr(event, own) / steps, 3),
                "share": round(getattr(event, own) / max(total, 1e-9), 3),
            }
            for event in dearest
        ],
    }


def parts(bench: Bench) -> dict[str, tuple[float, Callable[[], Figures]]]:
    """All parts by importance: seconds that one is thought to need, and what measures it."""
    small, large = bench.sizes.cubes
    of_fit, of_refine = 3 * bench.sizes.seconds, 2 * bench.sizes.seconds
    found: dict[str, tuple[float, Callable[[], Figures]]] = {
        f"fit, default, {small}": (of_fit, partial(measure_fit, bench, "default", small)),
        "refine, default": (of_refine, partial(measure_refine, bench, "default")),
        "demo": (20 * bench.sizes.seconds, partial(measure_demo, bench)),
        f"profile, default, {small}": (of_fit, partial(measure_profile, bench, "default", small)),
    }
    for preset in ("large", "paper"):
        found[f"fit, {preset}, {small}"] = of_fit, partial(measure_fit, bench, preset, small)
        found[f"refine, {preset}"] = of_refine, partial(measure_refine, bench, preset)
    for preset in ("default", "large", "paper"):
        found[f"fit, {preset}, {large}"] = of_fit, partial(measure_fit, bench, preset, large)
    found[f"fit, paper, {large}, activation checkpointing"] = (
        of_fit,
        partial(measure_fit, bench, "paper", large, saving=True),
    )
    found["refine, default, tuned convolutions"] = of_refine, partial(measure_refine, bench, "default", True)
    found[f"profile, paper, {small}"] = of_fit, partial(measure_profile, bench, "paper", small)
    return found


def measure(bench: Bench, limit_s: float, path: Path, begun: float) -> Figures:
    """All parts within the limit, the figures written after each."""
    figures: Figures = {
        "device": machine() if bench.device.type == "cpu" else torch.cuda.get_device_name(),
        "kind": bench.device.type,
        "quick": bench.sizes is QUICK,
        "torch": torch.__version__,
        "precision": bench.precision,
        "commit": commit(),
        "threads": torch.get_num_threads(),
        "limit_s": limit_s,
        "left_out": [],
        "parts": {},
    }

    def out_of_time(number: int, frame: FrameType | None) -> None:
        raise OutOfTime(f"stopped at the limit of {limit_s:g} s")

    signal.signal(signal.SIGALRM, out_of_time)
    for name, (needs, action) in parts(bench).items():
        left = limit_s - (time.monotonic() - begun)
        if left < needs:
            figures["left_out"].append(name)
            print(f"{name}: left out, {left:.0f} of {needs:.0f} s are left", flush=True)
        else:
            if bench.device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            start = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, left)
            try:
                result = action()
            except Exception as error:
                traceback.print_exc()
                result = {"error": f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"}
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            figures["parts"][name] = result | {"took_s": round(time.monotonic() - start, 1)}
            print(name, json.dumps(result), flush=True)
        figures["seconds"] = round(time.monotonic() - begun, 1)
        write(path, json.dumps(figures, indent=2) + "\n")
    return figures


def write(path: Path, text: str) -> None:
    """Write a file at once, so that a killed run leaves the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(text)
    beside.replace(path)


def of_kind(figures: Figures, kind: str) -> dict[str, Figures]:
    """The parts of a kind by the rest of their names; those that failed are told elsewhere."""
    return {
        name.partition(", ")[2]: part
        for name, part in figures["parts"].items()
        if name.split(",")[0] == kind and "error" not in part
    }


def table(head: str, rows: list[list[object]]) -> list[str]:
    columns = head.count("|") + 1
    return [f"| {head} |", "|" + "---|" * columns, *(f"| {' | '.join(map(str, row))} |" for row in rows), ""]


def tables(figures: Figures) -> str:
    """What the page says of the figures."""

    def memory(part: Figures) -> str:
        return "" if part["peak_GB"] is None else f"{part['peak_GB']:.2f} GB"

    lines = [
        f"{figures['device']}, {figures['precision']}, torch {figures['torch']}, commit {figures['commit']}, "
        f"in {figures['seconds']:.0f} s.",
        "",
    ]
    if figures["quick"] or figures["kind"] == "cpu":
        lines = ["A trial of the program that measures, not figures of a GPU.", "", *lines]
    lines += ["### Fit", ""]
    lines += table(
        "preset, cubes | sub-tomograms a second | a step | with the batch in memory | reading a batch "
        "| the GPU waits | memory",
        [
            [
                name,
                part["samples_per_s"],
                *(f"{part[key]:.1f} ms" for key in ("step_ms", "resident_ms", "reading_ms")),
                f"{part['waits']:.0%}",
                memory(part),
            ]
            for name, part in of_kind(figures, "fit").items()
        ],
    )
    lines += ["### Refinement, one prediction a tile", ""]
    lines += table(
        "preset | million voxels a second | 256 x 512 x 512 voxels in all | tile | memory",
        [
            [
                name,
                f"{part['voxels_per_s'] / 1e6:.2f}",
                f"{part['whole_s']:.1f} s" if "whole_s" in part else "not finished",
                part["tile"],
                memory(part),
            ]
            for name, part in of_kind(figures, "refine").items()
        ],
    )
    for part in of_kind(figures, "demo").values():
        lines += ["### The demonstration's specimen, a fit of two minutes", ""]
        lines += [f"The run took {part['run_s']:.0f} s; the fit saw {part['samples']} sub-tomograms.", ""]
        lines += table(
            "tomogram | CC | outside the wedge | inside | 0.143-FSC (A)",
            [
                [
                    name,
                    *(f"{score[key]:.3f}" for key in ("cc", "cc_outside", "cc_inside")),
                    f"{score['fsc_A']:.1f}",
                ]
                for name, score in part["scores"].items()
            ],
        )
    for name, part in of_kind(figures, "profile").items():
        idle = f", {part['idle']:.0%} of it without a kernel" if "idle" in part else ""
        lines += [f"### The dearest operations of a step: {name}", ""]
        lines += [f"A step takes {part['step_ms']:.1f} ms{idle}.", ""]
        lines += table(
            "operation | calls | ms | share",
            [[f"`{o['name']}`", o["calls"], o["ms"], f"{o['share']:.0%}"] for o in part["operations"]],
        )
    failed = [f"{name} ({part['error']})" for name, part in figures["parts"].items() if "error" in part]
    for what, names in (("Failed", failed), ("Left out for lack of time", figures["left_out"])):
        lines += [f"{what}: {'; '.join(names)}.", ""] if names else []
    return "\n".join(lines)


def report(path: Path, page: Path) -> None:
    """Write the tables between the marks of the page."""
    text = page.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page}: expected {BEGIN} and {END}")
    said = tables(json.loads(path.read_text())) if path.exists() else NOTHING + "\n"
    write(page, f"{before}{begin}\n\n{said}\n{end}{after}")


def main() -> None:
    begun = time.monotonic()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("verb", nargs="?", choices=("measure", "report"), default="measure")
    parser.add_argument("--limit-s", type=float, default=480.0, help="seconds for all")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the program")
    parser.add_argument("--json", type=Path, default=RESULTS, help="file of the figures")
    parser.add_argument("--page", type=Path, default=PAGE, help="page of the report")
    arguments = parser.parse_args()
    if arguments.verb == "report":
        report(arguments.json, arguments.page)
        return
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch finds no CUDA GPU: expected one, or --device cpu --quick")
    bench = Bench(torch.device(arguments.device), QUICK if arguments.quick else WHOLE)
    measure(bench, arguments.limit_s, arguments.json, begun)


if __name__ == "__main__":
    main()
