"""The settings of a comparison: which methods, and what each of them gets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dewedge.errors import InputError
from dewedge.pipeline.compare.methods import DEFAULT_METHODS, method_names, read_comparison, write_comparison
from dewedge.settings.recipes import RECIPES


def test_methods_are_separated_by_commas_or_repeated_and_fbp_is_always_there():
    assert method_names(["tv, sirt", "cryocare+isonet"]) == ["fbp", "tv", "sirt", "cryocare+isonet"]
    assert method_names(["deepdewedge", "fbp", "deepdewedge"]) == ["fbp", "deepdewedge"]
    assert read_comparison(None, {}, None).methods == DEFAULT_METHODS


@pytest.mark.parametrize(
    "given, message",
    [
        (["fbp,warp"], "'warp': expected one of fbp, sirt"),
        ([""], "expected at least one"),
        ([","], "expected at least one"),
        ([], "expected at least one"),
        ("fbp", "a list of names"),
        ([3], "a list of names"),
    ],
)
def test_other_names_are_wrong_input(given: object, message: str):
    with pytest.raises(InputError, match=message):
        method_names(given)


def test_every_network_gets_the_same_size_and_budget():
    flags = {"fit": {"channels": 4, "cube_size": 32, "epoch_samples": 50, "budget": "20min"}}
    settings = read_comparison(None, flags, list(RECIPES))
    for name in settings.methods:
        method = settings.method(name)
        if not method.recipe.network:
            continue
        options = [stage.config.fit.options() for stage in method.stages]
        assert sum(o.budget_s for o in options if o.budget_s is not None) == pytest.approx(1200), name
        for stage in method.stages:
            fit = stage.config.fit
            assert (fit.channels, fit.cube_size, fit.epoch_samples) == (4, 32, 50), name


def test_methods_keep_what_makes_them_what_they_are():
    settings = read_comparison(None, {"fit": {"epochs": 7, "update_interval": 1}}, list(RECIPES))
    stages = {name: settings.method(name).stages for name in settings.methods}
    objectives = {name: [s.config.fit.objective for s in stages[name]] for name in stages}
    assert objectives["cryocare+isonet"] == ["noise2noise", "isonet"]
    assert objectives["dewedge"] == objectives["deepdewedge"] == ["dewedge"]
    assert stages["tv"][0].config.reconstruct.algorithm == "tv"
    assert [s.config.fit.epochs for s in stages["cryocare+isonet"]] == [3, 3]
    # Those that replace the wedge of their inputs do so as often as asked; the others never do.
    intervals = {name: stages[name][-1].config.fit.update_interval for name in stages}
    assert intervals["isonet"] == intervals["deepdewedge"] == intervals["dewedge"] == 1
    assert intervals["cryocare"] is None


def test_tiles_overlap_by_a_third_at_most_unless_given():
    small = {"fit": {"cube_size": 48}}
    published = read_comparison(None, small, ["deepdewedge"]).method("deepdewedge").stages[0]
    assert published.config.refine.overlap == 16
    given = read_comparison(None, small | {"refine": {"overlap": 8}}, ["deepdewedge"])
    assert given.method("deepdewedge").stages[0].config.refine.overlap == 8


def test_without_a_limit_every_method_has_ten_minutes():
    settings = read_comparison(None, {}, ["cryocare+isonet"])
    stages = settings.method("cryocare+isonet").stages
    assert [str(stage.config.fit.budget) for stage in stages] == ["5min", "5min"]


@pytest.mark.parametrize(
    "flags, key",
    [
        ({"fit": {"objective": "isonet"}}, "objective"),
        ({"reconstruct": {"algorithm": "tv"}}, "algorithm"),
        ({"reconstruct": {"iterations": 3}}, "iterations"),
        ({"recipe": "cryocare"}, "recipe"),
    ],
)
def test_settings_that_would_make_all_methods_one_are_refused(flags: dict[str, object], key: str):
    with pytest.raises(InputError, match=f"{key}: every method of a comparison has its own"):
        read_comparison(None, flags, None)


@pytest.mark.parametrize(
    "line, key",
    [
        ('output_format = "zarr"', "output_format = 'zarr'"),
        ('zarr_version = "0.4"', "zarr_version = '0.4'"),
        ('[files]\nhalf_sets = "drop"', "files.half_sets = 'drop'"),
        ('[files]\noutput_dtype = "float16"', "files.output_dtype = 'float16'"),
        ("[watch]\nlive = true", "watch.live = True"),
    ],
)
def test_keys_of_a_run_that_a_comparison_would_ignore_are_refused(tmp_path: Path, line: str, key: str):
    path = tmp_path / "settings.toml"
    path.write_text(line)
    with pytest.raises(InputError, match=f"^{re.escape(key)}: is for dewedge run; a comparison"):
        read_comparison(path, {}, None)
    path.write_text('output_format = "mrc"\n[files]\nhalf_sets = "keep"\n')
    read_comparison(path, {}, None)


def test_settings_written_are_read_back_with_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    flags = {
        "paths": [Path("TS.mrc")],
        "series": {"angles": [Path("TS.tlt")]},
        "fit": {"patience": None, "epochs": 3, "mask": ["auto"]},
        "tomograms": {"tilt_range": [(-60, 60)]},
        "split": {},
    }
    settings = read_comparison(None, flags, ["sirt", "dewedge"])
    assert settings.given["paths"] == [str(tmp_path / "TS.mrc")]
    assert settings.given["series"] == {"angles": [str(tmp_path / "TS.tlt")]}
    assert set(settings.given) == {"paths", "series", "fit", "tomograms"}
    write_comparison(tmp_path / "compare.toml", settings)
    again = read_comparison(tmp_path / "compare.toml", {}, None)
    assert again.methods == settings.methods
    assert again.base == settings.base
    assert again.method("dewedge").stages[0].config == settings.method("dewedge").stages[0].config
    assert read_comparison(tmp_path / "compare.toml", {}, ["tv"]).methods == ("fbp", "tv")


def test_a_file_with_an_unknown_key_is_wrong_input(tmp_path: Path):
    (tmp_path / "compare.toml").write_text("[fit]\nchanels = 3\n")
    with pytest.raises(InputError, match=r"unknown key 'fit.chanels'.*fit.channels"):
        read_comparison(tmp_path / "compare.toml", {}, None)
