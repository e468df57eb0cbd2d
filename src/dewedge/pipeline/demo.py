"""A demonstration on a simulated specimen: from a noisy tilt series to scores and a figure."""

from __future__ import annotations

import logging
from pathlib import Path

from dewedge.io.mrc import read_mrc
from dewedge.pipeline.evaluate import evaluate_files, print_scores, write_scores
from dewedge.pipeline.reconstruct import reconstruct_file
from dewedge.pipeline.run import run
from dewedge.pipeline.simulate import simulate_files
from dewedge.report.comparison import comparison_figure
from dewedge.report.figure import write_figure
from dewedge.runtime.folder import ResultFolder, refuse_outside, require_new
from dewedge.runtime.lock import locked_folder
from dewedge.settings.file import resolve_config

logger = logging.getLogger(__name__)

NAME = "specimen"
SHAPE_ZYX = (64, 128, 128)
VOXEL_SIZE_A = 10.0
TILT_RANGE = (-60.0, 60.0)
TILT_STEP_DEG = 3.0
SNR = 0.25
BUDGET = "3min"
SCORES = "scores.json"
FIGURE = "demo.png"


def demo(folder: Path, *, overwrite: bool = False) -> None:
    """Simulate a tilt series, run all on it, and compare FBP and refined tomogram with the truth.

    Raises
    ------
    InputError
        If the folder holds a demo already, or cannot be written.
    """
    results = ResultFolder(folder / "run")
    refuse_outside(folder, [results.model])
    with locked_folder(folder):
        require_new([folder / FIGURE, folder / SCORES], overwrite)
        _demo(folder, results, overwrite)


def _demo(folder: Path, results: ResultFolder, overwrite: bool) -> None:
    angles = [TILT_RANGE[0] + TILT_STEP_DEG * i for i in range(41)]
    files = simulate_files(
        folder,
        NAME,
        overwrite=overwrite,
        shape_zyx=SHAPE_ZYX,
        voxel_size_A=VOXEL_SIZE_A,
        tilt_deg=angles,
        snr=SNR,
    )
    config = resolve_config(
        None,
        {
            "paths": [files.stack],
            "output": results.path,
            "reconstruct": {"thickness": SHAPE_ZYX[0]},
            "fit": {"budget": BUDGET},
        },
    )
    run(config, overwrite=overwrite)
    noise_free = folder / "noise_free_fbp.mrc"
    clean = resolve_config(
        None,
        {
            "paths": [files.clean],
            "series": {"angles": [files.angles]},
            "reconstruct": {"thickness": SHAPE_ZYX[0]},
        },
    )
    reconstruct_file(clean, noise_free, halves=False, overwrite=overwrite)

    estimates = {
        "FBP": results.full,
        "FBP without noise (reference)": noise_free,
        "refined": results.refined,
    }
    scores = evaluate_files(estimates, files.truth, TILT_RANGE, files.particles)
    write_scores(folder / SCORES, scores)
    volumes = {
        "truth": read_mrc(files.truth).data,
        "filtered back-projection": read_mrc(results.full).data,
        "refined by dewedge": read_mrc(results.refined).data,
    }
    notes = ["", f"CC {scores['FBP'].cc:.2f}", f"CC {scores['refined'].cc:.2f}"]
    print_scores(scores)
    write_figure(folder / FIGURE, lambda: comparison_figure(volumes, VOXEL_SIZE_A, notes))
    logger.info("done: %s", folder)
