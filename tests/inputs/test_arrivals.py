"""What counts as arrived in a folder that fills, by a clock that the test moves."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import foreign
import numpy as np
import pytest

import dewedge.inputs.arrivals as arrivals
from dewedge.geometry import CtfParameters, Microscope, TiltGeometry
from dewedge.inputs.arrivals import INCOMPLETE, WRITTEN, Arrival, Arrivals, _told
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


class Table(Folder):
    """A table that is watched by itself, while what it names lies elsewhere."""

    def __init__(self, path: Path) -> None:
        self.path, self.clock = path.parent, Clock()
        config = resolve_config(None, {"paths": [path], "watch": {"live": True}})
        self.arrivals = Arrivals(config, (), self.clock)

    def told(self) -> list[tuple[str, bool]]:
        """Name, and whether it has changed, of what arrives in three looks."""
        return [(one.name, one.is_changed) for _ in range(3) for one in self.arrived(SETTLE_S + 1)]


def relion_halves(folder: Path, name: str, value: float = 0.0) -> None:
    (folder / "tomograms").mkdir(exist_ok=True)
    for half in (1, 2):
        volume = np.random.default_rng(half).normal(value, size=(8, 16, 16)).astype(np.float32)
        write_mrc(folder / "tomograms" / f"rec_{name}_half{half}.mrc", volume, 10.0)


def relion_table(folder: Path, names: tuple[str, ...], torn: str = "", first_deg: float = -60.0) -> Path:
    """RELION's tomograms.star, and the table of each tilt series, whose images are gone."""
    (folder / "tilt_series").mkdir(exist_ok=True)
    columns = ("MicrographName", "TomoYTilt", "TomoZRot", "TomoXShiftAngst", "TomoYShiftAngst")
    head = "\n".join(f"_rln{column} #{i}" for i, column in enumerate(columns, 1))
    for name in names:
        rows = "".join(f"gone/{i}.mrc {tilt} 85 0 0\n" for i, tilt in enumerate([first_deg, *TILTS[1:]]))
        (folder / "tilt_series" / f"{name}.star").write_text(f"\ndata_{name}\n\nloop_\n{head}\n{rows}")
    ends = ("Name", "TiltSeriesStarFile", "ReconstructedTomogramHalf1", "ReconstructedTomogramHalf2")
    head = "\n".join(f"_rlnTomo{end} #{i}" for i, end in enumerate(ends, 1))
    rows = "".join(
        f"{name} tilt_series/{name}.star tomograms/rec_{name}_half1.mrc tomograms/rec_{name}_half2.mrc\n"
        for name in names
    )
    path = folder / "tomograms.star"
    path.write_text(f"\n# version 50001\n\ndata_global\n\nloop_\n{head}\n{rows}{torn}")
    return path


def test_a_table_of_relion_that_grows_row_by_row(tmp_path: Path):
    relion_halves(tmp_path, "TS_1")
    table = Table(relion_table(tmp_path, ("TS_1",)))
    assert table.told() == [("TS_1", False)] and table.waiting == {}
    # The row of one whose half tomograms are not there yet.
    relion_table(tmp_path, ("TS_1", "TS_2"))
    assert table.told() == []
    relion_halves(tmp_path, "TS_2")
    assert table.told() == [("TS_2", False)]
    # It is read while its last row is being written.
    relion_table(tmp_path, ("TS_1", "TS_2"), "TS_3 tilt_series/T")
    assert table.told() == [] and "not a STAR file" in table.waiting["tomograms"]
    relion_halves(tmp_path, "TS_3")
    relion_table(tmp_path, ("TS_1", "TS_2", "TS_3"))
    assert table.told() == [("TS_3", False)] and table.waiting == {}
    # What is said of one is corrected, and a volume of another is written anew.
    relion_halves(tmp_path, "TS_3", 5.0)
    relion_table(tmp_path, ("TS_1", "TS_2", "TS_3", "TS_4"))
    relion_halves(tmp_path, "TS_4")
    assert table.told() == [("TS_3", True), ("TS_4", False)]
    relion_table(tmp_path, ("TS_1", "TS_2", "TS_3", "TS_4"), first_deg=-58.0)
    assert table.told() == [(f"TS_{i}", True) for i in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    "change",
    [
        {"pixel_size_A": 4.0},
        {"told": Microscope(voltage_kV=200.0)},
        {"ctf": CtfParameters(defocus_u_um=np.full(3, 2.0), voltage_kV=300.0)},
        {"pre_exposure_e_per_A2": np.arange(3.0)},
    ],
)
def test_what_metadata_say_anew_is_a_change(change: dict[str, Any]):
    geometry = TiltGeometry(tilt_deg=np.array([-3.0, 0.0, 3.0]), image_shape_yx=(16, 16), pixel_size_A=5.0)
    then, again, now = (
        SimpleNamespace(thickness=64, geometry=each)
        for each in (geometry, replace(geometry), replace(geometry, **change))
    )
    assert hash(_told(then)) == hash(_told(again)) != hash(_told(now))  # type: ignore[arg-type]


def test_a_series_of_many_image_files_settles_at_once(tmp_path: Path):
    """Its images are asked for together, and not one after the other has settled."""
    table = Table(foreign.write_relion(tmp_path))
    assert table.told() == [("TS_1", False)]


def test_settings_of_warp_whose_project_grows(tmp_path: Path):
    table = Table(foreign.write_warp_project(tmp_path, "TS_1"))
    assert table.told() == [("TS_1", False)]
    foreign.write_warp_project(tmp_path, "TS_2")
    os.utime(tmp_path / "warp_tiltseries.settings", (1, 1))
    table.told()
    source, names = tmp_path / "other", ("", "even", "odd")
    foreign.write_warp_project(source, "TS_3")
    # Nothing of this changes the settings.
    for part in ("tomostar/TS_3.tomostar", "warp_tiltseries/TS_3.xml"):
        shutil.copy(source / part, tmp_path / part)
    for name in names:
        assert table.told() == []
        part = Path("warp_tiltseries", "reconstruction", name, "TS_3_10.00Apx.mrc")
        shutil.copy(source / part, tmp_path / part)
    assert table.told() == [("TS_3", False)] and table.waiting == {}
