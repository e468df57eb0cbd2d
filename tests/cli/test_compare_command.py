"""`dewedge compare`: every method on one tiny series, the page, resuming, and what cannot be used."""

from __future__ import annotations

import json
import math
import re
import shutil
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from dewedge.cli import main
from dewedge.io.mrc import read_mrc
from dewedge.settings.recipes import RECIPES, read_recipe

VOID = {"meta", "img", "br"}
NETWORKS = [name for name in RECIPES if read_recipe(name).network]
FLAGS = ["--channels", "2", "--cube-size", "16", "--epochs", "2", "--epoch-samples", "8", "--batch-size", "4"]
FLAGS += ["--validation-crops", "2", "--average-rotations", "1", "--precision", "32-true", "--device", "cpu"]


class Page(HTMLParser):
    """Rows of all tables, sources of images, and whether every element is closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.images: list[str] = []
        self.links: list[str] = []
        self.feed(path.read_text("utf-8"))
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "srcset", "action")]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "img":
            self.images.append(values["src"] or "")
        assert tag not in ("script", "link", "iframe")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def tiny_series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A series of 13 images of 48 x 48, whose name has to be escaped in HTML."""
    folder = tmp_path_factory.mktemp("tiny")
    size = ["--shape", "16", "48", "48", "--voxel-size", "20", "--tilt-step", "10", "--snr", "2"]
    specimen = ["--particles", "6", "--membranes", "0", "--gold", "1"]
    assert main(["simulate", "-o", str(folder), "--name", "TS", *size, *specimen]) == 0
    for ending in (".mrc", ".tlt"):
        (folder / f"TS{ending}").rename(folder / f"A&B{ending}")
    return folder / "A&B.mrc"


