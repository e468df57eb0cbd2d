"""`dewedge run --live`: a folder that fills while it is watched."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import dewedge.pipeline.watch.attempts as attempts
import dewedge.pipeline.watch.watch as watching
from dewedge.cli import main
from dewedge.errors import UnwritableError
from dewedge.io.mrc import read_mrc, write_mrc

TINY = (
    *("--cube-size", "16", "--channels", "2", "--epochs", "1", "--epoch-samples", "4", "--batch-size", "2"),
    *("--held-out", "0", "--update-interval", "none", "--average-rotations", "1", "--device", "cpu"),
    *("--tilt-range", "-60", "60", "--no-check"),
)
SOON = ("--settle", "0.3s", "--look-every", "0.1s")


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(16, 32, 32)).astype(np.float32)


def write_halves(folder: Path, name: str, seed: int, halves: tuple[str, ...] = ("EVN", "ODD")) -> None:
    specimen = 10 * gaussian_filter(noise(99), 1.5)
    for i, half in enumerate(halves):
        write_mrc(folder / f"{name}_{half}.mrc", specimen + noise(10 * seed + i), 20.0)


def command(folder: Path, output: Path, *more: str) -> list[str]:
    return ["run", "--live", str(folder), "-o", str(output), "--fit-first", "2", *TINY, *SOON, *more]


def status(output: Path, name: str) -> dict[str, object]:
    path = output / name / "status.json"
    return json.loads(path.read_text()) if path.exists() else {}


def until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


def is_done(output: Path, *names: str) -> Callable[[], bool]:
    return lambda: all(status(output, name).get("state") == "done" for name in names)


def status_rows(output: Path) -> list[str]:
    """Names of the tomograms on the status page."""
    page = output / "report.html"
    return re.findall(r'<th scope="row" data-value="([^"]*)"', page.read_text()) if page.exists() else []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "arriving"
    path.mkdir()
    return path


class Filling(threading.Thread):
    """Does something to the folder while the main thread watches it; what fails there fails the test."""

    def __init__(self, output: Path, work: Callable[[], None]) -> None:
        super().__init__()
        self.output, self.work, self.error = output, work, None

    def run(self) -> None:
        try:
            self.work()
        except BaseException as error:
            self.error = error
        self.output.mkdir(exist_ok=True)
        (self.output / "STOP").touch()

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *exception: object) -> None:
        self.join()
        if self.error is not None:
            raise self.error


def test_fits_the_first_applies_it_to_the_rest_and_refits_when_asked(folder: Path, tmp_path: Path):
    output = tmp_path / "OUT"

    def fill() -> None:
        write_halves(folder, "TS_1", 1)
        (folder / "TS_bad_EVN.mrc").write_bytes(b"no volume")
        (folder / "TS_bad_ODD.mrc").write_bytes(b"no volume")
        until(lambda: status(output, "TS_bad").get("state") == "failed")
        assert not (output / "fits").exists()
        # One half is being written when the other is there.
        write_halves(folder, "TS_2", 2, ("EVN",))
        until(lambda: "its other half" in (output / "report.html").read_text())
        write_halves(folder, "TS_2", 2)
        until(is_done(output, "TS_1", "TS_2"))
        write_halves(folder, "TS_10", 3)
        until(is_done(output, "TS_10"))
        write_halves(folder, "TS_bad", 4)
        until(is_done(output, "TS_bad"))
        (output / "REFIT").write_text("TS_10\nTS_bad\n")
        os.utime(output / "REFIT", (1, 1))
        until(lambda: (output / "fits" / "2" / "model.safetensors").exists())
        write_halves(folder, "TS_3", 5)
        until(is_done(output, "TS_3"))

    with Filling(output, fill):
        assert main(command(folder, output)) == 0
    networks = {name: status(output, name)["network"] for name in ("TS_1", "TS_2", "TS_10", "TS_bad", "TS_3")}
    assert networks == {"TS_1": 1, "TS_2": 1, "TS_10": 1, "TS_bad": 1, "TS_3": 2}
    assert json.loads((output / "fits" / "1" / "status.json").read_text()) == ["TS_1", "TS_2"]
    assert json.loads((output / "fits" / "2" / "status.json").read_text()) == ["TS_10", "TS_bad"]
    current = (output / "model.safetensors").read_bytes()
    assert current == (output / "fits" / "2" / "model.safetensors").read_bytes()
    assert not (output / "STOP").exists() and not (output / "REFIT").exists()
    page = (output / "report.html").read_text()
    assert "Ended. 5 tomograms are done." in page and "http-equiv" not in page
    assert page.count("data:image/jpeg") == 5 and "fits/2/report.html" in page
    for name in networks:
        refined = read_mrc(output / name / "refined.mrc")
        assert refined.data.std() > 0 and refined.voxel_size_A == 20
        assert (output / name / "report.html").exists()
    log = (output / "dewedge.log").read_text()
    assert log.count("left out: ") == 1


def test_tilt_series_arrive_file_by_file_and_a_truncated_one_is_told(
    series: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "OUT"
    stack, angles = series / "TS.mrc", series / "TS.tlt"

    def fill() -> None:
        shutil.copy(stack, folder / "TS_1.mrc")
        (folder / "TS_2.mrc").write_bytes(stack.read_bytes()[:50_000])
        shutil.copy(angles, folder / "TS_2.tlt")
        until(lambda: "TS_2" in status_rows(output) and "TS_1" in status_rows(output))
        assert not (output / "TS_1").exists()
        shutil.copy(angles, folder / "TS_1.tlt")
        until(lambda: status(output, "TS_1").get("state") == "reconstructed")

    of_series = command(folder, output, "--thickness", "16")
    at = of_series.index("--tilt-range")
    with Filling(output, fill):
        assert main([*of_series[:at], *of_series[at + 3 :]]) == 0
    assert read_mrc(output / "TS_1" / "refined.mrc").data.shape == (16, 64, 64)
    assert re.search(r"TS_2 has not arrived: .*truncated", capsys.readouterr().err.replace("\n", " "))


def test_a_table_of_relion_grows_while_it_is_watched(tmp_path: Path):
    output, project = tmp_path / "OUT", tmp_path / "project"
    project.mkdir()
    table = project / "tomograms.star"
    ends = ("Name", "TiltSeriesStarFile", "ReconstructedTomogramHalf1", "ReconstructedTomogramHalf2")
    head = "".join(f"_rlnTomo{end} #{i}\n" for i, end in enumerate(ends, 1))

    def row(name: str) -> None:
        write_halves(project, name, int(name[-1]), ("half1", "half2"))
        with table.open("a") as file:
            file.write(f"{name} None {name}_half1.mrc {name}_half2.mrc\n")

    def fill() -> None:
        for name in ("TS_2", "TS_3", "TS_4"):
            row(name)
            until(is_done(output, *(["TS_1", "TS_2"] if name == "TS_2" else [name])))

    table.write_text(f"\n# version 50001\n\ndata_global\n\nloop_\n{head}")
    row("TS_1")
    with Filling(output, fill):
        assert main(command(table, output)) == 0
    assert is_done(output, "TS_1", "TS_2", "TS_3", "TS_4")()
    log = (output / "dewedge.log").read_text()
    assert "its files have changed" not in log and log.count("arrived: ") == 4


def test_a_killed_watch_goes_on_and_does_nothing_twice(folder: Path, tmp_path: Path):
    output = tmp_path / "OUT"
    for i in (1, 2, 3):
        write_halves(folder, f"TS_{i}", i)
    process = subprocess.Popen([sys.executable, "-m", "dewedge", *command(folder, output)])
    try:
        until(is_done(output, "TS_1"))
    finally:
        process.kill()
        process.wait()
    files = [output / "fits" / "1" / "model.safetensors", output / "TS_1" / "refined.mrc"]
    kept = [path.stat().st_mtime_ns for path in files]
    write_halves(folder, "TS_4", 4)
    assert main(["run", "--resume", "-o", str(output), "--until-idle", "2s"]) == 0
    assert is_done(output, *(f"TS_{i}" for i in (1, 2, 3, 4)))()
    assert [path.stat().st_mtime_ns for path in files] == kept
    log = (output / "dewedge.log").read_text()
    assert all(len(re.findall(rf"done: TS_{i}, by", log)) == 1 for i in (1, 2, 3, 4))


def test_a_fault_of_ours_is_one_tomograms_and_a_full_disk_is_the_end(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    output, refine_all = tmp_path / "OUT", watching.refine_all

    def failing(tomograms, *rest):
        if tomograms[0].name == "TS_2":
            raise ZeroDivisionError("nobody foresaw this")
        if tomograms[0].name == "TS_4":
            raise UnwritableError("refined.mrc: cannot be written: No space left on device")
        refine_all(tomograms, *rest)

    monkeypatch.setattr(watching, "refine_all", failing)
    for i in (1, 2, 3):
        write_halves(folder, f"TS_{i}", i)
    assert main(command(folder, output, "--until-idle", "1s")) == 2
    assert "1 of 3 inputs could not be used: TS_2: unexpected ZeroDivisionError" in capsys.readouterr().err
    assert is_done(output, "TS_1", "TS_3")()
    page = (output / "report.html").read_text()
    assert "nobody foresaw this" in page and "1 failed" in page
    write_halves(folder, "TS_4", 4)
    write_halves(folder, "TS_5", 5)
    monkeypatch.setattr(attempts, "ATTEMPTS", 1)
    assert main(["run", "--resume", "-o", str(output)]) == 2
    assert "No space left" in capsys.readouterr().err
    assert status(output, "TS_5").get("state") != "done"


def test_a_signal_ends_it_with_its_status(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    output = tmp_path / "OUT"

    def end() -> None:
        until(lambda: (output / "report.html").exists())
        os.kill(os.getpid(), signal.SIGTERM)

    with Filling(output, end):
        assert main(command(folder, output)) == 128 + signal.SIGTERM
    assert f"continue with: dewedge run --resume -o {output}" in capsys.readouterr().err
    assert "Stopped. 0 tomograms are done" in (output / "report.html").read_text()
    shutil.rmtree(output)


@pytest.mark.parametrize(
    "more, message",
    [
        (["--fit-each"], "--fit-each: is for inputs that are there"),
        (["--to-warp"], "--to-warp: is for inputs that are there"),
        (["--devices", "2"], "--live: works with one process"),
        (["--fit-first", "0"], "fit-first"),
        (["--trust"], "--trust: of a finished run"),
        (["no/such/folder"], "no/such/folder: no such file or folder"),
    ],
)
def test_what_does_not_go_with_it_is_one_line(
    more: list[str], message: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(command(folder, tmp_path / "OUT", *more)) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("dewedge: error: ") and message in last
    assert not (tmp_path / "OUT").exists()


def test_its_output_lies_elsewhere_and_its_flags_need_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(command(folder, folder / "OUT")) == 2
    assert "which is watched: give an output folder elsewhere" in capsys.readouterr().err
    assert main(["run", str(folder), "-o", str(tmp_path / "OUT"), "--settle", "5s"]) == 2
    assert "of folders watched with --live" in capsys.readouterr().err
