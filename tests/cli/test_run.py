"""`dewedge run` from end to end on a tiny simulated series."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

import dewedge
from dewedge.cli import main
from dewedge.geometry import TiltRange
from dewedge.io.mrc import read_mrc, write_mrc
from dewedge.learn.checkpoint import load_model
from dewedge.physics.wedge import wedge_mask
from dewedge.scores import correlation

VOLUMES = ("half0", "half1", "full", "refined")
FILES = {f"{name}.mrc" for name in VOLUMES} | {
    "model.safetensors",
    "checkpoint.safetensors",
    "beads.mrc",
    "planes.json",
    "tv.mrc",
    "loss.csv",
    "loss.png",
    "slices.png",
    "report.html",
    "config.toml",
    "inputs.json",
    "dewedge.log",
}


def data(path: Path) -> np.ndarray:
    return np.asarray(read_mrc(path).data)


def losses(folder: Path) -> list[tuple[str, ...]]:
    """The loss table without the wall-clock times."""
    with open(folder / "loss.csv") as file:
        return [(row["step"], row["fit_loss"], row["validation_loss"]) for row in csv.DictReader(file)]


def test_leaves_every_result_and_nothing_else(finished: Path):
    assert {path.name for path in finished.iterdir()} == FILES
    assert len(losses(finished)) == 2
    for name in ("loss.png", "slices.png"):
        assert (finished / name).read_bytes().startswith(b"\x89PNG")


def test_volumes_have_shape_voxel_size_and_dark_protein(finished: Path, series: Path):
    truth, beads = data(series / "TS_truth.mrc"), data(finished / "beads.mrc")
    for name in VOLUMES:
        mrc = read_mrc(finished / f"{name}.mrc")
        assert mrc.data.shape == (32, 64, 64)
        assert mrc.voxel_size_A == pytest.approx(20)
        assert np.isfinite(mrc.data).all()
        # Gold, half of this specimen, is painted over for the fit and given back in the refined tomogram.
        whole = mrc.data if name == "refined" else mrc.data + beads
        assert correlation(whole, truth) > 0.3, name
    full, refined = data(finished / "full.mrc") + beads, data(finished / "refined.mrc")
    assert correlation(refined, truth) > correlation(full, truth) + 0.01
    assert abs(refined.mean() - full.mean()) < full.std()
    assert 0.05 * full.std() < refined.std() < 2 * full.std()


def test_half_sets_are_independent_and_make_up_the_whole(finished: Path):
    half0, half1, full = (data(finished / f"{name}.mrc") for name in VOLUMES[:3])
    assert correlation(half0, half1) < 0.95
    assert correlation((half0 + half1) / 2, full) > 0.98


def test_the_whole_of_an_uneven_split_is_refined_on_the_grey_scale_of_the_fit(
    series: Path, tiny: list[str], tmp_path: Path
):
    split = ["--split", "random", "--fraction", "0.2", "--clip", "none"]
    assert main(["run", str(series / "TS.mrc"), "-o", str(tmp_path / "out"), *tiny, *split]) == 0
    half0, half1, full = (data(tmp_path / "out" / f"{name}.mrc") for name in VOLUMES[:3])
    std_half = np.sqrt((half0.var() + half1.var()) / 2)
    model = load_model(tmp_path / "out" / "model.safetensors")
    assert model.full_std == pytest.approx(full.std() / std_half, rel=1e-3)
    assert abs(model.full_std / ((half0 + half1) / 2).std() * std_half - 1) > 0.01


def test_log_tells_version_command_decisions_and_memory(finished: Path):
    log = (finished / "dewedge.log").read_text()
    for text in (
        f"dewedge {dewedge.__version__}: ",
        "torch 2.",
        "tilt angles from TS.tlt",
        "order of acquisition from",
        "peak memory",
    ):
        assert text in log


def test_configuration_runs_again_to_the_same_tomogram(finished: Path, tmp_path: Path):
    again = tmp_path / "again"
    assert main(["run", "--config", str(finished / "config.toml"), "-o", str(again)]) == 0
    for name in VOLUMES:
        np.testing.assert_array_equal(data(again / f"{name}.mrc"), data(finished / f"{name}.mrc"))
    assert losses(again) == losses(finished)


def test_flags_win_over_the_file(finished: Path, tmp_path: Path):
    output = tmp_path / "other"
    config = ["--config", str(finished / "config.toml")]
    assert main(["run", *config, "-o", str(output), "--bin", "2", "--epochs", "1", "--held-out", "0"]) == 0
    assert data(output / "refined.mrc").shape == (16, 32, 32)
    assert read_mrc(output / "refined.mrc").voxel_size_A == pytest.approx(40)
    written = tomllib.loads((output / "config.toml").read_text())
    assert written["reconstruct"]["bin"] == 2 and written["reconstruct"]["thickness"] == 32


KILLED_AFTER_AN_EPOCH = """
import sys, time
import dewedge.learn.fit, dewedge.pipeline.fit
import dewedge
from dewedge.cli import main
dewedge.learn.fit.CHECKPOINT_INTERVAL_S = 0.0
write = dewedge.pipeline.fit.write_loss_table
def write_and_wait(path, rows):
    write(path, rows)
    if len(rows) == int(sys.argv[1]):
        print("waiting", flush=True)
        time.sleep(float(sys.argv[2]))
