"""What counts as arrived in a folder that fills, by a clock that the test moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dewedge.inputs.arrivals as arrivals
from dewedge.inputs.arrivals import INCOMPLETE, WRITTEN, Arrival, Arrivals
from dewedge.io.mrc import write_mrc
from dewedge.settings.file import resolve_config

TILTS = np.arange(-60.0, 61, 20)
SETTLE_S = 30.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Folder:
    """A folder, and the looks into it."""

    def __init__(self, path: Path, known: tuple[str, ...] = ()) -> None:
        self.path, self.clock = path, Clock()
        config = resolve_config(None, {"paths": [path], "watch": {"live": True}})
        self.arrivals = Arrivals(config, known, self.clock)

    def stack(self, name: str, value: float = 0.0) -> None:
        images = np.random.default_rng(1).normal(value, size=(len(TILTS), 8, 8)).astype(np.float32)
        (self.path / name).parent.mkdir(exist_ok=True)
        write_mrc(self.path / name, images, 10.0, stack=True)

    def angles(self, name: str) -> None:
        np.savetxt(self.path / name, TILTS, fmt="%.1f")

    def look(self, after_s: float = 0.0) -> list[str]:
        return [arrival.name for arrival in self.arrived(after_s)]

    def arrived(self, after_s: float = 0.0) -> list[Arrival]:
        self.clock.now += after_s
        return self.arrivals.look()

    @property
    def waiting(self) -> dict[str, str]:
        return self.arrivals.waiting


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_arrived_is_what_is_complete_and_settled_and_it_is_told_once(folder: Folder):
    folder.stack("TS_1.mrc")
    folder.angles("TS_1.tlt")
    assert folder.look() == []
    assert folder.look(SETTLE_S - 1) == []
    assert folder.look(2) == ["TS_1"]
    assert folder.look(SETTLE_S) == [] and folder.waiting == {}


def test_a_stack_waits_for_its_angles_and_the_page_can_tell(folder: Folder):
    folder.stack("TS_1.mrc")
    folder.look()
    assert folder.look(SETTLE_S) == [] and folder.waiting == {"TS_1": INCOMPLETE}
    folder.angles("TS_1.tlt")
    assert folder.look() == []
    assert folder.look(SETTLE_S) == ["TS_1"] and folder.waiting == {}


def test_a_file_that_grows_keeps_its_series_waiting_and_no_other(folder: Folder):
    for name in ("TS_1", "TS_10", "TS_1_2"):
        folder.stack(f"{name}.mrc")
        folder.angles(f"{name}.tlt")
    folder.look()
    (folder.path / "TS_1.xf").write_text("1 0 0 1 0 0\n")
    assert folder.look(SETTLE_S) == ["TS_10", "TS_1_2"]
    assert folder.waiting == {"TS_1": WRITTEN}
    (folder.path / "TS_1.xf").write_text("1 0 0 1 0 0\n" * len(TILTS))
    assert folder.look(SETTLE_S - 1) == []
    assert folder.look(SETTLE_S) == ["TS_1"]


def test_a_broken_file_waits_with_its_reason_until_it_is_mended(folder: Folder):
    folder.stack("TS_1.mrc")
    folder.angles("TS_1.tlt")
    (folder.path / "TS_1.xf").write_text("1 0 0 1 0 0\n")
    folder.look()
    assert folder.look(SETTLE_S) == [] and "TS_1.xf" in folder.waiting["TS_1"]
    (folder.path / "TS_1.xf").unlink()
    folder.angles("TS_1.rawtlt")
    folder.look()
    assert folder.look(SETTLE_S) == ["TS_1"] and folder.waiting == {}


def test_what_is_written_anew_arrives_again(folder: Folder):
    folder.stack("TS_1.mrc")
    folder.angles("TS_1.tlt")
    folder.look()
    folder.look(SETTLE_S)
    folder.stack("TS_1.mrc", 5.0)
    folder.look()
    again = folder.arrived(SETTLE_S)
    assert [arrival.name for arrival in again] == ["TS_1"] and again[0].is_changed


def test_folders_in_it_count_and_what_was_done_before_is_not_told(tmp_path: Path):
    folder = Folder(tmp_path, known=("TS_1",))
    for name in ("TS_1", "TS_2"):
        folder.stack(f"{name}/{name}.mrc")
        folder.angles(f"{name}/{name}.tlt")
    folder.look()
    assert folder.look(SETTLE_S) == ["TS_2"]


def test_only_what_is_new_is_read(folder: Folder, monkeypatch: pytest.MonkeyPatch):
    looked_among: list[list[str]] = []
    entries_among = arrivals.entries_among
    monkeypatch.setattr(
        arrivals,
        "entries_among",
        lambda files, *rest: (
            looked_among.append(sorted(f.name for f in files)) or entries_among(files, *rest)
        ),
    )
    for name in ("TS_1", "TS_2"):
        folder.stack(f"{name}.mrc")
        folder.angles(f"{name}.tlt")
        folder.look()
        folder.look(SETTLE_S)
        folder.look(SETTLE_S)
    assert looked_among == [["TS_1.mrc", "TS_1.tlt"], ["TS_2.mrc", "TS_2.tlt"]]


def test_what_a_reader_cannot_bear_stops_no_other(folder: Folder, monkeypatch: pytest.MonkeyPatch):
    entries_among = arrivals.entries_among

    def failing(files, *rest):
        if any(path.name == "TS_2.mrc" for path in files):
            raise RecursionError("too deep")
        return entries_among(files, *rest)

    monkeypatch.setattr(arrivals, "entries_among", failing)
    for name in ("TS_1", "TS_2", "TS_3"):
        folder.stack(f"{name}.mrc")
        folder.angles(f"{name}.tlt")
    folder.look()
    assert folder.look(SETTLE_S) == ["TS_1", "TS_3"]
    assert "RecursionError" in folder.waiting["TS_2"]


def test_a_folder_that_is_away_for_a_while_loses_nothing(folder: Folder, tmp_path: Path):
    folder.stack("TS_1.mrc")
    folder.angles("TS_1.tlt")
    folder.look()
    folder.look(SETTLE_S)
    away = tmp_path.with_name("away")
    tmp_path.rename(away)
    assert folder.look(1) == [] and str(tmp_path) in folder.arrivals.trouble
    away.rename(tmp_path)
    assert folder.look(SETTLE_S) == [] and folder.arrivals.trouble == ""
