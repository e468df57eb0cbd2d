"""Speed of projection, back-projection and FBP beside other programs, their growth, and memory of FBP.

    python benchmarks/projection.py [--quick] [--json FILE]

Three questions, each an entry of the figures:

- ``compare``: 41 tilts, 64 x 256 x 256 voxels (``--quick``: a quarter of the rows). Rates are voxel updates
  (voxels times tilts) a second, by the processor time of one thread, the best of several rounds in which all
  take turns. NumPy with linear interpolation is written here; scikit-image and ASTRA take part where they are
  installed, slice by slice with linear interpolation, on the first rows of the same images. scikit-image
  knows square slices only: its voxels are those of 256 x 256. ``agreement`` is the correlation coefficient
  of a slice with ours. ``two_threads_...`` is ours by the clock, which other work on the machine spoils.
- ``growth``: one thread, from a base of 128 x 128 x 512 voxels and 41 tilts; one of these at a time larger.
- ``blocks``: FBP of 512 x H x 1024 voxels from 61 tilts into a memory-mapped file, for several heights H.
  ``anonymous_MB`` is the highest memory of the process above that before, without the pages of the file.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from comparison.machine import measured_on
from numpy.typing import NDArray

from dewedge.geometry import TiltGeometry
from dewedge.physics.projection import back_project, project
from dewedge.physics.reconstruction import fbp, fbp_blocks

Array = NDArray[np.float32]
# A callable, and the number of voxel updates that it does.
Job = tuple[Callable[[], Any], float]

NUMPY_ROWS, ASTRA_ROWS, SKIMAGE_ROWS = 16, 8, 2


def numpy_weights(tilt_deg: float, shape: tuple[int, int], detector: int) -> tuple[NDArray[np.int64], Array]:
    """First pixel and weight of the second of each voxel (z, x), by linear interpolation."""
    z, x = (np.arange(n) - n // 2 for n in shape)
    angle = np.radians(tilt_deg)
    position = x * np.cos(angle) + (z * np.sin(angle))[:, None] + detector // 2
    position = np.clip(position, 0, detector - 1.001)
    pixel = position.astype(np.int64)
    return pixel, (position - pixel).astype(np.float32)


def numpy_back_project(images: Array, tilts: NDArray[np.float64], shape: tuple[int, int]) -> Array:
    volume = np.zeros((images.shape[1], *shape), np.float32)
    for image, tilt in zip(images, tilts, strict=True):
        pixel, weight = numpy_weights(tilt, shape, images.shape[2])
        volume += image[:, pixel] * (1 - weight) + image[:, pixel + 1] * weight
    return volume


def numpy_project(volume: Array, tilts: NDArray[np.float64], detector: int) -> Array:
    images = np.empty((len(tilts), len(volume), detector), np.float32)
    for image, tilt in zip(images, tilts, strict=True):
        pixel, weight = numpy_weights(tilt, volume.shape[1:], detector)
        first, second = pixel.ravel(), pixel.ravel() + 1
        for row, slice_zx in zip(image, volume, strict=True):
            row[:] = np.bincount(first, (slice_zx * (1 - weight)).ravel(), detector)
            row += np.bincount(second, (slice_zx * weight).ravel(), detector)
    return images


def numpy_fbp(images: Array, tilts: NDArray[np.float64], shape: tuple[int, int]) -> Array:
    n = 2 * images.shape[-1]
    filtered = np.fft.irfft(np.fft.rfft(images, n) * np.fft.rfftfreq(n), n)[..., : images.shape[-1]]
    return numpy_back_project(filtered.astype(np.float32), tilts, shape)


def astra_jobs(images: Array, volume: Array, tilts: NDArray[np.float64], size: int) -> dict[str, Job]:
    """ASTRA's processor path: one slice (x, z) and its sinogram after the other."""
    astra = importlib.import_module("astra")
    depth, rows, width = volume.shape
    # Its rows run against z.
    slices = np.ascontiguousarray(volume.transpose(1, 0, 2)[:, ::-1])
    sinograms = np.ascontiguousarray(images.transpose(1, 0, 2))
    geometry = astra.create_vol_geom(depth, width)
    detector = astra.create_proj_geom("parallel", 1.0, width, np.radians(tilts))
    projector = astra.create_projector("linear", detector, geometry)

    def run(kind: str) -> Array:
        results = np.empty_like(sinograms if kind == "FP" else slices)
        for sinogram, section, result in zip(sinograms, slices, results, strict=True):
            forward = kind == "FP"
            sino = astra.data2d.create("-sino", detector, 0 if forward else sinogram)
            vol = astra.data2d.create("-vol", geometry, section if forward else 0)
            config = astra.astra_dict(kind)
            config["ProjectorId"], config["ProjectionDataId"] = projector, sino
            config["VolumeDataId" if forward else "ReconstructionDataId"] = vol
            algorithm = astra.algorithm.create(config)
            astra.algorithm.run(algorithm)
            result[...] = astra.data2d.get(sino if forward else vol)
            astra.algorithm.delete(algorithm)
            astra.data2d.delete([sino, vol])
        return results if forward else results[:, ::-1]

    updates = float(rows * depth * width * size)
    kinds = {"back_project": "BP", "project": "FP", "fbp": "FBP"}
    return {name: (lambda kind=kind: run(kind), updates) for name, kind in kinds.items()}  # type: ignore[misc]


