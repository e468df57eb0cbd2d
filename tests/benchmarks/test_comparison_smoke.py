"""The comparison at its smallest, as its users start it: rows, no row twice, any row again, pages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jobs import job
from specimens import load, series_name

from dewedge.inputs.read import read_one_series
from dewedge.io.mrc import read_mrc
from dewedge.pipeline.reconstruct import reconstruct_halves
from dewedge.runtime.folder import ResultFolder
from dewedge.settings.sections import Config
from dewedge.simulate.realistic_files import simulate_realistic

ROOT = Path(__file__).parents[2]
METHODS = ("fbp", "tv", "cryocare", "isonet", "deepdewedge", "dewedge")
REALISTIC_METHODS = ("fbp", "oracle")


def comparison(
    verb: str, folder: Path, *words: str, file: str = "rows.json"
) -> subprocess.CompletedProcess[str]:
    program = ROOT / "benchmarks" / "comparison"
    files = ["--size", "smoke", "--json", str(folder / file), "--data", str(folder / "data")]
    return subprocess.run(
        [sys.executable, str(program), verb, *files, *words],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )


def run(folder: Path, *words: str) -> str:
    methods = [word for method in METHODS for word in ("--method", method)]
    one_of_each = ("--jobs", "1", "--seed", "1", "--snr", "1/4", "--change", "", *methods)
    return comparison("run", folder, "figure5", *one_of_each, *words).stderr.splitlines()[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("comparison")
    assert run(folder) == "6 rows, 6 to compute"
    return folder


@pytest.fixture(scope="module")
def realistic_rows(folder: Path) -> dict[str, dict[str, Any]]:
    """Rows of a realistic cell, in a file of their own, by their methods."""
    methods = [word for method in REALISTIC_METHODS for word in ("--method", method)]
    words = ("--jobs", "1", "--seed", "1", "--specimen", "cell, axis refined", "--change", "", *methods)
    done = comparison("run", folder, "realistic", *words, file="comparison_realistic.json")
    assert done.stderr.splitlines()[0] == "2 rows, 2 to compute"
    rows = json.loads((folder / "comparison_realistic.json").read_text())["rows"]
    return {row["method"]: row for row in rows}


def test_a_realistic_specimen_is_scored_by_shells_and_round_objects(
    realistic_rows: dict[str, dict[str, Any]],
) -> None:
    assert tuple(realistic_rows) == REALISTIC_METHODS
    for row in realistic_rows.values():
        # In 40 sections the lowest shell has no frequency off the tilt axis.
        assert row["shells_outside"][0] is None and min(row["shells_outside"][1:]) > 0.5
        assert row["shells_inside"][0] is None and len(row["shells_inside"]) == 4
        assert row["specimen"] == "cell, axis refined" and row["snr"] == 0
    fbp, oracle = (realistic_rows[method] for method in REALISTIC_METHODS)
    # Truth and tomogram lie on each other, up to what the data hold, and the wedge makes objects long.
    assert min(fbp["shells_outside"][1:]) > 0.85
    assert fbp["z_to_x"] > 1.2
    assert (fbp["samples"], oracle["samples"]) == (0, 16)


@pytest.mark.parametrize("kind", ["cell", "lamella"])
def test_realistic_data_are_those_of_a_run(tmp_path: Path, kind: str) -> None:
    """Half-sets and full tomogram as `dewedge run` writes them, by all of its defaults."""
    one = job("smoke", "fbp", specimen=kind, snr=0.0)
    data = load(one, 1, tmp_path, tmp_path)
    settings = {
        "paths": [tmp_path / f"{series_name(one, 1)}.mrc"],
        "reconstruct": {"thickness": data.thickness},
        "fit": {"seed": 1},
        "compute": {"device": "cpu"},
    }
    folder = ResultFolder(tmp_path / "run")
    folder.path.mkdir()
    config = Config.model_validate(settings)
    reconstruct_halves(read_one_series(config), folder, config, torch.device("cpu"))
    for path, volume in zip((*folder.halves, folder.full), (data.half0, data.half1, data.full), strict=True):
        np.testing.assert_array_equal(read_mrc(path).data, volume)
    gold = data.gold
    assert gold is not None and gold.any() == (kind == "cell")
    # Gold is 12.6 times as dense as protein, and none is left.
    whole_truth = read_mrc(tmp_path / f"{series_name(one, 1)}_truth.mrc").data
    assert (whole_truth.min() < -5) == (kind == "cell") and whole_truth[~gold].min() > -4
    assert not gold.any() or np.ptp(data.truth[gold]) == 0
    difference = data.truth - data.truth.mean()
    assert np.vdot(difference, data.full) == pytest.approx(np.vdot(difference, difference), rel=1e-3)


def test_a_series_without_truth_is_judged_by_the_tilts_kept_back(folder: Path) -> None:
    series = folder / "series"
    simulate_realistic(
        series, "cell", shape_zyx=(40, 64, 64), voxel_size_A=20.0, tilt_deg=tuple(range(-60, 61, 3)), seed=3
    )
    for path in series.iterdir():
        if path.name not in ("cell.mrc", "cell.tlt", "cell.xf"):
            path.unlink()
    words = ("--jobs", "1", "--seed", "1", "--specimen", "10499 outer", "--change", "", "--real", str(series))
    methods = ("--method", "fbp", "--method", "cryocare", "--method", "dewedge")
    done = comparison("run", folder, "withheld", *words, *methods, file="withheld.json")
    assert done.stderr.splitlines()[0] == "3 rows, 3 to compute"
    rows = {row["method"]: row for row in json.loads((folder / "withheld.json").read_text())["rows"]}
    for row in rows.values():
        # In so thin a specimen the lowest shells lie within what all tilts measured.
        told = [value for value in row["explained"] if value is not None]
        assert len(row["explained"]) == len(row["correlation"]) == 4 and told
        assert max(told) <= 1 and "cc" not in row
    assert rows["cryocare"]["selected_by_truth"] and not rows["dewedge"]["selected_by_truth"]
    assert rows["fbp"]["samples"] == 0 < rows["dewedge"]["samples"]


def test_rows_are_complete(folder: Path) -> None:
    rows = {row["method"]: row for row in json.loads((folder / "rows.json").read_text())["rows"]}
    assert tuple(rows) == METHODS
    for method, row in rows.items():
        assert all(-1 < row[score] < 1 for score in ("cc", "cc_outside", "cc_inside"))
        assert row["snr"] == 0.25 and row["seed"] == 1 and row["commit"]
        fitted = method not in ("fbp", "tv")
        assert (row["samples"] > 0) == fitted
        assert (row["seconds"] > 0) == (fitted or method == "tv")
        assert row["selected_by_truth"] == (method in ("cryocare", "isonet"))
    assert rows["tv"]["cc"] > rows["fbp"]["cc"]
    volumes = [
        path.name.partition("_0.250_1_")[0] for path in (folder / "data" / "volumes").glob("*_0.250_*")
    ]
    assert sorted(volumes) == sorted(f"smoke_{method}" for method in METHODS)


def test_a_second_run_computes_nothing(folder: Path) -> None:
    before = (folder / "rows.json").read_bytes()
    assert run(folder) == run(folder, "--since", "HEAD") == "6 rows, 0 to compute"
    assert (folder / "rows.json").read_bytes() == before


def test_a_row_is_computed_again(folder: Path) -> None:
    rows = json.loads((folder / "rows.json").read_text())["rows"]
    (number,) = (i for i, row in enumerate(rows) if row["method"] == "fbp")
    if rows[number]["commit"].endswith("-dirty"):
        with pytest.raises(subprocess.CalledProcessError):
            comparison("again", folder, str(number))
        return
    both = json.loads(comparison("again", folder, str(number)).stdout)
    assert both["then"] == rows[number]
    assert both["now"]["cc"] == pytest.approx(both["then"]["cc"], abs=1e-4)


@pytest.mark.usefixtures("realistic_rows")
def test_the_pages_are_made_from_the_rows(folder: Path) -> None:
    docs = folder / "docs"
    docs.mkdir()
    for page in ("comparison.md", "ablation.md"):
        (docs / page).write_text((ROOT / "docs" / "notebook" / page).read_text())
    comparison("report", folder, "--docs", str(docs))
    text = (docs / "comparison.md").read_text()
    assert all(f"\n| {method}" in text for method in METHODS)
    realistic = text.partition("<!-- table realistic -->")[2].partition("<!-- end -->")[0]
    assert (
        realistic.count("\n| fbp") == realistic.count("\n| *oracle*") == 2
        and "cell, axis refined:" in realistic
    )
    for figure in ("comparison_snr", "comparison_methods", "comparison_slices", "comparison_realistic"):
        assert f"(images/{figure}.png)" in text
        assert (docs / "images" / f"{figure}.png").read_bytes().startswith(b"\x89PNG")