@pytest.fixture(scope="module")
def compared(tiny_series: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of a comparison of all methods; not to be changed."""
    output = tmp_path_factory.mktemp("compared") / "OUT"
    given = [str(tiny_series), "--thickness", "16", "--methods", ",".join(RECIPES), "--tv-weight", "0.5"]
    assert main(["compare", *given, *FLAGS, "-o", str(output)]) == 0
    return output


def refined(output: Path, name: str) -> Path:
    """The tomogram of a method."""
    recipe = read_recipe(name)
    folder = output / name if len(recipe.stages) == 1 else output / name / recipe.stages[-1]
    return folder / ("refined.mrc" if recipe.network else "full.mrc")


def test_every_method_leaves_a_tomogram_and_networks_a_model(compared: Path):
    for name in RECIPES:
        mrc = read_mrc(refined(compared, name))
        assert mrc.data.shape == (16, 48, 48) and mrc.voxel_size_A == pytest.approx(20), name
        assert np.isfinite(mrc.data).all() and mrc.data.std() > 0
        if name in NETWORKS:
            folder = refined(compared, name).parent
            assert (folder / "model.safetensors").exists() and (folder / "loss.png").exists()
            assert len((folder / "loss.csv").read_text().splitlines()) > 1
    volumes = {name: np.asarray(read_mrc(refined(compared, name)).data) for name in RECIPES}
    assert len({volume.tobytes() for volume in volumes.values()}) == len(RECIPES)


def test_the_page_has_a_row_of_numbers_for_every_method(compared: Path):
    page = Page(compared / "compare.html")
    head, *rows = page.rows[: len(RECIPES) + 1]
    assert "FSC" in head[-1]
    assert [row[0] for row in rows] == [read_recipe(name).title for name in RECIPES]
    for name, row in zip(RECIPES, rows, strict=True):
        assert len(row) == 8
        for cell in row[-3:]:
            float(cell.removesuffix("*").removeprefix("≤ "))
        assert (row[3] == "-") == (name not in NETWORKS)
    assert [row[3] for row in rows[3:]] == ["16"] * 5
    assert "full tomogram" in rows[RECIPES.index("isonet")][2]
    assert "SIRT (5 iterations)" in rows[RECIPES.index("sirt")][1]


def test_the_page_needs_nothing_else_and_trusts_no_name(compared: Path):
    page = Page(compared / "compare.html")
    assert len(page.images) == 3
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    text = re.sub('base64,[^"]*', "", (compared / "compare.html").read_text("utf-8"))
    assert "http" not in text and "url(" not in text and "@import" not in text
    assert "A&amp;B" in text and "A&B" not in text
    assert "$" not in text


def test_settings_that_differ_are_shown(compared: Path):
    rows = {row[0]: row[1:] for row in Page(compared / "compare.html").rows if row}
    assert rows["objective"] == ["noise2noise", "isonet", "noise2noise", "isonet", "dewedge", "dewedge"]
    assert "channels" not in rows and "cube_size" not in rows


def test_the_page_says_what_is_not_as_published_and_whether_fits_converged(compared: Path):
    rows = {row[0]: row[1] for row in Page(compared / "compare.html").rows[1 : len(RECIPES) + 1]}
    published = rows["DeepDeWedge"]
    assert "2 channels, cubes of 16, batch size 4, epoch samples 8, validation crops 2" in published
    assert "(published: 64 channels, cubes of 96, batch size 5, epoch samples 150" in published
    assert "(default: 16 channels, cubes of 48" in rows["dewedge"]
    # Two epochs tell nothing, nor do 200 of a fit that holds nothing out.
    assert "convergence not told by 2 epochs" in rows["dewedge"]
    assert "isonet: convergence not told: nothing was held out" in rows["cryoCARE + IsoNet"]
    figures = json.loads((compared / "compare.json").read_text())
    assert list(figures["methods"][-1]["convergence"]) == ["dewedge"]


def test_cubes_of_recipes_are_smaller_where_the_tomogram_is_thin(
    tiny_series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """With a note, as those of a run; cubes that are asked for are not."""
    flags = [flag for flag in FLAGS if flag not in ("--cube-size", "16")]
    given = ["compare", str(tiny_series), "--thickness", "24", "--methods", "isonet,dewedge", *flags]
    assert main([*given, "--cube-size", "96", "-o", str(tmp_path / "OUT")]) == 2
    assert "cubes of 96 voxels do not fit" in capsys.readouterr().err
    assert main([*given, "-o", str(tmp_path / "OUT")]) == 0
    notes = (
        "isonet: cubes of 24 voxels are taken, not of 96",
        "dewedge: cubes of 16 voxels are taken, not of 48",
    )
    page = (tmp_path / "OUT" / "compare.html").read_text("utf-8")
    for note in notes:
        assert note in (tmp_path / "OUT" / "dewedge.log").read_text() and note in page
    assert "cubes of 24, batch size 4" in page and "cubes of 16, epoch samples 8" in page
    before = times(tmp_path / "OUT")
    assert main(["compare", "--resume", "-o", str(tmp_path / "OUT")]) == 0
    assert times(tmp_path / "OUT") == before


def test_figures_as_json(compared: Path):
    figures = json.loads((compared / "compare.json").read_text())
    assert [method["name"] for method in figures["methods"]] == list(RECIPES)
    shells = len(figures["frequency_per_A"])
    for method in figures["methods"]:
        assert 40 <= method["against_raw_A"] <= 16 * 20 and 40 <= method["half_sets_A"] <= 16 * 20
        assert -1 < method["cc_signal"] < 1.2
        assert len(method["against_raw_fsc"]) == len(method["half_sets_fsc"]) == shells
    fbp = figures["methods"][0]
    assert fbp["half_sets_fsc"] == pytest.approx(fbp["against_raw_fsc"], abs=1e-4)
    assert fbp["samples"] is None and figures["methods"][-1]["samples"] == 16


def test_stages_share_the_fit_and_follow_each_other(compared: Path):
    """Stage 2 fits to what stage 1 made of all data; each has half of the two epochs."""
    folder = compared / "cryocare+isonet"
    assert len((folder / "cryocare" / "loss.csv").read_text().splitlines()) == 1 + 1
    assert len((folder / "isonet" / "loss.csv").read_text().splitlines()) == 1 + 1
    half0, half1, whole = (
        read_mrc(folder / "cryocare" / f"{name}.mrc").data
        for name in ("refined_half0", "refined_half1", "refined")
    )
    # cryoCARE's result is the mean of what it makes of each half.
    np.testing.assert_allclose((half0 + half1) / 2, whole, atol=1e-4 * whole.std())


def times(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.suffix in (".mrc", ".safetensors")
    }


def test_resume_computes_what_is_missing_and_adds_methods(compared: Path, tmp_path: Path):
    output = tmp_path / "OUT"
    shutil.copytree(compared, output)
    killed = output / "dewedge"
    (killed / "refined_half1.mrc").unlink()
    (killed / ".refined_half0.0123abcd.mrc").write_bytes(b"half a file")
    (output / "compare.html").unlink()
    before = times(output)
    assert main(["compare", "--resume", "-o", str(output), "--methods", "tv,dewedge"]) == 0
    after = times(output)
    assert {name for name in after if after[name] != before.get(name)} == {"dewedge/refined_half1.mrc"}
    assert not list(killed.glob(".*"))
    rows = Page(output / "compare.html").rows
    assert [row[0] for row in rows[1:4]] == ["FBP", "TV", "dewedge"]
    np.testing.assert_array_equal(
        read_mrc(killed / "refined_half1.mrc").data,
        read_mrc(compared / "dewedge" / "refined_half1.mrc").data,
    )
    assert tomllib.loads((output / "compare.toml").read_text())["methods"] == ["fbp", "tv", "dewedge"]


def test_resume_with_more_epochs_fits_on_and_starts_a_second_stage_anew(compared: Path, tmp_path: Path):
    output = tmp_path / "OUT"
    shutil.copytree(compared, output)
    given = ["--methods", "cryocare+isonet", "--epochs", "4"]
    assert main(["compare", "--resume", "-o", str(output), *given]) == 0
    for stage in ("cryocare", "isonet"):
        folder = output / "cryocare+isonet" / stage
        assert len((folder / "loss.csv").read_text().splitlines()) == 1 + 2
        assert (folder / "refined.mrc").stat().st_mtime_ns > (folder / "model.safetensors").stat().st_mtime_ns


def test_ready_made_halves(compared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    halves = [f"--half{i}={compared / 'fbp' / f'half{i}.mrc'}" for i in (0, 1)]
    given = ["compare", *halves, "--tilt-range", "-60", "60", *FLAGS, "-o", str(tmp_path / "OUT")]
    assert main([*given, "--methods", "tv"]) == 2
    assert "tv: expected a tilt series, got half tomograms" in capsys.readouterr().err
    assert not (tmp_path / "OUT").exists()
    assert main([*given, "--methods", "dewedge"]) == 0
    figures = json.loads((tmp_path / "OUT" / "compare.json").read_text())
    theirs = json.loads((compared / "compare.json").read_text())
    assert figures["methods"][0]["detail"] == "here as given"
    assert figures["methods"][0]["cc_signal"] == pytest.approx(theirs["methods"][0]["cc_signal"], abs=1e-6)
    assert not math.isnan(figures["methods"][1]["cc_signal"])


def test_a_folder_that_holds_something_is_left_alone(
    compared: Path, tiny_series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    before, run, empty = times(compared), tmp_path / "run", tmp_path / "empty"
    for folder in (run, empty):
        folder.mkdir()
    (run / "config.toml").touch()
    stack = [str(tiny_series), "--thickness", "16", "--cube-size", "16"]
    for arguments, message in [
        ([*stack, "-o", str(compared)], "already holds a comparison or a run (compare.toml): give --resume"),
        ([*stack, "-o", str(run)], "already holds a comparison or a run (config.toml)"),
        (
            ["--resume", "-o", str(compared), "--channels", "3"],
            "fit.channels = 2, not 3; resume with the same",
        ),
        (["--resume", "-o", str(empty)], "nothing to resume: expected the compare.toml"),
        ([*stack, "-o", str(compared), "--resume", "--overwrite"], "expected --resume or --overwrite"),
        ([*stack], "no output folder"),
        ([*stack, "-o", str(empty), "--methods", "fbp,warp"], "recipe 'warp': expected one of fbp"),
        ([*stack, "-o", str(empty), "--methods", ""], "--methods: expected at least one"),
        ([*stack, "-o", str(empty), "--objective", "isonet"], "objective: every method of a comparison"),
        ([*stack, "-o", str(empty), "--init", "simulated"], "the one to be fitted 64; fit the same"),
        ([str(tiny_series), str(tiny_series), "-o", str(empty)], "A&B"),
    ]:
        assert main(["compare", *arguments]) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("dewedge: error: ") and message in error, error
    assert times(compared) == before
    assert list(empty.iterdir()) == []


def test_overwrite_replaces_a_comparison(compared: Path, tiny_series: Path, tmp_path: Path):
    output = tmp_path / "OUT"
    shutil.copytree(compared, output)
    (output / "notes.txt").write_text("the user's own")
    given = [str(tiny_series), "--thickness", "16", "--methods", "fbp", "--overwrite"]
    assert main(["compare", *given, "-o", str(output)]) == 0
    assert {path.name for path in output.rglob("*.mrc")} == {"half0.mrc", "half1.mrc", "full.mrc"}
    assert not list(output.rglob("*.safetensors"))
    assert (output / "notes.txt").exists()
    assert "One network at most" in (output / "compare.html").read_text()
