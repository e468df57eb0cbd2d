"""What napari is given of runs and volumes, and what is not taken for one. None of it needs napari."""

from __future__ import annotations

import ast
import os
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import yaml

import dewedge
from dewedge.errors import InputError
from dewedge.io.formats import write_volume
from dewedge.io.mrc import read_mrc, write_mrc
from dewedge.napari_plugin.layers import LayerData
from dewedge.napari_plugin.reader import get_reader
from dewedge.runtime.folder import ResultFolder

PLUGIN = Path(dewedge.__file__).parent / "napari_plugin"


def opened(path: Path) -> list[LayerData]:
    reader = get_reader(str(path))
    assert reader is not None
    return reader(str(path))


def test_a_run_is_opened_with_names_and_places_in_angstrom(run: ResultFolder) -> None:
    layers = opened(run.path)
    stems = ["full", "refined", "refined_measured", "refined_added", "refined_difference"]
    assert [options["name"] for _, options, _ in layers] == [
        f"TS_01: {stem}" for stem in [*stems, "refined_uncertainty"]
    ]
    for _, options, kind in layers:
        assert kind == "image"
        assert options["scale"] == (12.5, 12.5, 12.5)
        assert options["units"] == ("angstrom",) * 3
        # As layers have their axes: z, y, x.
        assert options["translate"] == (3.0, 2.0, 1.0)


def test_volumes_stay_in_their_files(run: ResultFolder) -> None:
    data, _, _ = opened(run.path)[1]
    assert isinstance(data, np.memmap) and Path(str(data.filename)) == run.refined
    np.testing.assert_array_equal(data[3], read_mrc(run.refined).data[3])


def test_trust_is_laid_over_when_it_is_asked_for(run: ResultFolder) -> None:
    found = {options["name"].partition(": ")[2]: options for _, options, _ in opened(run.path)}
    assert [stem for stem, options in found.items() if options.get("visible", True)] == ["full", "refined"]
    for stem in ("refined_added", "refined_difference"):
        low, high = found[stem]["contrast_limits"]
        assert low == -high < 0
        middle = found[stem]["colormap"]["colors"][1:3]
        assert (middle[:, 3] == 0).all()
    assert found["refined_uncertainty"]["contrast_limits"][0] == 0
    assert found["refined_measured"]["colormap"] == "gray"


def test_what_was_found_of_an_earlier_result_is_left_out(run: ResultFolder) -> None:
    os.utime(run.added, (0, 0))
    names = [options["name"] for _, options, _ in opened(run.path)]
    assert "TS_01: refined_added" not in names and "TS_01: refined_measured" in names


def test_greys_come_from_middle_sections_without_their_extremes(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).normal(size=(20, 100, 100))
    volume[10, 5, 5] = 1e6
    # Where nothing is read.
    volume[0, 0] = np.nan
    write_mrc(tmp_path / "TS_refined.mrc", volume, None)
    [(_, options, _)] = opened(tmp_path / "TS_refined.mrc")
    np.testing.assert_allclose(options["contrast_limits"], (-2.58, 2.58), atol=0.2)
    assert not {"scale", "translate", "units"} & set(options)


def test_a_result_in_zarr_is_read_when_it_is_looked_at(run: ResultFolder) -> None:
    volume = np.array(read_mrc(run.refined).data)
    run.refined.unlink()
    write_volume(run.refined_zarr, volume, 12.5, what="refined")
    for path in (run.path, run.refined_zarr):
        [(data, options, _)] = [layer for layer in opened(path) if layer[1]["name"] == "TS_01: refined"]
        assert not isinstance(data, np.ndarray) and options["scale"] == (12.5, 12.5, 12.5)
        np.testing.assert_array_equal(data[:, 4], volume[:, 4])


def test_of_several_tomograms_the_folder_of_one_is_opened(several: ResultFolder) -> None:
    with pytest.raises(InputError, match="2 tomograms: open the folder of one, such as TS_01"):
        opened(several.path)
    assert [options["name"] for _, options, _ in opened(several.path / "TS_02")] == ["TS_02: full"]


def foreign(path: Path) -> Path:
    with mrcfile.new(path) as mrc:
        mrc.set_data(np.zeros((4, 4, 4), np.float32))
    return path


@pytest.mark.parametrize("settings", [False, True])
def test_a_folder_without_a_run_is_declined(tmp_path: Path, settings: bool) -> None:
    if settings:
        (tmp_path / "config.toml").write_text("")
    (tmp_path / "inside").mkdir()
    assert get_reader(str(tmp_path)) is None
    # A tomogram of that name is no run, either.
    foreign(tmp_path / "inside" / "full.mrc")
    assert (get_reader(str(tmp_path / "inside")) is not None) == settings


def test_files_of_others_are_declined(tmp_path: Path, run: ResultFolder) -> None:
    cut = tmp_path / "cut.mrc"
    cut.write_bytes(run.refined.read_bytes()[:2000])
    (tmp_path / "other.zarr").mkdir()
    for path in (foreign(tmp_path / "other.mrc"), cut, tmp_path / "none.mrc", tmp_path / "other.zarr"):
        assert get_reader(str(path)) is None, path
    assert get_reader([str(run.full), str(run.refined)]) is None


def manifest() -> dict[str, Any]:
    return yaml.safe_load((PLUGIN / "napari.yaml").read_text())["contributions"]


def test_the_manifest_is_where_napari_looks_for_it() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    [(name, place)] = project["entry-points"]["napari.manifest"].items()
    package, file = place.split(":")
    assert (name, package, file) == ("dewedge", "dewedge.napari_plugin", "napari.yaml")


def test_the_manifest_names_what_there_is() -> None:
    found = manifest()
    known = {command["id"] for command in found["commands"]}
    assert {one["command"] for one in [*found["readers"], *found["widgets"]]} == known
    for command in found["commands"]:
        module, name = command["python_name"].split(":")
        spec = find_spec(module)
        # Not imported, for the widget needs napari.
        assert spec is not None and spec.origin is not None
        defined = ast.parse(Path(spec.origin).read_text()).body
        assert name in {one.name for one in defined if isinstance(one, ast.FunctionDef | ast.ClassDef)}
