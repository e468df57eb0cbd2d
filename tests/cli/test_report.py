"""`dewedge report`, and the pages that runs write while they go on and when they are done."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from dewedge.cli import main
from dewedge.geometry import TiltRange
from dewedge.io.mrc import read_mrc
from dewedge.learn.checkpoint import load_model
from dewedge.learn.network import UNet
from dewedge.learn.pairs import TomogramPair
from dewedge.learn.state import EpochRow, FitState
from dewedge.pipeline import live
from dewedge.runtime.folder import ResultFolder
from dewedge.settings.file import resolve_config


@pytest.fixture
def output(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "OUT"))


@pytest.fixture(scope="module")
def several(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two tomograms, put together from one of one."""
    folder = tmp_path_factory.mktemp("several") / "OUT"
    folder.mkdir()
    for name in ("config.toml", "model.safetensors", "loss.csv"):
        shutil.copy(finished / name, folder / name)
    for name in ("A", "B"):
        ignored = shutil.ignore_patterns("*.toml", "*.safetensors", "*.csv", "*.html")
        shutil.copytree(finished, folder / name, ignore=ignored)
    return folder


def test_every_run_ends_with_its_page(finished: Path):
    html = (finished / "report.html").read_text()
    assert 100_000 < len(html) < 10e6
    assert "32 x 64 x 64 voxels (z, y, x), 20 Å per voxel, tilts -60 to 60 degrees" in html
    assert "2 epochs, 80 sub-tomograms" in html and "FBP, gold painted over" in html
    assert "TS: reconstruct</th>" in html and "fit.epochs</th>" in html and "TS.mrc" in html
    assert "<meta http-equiv" not in html


def test_it_is_made_again(output: Path):
    (output / "report.html").unlink()
    assert main(["report", str(output)]) == 0
    assert "2 epochs, 80 sub-tomograms" in (output / "report.html").read_text()


def test_what_trust_and_evaluate_found_is_on_it(output: Path):
    assert main(["trust", str(output), "--quick", "--device", "cpu"]) == 0
    told = json.loads((output / "trust.json").read_text())
    html = (output / "report.html").read_text()
    assert told["verdict"]["sentence"] in html and 'href="trust.html"' in html
    assert "refined alone, held against" not in html
    assert main(["evaluate", str(output), "--device", "cpu"]) == 0
    told["withheld"] = {"told": ["Of what they hold & more, a fit would have predicted 62 % ± 5 %."]}
    (output / "trust.json").write_text(json.dumps(told))
    assert main(["report", str(output)]) == 0
    html = (output / "report.html").read_text()
    assert "refined alone, held against the other as measured, in the region held out of the fit" in html
    assert "Of what they hold &amp; more, a fit would have predicted 62 % ± 5 %." in html


def test_a_judgement_of_another_result_is_not_shown(output: Path):
    verdict = {"level": "good", "sentence": "Down to 1 Å.", "advice": ""}
    (output / "trust.json").write_text(json.dumps({"verdict": verdict}))
    os.utime(output / "trust.json", (0, 0))
    assert main(["report", str(output)]) == 0
    assert "Down to 1 Å" not in (output / "report.html").read_text()


def test_a_run_of_several_has_an_index(several: Path):
    assert main(["report", str(several)]) == 0
    index = (several / "report.html").read_text()
    assert "2 of 2 tomograms are finished" in index and 'href="B/report.html"' in index
    assert "<h1>B</h1>" in (several / "B" / "report.html").read_text()


def test_several_runs_have_one_where_it_is_wanted(finished: Path, several: Path, tmp_path: Path, capsys):
    one = shutil.copytree(finished, tmp_path / "one run")
    other = shutil.copytree(several, tmp_path / "two")
    (one / "refined.mrc").unlink()
    where = tmp_path / "sub" / "all.html"
    assert main(["report", str(one), str(other), "-o", str(where)]) == 0
    index = where.read_text()
    assert "2 of 3 tomograms are finished" in index and "not finished" in index
    assert 'href="../one%20run/report.html"' in index and 'href="../two/A/report.html"' in index
    assert "dewedge run --resume" in (one / "report.html").read_text()
    assert main(["report", str(one), str(other), "-o", str(where)]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda folder: (folder / "config.toml").unlink(), "no run"),
        (lambda folder: (folder / "full.mrc").unlink(), "no run"),
        (lambda folder: (folder / "loss.csv").write_text("epoch\nmany\n"), "loss.csv: damaged"),
        (
            lambda folder: (folder / "trust.json").write_text('{"verdict": {"level": 1}}'),
            "trust.json: damaged",
        ),
        (shutil.rmtree, "cannot be read"),
    ],
)
def test_what_cannot_be_told_of(output: Path, capsys, spoil: Callable[[Path], object], message: str):
    spoil(output)
    assert main(["report", str(output)]) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert message in line


def test_no_folder_and_one_index(finished: Path, capsys):
    assert main(["report"]) == 2
    assert main(["report", str(finished), "-o", "a.html"]) == 2
    assert "made of several runs" in capsys.readouterr().err


def fail(*arguments: object) -> None:
    raise RuntimeError("no page")


