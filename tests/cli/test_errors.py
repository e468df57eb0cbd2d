"""Wrong input ends with one clear line and a non-zero status, and harms nothing that was written before."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dewedge.cli import main
from dewedge.io.mrc import read_mrc, write_mrc
from dewedge.runtime.log import log_to_file


def images(series: Path) -> np.ndarray:
    return np.array(read_mrc(series / "TS.mrc", stack=True).data)


def volume(name: str, folder: Path, shape: tuple[int, int, int] = (32, 64, 64)) -> str:
    path = folder / name
    values = np.random.default_rng(len(name) + shape[0]).normal(size=shape).astype(np.float32)
    write_mrc(path, values, 10.0)
    return str(path)


def stack(series: Path, folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> list[str]:
    """A changed copy of the stack, with the angles of the original."""
    write_mrc(folder / "bad.mrc", change(images(series)), 20.0, stack=True)
    return [str(folder / "bad.mrc"), "--angles", str(series / "TS.tlt")]


def with_value(value: float, index: tuple[object, ...]) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array[index] = value
        return array

    return change


def infinite(series: Path, folder: Path) -> list[str]:
    given = stack(series, folder, lambda array: array)
    with open(given[0], "r+b") as file:
        file.seek(1024 + 4 * (3 * 64 * 64 + 77))
        file.write(np.float32(np.inf).tobytes())
    return given


def no_angles(series: Path, folder: Path) -> list[str]:
    shutil.copy(series / "TS.mrc", folder / "alone.mrc")
    return [str(folder / "alone.mrc")]


def short_angles(series: Path, folder: Path) -> list[str]:
    lines = (series / "TS.tlt").read_text().splitlines()[:-1]
    (folder / "short.tlt").write_text("\n".join(lines))
    return [str(series / "TS.mrc"), "--angles", str(folder / "short.tlt")]


def truncated(series: Path, folder: Path) -> list[str]:
    (folder / "cut.mrc").write_bytes((series / "TS.mrc").read_bytes()[:-1000])
    return [str(folder / "cut.mrc"), "--angles", str(series / "TS.tlt")]


def not_mrc(series: Path, folder: Path) -> list[str]:
    (folder / "text.mrc").write_text("hello" * 1000)
    return [str(folder / "text.mrc"), "--angles", str(series / "TS.tlt")]


def halves(folder: Path, *more: str, shape: tuple[int, int, int] = (32, 64, 64)) -> list[str]:
    return ["--half0", volume("half_a.mrc", folder), "--half1", volume("half_bb.mrc", folder, shape), *more]


def same_halves(folder: Path) -> list[str]:
    half = volume("same.mrc", folder)
    return ["--half0", half, "--half1", half, "--tilt-range", "-60", "60"]


def nan_in_full(series: Path, folder: Path) -> list[str]:
    given = halves(folder, "--full", volume("full.mrc", folder), "--tilt-range", "-60", "60")
    with open(folder / "full.mrc", "r+b") as file:
        file.seek(1024 + 4 * 777)
        file.write(np.float32(np.nan).tobytes())
    return given


def mask(series: Path, folder: Path, shape: tuple[int, int, int], value: float) -> list[str]:
    write_mrc(folder / "mask.mrc", np.full(shape, value, dtype=np.float32), 20.0)
    return [str(series / "TS.mrc"), "--mask", str(folder / "mask.mrc")]


RANGE = ("--tilt-range", "-60", "60")
TS = "TS.mrc"
# What is given to `dewedge run` beside a tiny fit, and what the message says.
BAD_INPUT: dict[str, tuple[Callable[[Path, Path], list[str]], str]] = {
    "no stack": (lambda s, f: [str(f / "no.mrc")], "no.mrc: no such file"),
    "no input": (lambda s, f: [], "expected a tilt series, or --half0 and --half1"),
    "no angles": (no_angles, "no tilt angles"),
    "missing angle file": (lambda s, f: [str(s / TS), "--angles", str(f / "no.tlt")], "no.tlt: no such file"),
    "short angle file": (short_angles, "40 angles for 41 images"),
    "two angle files": (
        lambda s, f: [str(s / TS), *(["--angles", str(s / "TS.tlt")] * 2)],
        "--angles: expected one",
    ),
    "NaN": (lambda s, f: stack(s, f, with_value(np.nan, (3, 5, 5))), "image 4 (at -51 degrees) holds NaN"),
    "absurd": (lambda s, f: stack(s, f, with_value(3e38, (3, 5, 5))), "image 4 (at -51 degrees) holds 3e+38"),
    "NaN in the full tomogram": (nan_in_full, "full.mrc: holds NaN"),
    "infinite": (infinite, "image 4 (at -51 degrees) holds NaN"),
    "constant": (
        lambda s, f: stack(s, f, with_value(2.5, (40,))),
        "image 41 (at 60 degrees) is constant (2.5)",
    ),
    "too few tilts": (lambda s, f: stack(s, f, lambda a: a[:3]), "at least 5 tilt images, got 3"),
    "truncated": (truncated, "cut.mrc: truncated"),
    "not MRC": (not_mrc, "text.mrc: not an MRC file"),
    "half-sets of other shapes": (
        lambda s, f: halves(f, *RANGE, shape=(32, 64, 48)),
        "shape (32, 64, 48) (z, y, x)",
    ),
    "one half only": (
        lambda s, f: ["--half0", volume("a.mrc", f), *RANGE],
        "--half1: expected one file for each",
    ),
    "no tilt range": (lambda s, f: halves(f), "no tilt range known: expected --tilt-range"),
    "tilt range upside down": (
        lambda s, f: halves(f, "--tilt-range", "60", "-60"),
        "expected the lowest angle",
    ),
    "equal halves": (lambda s, f: same_halves(f), "both half-sets are the same"),
    "stack and halves": (lambda s, f: [str(s / TS), *halves(f, *RANGE)], "got both"),
    "cube too large": (
        lambda s, f: [str(s / TS), "--cube-size", "40"],
        "do not fit a tomogram of (32, 64, 64)",
    ),
    "cube too large when binned": (
        lambda s, f: [str(s / TS), "--bin", "4"],
        "do not fit a tomogram of (8, 16, 16)",
    ),
    "odd cube": (lambda s, f: [str(s / TS), "--cube-size", "17"], "expected a multiple of 8"),
    "unfair split": (
        lambda s, f: [str(s / TS), "--split", "random", "--fraction", "0.01"],
        "half-sets of 0 and 41",
    ),
    "mask of another shape": (lambda s, f: mask(s, f, (32, 64, 48), 1), "mask.mrc: shape (32, 64, 48)"),
    "empty mask": (lambda s, f: mask(s, f, (32, 64, 64), 0), "mask.mrc: expected values above 0.5"),
    "frames without stacks": (lambda s, f: ["--split", "frames"], "expected --even and --odd"),
    "unknown flag": (lambda s, f: [str(s / TS), "--epoch", "3"], "Unknown option"),
    "bad number": (lambda s, f: [str(s / TS), "--bin", "two"], "--bin: expected"),
    "bad choice": (
        lambda s, f: [str(s / TS), "--filter", "wiener"],
        "--filter: expected 'ramp', 'hamming', 'radial' or 'radial-cosine'",
    ),
    "bad budget": (lambda s, f: [str(s / TS), "--budget", "soon"], "--budget: duration 'soon': expected"),
    "odd tile": (lambda s, f: [str(s / TS), "--tile", "20"], "tile of 20 voxels: expected a multiple of 8"),
    "wide overlap": (lambda s, f: [str(s / TS), "--overlap", "128"], "overlap of 128 voxels"),
    "no epochs": (lambda s, f: [str(s / TS), "--epochs", "0"], "epochs is 0"),
    "no patience": (lambda s, f: [str(s / TS), "--patience", "0"], "patience is 0"),
    "negative seed": (lambda s, f: [str(s / TS), "--seed", "-1"], "seed is -1"),
    "binning of halves": (lambda s, f: halves(f, *RANGE, "--bin", "2"), "bin = 2: cannot be used with ready"),
    "tilt range of a stack": (lambda s, f: [str(s / TS), *RANGE], "cannot be used with tilt series"),
    "bad share": (lambda s, f: [str(s / TS), "--held-out", "3"], "held_out is 3"),
}


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line a failing command printed."""
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("dewedge: error: "), captured.err
    return lines[0]


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line_and_harms_nothing(
    case: str, series: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    make, expected = BAD_INPUT[case]
    output = tmp_path / "OUT"
    output.mkdir()
    earlier = {
        name: f"earlier {name}" for name in ("config.toml", "half0.mrc", "refined.mrc", "model.safetensors")
    }
    for name, text in earlier.items():
        (output / name).write_text(text)
    given = make(series, tmp_path)
    capsys.readouterr()
    # Flags given twice would be refused for that, and so would a thickness of ready-made half-sets.
    unwanted = [*given, *(["--thickness"] if "--half0" in given else [])]
    defaults = [flag for i in range(0, len(tiny), 2) if tiny[i] not in unwanted for flag in tiny[i : i + 2]]
    assert main(["run", *given, *defaults, "-o", str(output), "--overwrite"]) == 2
    assert expected in one_line(capsys)
    assert {path.name: path.read_text() for path in output.iterdir()} == earlier


def test_inputs_are_never_replaced(series: Path, tiny: list[str], tmp_path: Path, capsys):
    output = tmp_path / "OUT"
    output.mkdir()
    (output / "mask.mrc").write_bytes(Path(volume("m.mrc", tmp_path)).read_bytes())
    given = [str(series / TS), *tiny, "--mask", str(output / "mask.mrc")]
    stack = tmp_path / "raw.mrc"
    shutil.copy(series / TS, stack)
    angles = ["--angles", str(series / "TS.tlt")]
    capsys.readouterr()
    for arguments in (
        ["run", *given, "-o", str(output), "--overwrite"],
        ["reconstruct", str(stack), *angles, "--thickness", "32", "-o", str(stack), "--overwrite"],
    ):
        assert main(arguments) == 2
        assert "is an input that a result would replace" in one_line(capsys)
    assert (output / "mask.mrc").stat().st_size == (tmp_path / "m.mrc").stat().st_size
    assert stack.read_bytes() == (series / TS).read_bytes()


def test_missing_thickness(series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["run", str(series / "TS.mrc"), "-o", str(tmp_path / "OUT")]) == 2
    assert "expected --thickness in unbinned pixels" in one_line(capsys)
    assert not (tmp_path / "OUT").exists()


def test_missing_output(series: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(["run", str(series / "TS.mrc"), *tiny]) == 2
    assert "expected -o FOLDER" in one_line(capsys)


def test_a_finished_run_is_refused(
    finished: Path, series: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
):
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in finished.iterdir()}
    assert main(["run", str(series / "TS.mrc"), *tiny, "-o", str(finished)]) == 2
    assert "already holds a run" in one_line(capsys)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in finished.iterdir()} == before


