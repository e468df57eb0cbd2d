"""Does a realistic simulated tilt series look like a real one? EMPIAR-10499 beside `simulate --realistic`.

    python benchmarks/realistic.py [--real FOLDER] [--seeds 0 1] [--fine] [--figure FILE] [--json FILE]

Both are measured by the same functions, at 20 A per voxel and reconstructed by default: mean of each image,
power spectrum of raw images, Fourier shell correlation of the half-sets of every second tilt, and how dark
the beads are; the first two once more without beads. Prints tables and draws images and tomograms side by
side. With --fine the specimens are simulated at 10 A and binned, as the real series is, and compared at 10 A,
too; that takes longer, and 10 GB.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from comparison.machine import measured_on
from notebook_tables.calibration import SHOWN_DEG, series_table
from numpy.typing import NDArray
from scipy import ndimage

from dewedge.geometry import TiltGeometry
from dewedge.io.tilt_series import read_tilt_series
from dewedge.physics.alignment import align_images
from dewedge.physics.fourier import fourier_crop
from dewedge.physics.reconstruction import fbp
from dewedge.scores.fsc import fourier_shell_correlation
from dewedge.simulate.realistic import simulate_microscope

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "data" / "empiar-10499-00254"
RESULTS = ROOT / "benchmarks" / "results" / "realistic.json"
FIGURE = ROOT / "docs" / "notebook" / "images" / "realistic.png"
SHAPE_ZYX, VOXEL_SIZE_A = (100, 315, 326), 20.0
FINE_SHAPE_ZYX, FINE_VOXEL_SIZE_A = (200, 630, 652), 10.0
THICKNESS_A = 2000.0
# Voxels of beads: this many robust standard deviations below the median.
BEAD_SIGMA = 12

Volume = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Series:
    """Raw images and their geometry."""

    name: str
    images: NDArray[Any]
    geometry: TiltGeometry


def real(folder: Path) -> Series:
    stem = folder / "00254"
    series = read_tilt_series(
        stem.with_suffix(".mrc"), angles=stem.with_suffix(".tlt"), xf=stem.with_suffix(".xf")
    )
    return Series("EMPIAR-10499", series.images, series.geometry)


def without_beads(series: Series) -> Series:
    """The series with its beads painted over by noise about the median of what surrounds them."""
    rng = np.random.default_rng(0)
    images = np.array(series.images, dtype=np.float32)
    for image in images:
        # The median of every fourth pixel, back at the size of the image.
        coarse = ndimage.median_filter(image[::4, ::4], 7)
        around = np.kron(coarse, np.ones((4, 4)))[: image.shape[0], : image.shape[1]]
        dark = ndimage.gaussian_filter(image, 20 / series.geometry.pixel_size_A) < 0.8 * around
        dark = ndimage.binary_dilation(dark, iterations=round(50 / series.geometry.pixel_size_A))
        noise = rng.normal(scale=np.std((image - around)[~dark]), size=np.count_nonzero(dark))
        image[dark] = around[dark] + noise
    return replace(series, name=f"{series.name}, beads painted over", images=images)


def simulated(seed: int, fine: bool, n_gold: int | None = None) -> Series:
    shape, voxel_size_A = (FINE_SHAPE_ZYX, FINE_VOXEL_SIZE_A) if fine else (SHAPE_ZYX, VOXEL_SIZE_A)
    start = time.perf_counter()
    series = simulate_microscope(shape, voxel_size_A, seed=seed, n_gold=n_gold)
    name = f"simulated, seed {seed}" + (", no beads" if n_gold == 0 else "")
    print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    # The real one is split by its order in the stack.
    return Series(name, series.images, replace(series.geometry, acquisition_order=None))


def measure(series: Series, voxel_size_A: float) -> tuple[dict[str, Any], Volume]:
    """Figures of a series at a voxel size, and its tomogram."""
    binning = round(voxel_size_A / series.geometry.pixel_size_A)
    images, geometry = align_images(series.images, series.geometry, binning)
    thickness = round(THICKNESS_A / voxel_size_A)
    n = geometry.n_tilts
    parts = [np.arange(0, n, 2), np.arange(1, n, 2), np.arange(n)]
    half0, half1, whole = (
        fbp(images[torch.from_numpy(part)], geometry.select(part), thickness, "hamming").numpy()
        for part in parts
    )
    means = series.images.mean(axis=(1, 2), dtype=np.float64)
    secant = 1 / np.cos(np.radians(geometry.tilt_deg))
    curve = fourier_shell_correlation(half0, half1)
    figures = {
        "mean_over_largest": (means / means.max()).round(3).tolist(),
        "log_mean_over_secant": round(float(np.polyfit(secant, np.log(means), 1)[0]), 3),
        "power": {f"{tilt:g}": power_spectrum(series, tilt, binning) for tilt in SHOWN_DEG},
        "half_set_fsc": tenths(curve.frequency_per_voxel, curve.correlation),
        **beads(whole),
    }
    return figures, whole


def power_spectrum(series: Series, tilt_deg: float, binning: int) -> list[float]:
    """Power of a raw image over its mean, white noise of variance 1 is 1, mean of tenths of Nyquist."""
    index = int(np.abs(series.geometry.tilt_deg - tilt_deg).argmin())
    image = torch.from_numpy(np.asarray(series.images[index], dtype=np.float32))
    height, width = image.shape
    binned = fourier_crop(image, (height // binning, width // binning)).numpy()
    window = np.hanning(binned.shape[0])[:, None] * np.hanning(binned.shape[1])
    power = np.abs(np.fft.fft2(window * (binned / binned.mean() - 1))) ** 2 / (window**2).sum()
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(m) for m in binned.shape), indexing="ij"))
    return tenths(frequency.ravel(), power.ravel(), digits=5)


def tenths(frequency: NDArray[Any], values: NDArray[Any], digits: int = 3) -> list[float]:
    """Mean of values in each tenth of Nyquist; the zero frequency is left out."""
    tenth = np.ceil(frequency * 20 - 1e-9)
    return [round(float(values[tenth == i].mean()), digits) for i in range(1, 11)]


def beads(volume: Volume) -> dict[str, Any]:
    """How dark the darkest voxel is, and how many dark bodies there are."""
    median = np.median(volume)
    sigma = 1.4826 * np.median(np.abs(volume - median))
    score = (volume - median) / sigma
    dark, count = ndimage.label(score < -BEAD_SIGMA)
    depths = ndimage.minimum(score, dark, range(1, count + 1))
    return {
        "darkest_sigma": round(float(score.min()), 1),
        "median_bead_sigma": round(float(np.median(depths)), 1) if count else 0.0,
        "beads": int((np.asarray(depths) < -1.5 * BEAD_SIGMA).sum()),
        "voxels_of_beads": int((score < -BEAD_SIGMA).sum()),
    }


def draw(path: Path, panels: list[tuple[Series, Volume]]) -> None:
    """Two tilt images and two sections of the tomogram, one column for each series."""
    figure, axes = plt.subplots(
        5, len(panels), figsize=(4.6 * len(panels), 17), height_ratios=[1, 1, 1, 1, 0.36], squeeze=False
    )
    for column, (series, volume) in zip(axes.T, panels, strict=True):
        for axis, tilt in zip(column, (0.0, -60.0), strict=False):
            index = int(np.abs(series.geometry.tilt_deg - tilt).argmin())
            image = np.asarray(series.images[index], dtype=np.float32)
            binning = round(VOXEL_SIZE_A / series.geometry.pixel_size_A)
            shape = (image.shape[0] // binning, image.shape[1] // binning)
            binned = fourier_crop(torch.from_numpy(image), shape).numpy()
            axis.imshow(binned / binned.mean(), cmap="gray", vmin=0.7, vmax=1.3)
            axis.set_title(f"{series.name}: image at {tilt:g} degrees")
        sigma = float(np.std(volume))
        depth, height, _ = volume.shape
        sections = [volume[depth // 2], volume[depth // 2 - 15 : depth // 2 + 15].mean(axis=0)]
        for axis, section, name in zip(
            column[2:], [*sections, volume[:, height // 2]], ("xy", "xy, mean of 600 A", "xz"), strict=True
        ):
            shown = 2.0 if "mean" in name else 4.0
            axis.imshow(section, cmap="gray", vmin=-shown * sigma, vmax=shown * sigma)
            axis.set_title(f"FBP, {name}")
        for axis in column:
            axis.axis("off")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=70)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--real", type=Path, default=REAL, help="folder of the real series")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="of the simulated specimens")
    parser.add_argument("--fine", action="store_true", help="simulate at 10 A")
    parser.add_argument("--figure", type=Path, default=FIGURE, help="file for the figure")
    parser.add_argument("--json", type=Path, default=RESULTS, help="file for the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, dict[str, Any]] = {}
    fine_rows: dict[str, dict[str, Any]] = {}
    panels = []
    everything = [real(arguments.real), *(simulated(seed, arguments.fine) for seed in arguments.seeds)]
    for series in everything:
        rows[series.name], volume = measure(series, VOXEL_SIZE_A)
        panels.append((series, volume))
        if arguments.fine:
            fine_rows[series.name], _ = measure(series, FINE_VOXEL_SIZE_A)
    without = [without_beads(everything[0]), simulated(arguments.seeds[0], arguments.fine, n_gold=0)]
    no_gold = {series.name: measure(series, VOXEL_SIZE_A)[0] for series in without}
    print(f"\nAt 20 A per voxel\n\n{series_table(rows)}\n\nWithout beads\n\n{series_table(no_gold)}")
    if arguments.fine:
        print(f"\nAt 10 A per voxel\n\n{series_table(fine_rows)}")
    draw(arguments.figure, panels)
    results: dict[str, Any] = measured_on() | {
        "simulated_at_A": FINE_VOXEL_SIZE_A if arguments.fine else VOXEL_SIZE_A
    }
    results |= {"at_20_A": rows, "without_beads": no_gold} | (
        {"at_10_A": fine_rows} if arguments.fine else {}
    )
    arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
