"""What a network puts where nothing is: fits from random weights and from those of ``--init simulated``.

    python benchmarks/invented.py --structures FOLDER [--data FOLDER]
    python benchmarks/invented.py --halves HALF0 HALF1 --tilt-range MIN MAX [--pictures FOLDER]

On the specimens of the comparison (size small, SNR 1/4), in their empty ice. With ``--halves``, on half
tomograms without a truth: how half-set 0, refined, correlates with what both half-sets have in common.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter, label

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks" / "comparison"))

from jobs import Job, job  # noqa: E402
from methods import fitted  # noqa: E402
from specimens import Data, load  # noqa: E402

from dewedge.geometry import TiltGeometry, TiltRange  # noqa: E402
from dewedge.io.mrc import read_mrc, write_mrc  # noqa: E402
from dewedge.physics.wedge import wedge_mask  # noqa: E402
from dewedge.scores.coefficient import correlation_outside_inside  # noqa: E402

Volume = NDArray[np.float32]

SEEDS = (11, 12)
STARTS = (("", 100.0), ("init simulated", 30.0), ("init simulated", 0.0))  # and seconds of the fit
EDGE = 0.2  # density that is no ringing around a molecule; protein has about 0.8
FAR = 6  # voxels from all density: a blurred edge is not invented
GOLD, FAR_FROM_GOLD = 2.0, 16  # whose tails reach further
DENSE = 0.5  # of the density of protein
BLOB = 1 / 3  # of the density of protein
BLOB_VOXELS = 8


def on_simulated(data_folder: Path, structures: Path) -> None:
    print(
        "| seed | start | fit (s) | ice | ice, inside the wedge | blobs in the ice | dense voxels lost (%) |"
    )
    print("|---|---|---|---|---|---|---|")
    for seed in SEEDS:
        for change, budget_s in STARTS:
            one = job("small", "dewedge", seed=seed, change=change, budget_s=budget_s)
            data = load(one, seed, data_folder, structures)
            density = -data.truth  # protein is dark
            protein = float(np.median(density[density > EDGE]))
            ice = ~binary_dilation(density > EDGE / 4, iterations=FAR)
            ice &= ~binary_dilation(density > GOLD, iterations=FAR_FROM_GOLD)
            volume = calibrated(-volume_of(one, data), density, ice)
            smooth = gaussian_filter(volume, 1)
            inside = inside_wedge(volume - density, data.tilt_range)
            dense = gaussian_filter(density, 1) > DENSE * protein
            figures = [
                f"{volume[ice].std() / protein:.3f}",
                f"{inside[ice].std() / protein:.3f}",
                str(blobs((smooth > BLOB * protein) & ice)),
                f"{100 * np.mean(smooth[dense] < DENSE / 2 * protein):.1f}",
            ]
            print(f"| {seed} | {change or 'random'} | {budget_s:g} | {' | '.join(figures)} |", flush=True)


def on_halves(paths: list[Path], tilt_range: TiltRange, pictures: Path | None) -> None:
    half0, half1 = (np.array(read_mrc(path).data) for path in paths)
    # Half-set 0 takes the place of the whole: it is what is refined.
    data = Data(
        half0=half0,
        half1=half1,
        full=half0,
        noise_free=half0,
        truth=half0,
        tilt_range=tilt_range,
        centres_zyx=np.empty((0, 3)),
        images=half0,
        geometry=TiltGeometry(tilt_deg=np.zeros(1), image_shape_yx=half0.shape[1:], pixel_size_A=1.0),
    )
    common = correlation_outside_inside(half0, half1, tilt_range)[0]
    print("| start | fit (s) | CC with the signal, estimated |\n|---|---|---|")
    for change, budget_s in STARTS:
        one = job("small", "dewedge", change=change, budget_s=budget_s)
        volume = volume_of(one, data)
        cc = correlation_outside_inside(volume, half1, tilt_range)[0] / np.sqrt(common)
        print(f"| {change or 'random'} | {budget_s:g} | {cc:.3f} |", flush=True)
        if pictures is not None:
            name = f"{change.replace(' ', '-') or 'random'}_{budget_s:g}s.mrc"
            write_mrc(pictures / name, volume, None, what="refined half-set 0")


def volume_of(one: Job, data: Data) -> Volume:
    return fitted(one, "dewedge", [data], one.budget_s).volume


def calibrated(volume: Volume, density: Volume, ice: NDArray[np.bool_]) -> NDArray[np.float64]:
    """On the grey scale of the density, empty ice at zero."""
    centred = volume - volume[ice].mean(dtype=np.float64)
    return centred * (np.square(density, dtype=np.float64).sum() / (centred * density).sum())


def blobs(there: NDArray[np.bool_]) -> int:
    """How many connected parts are no smaller than a small molecule."""
    return int(np.count_nonzero(np.bincount(label(there)[0].ravel())[1:] >= BLOB_VOXELS))


def inside_wedge(volume: NDArray[np.float64], tilt_range: TiltRange) -> NDArray[np.float64]:
    """What of a volume lies in its missing wedge."""
    spectrum = torch.fft.rfftn(torch.from_numpy(volume))
    mask = wedge_mask(volume.shape, tilt_range)
    return torch.fft.irfftn(spectrum * (1 - mask), s=volume.shape).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--structures", type=Path, default=ROOT.parent / "shared" / "data" / "structures-10A")
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "dewedge_comparison")
    parser.add_argument("--halves", type=Path, nargs=2)
    parser.add_argument("--tilt-range", type=float, nargs=2)
    parser.add_argument("--pictures", type=Path, help="folder for the volumes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.halves is None:
        on_simulated(arguments.data, arguments.structures)
    else:
        on_halves(arguments.halves, TiltRange(*arguments.tilt_range), arguments.pictures)


if __name__ == "__main__":
    main()
