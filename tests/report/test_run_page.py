"""The page of a run and the index: the right sections, spectra and words, in a file that asks for nothing."""

from __future__ import annotations

import base64
import io
import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dewedge.geometry import TiltRange
from dewedge.learn.state import EpochRow
from dewedge.report.run.index import IndexRow, index
from dewedge.report.run.page import RunPage, State, page
from dewedge.report.run.sections import (
    ACROSS,
    PIXELS,
    Sections,
    jpeg,
    places_of,
    read_sections,
    scale_of,
    thumbnail,
)
from dewedge.report.run.spectra import power_of_sections, spectra_figures
from dewedge.report.run.summary import summary
from dewedge.report.trust.judged import Judged, Verdict
from dewedge.runtime.log import log_environment, log_to_file, step, stop_messages
from dewedge.runtime.logged import read_log
from dewedge.settings.file import differences, resolve_config

SHAPE = (20, 30, 50)


def volume() -> np.ndarray:
    return np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


def sections(data: np.ndarray, volumes: int = 2) -> Sections:
    return read_sections(data, places_of(data.shape, volumes))


def run_page(**changes: object) -> RunPage:
    data = volume()
    volumes = {"FBP": sections(data), "refined": sections(-data)}
    made = RunPage("TS", SHAPE, 10.0, TiltRange(-60, 40), volumes)
    return replace(made, **changes)