dewedge.pipeline.fit.write_loss_table = write_and_wait
sys.exit(main(sys.argv[3:]))
"""


def start_and_wait(arguments: list[str], epoch: int, seconds: float) -> subprocess.Popen[str]:
    """A run that waits at the end of an epoch, before the checkpoint of it."""
    command = [sys.executable, "-c", KILLED_AFTER_AN_EPOCH, str(epoch), str(seconds), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "waiting\n"
    return process


def test_resume_after_a_kill_equals_the_unbroken_run(
    finished: Path, series: Path, tmp_path: Path, tiny: list[str]
):
    output = tmp_path / "OUT"
    with start_and_wait(["run", str(series / "TS.mrc"), *tiny, "-o", str(output)], 2, 600) as process:
        process.kill()
    assert (output / "checkpoint.safetensors").exists() and not (output / "model.safetensors").exists()
    (output / ".refined.0123abcd.mrc").write_bytes(b"half a file")
    half0 = (output / "half0.mrc").stat().st_mtime_ns
    assert main(["run", "--resume", "-o", str(output)]) == 0
    assert (output / "half0.mrc").stat().st_mtime_ns == half0
    assert losses(output) == losses(finished)
    np.testing.assert_array_equal(data(output / "refined.mrc"), data(finished / "refined.mrc"))
    assert {path.name for path in output.iterdir()} == FILES


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_leaves_a_checkpoint_and_says_how_to_resume(
    series: Path, tmp_path: Path, number: signal.Signals, tiny: list[str]
):
    output = tmp_path / "OUT"
    with start_and_wait(["run", str(series / "TS.mrc"), *tiny, "-o", str(output)], 1, 2) as process:
        process.send_signal(number)
        assert process.stderr is not None
        message = process.stderr.read()
    assert process.returncode == 128 + number
    assert "Traceback" not in message
    assert message.splitlines()[-1].endswith(f"continue with: dewedge run --resume -o {output}")
    with safe_open(output / "checkpoint.safetensors", framework="np") as file:
        state = json.loads(file.metadata()["json"])["state"]
    assert state["step"] == 21 and len(state["rows"]) == 1 and len(state["losses"]) == 1


def test_a_figure_that_fails_is_a_warning_and_resume_says_where_it_goes_on(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    output = tmp_path / "OUT"
    shutil.copytree(finished, output)
    for name in ("model.safetensors", "refined.mrc", "slices.png", "loss.png"):
        (output / name).unlink()

    def fail(*_: object) -> None:
        raise RuntimeError("latex was not found")

    monkeypatch.setattr("dewedge.pipeline.fit.loss_figure", fail)
    monkeypatch.setattr("dewedge.pipeline.stages.slices_figure", fail)
    assert main(["run", "--resume", "-o", str(output)]) == 0
    np.testing.assert_array_equal(data(output / "refined.mrc"), data(finished / "refined.mrc"))
    log = (output / "dewedge.log").read_text()
    assert "WARNING" in log and "loss.png: not made: RuntimeError: latex was not found" in log
    assert "the fit goes on after step 40, in epoch 3, 100 % done" in log
    assert not (output / "loss.png").exists()


def test_resume_of_a_finished_run_changes_no_result(finished: Path, tmp_path: Path):
    output = tmp_path / "OUT"
    shutil.copytree(finished, output)
    before = {path.name: path.stat().st_mtime_ns for path in output.iterdir()}
    assert main(["run", "--resume", "-o", str(output)]) == 0
    for name in ("half0.mrc", "planes.json", "full.mrc", "model.safetensors", "refined.mrc"):
        assert (output / name).stat().st_mtime_ns == before[name]


def test_resume_with_more_epochs_fits_on_and_refines_again(finished: Path, tmp_path: Path):
    output = tmp_path / "OUT"
    shutil.copytree(finished, output)
    assert main(["run", "--resume", "-o", str(output), "--epochs", "3"]) == 0
    assert len(losses(output)) == 3 and losses(output)[:2] == losses(finished)
    assert (output / "refined.mrc").stat().st_mtime_ns >= (output / "model.safetensors").stat().st_mtime_ns


def test_a_finished_fit_under_other_limits_is_taken_by_the_next_run(finished: Path, tmp_path: Path):
    output = tmp_path / "OUT"
    shutil.copytree(finished, output)
    assert main(["run", "--resume", "-o", str(output), "--patience", "30"]) == 0
    assert losses(output) == losses(finished)
    before = (output / "model.safetensors").stat().st_mtime_ns
    (output / "checkpoint.safetensors").unlink()
    assert main(["run", "--resume", "-o", str(output)]) == 0  # nothing is fitted, or it would begin anew
    assert (output / "model.safetensors").stat().st_mtime_ns == before


def test_overwrite_replaces_a_run(finished: Path, series: Path, tmp_path: Path, tiny: list[str]):
    output = tmp_path / "OUT"
    shutil.copytree(finished, output)
    (output / "mask.mrc").write_bytes(b"of the old run")
    stack = str(series / "TS.mrc")
    assert main(["run", stack, *tiny, "-o", str(output), "--overwrite", "--seed", "7"]) == 0
    assert not (output / "mask.mrc").exists()
    assert losses(output) != losses(finished)


def test_ready_made_halves(finished: Path, tmp_path: Path, tiny_fit: list[str]):
    halves = ["--half0", str(finished / "half0.mrc"), "--half1", str(finished / "half1.mrc")]
    output = tmp_path / "OUT"
    assert main(["run", *halves, "--tilt-range", "-60", "60", "-o", str(output), *tiny_fit]) == 0
    half0, half1, full = (data(output / f"{name}.mrc") for name in VOLUMES[:3])
    np.testing.assert_array_equal(half0, data(finished / "half0.mrc"))
    np.testing.assert_allclose(full, (half0.astype(np.float64) + half1) / 2, rtol=1e-6, atol=1e-7)
    assert read_mrc(output / "refined.mrc").voxel_size_A == pytest.approx(20)


def test_a_tilt_about_x_is_that_of_all_that_a_run_leaves(finished: Path, tmp_path: Path, tiny_fit: list[str]):
    halves = ["--half0", str(finished / "half0.mrc"), "--half1", str(finished / "half1.mrc")]
    output = tmp_path / "OUT"
    given = ["--tilt-range", "-60", "60", "--x-tilt", "9"]
    assert main(["run", *halves, *given, "-o", str(output), *tiny_fit]) == 0
    assert load_model(output / "model.safetensors").tilt_range == (-60, 60, 9)
    assert "turned by 9 about x" in (output / "report.html").read_text()
    assert main(["trust", str(output), "--device", "cpu", "--quick"]) == 0
    added = data(output / "refined_added.mrc").astype(np.float64)
    power = np.abs(np.fft.rfftn(added - added.mean())) ** 2
    shares = [
        (power * (1 - wedge_mask(added.shape, TiltRange(-60, 60, x_tilt)).numpy())).sum() / power.sum()
        for x_tilt in (9, -9)
    ]
    assert shares[0] > 0.95 and shares[1] < shares[0] - 0.05, shares
    model, full = str(output / "model.safetensors"), str(output / "full.mrc")
    results = []
    for flags in ([], ["--x-tilt", "9"], ["--tilt-range", "-60", "60"], ["--x-tilt", "0"]):
        path = tmp_path / f"{len(results)}.mrc"
        assert main(["refine", model, full, *flags, "-o", str(path), "--device", "cpu"]) == 0
        results.append(data(path))
    for same in results[1:3]:
        np.testing.assert_array_equal(results[0], same)
    assert not np.array_equal(results[0], results[3])


def test_frames_use_every_tilt_in_both_halves(series: Path, tmp_path: Path, tiny: list[str]):
    output = tmp_path / "OUT"
    frames = ["--even", str(series / "TS_even.mrc"), "--odd", str(series / "TS_odd.mrc")]
    sidecars = ["--angles", str(series / "TS.tlt")]
    assert main(["run", "--split", "frames", *frames, *sidecars, *tiny, "-o", str(output)]) == 0
    half0, half1, full = (data(output / f"{name}.mrc") for name in VOLUMES[:3])
    np.testing.assert_allclose(full, (half0 + half1) / 2, atol=1e-4 * full.std())


def test_several_series_share_one_model_and_get_a_folder_each(series: Path, tmp_path: Path, tiny: list[str]):
    for name in ("A", "B"):
        stack = np.asarray(read_mrc(series / "TS.mrc", stack=True).data)[:, :, : 64 if name == "A" else 48]
        write_mrc(tmp_path / f"{name}.mrc", stack, 20.0, stack=True)
        shutil.copy(series / "TS.tlt", tmp_path / f"{name}.tlt")
    output = tmp_path / "OUT"
    stacks = [str(tmp_path / "A.mrc"), str(tmp_path / "B.mrc")]
    assert main(["run", *stacks, *tiny, "--mask", "auto", "-o", str(output)]) == 0
    assert data(output / "A" / "refined.mrc").shape == (32, 64, 64)
    assert data(output / "B" / "refined.mrc").shape == (32, 64, 48)
    joint = {
        "model.safetensors",
        "checkpoint.safetensors",
        "loss.csv",
        "loss.png",
        "config.toml",
        "inputs.json",
        "dewedge.log",
    }
    assert {path.name for path in output.iterdir() if path.is_file()} == joint | {"report.html"}
    assert {path.name for path in (output / "A").iterdir()} == FILES - joint | {"mask.mrc"}
    assert "2 of 2 tomograms are finished" in (output / "report.html").read_text()
    assert set(np.unique(data(output / "B" / "mask.mrc"))) == {0, 1}


def test_a_run_interrupted_at_the_figure_of_the_loss_has_it_when_it_is_done(
    series: Path, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    output = tmp_path / "OUT"

    def interrupted(path, make):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dewedge.pipeline.fit.write_figure", interrupted)
        assert main(["run", str(series / "TS.mrc"), *tiny, "-o", str(output)]) == 130
    assert not (output / "loss.png").exists()
    assert main(["run", "--resume", "-o", str(output)]) == 0
    assert (output / "loss.png").exists() and (output / "refined.mrc").exists()