def test_resume_with_other_options_is_refused(finished: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["run", "--resume", "-o", str(finished), "--thickness", "24"]) == 2
    assert "reconstruct.thickness = 32, not 24" in one_line(capsys)


def test_nothing_to_resume(series: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["run", str(series / "TS.mrc"), *tiny, "--resume", "-o", str(tmp_path)]) == 2
    assert "nothing to resume" in one_line(capsys)


def test_damaged_checkpoint(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    output = tmp_path / "OUT"
    shutil.copytree(finished, output)
    (output / "model.safetensors").unlink()
    (output / "checkpoint.safetensors").write_bytes(b"\x10" * 100)
    assert main(["run", "--resume", "-o", str(output)]) == 2
    assert "checkpoint.safetensors: damaged" in capsys.readouterr().err.splitlines()[-1]


def test_unknown_key_names_file_key_and_nearest_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "my.toml").write_text("[fit]\ncube_sise = 48\n")
    assert main(["run", "--config", str(tmp_path / "my.toml"), "-o", str(tmp_path / "OUT")]) == 2
    line = one_line(capsys)
    assert "my.toml: unknown key 'fit.cube_sise'" in line and "'fit.cube_size'" in line


@pytest.mark.parametrize(
    "text", ["[fit", "", "fit = 3", "[fit]\nbudget = 3", "[reconstruct]\nthickness = 'thick'"]
)
def test_bad_configuration_files(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "my.toml").write_text(text)
    assert main(["run", "--config", str(tmp_path / "my.toml"), "-o", str(tmp_path / "OUT")]) == 2
    assert text == "" or "my.toml" in one_line(capsys)


