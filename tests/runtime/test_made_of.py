"""What results were made of: recorded, and compared where results exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dewedge.errors import InputError
from dewedge.runtime.made_of import Source, plain, read_record, refuse_changed, write_record


def source(folder: Path, name: str = "TS", **values: Any) -> Source:
    return Source(name, [folder / "TS.mrc"], plain(values), [folder / "half0.mrc"])


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """The record of a stack and its angles, of which a half-set was made."""
    (tmp_path / "TS.mrc").write_text("images")
    write_record(tmp_path / "inputs.json", [source(tmp_path, tilt_deg=np.array([-60.0, 1 / 3]), ctf=None)])
    (tmp_path / "half0.mrc").write_text("")
    return tmp_path / "inputs.json"


def test_what_is_the_same_but_for_the_last_digits_and_the_time_passes(record: Path, tmp_path: Path):
    (tmp_path / "TS.mrc").write_text("images")
    refuse_changed(record, [source(tmp_path, tilt_deg=np.array([-60.0, 0.33333331]), ctf=None)])


@pytest.mark.parametrize(
    "values, says",
    [
        ({"tilt_deg": [-60.0, 0.34], "ctf": None}, "TS: its tilt_deg is not what was read then"),
        ({"tilt_deg": [-60.0], "ctf": None}, "TS: its tilt_deg is not"),
        ({"tilt_deg": [-60.0, 1 / 3], "ctf": {"voltage_kV": 300.0}}, "TS: its ctf is not"),
        ({"tilt_deg": [-60.0, 1 / 3], "ctf": None, "thickness": 3}, "TS: its thickness is not"),
    ],
)
def test_other_metadata_are_refused(record: Path, tmp_path: Path, values: dict[str, Any], says: str):
    with pytest.raises(InputError, match=f"^{says}.*put that back, or give --overwrite"):
        refuse_changed(record, [source(tmp_path, **values)])


def test_another_file_is_refused_where_results_exist(record: Path, tmp_path: Path):
    values = {"tilt_deg": [-60.0, 1 / 3], "ctf": None}
    (tmp_path / "TS.mrc").write_text("others")
    with pytest.raises(InputError, match=r"TS\.mrc: has changed since then \(other contents, written"):
        refuse_changed(record, [source(tmp_path, **values)])
    other = Source("TS", [tmp_path / "half0.mrc"], values, [tmp_path / "half0.mrc"])
    with pytest.raises(InputError, match=r"TS\.mrc: is no more a file of TS"):
        refuse_changed(record, [other])
    (tmp_path / "half0.mrc").unlink()
    refuse_changed(record, [source(tmp_path, **values)])
    write_record(record, [source(tmp_path, **values)])
    (tmp_path / "half0.mrc").write_text("")
    refuse_changed(record, [source(tmp_path, **values)])


def test_others_are_added_and_known_ones_stay(record: Path, tmp_path: Path):
    before = read_record(record)["TS"]
    write_record(record, [source(tmp_path, tilt_deg=[0.0]), source(tmp_path, "TS_2")])
    assert read_record(record)["TS"].values == before.values and "TS_2" in read_record(record)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"TS": {}}', '{"TS": {"files": {"a": {}}, "values": {}}}'])
def test_a_damaged_record_is_one_line(record: Path, tmp_path: Path, text: str):
    record.write_text(text)
    with pytest.raises(InputError, match=r"inputs\.json: damaged .*: remove it"):
        refuse_changed(record, [source(tmp_path)])
