"""The verbs beside `run`, and the help."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import dewedge
from dewedge.cli import main
from dewedge.cli.app import VERBS
from dewedge.io.angles import read_tilt_angles
from dewedge.io.mrc import read_mrc, write_mrc
from dewedge.io.tilt_series import read_tilt_series
from dewedge.scores import correlation


def data(path: Path) -> np.ndarray:
    return np.asarray(read_mrc(path).data)


HELP_WITHOUT_HEAVY_IMPORTS = """
import inspect, sys
from dewedge.cli import main
def no_source(*_): raise AssertionError("the source of a section is read, slowly")
inspect.getsource = no_source
def imported(*names): return {*names} & set(sys.modules)
heavy = "torch", "pandas", "matplotlib", "lightning_fabric", "scipy", "numpy", "mrcfile", "zarr", "asyncio"
of_work = "logging", "dewedge.runtime.log", "dewedge.runtime.folder", "dewedge.settings.file", "tomllib"
of_work += ("importlib.metadata",)  # of pydantic where it makes a validator
assert main(["--help"]) == 0
assert not imported(*heavy, *of_work, "pydantic"), imported(*heavy, *of_work, "pydantic")
import cyclopts
made, make = [], cyclopts.App.assemble_argument_collection
cyclopts.App.assemble_argument_collection = lambda *given, **named: (made.append(1), make(*given, **named))[1]
settings = ["run", "check", "reconstruct", "split", "fit", "refine", "compare", "validate", "trust"]
others = [verb for verb in sys.argv[1:] if verb not in settings]
for number, verb in enumerate([*others, *settings], 1):
    assert main([verb, "--help"]) == 0
    assert len(made) == number, f"the flags of {verb} are made more than once"
    assert not imported(*heavy, *of_work), (verb, imported(*heavy, *of_work))
    assert verb in settings or not imported("pydantic"), verb
for verb in sys.argv[1:]:
    assert main([verb, "--no-such-flag"]) == 2
