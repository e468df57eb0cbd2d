"""Commands on a GPU, on a tiny simulated series. The CPU's are in tests/cli."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from comparisons import difference

from dewedge.cli import main
from dewedge.io.mrc import read_mrc
from dewedge.settings.recipes import RECIPES

FIT = ["--cube-size", "16", "--epoch-samples", "8", "--batch-size", "4", "--validation-crops", "2"]
pytestmark = pytest.mark.gpu


def simulated(folder: Path) -> Path:
    """A series of 13 images of 48 x 48."""
    size = ["--shape", "16", "48", "48", "--voxel-size", "20", "--tilt-step", "10", "--snr", "2"]
    specimen = ["--particles", "6", "--membranes", "0", "--gold", "1"]
    assert main(["simulate", "-o", str(folder), "--name", "TS", *size, *specimen]) == 0
    return folder / "TS.mrc"


def run(stack: Path, output: Path, device: str) -> None:
    """Run in float32, and once more from the fit on."""
    flags = [*FIT, "--channels", "4", "--precision", "32-true", "--device", device, "--thickness", "16"]
    assert main(["run", str(stack), "-o", str(output), *flags, "--epochs", "2"]) == 0
    (output / "refined.mrc").unlink()
    assert main(["run", "--resume", "-o", str(output)]) == 0


def compare(stack: Path, output: Path, device: str) -> None:
    flags = [*FIT, "--channels", "2", "--epochs", "2", "--device", device, "--thickness", "16"]
    assert main(["compare", str(stack), "-o", str(output), *flags, "--methods", ",".join(RECIPES)]) == 0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated(tmp_path_factory.mktemp("series"))


def test_a_run_is_that_of_the_cpu(stack: Path, tmp_path: Path):
    for device in ("cuda", "cpu"):
        run(stack, tmp_path / device, device)
    # Rounding grows in a fit of four steps.
    for name, most in (("half0", 1e-3), ("full", 1e-3), ("refined", 0.05)):
        result, expected = (np.asarray(read_mrc(tmp_path / d / f"{name}.mrc").data) for d in ("cuda", "cpu"))
        assert difference(result, expected) < most, name


def test_every_method_is_compared(stack: Path, tmp_path: Path):
    compare(stack, tmp_path / "OUT", "cuda")
    figures = json.loads((tmp_path / "OUT" / "compare.json").read_text())
    assert figures
    for name in RECIPES:
        found = list((tmp_path / "OUT" / name).rglob("*.mrc"))
        assert found and all(np.isfinite(read_mrc(path).data).all() for path in found)
