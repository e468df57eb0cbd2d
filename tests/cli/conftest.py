"""A tiny simulated tilt series, and one run of it, shared by the tests of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from dewedge.cli import main


@pytest.fixture(scope="session")
def tiny_fit() -> list[str]:
    """Flags for a fit of seconds; in float32, so that machines with and without bfloat16 do the same."""
    return [
        "--preset",
        "default",
        "--cube-size",
        "16",
        "--epochs",
        "2",
        "--epoch-samples",
        "40",
        "--batch-size",
        "2",
        "--learning-rate",
        "0.005",
        "--validation-crops",
        "2",
        "--precision",
        "32-true",
        "--device",
        "cpu",
    ]


@pytest.fixture(scope="session")
def tiny(tiny_fit: list[str]) -> list[str]:
    """Flags for a run of seconds on the tiny series."""
    return ["--thickness", "32", *tiny_fit]


@pytest.fixture(scope="session")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with TS.mrc (41 images of 64 x 64, 20 A), its sidecars, frames, truth and particles."""
    folder = tmp_path_factory.mktemp("series")
    size = ["--shape", "32", "64", "64", "--voxel-size", "20"]
    specimen = ["--particles", "12", "--membranes", "0", "--gold", "2", "--snr", "2", "--frames"]
    assert main(["simulate", "-o", str(folder), "--name", "TS", *size, *specimen]) == 0
    return folder


@pytest.fixture(scope="session")
def finished(series: Path, tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of a finished run; not to be changed."""
    output = tmp_path_factory.mktemp("finished") / "OUT"
    assert main(["run", str(series / "TS.mrc"), *tiny, "-o", str(output)]) == 0
    return output
