"""The comparison at its smallest, as its users start it: rows, no row twice, any row again, pages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
METHODS = ("fbp", "tv", "cryocare", "isonet", "deepdewedge", "dewedge")


def comparison(verb: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = ROOT / "benchmarks" / "comparison"
    files = ["--size", "smoke", "--json", str(folder / "rows.json"), "--data", str(folder / "data")]
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
    volumes = [path.name.partition("_0.250_1_")[0] for path in (folder / "data" / "volumes").iterdir()]
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


def test_the_pages_are_made_from_the_rows(folder: Path) -> None:
    docs = folder / "docs"
    docs.mkdir()
    for page in ("comparison.md", "ablation.md"):
        (docs / page).write_text((ROOT / "docs" / page).read_text())
    comparison("report", folder, "--docs", str(docs))
    text = (docs / "comparison.md").read_text()
    assert all(f"\n| {method}" in text for method in METHODS)
    for figure in ("comparison_snr", "comparison_slices"):
        assert f"(images/{figure}.png)" in text
        assert (docs / "images" / f"{figure}.png").read_bytes().startswith(b"\x89PNG")
