"""`dewedge run --fit-each` by several processes: each takes tomograms that nobody has taken."""

from __future__ import annotations

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
from dewedge.runtime.lock import LOCK, locked_folder

NAMES = ("a", "b", "c")
FLAGS = [
    *("--fit-each", "--tilt-range", "-60", "60", "--no-check", "--preset", "default", "--channels", "2"),
    *("--cube-size", "16", "--batch-size", "2", "--epoch-samples", "4", "--validation-crops", "2"),
    *("--tile", "16", "--overlap", "8", "--average-rotations", "1", "--device", "cpu"),
    *("--precision", "32-true"),
]


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of half tomograms of three specimens of 24 x 48 x 40 voxels."""
    folder = tmp_path_factory.mktemp("halves")
    for seed, name in enumerate(NAMES):
        generator = np.random.default_rng(seed)
        signal_zyx = 3 * gaussian_filter(generator.normal(size=(24, 48, 40)), 2)
        for half in ("even", "odd"):
            noisy = signal_zyx + generator.normal(size=signal_zyx.shape)
            write_mrc(folder / f"{name}_{half}.mrc", noisy, 10.0)
    return folder


def started(*arguments: str) -> subprocess.Popen[str]:
    """Start a module of Python."""
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for its success; what it wrote to stderr."""
    _, text = process.communicate(timeout=300)
    assert process.returncode == 0, text
    return text


def worked_on(output: Path) -> dict[str, int]:
    """The process that holds each tomogram, of those whose fit has begun."""
    found = {}
    for name in NAMES:
        lock = output / name / LOCK
        if lock.exists() and (output / name / "loss.csv").exists():
            (pid,) = [line for line in lock.read_text().splitlines() if line.startswith("pid=")]
            found[name] = int(pid.removeprefix("pid="))
    return found


def wait_for_two(output: Path, *running: subprocess.Popen[str]) -> dict[str, int]:
    """As `worked_on`, when there are two."""
    while len(found := worked_on(output)) < 2:
        for process in running:
            assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    return found


def refined(output: Path) -> list[np.ndarray]:
    return [np.asarray(read_mrc(output / name / "refined.mrc").data) for name in NAMES]


def log(folder: Path) -> str:
    return (folder / "dewedge.log").read_text()


def sessions(folder: Path) -> int:
    """How often work began there."""
    return log(folder).count("working folder")


def test_two_processes_do_what_one_does_and_what_a_killed_one_left_is_taken_over(
    halves: Path, tmp_path: Path
):
    two = tmp_path / "two"
    given = ["run", str(halves), *FLAGS]
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "dewedge"]
    running = started(*torchrun, *given, "--epochs", "100000", "-o", str(two))
    taken = wait_for_two(two, running)
    assert len(set(taken.values())) == 2
    killed = max(taken)
    os.kill(taken[killed], signal.SIGKILL)
    running.communicate(timeout=90)
    assert running.returncode != 0

    finish(started(*torchrun, "run", "--resume", "-o", str(two), "--epochs", "1"))
    assert not list(two.rglob("*.lock"))
    assert sessions(two / killed) == 2
    assert "3 of 3 tomograms are finished" in (two / "report.html").read_text()
    # That which was begun last, by the second start, was fitted as by one process alone.
    (last,) = set(NAMES) - set(taken)
    assert "1 process(es)" in log(two / last) and "2 process(es)" in log(two)
    pair = [f"--half{i}={halves}/{last}_{half}.mrc" for i, half in enumerate(("even", "odd"))]
    assert main(["run", *pair, *FLAGS, "--epochs", "1", "-o", str(tmp_path / "one")]) == 0
    one = read_mrc(tmp_path / "one" / "refined.mrc").data
    np.testing.assert_array_equal(refined(two)[NAMES.index(last)], one)


def test_commands_that_share_a_folder_leave_nothing_undone(
    halves: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "OUT"
    shared = ["run", str(halves), *FLAGS, "--share", "--budget", "4s", "-o", str(output)]
    running = [started("dewedge", *shared) for _ in range(2)]
    taken = wait_for_two(output, *running)
    assert set(taken.values()) == {process.pid for process in running}
    running[0].kill()
    running[0].communicate(timeout=60)
    (killed,) = [name for name, process in taken.items() if process == running[0].pid]
    finish(running[1])
    assert len(refined(output)) == 3
    assert sessions(output / killed) == 2
    assert "3 of 3 tomograms are finished" in (output / "report.html").read_text()

    before = {path: path.stat().st_mtime_ns for path in output.glob("*/*")}
    assert main(shared) == 0
    assert {path: path.stat().st_mtime_ns for path in output.glob("*/*")} == before
    # Whatever another process works on is passed over, and not replaced.
    given = [flag for flag in shared if flag != "--share"]
    with locked_folder(output / "b"):
        assert main([*given, "--resume"]) == 0
        assert f"{output / 'b'}: another dewedge works there" in log(output)
        capsys.readouterr()
        assert main([*given, "--overwrite"]) == 2
        assert f"{output / 'b'}: another dewedge works" in capsys.readouterr().err.splitlines()[-1]
    assert {path: path.stat().st_mtime_ns for path in output.glob("*/*")} == before
    for more, message in (
        (["--overwrite"], "--share: begins a run or goes on with it"),
        (["--trust"], "--share: one of several processes"),
        (["--seed", "5"], "the run there has fit.seed"),
    ):
        capsys.readouterr()
        assert main([*shared, *more]) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]


def test_share_is_of_several_networks_or_a_given_one(
    halves: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    joint = [flag for flag in FLAGS if flag != "--fit-each"]
    assert main(["run", str(halves), *joint, "--share", "-o", str(tmp_path / "OUT")]) == 2
    assert "expected --fit-each or --model" in capsys.readouterr().err.splitlines()[-1]


def test_commands_that_share_a_folder_apply_a_given_model(halves: Path, tmp_path: Path):
    """Nothing is fitted: what one process holds, another passes over, and all is there at the end."""
    joint = [flag for flag in FLAGS if flag != "--fit-each"]
    assert main(["run", str(halves), *joint, "--epochs", "1", "-o", str(tmp_path / "ONE")]) == 0
    output, model = tmp_path / "OUT", tmp_path / "ONE" / "model.safetensors"
    shared = ["run", str(halves), *joint, "--model", str(model), "--share", "-o", str(output)]
    running = [started("dewedge", *shared) for _ in range(2)]
    for process in running:
        finish(process)
    for theirs, ours in zip(refined(tmp_path / "ONE"), refined(output), strict=True):
        np.testing.assert_array_equal(theirs, ours)
    assert not list(output.rglob("loss.csv")) and not list(output.glob("*/model.safetensors"))
    # Each was done once, by one process.
    assert [sessions(output / name) for name in NAMES] == [1, 1, 1]
    assert "3 of 3 tomograms are finished" in (output / "report.html").read_text()
    # What is done stays, what another process holds is passed over, and what is missing is done.
    before = {path: path.stat().st_mtime_ns for path in output.glob("*/*.mrc")}
    (output / "b" / "refined.mrc").unlink()
    with locked_folder(output / "b"):
        assert main(shared) == 0
    assert not (output / "b" / "refined.mrc").exists()
    assert main(shared) == 0
    after = {path: path.stat().st_mtime_ns for path in output.glob("*/*.mrc")}
    assert {path for path in after if after[path] != before[path]} == {output / "b" / "refined.mrc"}