def pixels(address: str) -> np.ndarray:
    data = base64.b64decode(address.removeprefix("data:image/jpeg;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)), np.float64)


def test_sections_are_those_of_their_places_and_axes():
    data = volume()
    found = sections(data)
    for view, axis in ACROSS.items():
        expected = np.take(data, found.places[view], axis)
        expected = np.moveaxis(expected, axis, 0)
        if view == "yz":  # z to the right of y
            expected = expected.swapaxes(1, 2)
        np.testing.assert_array_equal(found.images[view], expected)
        assert found.places[view][found.middle[view]] == SHAPE[axis] // 2


@pytest.mark.parametrize(
    "shape", [(8, 8, 8), (32, 64, 64), (100, 315, 326), (464, 928, 928), (300, 4096, 4096)]
)
def test_a_page_has_room_for_its_pictures(shape: tuple[int, int, int]):
    places, scale = places_of(shape, 2), scale_of(shape)
    count = sum(
        2 * len(places[view]) * scale**2 * np.prod(np.delete(shape, axis)) for view, axis in ACROSS.items()
    )
    assert count <= PIXELS
    for view, axis in ACROSS.items():
        assert 0 < len(places[view]) <= shape[axis]
        assert np.all(np.diff(places[view]) > 0) and places[view][-1] < shape[axis]
    assert len(places["xy"]) > 5


def test_pictures_show_the_first_axis_upwards_in_the_greys_of_their_limits():
    section = np.zeros((16, 32), np.float32)
    section[:8] = 1.0  # the lower half
    shown = pixels(jpeg(section, (0.0, 1.0)))
    assert shown.shape == (16, 32)
    assert shown[:6].max() < 10 and shown[-6:].min() > 245
    assert pixels(jpeg(section, (0.0, 1.0), 0.5)).shape == (8, 16)
    assert max(pixels(thumbnail(np.random.default_rng(0).normal(size=(400, 800)))).shape) == 160


def test_noise_fits_into_the_page(tmp_path: Path):
    noise = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    assert PIXELS * len(jpeg(noise, (-2.6, 2.6))) / noise.size < 9.5e6


def test_large_sections_are_means_of_voxels():
    data = np.zeros((3, 1024, 1024), np.float32)
    data[:, ::2] = 2.0
    found = sections(data)
    assert found.images["xy"].shape[1:] == (512, 512)
    np.testing.assert_allclose(found.images["xy"], 1.0)


def test_the_power_of_a_wave_lies_at_its_frequency():
    z, x = np.mgrid[:40, :60]
    wave = np.cos(2 * np.pi * (z / 8 + x / 6))
    power = power_of_sections(np.stack([wave, wave]))
    peak = np.argwhere(power > 0.9 * power.max()) - (20, 30)
    assert sorted(map(tuple, peak.tolist())) == [(-5, -10), (5, 10)]


def test_the_wedge_is_drawn_along_the_steepest_tilts():
    waves = np.random.default_rng(0).normal(size=(2, 40, 60))
    figures = spectra_figures({"FBP": waves, "refined": waves}, TiltRange(-60, 40), 10.0)
    assert list(figures) == ["FBP", "refined"]
    axes = figures["FBP"].axes[0]
    ends = [np.asarray(line.get_data())[:, 1] for line in axes.lines]  # (kx, kz)
    assert {round(np.degrees(np.arctan2(kz, kx))) for kx, kz in ends} == {-60, 40}
    assert "1/Å" in axes.get_xlabel()


def test_the_page_holds_all_and_asks_for_nothing(tmp_path: Path):
    rows = [EpochRow(i, i, 4 * i, 10.0 * i, 1e-3, 1 / i, 0.9 - 0.01 * i) for i in range(1, 4)]
    verdict = Verdict("some", "Look down to 130 Å.", "Pick nothing.")
    config = resolve_config(None, {"fit": {"epochs": 3}})
    html = page(
        run_page(
            name="<TS> & co",
            rows=rows,
            judged=Judged(verdict, "trust.html", ["Of what the tilts hold it explains 3 %."]),
            settings=differences(config),
            files=["a&b.mrc"],
        ),
        tmp_path / "report.html",
    )
    assert "<h1>&lt;TS&gt; &amp; co</h1>" in html and "a&amp;b.mrc" in html
    assert '<div class="verdict some">' in html and "Look down to 130 Å." in html and "explains 3 %" in html
    assert '<a href="trust.html">' in html
    assert re.search(r'fit\.epochs</th><td class="key">3</td><td class="key">none</td>', html)
    assert "3 epochs, 12 sub-tomograms" in html
    assert "<meta http-equiv" not in html and "http:" not in html and "https:" not in html
    assert all(address.startswith("data:") for address in re.findall(r'src="([^"]{9})', html))
    images = re.findall(r"<img [^>]*?>", html)
    assert len(images) == 6 + 2 + 1 and all(re.match(r'<img alt="[^"]+"', image) for image in images)
    shown = json.loads(re.search(r'id="pictures">(.*?)</script>', html)[1])
    assert {role: {view: len(all_) for view, all_ in views.items()} for role, views in shown.items()} == {
        role: {"xy": 20, "xz": 30, "yz": 50} for role in ("before", "after")
    }


def test_a_page_of_a_run_that_goes_on_loads_itself_again(tmp_path: Path):
    state = State("Epoch 3 is done.", "Wait.", 0.25, goes_on=True)
    html = page(run_page(state=state), tmp_path / "report.html")
    assert '<meta http-equiv="refresh"' in html and 'value="0.250"' in html and "Epoch 3 is done." in html
    html = page(run_page(state=replace(state, goes_on=False)), tmp_path / "report.html")
    assert "<meta http-equiv" not in html


def test_before_the_fit_one_volume_is_shown(tmp_path: Path):
    html = page(
        run_page(volumes={"FBP": sections(volume())}, voxel_size_A=None, tilt_range=None), tmp_path / "a.html"
    )
    assert 'id="wipe"' not in html and 'class="bar"' not in html and html.count("<figure") == 1


def test_the_index_has_a_row_each_to_be_sorted():
    row = IndexRow("TS<1>", "done", "TS 1/report.html", "data:", SHAPE, 10.0, 0.5, 65.0, 70.0, 2)
    verdict = Verdict("good", "Down to 130 Å.", "")
    html = index(
        "runs", [row, replace(row, name="TS2", page=None, verdict=verdict, state="not finished")], True
    )
    assert "1 of 2 tomograms are finished" in html and 'http-equiv="refresh"' in html
    assert '<a href="TS%201/report.html">TS&lt;1&gt;</a>' in html
    html += index("runs", [row, IndexRow("TS_3", "failed", reason="no angles: TS<3>")])
    assert "1 of 2 tomograms are finished, 1 failed" in html
    assert '<span class="wrong">failed</span>: no angles: TS&lt;3&gt;' in html
    assert 'data-value="65">1:05 min' in html and 'class="verdict good" data-value="0"' in html


def test_the_table_of_a_run_fits_the_terminal_and_tells_last_what_failed():
    done = IndexRow("TS_01", "done", "TS_01/report.html", "", (464, 928, 928), 10.0, 0.5, 65.0, 7200.0, 2)
    why = "/data/TS_02.mrc: truncated or not an MRC file: 5000 bytes, but its header promises 672768"
    rows = [IndexRow("TS_02.mrc", "failed", reason=why), done]
    head, first, last = summary(rows, None)
    assert head.split("  ")[0] == "tomogram" and last == f"TS_02.mrc  failed  {why}"
    for text in ("done", "464 x 928 x 928", "10 A", "2:00:00 h", "0.5000", "TS_01/report.html"):
        assert text in first
    for width in (60, 80, 120):
        lines = summary(rows, width)
        assert max(map(len, lines)) <= width and ("TS_01/report.html" in lines[1]) == (width == 120)
        assert " ".join(" ".join(lines[2:]).split()) == f"TS_02.mrc failed {why}"


def test_the_log_tells_of_the_last_run_and_what_resumed_it(tmp_path: Path, monkeypatch):
    def session(command: str, name: str) -> None:
        monkeypatch.setattr("sys.argv", command.split())
        log_to_file(path)
        log_environment()
        logging.getLogger("dewedge.check").warning("warning: %s, tilt axis: it lies aside. Move it.", name)
        with step(f"{name}: reconstruct"):
            pass
        stop_messages()

    path = tmp_path / "dewedge.log"
    session("dewedge run old.mrc -o OUT", "old")
    session("dewedge run TS.mrc -o OUT --overwrite", "TS")
    session("dewedge run --resume -o OUT", "again")
    log = read_log(path)
    assert log.facts["command"] == "dewedge run TS.mrc -o OUT --overwrite"
    assert re.fullmatch(r"dewedge \S+, Python \S+, torch \S+, numpy \S+", log.facts["versions"])
    assert "threads" in log.facts["machine"]
    assert [name for name, _, _ in log.steps] == ["TS: reconstruct", "again: reconstruct"]
    assert log.warnings == (
        "TS, tilt axis: it lies aside. Move it.",
        "again, tilt axis: it lies aside. Move it.",
    )
    assert read_log(tmp_path / "none.log").facts == {}


def test_the_log_tells_nobody_the_name_of_the_machine(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("platform.node", lambda: "secret-host")
    log_to_file(tmp_path / "dewedge.log")
    log_environment()
    stop_messages()
    assert "secret-host" in (tmp_path / "dewedge.log").read_text()
    assert "secret" not in str(read_log(tmp_path / "dewedge.log"))


def test_settings_that_differ():
    assert differences(resolve_config(None, {"output": "OUT"})) == []
    found = differences(resolve_config(None, {"recipe": "cryocare", "reconstruct": {"bin": 2}}))
    values = {one.key: (one.value, one.default) for one in found}
    assert values["recipe"] == ("cryocare", "dewedge") and values["reconstruct.bin"] == (2, 1)
    assert values["fit.objective"] == ("noise2noise", "dewedge")
    assert all(one.help for one in found)