assert not imported(*heavy), imported(*heavy)
"""


IMPORT_WITHOUT_TORCH = """
import sys
from dewedge.cli import main
assert main(["import", sys.argv[1], "--axis-angle", "0", "-o", sys.argv[2]]) == 0
heavy = {"torch", "scipy", "matplotlib", "lightning_fabric"} & set(sys.modules)
assert not heavy, heavy
"""


def test_reading_headers_does_not_import_torch(tmp_path: Path):
    for i in range(2):
        stack = tmp_path / f"series_{i}.mrc"
        write_mrc(stack, np.ones((5, 16, 20), np.float32), 10.0, stack=True)
        stack.with_suffix(".rawtlt").write_text("-20\n-10\n0\n10\n20\n")
    dataset = tmp_path / "dataset.star"
    command = [sys.executable, "-c", IMPORT_WITHOUT_TORCH, str(tmp_path), str(dataset)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "series_1" in dataset.read_text()


def test_help_lists_every_verb_and_imports_nothing_heavy():
    started = time.monotonic()
    command = [sys.executable, "-c", HELP_WITHOUT_HEAVY_IMPORTS, *VERBS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 60
    for verb in VERBS:
        assert f"Usage: dewedge {verb}" in done.stdout


def test_version(capsys: pytest.CaptureFixture[str]):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == dewedge.__version__


def test_help_shows_the_documentation_of_the_options(capsys: pytest.CaptureFixture[str]):
    assert main(["run", "--help"]) == 0
    words = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--cube-size INT Edge of the sub-tomograms in voxels" in words
    assert "--thickness INT Thickness of the tomogram in unbinned pixels, as in IMOD; else" in words
    assert "budget_s" not in words and "pixel_size_A" not in words


def test_reconstruct_equals_the_run(finished: Path, series: Path, tmp_path: Path):
    output = tmp_path / "TS_rec.mrc"
    given = [str(series / "TS.mrc"), "--thickness", "32", "--halves", "-o", str(output)]
    assert main(["reconstruct", *given]) == 0
    np.testing.assert_array_equal(data(output), data(finished / "full.mrc"))
    for i in (0, 1):
        half = data(tmp_path / f"TS_rec_half{i}.mrc")
        np.testing.assert_array_equal(half, data(finished / f"half{i}.mrc"))
    np.testing.assert_array_equal(data(tmp_path / "TS_rec_beads.mrc"), data(finished / "beads.mrc"))


def test_split_makes_series_of_their_own(series: Path, tmp_path: Path):
    assert main(["split", str(series / "TS.mrc"), "--output", str(tmp_path)]) == 0
    whole = data(series / "TS.mrc")
    angles = read_tilt_angles(series / "TS.tlt")
    order = read_tilt_series(series / "TS.mrc").geometry.acquisition_order
    assert order is not None
    for i in (0, 1):
        half = read_tilt_series(tmp_path / f"TS_half{i}.mrc")
        chosen = order % 2 == i
        np.testing.assert_allclose(half.geometry.tilt_deg, angles[chosen])
        np.testing.assert_array_equal(half.images, whole[chosen])
        assert half.geometry.pixel_size_A == pytest.approx(20)


def test_split_halves_of_raw_images_reconstruct_like_those_of_the_run(tmp_path: Path, tiny: list[str]):
    """Rotated and shifted images: both halves keep their alignment."""
    size = ["--shape", "32", "48", "48", "--voxel-size", "20", "--membranes", "0", "--gold", "2"]
    raw = ["--axis-angle", "20", "--jitter", "50", "--particles", "5"]
    assert main(["simulate", "-o", str(tmp_path), "--name", "raw", *size, *raw]) == 0
    assert (tmp_path / "raw.xf").exists()
    stack = str(tmp_path / "raw.mrc")
    assert main(["reconstruct", stack, "--thickness", "32", "--halves", "--gold", "keep"]) == 0
    assert main(["split", stack, "--output", str(tmp_path / "split")]) == 0
    for i in (0, 1):
        half = tmp_path / "split" / f"raw_half{i}.mrc"
        assert main(["reconstruct", str(half), "--thickness", "32"]) == 0
        expected = data(tmp_path / f"raw_rec_half{i}.mrc")
        result = data(tmp_path / "split" / f"raw_half{i}_rec.mrc")
        np.testing.assert_allclose(result, expected, atol=1e-3 * expected.std())


def test_fit_then_refine_equals_the_run(finished: Path, tmp_path: Path, tiny_fit: list[str]):
    halves = ["--half0", str(finished / "half0.mrc"), "--half1", str(finished / "half1.mrc")]
    output = tmp_path / "model"
    assert main(["fit", *halves, "--tilt-range", "-60", "60", *tiny_fit, "-o", str(output)]) == 0
    model = str(output / "model.safetensors")
    full = tmp_path / "TS.mrc"
    shutil.copy(finished / "full.mrc", full)
    beside = ["--beads", str(finished / "beads.mrc"), "--tv", str(finished / "tv.mrc")]
    assert main(["refine", model, str(full), *beside, "--precision", "32-true"]) == 0
    wrong = ["--tv", str(finished / "full.mrc"), "-o", str(tmp_path / "wrong.mrc")]
    assert main(["refine", model, str(full), *wrong]) == 2 and not (tmp_path / "wrong.mrc").exists()
    # A run measures the whole, a fit the average of the halves.
    of_run = data(finished / "refined.mrc")
    np.testing.assert_allclose(data(tmp_path / "TS_refined.mrc"), of_run, atol=1e-3 * of_run.std())
    both = tmp_path / "both.mrc"
    assert main(["refine", model, *halves, "-o", str(both)]) == 0
    without = of_run - data(finished / "beads.mrc")
    assert 0.8 < correlation(data(both), without) < 0.99999
    for path in (tmp_path / "TS_refined.mrc", both):
        assert read_mrc(path).voxel_size_A == pytest.approx(20)


def test_fit_is_resumed_without_other_flags(finished: Path, tmp_path: Path, tiny_fit: list[str]):
    halves = ["--half0", str(finished / "half0.mrc"), "--half1", str(finished / "half1.mrc")]
    output = tmp_path / "model"
    assert main(["fit", *halves, "--tilt-range", "-60", "60", *tiny_fit, "-o", str(output)]) == 0
    assert main(["fit", "--resume", "--epochs", "3", "-o", str(output)]) == 0
    assert len((output / "loss.csv").read_text().splitlines()) == 1 + 3


def test_evaluate_prints_a_table_and_writes_json(
    finished: Path, series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    scores = tmp_path / "scores.json"
    estimates = [str(series / "TS_truth.mrc"), str(finished / "full.mrc")]
    options = ["--truth", str(series / "TS_truth.mrc"), "--tilt-range", "-60", "60", "--json", str(scores)]
    particles = ["--particles", str(series / "TS_particles.star"), "--box", "12"]
    assert main(["evaluate", *estimates, *options, *particles]) == 0
    values = json.loads(scores.read_text())
    assert list(values) == estimates
    assert values[estimates[0]]["cc"] == pytest.approx(1)
    assert 0.1 < values[estimates[1]]["cc_inside"] < values[estimates[1]]["cc_outside"] < 1
    assert values[estimates[0]]["fsc_A"] < values[estimates[1]]["fsc_A"]
    printed = capsys.readouterr().out
    assert "CC inside wedge" in printed and f"{values[estimates[1]]['cc']:.3f}" in printed


def test_demo_ends_with_scores_and_a_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    import dewedge.pipeline.demo as demo

    monkeypatch.setattr(demo, "SHAPE_ZYX", (48, 112, 112))
    monkeypatch.setattr(demo, "BUDGET", "2s")
    output = tmp_path / "demo"
    assert main(["demo", "-o", str(output)]) == 0
    values = json.loads((output / "scores.json").read_text())
    assert list(values) == ["FBP", "FBP without noise (reference)", "refined"]
    assert values["FBP"]["cc"] < values["FBP without noise (reference)"]["cc"]
    assert (output / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert "refined" in capsys.readouterr().out
    assert main(["demo", "-o", str(output)]) == 2
