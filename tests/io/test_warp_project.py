"""A project of WarpTools: settings, half tomograms, where denoised ones belong."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import foreign
import numpy as np
import pytest

from dewedge.errors import InputError
from dewedge.io.entries import HalvesEntry, SeriesEntry
from dewedge.io.find import find_series
from dewedge.io.programs.warp import read_warp
from dewedge.io.programs.warp_project import denoised_path


def only_halves(*paths: Path) -> HalvesEntry:
    (entry,) = find_series(*paths)
    assert isinstance(entry, HalvesEntry)
    return entry


@pytest.mark.parametrize("given", ["warp_tiltseries.settings", ".", "warp_tiltseries", "half", "both"])
def test_finds_half_tomograms_with_their_range(tmp_path: Path, given: str) -> None:
    settings = foreign.write_warp_project(tmp_path)
    folder = tmp_path / "warp_tiltseries"
    halves = [folder / "reconstruction" / half / "TS_1_10.00Apx.mrc" for half in ("even", "odd")]
    paths = {"half": halves[1:], "both": halves}.get(given, [settings.parent / given])
    entry = only_halves(*paths)
    assert (entry.name, entry.program) == ("TS_1", "Warp")
    assert [entry.half0, entry.half1] == halves
    assert entry.full == folder / "reconstruction" / "TS_1_10.00Apx.mrc"
    half0, _, full = entry.open()
    assert half0.data.shape == (32, 48, 48) and half0.voxel_size_A == 10.0 and full is not None
    assert entry.tilt_range is not None and tuple(entry.tilt_range) == (-60.0, 60.0, 0.0)


def test_range_has_the_level_angle_and_our_sense(tmp_path: Path) -> None:
    settings = foreign.write_warp_project(tmp_path)
    xml = tmp_path / "warp_tiltseries" / "TS_1.xml"
    text = xml.read_text(encoding="utf-8-sig").replace("<Angles>-60.0\n-54.0", "<Angles>-50.0\n-49.0")
    xml.write_text(text.replace("<TiltSeries ", '<TiltSeries LevelAngleX="4" LevelAngleY="-3" '))
    entry = only_halves(settings)
    assert entry.tilt_range is not None and tuple(entry.tilt_range) == (-57.0, 53.0, 4.0)


def test_range_of_a_real_xml(tmp_path: Path, shared_data: Path) -> None:
    settings = foreign.write_warp_project(tmp_path)
    xml = tmp_path / "warp_tiltseries" / "TS_1.xml"
    shutil.copyfile(shared_data / "metadata" / "warp" / "TS_1.xml", xml)
    tilts = read_warp(xml).tilt_deg
    entry = only_halves(settings)
    assert entry.tilt_range is not None
    np.testing.assert_allclose(entry.tilt_range, (tilts.min(), tilts.max(), 0))


def test_without_half_tomograms_images_with_the_thickness(tmp_path: Path) -> None:
    settings = foreign.write_warp_project(tmp_path)
    shutil.rmtree(tmp_path / "warp_tiltseries" / "reconstruction" / "odd")
    (entry,) = find_series(settings)
    assert isinstance(entry, SeriesEntry)
    # 1000 pixels of 2.5 A, in images of 5 A; one of 21 tilts is not used.
    assert entry.thickness == 500 and entry.geometry.n_tilts == 20


def test_xml_itself_stands_for_its_images(tmp_path: Path) -> None:
    foreign.write_warp_project(tmp_path)
    (entry,) = find_series(tmp_path / "warp_tiltseries" / "TS_1.xml")
    assert isinstance(entry, SeriesEntry)


def test_series_that_are_not_in_the_project_any_more_are_left_out(tmp_path: Path) -> None:
    settings = foreign.write_warp_project(tmp_path)
    foreign.write_warp_project(tmp_path, "TS_11")
    assert [entry.name for entry in find_series(settings)] == ["TS_1", "TS_11"]
    (tmp_path / "tomostar" / "TS_11.tomostar").unlink()
    assert [entry.name for entry in find_series(settings)] == ["TS_1"]
    shutil.rmtree(tmp_path / "tomostar")
    assert [entry.name for entry in find_series(settings)] == ["TS_1", "TS_11"]


def test_deselected_series_are_left_out_with_a_note(tmp_path: Path) -> None:
    settings = foreign.write_warp_project(tmp_path)
    xml = foreign.write_warp_project(tmp_path, "TS_2").parent / "warp_tiltseries" / "TS_2.xml"
    text = xml.read_text(encoding="utf-8-sig")
    xml.write_text(text.replace("<TiltSeries ", '<TiltSeries UnselectManual="True" '))
    notes: list[str] = []
    assert [entry.name for entry in find_series(settings, notes=notes)] == ["TS_1"]
    assert notes == [f"{xml}: deselected in Warp: left out"]
    (tmp_path / "tomostar" / "TS_1.tomostar").unlink()
    with pytest.raises(InputError, match="all its tilt series are deselected"):
        find_series(settings)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("*.tomostar", "*.eer", "expected the settings of tilt series"),
        ("<Settings>", "<Settings", "not an .xml file"),
        ("Settings>", "Other>", "expected a file of Warp, <Settings>"),
        ('"DataFolder"', '"Folder"', "no DataFolder"),
        ('Value="tomostar"', 'Value="a"', "no .tomostar in"),
    ],
)
def test_refuses(tmp_path: Path, old: str, new: str, message: str) -> None:
    settings = foreign.write_warp_project(tmp_path)
    (tmp_path / "warp_tiltseries" / "TS_1.xml").unlink()
    settings.write_text(settings.read_text().replace(old, new))
    with pytest.raises(InputError, match=re.escape(message)):
        find_series(settings)


def test_several_voxel_sizes_are_told(tmp_path: Path) -> None:
    settings = foreign.write_warp_project(tmp_path)
    foreign.write_warp_project(tmp_path, voxel_A=20.0)
    with pytest.raises(InputError, match=r"several voxel sizes .*give the files of one size in .*even"):
        find_series(settings)
    even = tmp_path / "warp_tiltseries" / "reconstruction" / "even"
    assert only_halves(even / "TS_1_20.00Apx.mrc").half1.name == "TS_1_20.00Apx.mrc"


def test_where_denoised_tomograms_belong(tmp_path: Path) -> None:
    half = tmp_path / "reconstruction" / "even" / "TS_1_10.00Apx.mrc"
    assert denoised_path(half) == tmp_path / "denoised" / "TS_1_10.00Apx.mrc"
    assert denoised_path(tmp_path / "even" / "TS_1.mrc") is None
