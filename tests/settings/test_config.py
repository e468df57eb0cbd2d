"""Configuration: one source of truth for keys, flags, defaults and help."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dewedge.errors import InputError
from dewedge.learn.network import PRESETS
from dewedge.learn.options import FitOptions
from dewedge.settings.base import Section
from dewedge.settings.duration import Duration
from dewedge.settings.file import resolve_config, write_config
from dewedge.settings.fit import FitSection
from dewedge.settings.sections import Config


@pytest.mark.parametrize(
    "text, seconds",
    [("90s", 90), ("10min", 600), ("2h", 7200), ("1h30min", 5400), ("1h 30min 5s", 5405), ("0.5h", 1800)],
)
def test_durations(text: str, seconds: float):
    duration = Duration.read(text)
    assert duration.total_seconds() == seconds
    assert Duration.read(str(duration)) == duration


@pytest.mark.parametrize(
    "text", ["", "10", "10m", "0s", "-5min", "5min2h", "1.2.3s", "min", "10 parsecs", "."]
)
def test_what_is_no_duration(text: str):
    with pytest.raises(InputError, match="expected one such as 10min"):
        Duration.read(text)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(1, 59))
def test_durations_add_up(hours: int, minutes: int, seconds: int):
    duration = Duration.read(f"{hours}h{minutes}min{seconds}s")
    assert duration.total_seconds() == 3600 * hours + 60 * minutes + seconds
    assert Duration.read(str(duration)) == duration


def test_presets_are_those_of_the_network():
    assert set(get_args(FitSection.model_fields["preset"].annotation)) == set(PRESETS)


def test_every_option_of_the_fit_is_a_key_with_its_type_and_default():
    assert FitSection(epochs=1).options() == FitOptions(epochs=1)
    keys, types = get_type_hints(FitSection), get_type_hints(FitOptions)
    others = {
        "budget_s": ("budget", Duration | None),
        "learning_rate": ("learning_rate", float | None),  # which depends on optimiser and start
        "objective": ("objective", Literal["dewedge", "noise2noise", "isonet"]),  # others are for benchmarks
    }
    for name, expected in types.items():
        key, kind = others.get(name, (name, expected))
        assert keys[key] == kind, name
    options = FitSection(budget="2min", cube_size=32, patience="none").options()
    assert options == FitOptions(budget_s=120, cube_size=32, patience=None)


def test_every_key_is_documented_and_named_once():
    names: list[str] = []
    for section in Config.model_fields.values():
        if isinstance(section.annotation, type) and issubclass(section.annotation, Section):
            for name, field in section.annotation.model_fields.items():
                assert field.description, name
                names.append(name)
    assert len(names) == len(set(names))  # each is a flag of `dewedge run`


def full_config(folder: Path) -> Config:
    given = {
        "paths": [folder / "a.mrc"],
        "output": folder / "out",
        "series": {"pixel_size_A": 2.5, "angles": [folder / "a.tlt"]},
        "tomograms": {"tilt_range": [-60, 55.5]},
        "split": {"split": "random", "fraction": 0.3},
        "reconstruct": {"thickness": 100, "bin": 4, "filter": "hamming"},
        "fit": {"patience": None, "epochs": 3, "preset": "large", "mask": ["auto"]},
        "refine": {"refine": "halves"},
        "compute": {"device": "cpu"},
    }
    return resolve_config(None, given)


def test_a_written_configuration_reads_back_equal(tmp_path: Path):
    config = full_config(tmp_path)
    write_config(tmp_path / "config.toml", config)
    assert resolve_config(tmp_path / "config.toml", {}) == config
    text = (tmp_path / "config.toml").read_text()
    assert 'patience = "none"' in text and "learning_rate = " in text


def test_flags_win_over_the_file_key_by_key(tmp_path: Path):
    config = full_config(tmp_path)
    write_config(tmp_path / "config.toml", config)
    changed = resolve_config(tmp_path / "config.toml", {"reconstruct": {"bin": 2}, "fit": {"patience": 5}})
    assert (changed.reconstruct.bin, changed.reconstruct.thickness) == (2, 100)
    assert changed.fit.options().patience == 5 and changed.fit.options().epochs == 3


def test_default_budget_applies_only_without_any_limit():
    assert resolve_config(None, {}).fit.options().budget_s == 600
    assert resolve_config(None, {"fit": {"epochs": 2}}).fit.options().budget_s is None


def test_relative_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    config = resolve_config(None, {"paths": ["a.mrc"], "fit": {"mask": "m.mrc"}, "output": "out"})
    assert config.paths == [tmp_path / "a.mrc"] and config.output == tmp_path / "out"
    assert config.fit.mask == [str(tmp_path / "m.mrc")]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("[fit]\ncub_size = 1", "unknown key 'fit.cub_size'; the nearest known one is 'fit.cube_size'"),
        ("[recontruct]\nbin = 1", "unknown key 'recontruct'; the nearest known one is 'reconstruct'"),
        ("[reconstruct]\nbin = 0", "reconstruct.bin: expected greater than or equal to 1, got 0"),
        ("[fit]\nschedule = 'fast'", "fit.schedule: expected 'cosine' or 'constant', got 'fast'"),
        ("[tomograms]\ntilt_range = [60]", "tomograms.tilt_range: expected two numbers, got [60]"),
        ("[fit]\nupdate_interval = 'often'", "fit.update_interval: expected "),
        ("[fit]\nbudget = '10 apples'", "fit.budget: duration '10 apples': expected one such as"),
        ("fit", "not a TOML file"),
    ],
)
def test_wrong_files_give_one_line(text: str, expected: str, tmp_path: Path):
    path = tmp_path / "my.toml"
    path.write_text(text)
    with pytest.raises(InputError) as raised:
        resolve_config(path, {})
    message = str(raised.value)
    assert message.startswith(str(path)) and expected in message and "\n" not in message


def test_a_learning_rate_is_not_kept_for_another_optimiser(tmp_path: Path):
    def rate(file: Path | None = None, recipe: str = "dewedge", **fit: object) -> float:
        given = {"fit": fit} if file else {"recipe": recipe, "fit": fit}
        return resolve_config(file, given).fit.options().learning_rate

    assert rate(recipe="deepdewedge") == rate(recipe="deepdewedge", optimiser="adam") == 4e-4
    assert rate(recipe="deepdewedge", optimiser="muon") == rate() == 3e-3
    assert rate(recipe="deepdewedge", optimiser="muon", learning_rate=2e-3) == 2e-3
    file = tmp_path / "config.toml"
    write_config(file, resolve_config(None, {}))
    assert rate(file) == 3e-3
    assert rate(file, optimiser="adam") == 1e-3
    assert rate(file, init="model.safetensors") == 3e-4
    file.write_text("[fit]\nlearning_rate = 5e-4\n")  # of no optimiser in particular
    assert rate(file, optimiser="adam") == 5e-4