def test_output_below_a_file(
    series: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "file").write_text("")
    assert main(["run", str(series / "TS.mrc"), *tiny, "-o", str(tmp_path / "file" / "OUT")]) == 2
    assert "cannot be written: Not a directory" in one_line(capsys)


def test_no_cuda_device(series: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    output = tmp_path / "OUT"
    assert main(["run", str(series / "TS.mrc"), *tiny[:-2], "--device", "cuda", "-o", str(output)]) == 2
    assert "--device cuda: expected a CUDA GPU" in one_line(capsys)


def test_full_disk(series: Path, tiny: list[str], tmp_path: Path):
    """Files cannot grow beyond 300 kB, which the first volume (512 kB) needs."""
    output = tmp_path / "OUT"
    command = [sys.executable, "-m", "dewedge", "run", str(series / "TS.mrc"), *tiny, "-o", str(output)]
    limit = (300_000, 300_000)
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    error = done.stderr.splitlines()[-1]
    assert error.startswith(f"dewedge: error: {output}/") and ".mrc: cannot be written" in error
    assert {path.name for path in output.iterdir()} == {"config.toml", "inputs.json", "dewedge.log"}


def test_an_unexpected_fault_is_one_line_and_a_traceback_in_the_log(
    series: Path,
    tiny: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    import dewedge.pipeline.run

    def fault(*arguments: object) -> None:
        raise RuntimeError("a bug\nof two lines")

    monkeypatch.setattr(dewedge.pipeline.run, "make_halves", fault)
    output = tmp_path / "OUT"
    assert main(["run", str(series / "TS.mrc"), *tiny, "-o", str(output)]) == 1
    printed = capsys.readouterr().err
    log = output / "dewedge.log"
    assert printed.splitlines()[-1] == f"dewedge: error: unexpected RuntimeError: a bug; traceback in {log}"
    assert "Traceback" not in printed
    assert "Traceback" in log.read_text() and "of two lines" in log.read_text()


def fault_without_a_run_folder(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    import dewedge.pipeline.check

    def fault(*arguments: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(dewedge.pipeline.check, "check_files", fault)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))


def test_without_a_run_folder_the_traceback_has_a_file_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    fault_without_a_run_folder(monkeypatch, tmp_path)
    assert main(["check", "TS.mrc"]) == 1
    [log] = tmp_path.glob("dewedge-*.log")
    assert one_line(capsys) == f"dewedge: error: unexpected RuntimeError: a bug; traceback in {log}"
    assert "Traceback" in log.read_text() and log.stat().st_mode & 0o777 == 0o600


def test_without_any_folder_for_the_traceback_the_fault_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    fault_without_a_run_folder(monkeypatch, tmp_path / "none")
    assert main(["check", "TS.mrc"]) == 1
    assert one_line(capsys) == "dewedge: error: unexpected RuntimeError: a bug"


@pytest.mark.parametrize(
    "given", [{"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "5"}, {"OMP_WAIT_POLICY": "passive"}]
)
def test_how_threads_wait_is_the_users_to_tell(given: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    for name in names:
        monkeypatch.setenv(name, "")  # set first, so that what the code sets is undone, too
        monkeypatch.delenv(name)
    assert main(["--version"]) == 0
    assert [os.environ[name] for name in names] == ["passive", "10000"]
    for name in names:
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert main(["--version"]) == 0
    assert {name: os.environ[name] for name in names if name in os.environ} == given


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_run_whose_log_cannot_be_written_any_more_goes_on(
    series: Path,
    finished: Path,
    tiny: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    from dewedge.runtime import run_folder

    output = tmp_path / "OUT"
    monkeypatch.setattr(run_folder, "log_to_file", lambda path: log_to_file(Path("/dev/full")))
    assert main(["run", str(series / "TS.mrc"), *tiny, "-o", str(output)]) == 0
    printed = capsys.readouterr().err
    fault = "/dev/full: cannot be written any more: the run goes on without"
    assert printed.count(f"  {fault}") == printed.count(f"  again: {fault}") == 1
    assert (output / "refined.mrc").read_bytes()[1024:] == (finished / "refined.mrc").read_bytes()[1024:]


@pytest.mark.parametrize("verb", ["reconstruct", "split"])
def test_other_verbs_fail_alike(verb: str, series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([verb, *no_angles(series, tmp_path)]) == 2
    assert "no tilt angles" in one_line(capsys)


def test_refine_refuses_what_is_no_model(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    cases = {
        "full.mrc": "full.mrc: damaged",
        "no.safetensors": "no such file",
        "checkpoint.safetensors": "expected a 'dewedge model",
    }
    for name, expected in cases.items():
        result = tmp_path / "out.mrc"
        assert main(["refine", str(finished / name), str(finished / "full.mrc"), "-o", str(result)]) == 2
        assert expected in one_line(capsys)
        assert not result.exists()


def test_existing_results_are_not_replaced_unasked(
    finished: Path, series: Path, capsys: pytest.CaptureFixture[str]
):
    model, full, refined = (str(finished / name) for name in ("model.safetensors", "full.mrc", "refined.mrc"))
    assert main(["refine", model, full, "-o", refined]) == 2
    assert "refined.mrc: exists already" in one_line(capsys)
    assert main(["simulate", "-o", str(series), "--name", "TS"]) == 2
    assert "exists already" in one_line(capsys)


@pytest.mark.parametrize(
    ("verb", "recipe", "message"),
    [
        ("run", "foo", "recipe 'foo': expected one of fbp"),
        ("run", "cryocare+isonet", "dewedge compare --methods takes all"),
        ("fit", "fbp", "dewedge compare --methods takes all"),
        ("fit", "isonet", "use dewedge run --recipe isonet"),
    ],
)
def test_recipes_that_are_not_one_fit(verb, recipe, message, tmp_path: Path, capsys):
    given = [*halves(tmp_path), *RANGE, "-o", str(tmp_path / "OUT"), "--epochs", "1"]
    assert main([verb, *given, "--recipe", recipe]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "OUT").exists()