def skimage_jobs(images: Array, tilts: NDArray[np.float64]) -> dict[str, Job]:
    """scikit-image: one square slice after the other."""
    transform = importlib.import_module("skimage.transform")
    n, rows, width = images.shape
    sections = np.random.default_rng(1).standard_normal((rows, width, width), dtype=np.float32)
    x = np.arange(width) - width // 2
    sections *= x**2 + x[:, None] ** 2 < (width // 2 - 1) ** 2
    sinograms = images.transpose(1, 2, 0)

    def back(filter_name: str | None) -> Array:
        # Its slices count z against ours.
        found = [transform.iradon(s, tilts, width, filter_name, "linear", circle=False) for s in sinograms]
        return np.stack(found)[:, ::-1]

    updates = float(n * rows * width * width)
    return {
        "back_project": (lambda: back(None), updates),
        "project": (lambda: [transform.radon(s, tilts, circle=True) for s in sections], updates),
        "fbp": (lambda: back("ramp"), updates),
    }


def our_jobs(images: Array, volume: Array, tilts: NDArray[np.float64]) -> dict[str, Job]:
    geometry = TiltGeometry(tilt_deg=tilts, image_shape_yx=images.shape[1:], pixel_size_A=10)
    stack, density = torch.from_numpy(images), torch.from_numpy(volume)
    updates = float(density.numel() * len(tilts))
    return {
        "back_project": (lambda: back_project(stack, tilts, volume.shape), updates),
        "project": (lambda: project(density, tilts, images.shape[1:]), updates),
        "fbp": (lambda: fbp(stack, geometry, volume.shape[0]), updates),
    }


def data(n: int, shape: tuple[int, int, int]) -> tuple[Array, Array, NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    volume = rng.standard_normal(shape, dtype=np.float32)
    return rng.standard_normal((n, *shape[1:]), dtype=np.float32), volume, np.linspace(-60, 60, n)


def best_rates(jobs: dict[str, Job], rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Millions of updates a second of each job, the best of several rounds."""
    best = dict.fromkeys(jobs, 0.0)
    for _ in range(rounds):
        for name, (run, updates) in jobs.items():
            start = clock()
            run()
            best[name] = max(best[name], updates / (clock() - start) / 1e6)
    return {name: round(rate, 1) for name, rate in best.items()}


def compare(quick: bool) -> dict[str, Any]:
    n, (depth, rows, width) = 41, (64, 64 if quick else 256, 256)
    images, volume, tilts = data(n, (depth, rows, width))
    few, shape = images[:, :NUMPY_ROWS], (depth, width)
    sections = np.ascontiguousarray(volume.transpose(1, 0, 2)[:NUMPY_ROWS])
    updates = float(n * few.shape[1] * depth * width)
    methods: dict[str, dict[str, Job]] = {
        "dewedge": our_jobs(images, volume, tilts),
        "numpy": {
            "back_project": (lambda: numpy_back_project(few, tilts, shape), updates),
            "project": (lambda: numpy_project(sections, tilts, width), updates),
            "fbp": (lambda: numpy_fbp(few, tilts, shape), updates),
        },
    }
    if importlib.util.find_spec("astra"):
        methods["astra"] = astra_jobs(images[:, :ASTRA_ROWS], volume[:, :ASTRA_ROWS], tilts, n)
    if importlib.util.find_spec("skimage"):
        methods["scikit-image"] = skimage_jobs(images[:, :SKIMAGE_ROWS], tilts)
    torch.set_num_threads(1)
    jobs = {f"{method} {name}": job for method, all_ in methods.items() for name, job in all_.items()}
    rates = best_rates(jobs, 2 if quick else 5, time.process_time)
    ours = back_project(torch.from_numpy(images[:, :1]), tilts, (depth, 1, width))[:, 0].numpy()
    agreement = {}
    for method in methods.keys() - {"dewedge"}:
        theirs = methods[method]["back_project"][0]()[0]
        # The centre is the same: index N // 2, one to the side where z was reversed.
        low = theirs.shape[0] // 2 - depth // 2
        shifts = [np.roll(theirs, shift, axis=0)[low : low + depth] for shift in (-1, 0, 1)]
        inside = (slice(4, -4), slice(width // 4, -width // 4))
        agreement[method] = round(
            max(float(np.corrcoef(s[inside].ravel(), ours[inside].ravel())[0, 1]) for s in shifts), 3
        )
    torch.set_num_threads(2)
    two = best_rates(our_jobs(images, volume, tilts), 3 if quick else 20, time.perf_counter)
    torch.set_num_threads(1)
    ratios = {
        name: round(
            rates[f"dewedge {name}"] / max(rates[f"{m} {name}"] for m in methods if m != "dewedge"), 1
        )
        for name in ("back_project", "project", "fbp")
    }
    return {
        "updates_per_us": rates,
        "ratio_to_best": ratios,
        "agreement": agreement,
        "two_threads_updates_per_us": two,
    }


def growth(quick: bool) -> list[dict[str, Any]]:
    rows = []
    base = {"n": 41, "depth": 128, "height": 128, "width": 512}
    larger = [{}, {"height": 512}, {"depth": 256}, {"n": 121}, {"width": 1024}]
    for change in larger[: 2 if quick else None]:
        size = base | change
        if quick:
            size |= {"depth": 32}
        images, volume, tilts = data(size["n"], (size["depth"], size["height"], size["width"]))
        rates = best_rates(our_jobs(images, volume, tilts), 2, time.process_time)
        rows.append({**size, "updates_per_us": rates})
    return rows


@contextmanager
def anonymous_peak() -> Iterator[list[int]]:
    """Highest anonymous memory of the process in the context, in bytes, above that at its start (Linux)."""

    def used() -> int:
        return 1024 * int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0])

    start, peak, done = used(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], used() - start)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def blocks(quick: bool) -> list[dict[str, Any]]:
    n, depth, width = (11, 64, 1024) if quick else (61, 512, 1024)
    rows = []
    for height in (64, 128) if quick else (128, 256, 512, 1024):
        geometry = TiltGeometry(
            tilt_deg=np.linspace(-60, 60, n), image_shape_yx=(height, width), pixel_size_A=10
        )
        images = torch.randn((n, height, width))
        with tempfile.NamedTemporaryFile() as file, anonymous_peak() as peak:
            volume = np.memmap(file.name, np.float32, "w+", shape=(depth, height, width))
            start, writing = time.process_time(), 0.0
            for place, block in fbp_blocks(images, geometry, depth):
                before = time.process_time()
                volume[:, place] = block.numpy()
                writing += time.process_time() - before
            seconds = time.process_time() - start - writing
            del block, volume
        updates = n * depth * height * width
        rows.append(
            {
                "shape_zyx": (depth, height, width),
                "n": n,
                "cpu_s": round(seconds, 1),
                "writing_cpu_s": round(writing, 1),
                "updates_per_us": round(updates / seconds / 1e6),
                "anonymous_MB": round(peak[0] / 1e6),
                "file_MB": round(4e-6 * depth * height * width),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="less data, fewer rounds")
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    figures = {part.__name__: part(arguments.quick) for part in (compare, growth, blocks)}
    text = json.dumps({**measured_on(), "threads": 1, "torch": torch.__version__, **figures}, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
