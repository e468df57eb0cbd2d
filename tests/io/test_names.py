"""Names from files: plain ones become names of our files, others are refused wherever they come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dewedge.errors import InputError
from dewedge.geometry import TiltGeometry
from dewedge.io.entries import HalvesEntry, SeriesEntry
from dewedge.io.half_names import pair_halves
from dewedge.io.names import LONGEST_BYTES, OWN, plain_name, require_distinct, require_utf8
from dewedge.io.star import write_star
from dewedge.pipeline.compare import compare, report
from dewedge.pipeline.validate import folder as validate
from dewedge.runtime.folder import ResultFolder
from dewedge.settings.file import resolve_config

PLAIN = (
    "TS_1",
    "a name with spaces",
    "Größe 日本",
    "100% [bold] {x}",
    "-dash",
    "semi;colon'quote",
    "a..b",
    "x.mrc",
)
# A name, and what is said of it.
REFUSED = {
    "": "is empty",
    " \t": "is empty",
    ".": "begins with a dot",
    "..": "begins with a dot",
    ".dewedge.lock": "begins with a dot",
    "/abs/TS": "holds a separator",
    "../../TS": "holds a separator",
    "a/b": "holds a separator",
    "a\\b": "holds a separator",
    "C:": "begins with a drive's letter",
    "c:TS": "begins with a drive's letter",
    "a\nb": "holds a control character",
    "a\0b": "holds a control character",
    "\x1b[31mred": "holds a control character",
    "right\u202eleft": "holds a control character",
    "a\udcffb": "is not UTF-8",
    "x" * (LONGEST_BYTES + 1): "is longer than 200 bytes",
    "日" * 67: "is longer than 200 bytes",
    "config.toml": "is that of a file of dewedge's own",
    "Model.safetensors": "is that of a file of dewedge's own",
}


@pytest.mark.parametrize("name", [*PLAIN, "x" * LONGEST_BYTES])
def test_plain_names_stay_as_they_are(name: str):
    assert plain_name(name, "set.star") == name


@pytest.mark.parametrize("name", REFUSED)
def test_others_are_refused_in_one_line(name: str):
    with pytest.raises(InputError) as refused:
        plain_name(name, "set.star")
    text = str(refused.value)
    assert text.startswith("set.star: the name ") and REFUSED[name] in text
    assert text.isprintable() and len(text) < 300


@pytest.mark.parametrize("name", REFUSED)
def test_no_entry_has_such_a_name(name: str):
    geometry = TiltGeometry(
        tilt_deg=np.arange(5.0),
        image_shape_yx=(4, 4),
        pixel_size_A=1.0,
        linear_yx=np.tile(np.eye(2), (5, 1, 1)),
        shift_yx=np.zeros((5, 2)),
    )
    common = {"name": name, "program": "", "path": Path("set.star")}
    with pytest.raises(InputError, match="the name"):
        HalvesEntry(half0=Path("a"), half1=Path("b"), **common)
    with pytest.raises(InputError, match="the name"):
        SeriesEntry(images=None, geometry=geometry, **common)


def test_all_files_of_ours_are_known():
    folder = ResultFolder(Path("OUT"))
    ours = {value.name for value in (getattr(folder, key) for key in dir(folder)) if isinstance(value, Path)}
    ours |= {path.name for path in folder.of_tomogram} - {"OUT"}
    ours |= {*validate.RESULTS, compare.SETTINGS, report.PAGE, report.PICTURES, report.CURVES, report.FIGURES}
    tomograms = {validate.ALL_TILTS, *validate.ALL_TILTS_HALVES, validate.GIVEN}
    assert ours - {"OUT", ".dewedge.lock"} - tomograms <= OWN


def test_two_of_one_name_are_refused():
    require_distinct([("a", "x"), ("b", "x")])
    with pytest.raises(InputError, match=r"^x and y: two inputs are named a"):
        require_distinct([("a", "x"), ("b", "x"), ("a", "y")])
    with pytest.raises(InputError, match=r"^x: two inputs are named a"):
        require_distinct([("a", "x"), ("a", "x")])


@pytest.mark.parametrize("names", [("TS_1", "ts_1"), ("Größe", "GRÖSSE"), ("\u00e9", "e\u0301")])
def test_two_of_one_name_on_some_disks_are_refused(names: tuple[str, str]):
    with pytest.raises(InputError) as refused:
        require_distinct([("a", "w"), *((name, "x") for name in names)])
    assert str(refused.value) == (
        f"x: two inputs are named {names[0]} and {names[1]}, alike on many disks: expected different names"
    )


def test_halves_named_by_nothing_but_the_half_have_the_folder_s_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    [pair] = pair_halves([Path("even.mrc"), Path("odd.mrc")])
    assert pair.name == tmp_path.name


def test_paths_that_are_not_utf8_are_in_no_file_of_ours(tmp_path: Path):
    require_utf8("/Größe/日本")
    path = Path("/a/b\udcff/TS.mrc")
    says = r"^'/a/b\\udcff/TS.mrc': a path that is not UTF-8"
    for given in ({"paths": [path]}, {"output": path}, {"ctf": {"ctf_file": [path]}}):
        with pytest.raises(InputError, match=says):
            resolve_config(None, given)
    with pytest.raises(InputError, match=says):
        write_star(tmp_path / "set.star", {"global": {"name": [str(path)]}})
    assert list(tmp_path.iterdir()) == []
