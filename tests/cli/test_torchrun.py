"""Two processes, of torchrun or started by dewedge: they do what one does, and go on after one is killed."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from dewedge.cli import main
from dewedge.io.mrc import read_mrc, write_mrc

FLAGS = [
    *[
        "--tilt-range",
        "-60",
        "60",
        "--no-check",
        "--preset",
        "default",
        "--cube-size",
        "16",
        "--batch-size",
        "4",
    ],
    *["--epoch-samples", "16", "--learning-rate", "0.0005", "--validation-crops", "2", "--tile", "16"],
    *["--overlap", "8", "--device", "cpu", "--precision", "32-true"],
]


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Flags for half tomograms of 24 x 56 x 40 voxels: something smooth, and noise."""
    folder = tmp_path_factory.mktemp("halves")
    generator = np.random.default_rng(0)
    signal_zyx = 3 * gaussian_filter(generator.normal(size=(24, 56, 40)), 2)
    flags = []
    for i in range(2):
        path = folder / f"half{i}.mrc"
        write_mrc(path, signal_zyx + generator.normal(size=signal_zyx.shape), 10.0)
        flags += [f"--half{i}", str(path)]
    return flags


def started(*arguments: str) -> subprocess.Popen[str]:
    """Start a module of Python."""
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def torchrun(*arguments: str) -> subprocess.Popen[str]:
    """Start dewedge in two processes."""
    return started(
        "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "dewedge", *arguments
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for its success; what it wrote to stderr."""
    _, text = process.communicate(timeout=300)
    assert process.returncode == 0, text
    return text


def losses(output: Path) -> list[list[float]]:
    """Both losses of every epoch."""
    with open(output / "loss.csv") as file:
        return [[float(row["fit_loss"]), float(row["validation_loss"])] for row in csv.DictReader(file)]


def process_of_rank(rank: int, launcher: subprocess.Popen[str]) -> int:
    """Identifier of one of the processes that torchrun started."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    for child in children:
        if f"\0RANK={rank}\0" in f"\0{Path(f'/proc/{child}/environ').read_text()}":
            return int(child)
    raise AssertionError(f"no process of rank {rank} among {children}")


def assert_same(first: Path, second: Path) -> None:
    """The same losses and the same refined tomogram, within rounding."""
    np.testing.assert_allclose(losses(first), losses(second), rtol=1e-4)
    one, two = (read_mrc(output / "refined.mrc").data for output in (first, second))
    np.testing.assert_allclose(one, two, atol=1e-3 * one.std())


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes by Linux' /proc")
def test_two_processes_do_what_one_does_and_go_on_after_one_is_killed(halves: list[str], tmp_path: Path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(["run", *halves, *FLAGS, "--epochs", "2", "-o", str(one)]) == 0
    text = finish(torchrun("run", *halves, *FLAGS, "--epochs", "2", "--devices", "2", "-o", str(two)))
    assert "2 process(es)" in text
    assert_same(one, two)

    resumed = ["run", "--resume", "-o"]
    running = torchrun(*resumed, str(two), "--epochs", "100000")
    while len(losses(two)) < 4:
        assert running.poll() is None, running.communicate()[1]
        time.sleep(0.1)
    os.kill(process_of_rank(1, running), signal.SIGKILL)
    _, text = running.communicate(timeout=90)
    assert running.returncode != 0
    (message,) = [line for line in text.splitlines() if "dewedge: " in line]
    assert f"dewedge run --resume -o {two}" in message
    assert "Traceback" not in text.split(message)[0]

    assert main([*resumed, str(one), "--epochs", "4"]) == 0
    finish(torchrun(*resumed, str(two), "--epochs", "4"))
    assert len(losses(two)) == 4
    assert_same(one, two)


def test_a_validation_starts_its_processes_before_it_begins(series: Path, tmp_path: Path):
    fit = [
        "--thickness",
        "32",
        "--channels",
        "2",
        "--cube-size",
        "16",
        "--epochs",
        "1",
        "--epoch-samples",
        "4",
    ]
    fit += ["--batch-size", "2", "--validation-crops", "2", "--average-rotations", "1", "--device", "cpu"]
    output = tmp_path / "OUT"
    # Without the check, at which the first process would wait for the other one.
    flags = ["--no-check", "--devices", "2", "-o", str(output)]
    text = finish(started("dewedge", "validate", str(series / "TS.mrc"), *fit, *flags))
    assert text.count("2 process(es)") == 2
    assert (output / "validate.json").is_file()