def test_a_page_that_cannot_be_made_ends_no_run(output: Path, monkeypatch, capsys):
    (output / "report.html").unlink()
    monkeypatch.setattr("dewedge.pipeline.report.page", fail)
    assert main(["run", "--resume", "-o", str(output)]) == 0
    assert "report.html: not made: RuntimeError: no page" in capsys.readouterr().err


class Watched(NamedTuple):
    """A run whose pages were kept, one after each epoch, and what was previewed on them."""

    output: Path
    pages: list[str]
    previews: list[tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def watched(series: Path, tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Watched:
    run = Watched(tmp_path_factory.mktemp("watched") / "OUT", [], [])
    refined = live.LivePage._refined

    def keep(path: Path, text: str) -> None:
        run.pages.append(text)

    def look(self: live.LivePage, network: torch.nn.Module) -> np.ndarray:
        result = refined(self, network)
        run.previews.append((self.block, result))
        assert network.training
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "write_text_atomic", keep)
        patch.setattr(live, "SOONEST_S", 0.0)
        patch.setattr(live, "SHARE", np.inf)
        patch.setattr(live.LivePage, "_refined", look)
        assert main(["run", str(series / "TS.mrc"), *tiny, "-o", str(run.output)]) == 0
    return run


def test_while_it_is_fitted_the_page_shows_how_far_it_is(watched: Watched):
    begun, first, second, refining = watched.pages
    assert "32 x 64 x 64 voxels" in begun
    assert "The fit begins." in begun and "refined, so far" not in begun
    assert "Epoch 1 of the fit is done, 50% of all" in first and "refined, so far" in first
    assert "Epoch 2 of the fit is done, 100% of all" in second
    assert "the tomogram is being refined" in refining
    assert all('http-equiv="refresh"' in page and "--resume" in page for page in watched.pages)
    assert "<meta http-equiv" not in (watched.output / "report.html").read_text()


def test_looking_changes_nothing(watched: Watched, finished: Path):
    looked, plain = (load_model(folder / "model.safetensors") for folder in (watched.output, finished))
    assert all(torch.equal(looked.weights[name], plain.weights[name]) for name in plain.weights)


def test_the_preview_has_the_scale_of_the_reconstruction(watched: Watched):
    block, result = watched.previews[-1]
    assert result.shape == block.shape == (32, 64, 64)
    assert np.corrcoef(block.ravel(), result.ravel())[0, 1] > 0.3
    assert 0.1 < result.std() / block.std() < 1.2


@pytest.fixture
def live_page(output: Path) -> live.LivePage:
    """The page of a finished run, as if it went on."""
    folder = ResultFolder(output)
    config = resolve_config(folder.config_file, {"output": output})
    half0, half1 = (read_mrc(path).data for path in folder.halves)
    pair = TomogramPair(half0, half1, TiltRange(-60, 60))
    fabric = Fabric(accelerator="cpu", devices=1)
    return live.LivePage(folder, pair, folder, config, fabric, [half0.shape] * 2)


def test_where_it_is_stopped_the_page_says_so(live_page: live.LivePage, output: Path):
    with pytest.raises(KeyboardInterrupt), live_page.going_on():
        raise KeyboardInterrupt
    html = (output / "report.html").read_text()
    assert "Stopped. Nothing is fitted yet." in html and "<meta http-equiv" not in html
    assert f"dewedge run --resume -o {output} goes on where it stopped" in html


def test_what_goes_wrong_with_it_is_a_warning(live_page: live.LivePage, monkeypatch, caplog):
    monkeypatch.setattr(live, "page", fail)
    with live_page.going_on():
        live_page.refining()
    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG"] * 2


def test_a_fit_is_not_looked_at_all_the_time(live_page: live.LivePage, output: Path, monkeypatch):
    network = UNet(live_page.config.fit.network())
    looks = []
    monkeypatch.setattr(live_page, "_refined", lambda network: looks.append(1) or live_page.block)
    state = FitState(rows=[EpochRow(1, 10, 40, 5.0, 1e-3, 1.0, None)])
    live_page.look(state, network, 0.1, 30.0)
    assert not looks  # it began a moment ago
    live_page.looked -= live.SOONEST_S
    for _ in range(3):
        live_page.look(state, network, 0.1, 30.0)
    assert len(looks) == 1
    assert "Epoch 1 of the fit is done, 10% of all, 30.0 s left." in (output / "report.html").read_text()
    live_page.looked -= live.SOONEST_S
    live_page.cost = 1.0
    live_page.look(state, network, 0.1, 30.0)
    assert len(looks) == 1  # a second of 15 is too much


def test_a_look_tells_how_long_the_refinement_will_take(live_page: live.LivePage, output: Path, monkeypatch):
    network = UNet(live_page.config.fit.network())
    state = FitState(rows=[EpochRow(1, 10, 40, 5.0, 1e-3, 1.0, None)])
    now = live_page.looked + live.SOONEST_S

    def refined(network: UNet):
        nonlocal now
        now += 3
        return live_page.block

    monkeypatch.setattr(live_page, "_refined", refined)
    monkeypatch.setattr(live.time, "monotonic", lambda: now)
    # Two tomograms as large as the part that is shown, turned twice, at two places each.
    assert live_page.look(state, network, 0.1, 30.0) == pytest.approx(2 * 2 * 2 * 3)
    now += 1000
    live_page.look(state, network, 0.1, 30.0)
    assert "30.0 s left and 24.0 s of refinement." in (output / "report.html").read_text()
