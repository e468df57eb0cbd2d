"""Whose fault it is: what is closed is told and passed over, a broken series counts once."""

from __future__ import annotations

import builtins
import errno
import os
from pathlib import Path
from typing import Any

import foreign
import numpy as np
import pytest

from dewedge.errors import InputError, UnreadableError, UnwritableError
from dewedge.io import files
from dewedge.io.files import files_and_folders, open_input
from dewedge.io.find import find_series
from dewedge.io.mrc import create_mrc, read_mrc, write_mrc


def series(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_mrc(folder / f"{name}.st", np.random.default_rng(0).random((7, 8, 8)), 10.0, stack=True)
    np.savetxt(folder / f"{name}.tlt", np.arange(-60.0, 61, 20))
    return folder / f"{name}.st"


def close(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Files and folders of these names are as to a user without permission; root has it always."""
    listed, opened = Path.iterdir, builtins.open

    def refuse(path: Any) -> None:
        if Path(path).name in names:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    def iterdir(path: Path) -> Any:
        refuse(path)
        return listed(path)

    def opening(path: Any, *arguments: Any) -> Any:
        refuse(path)
        return opened(path, *arguments)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    monkeypatch.setattr(files, "open", opening, raising=False)


def test_a_closed_folder_among_many_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("a", "b", "closed"):
        series(tmp_path / name, f"TS_{name}")
    close(monkeypatch, "closed")
    faults: list[InputError] = []
    notes: list[str] = []
    found = find_series(tmp_path, faults=faults, notes=notes)
    assert [entry.name for entry in found] == ["TS_a", "TS_b"] and not faults
    assert notes == [f"passed over: {tmp_path / 'closed'}: cannot be read: Permission denied"]
    with pytest.raises(UnreadableError, match="closed: cannot be read"):
        find_series(tmp_path)
    with pytest.raises(UnreadableError, match="closed: cannot be read"):
        find_series(tmp_path / "closed", notes=notes)


@pytest.mark.parametrize("name", ["set.star", "other.xml", "ddw.yaml"])
def test_a_closed_file_that_may_be_of_no_series_is_a_note(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    series(tmp_path, "TS")
    (tmp_path / name).write_text("")
    close(monkeypatch, name)
    faults: list[InputError] = []
    notes: list[str] = []
    assert [entry.name for entry in find_series(tmp_path, faults=faults, notes=notes)] == ["TS"]
    assert not faults and len(notes) == 1 and name in notes[0]


@pytest.mark.parametrize("name", ["other.xml", "ddw.yaml"])
def test_a_damaged_file_that_may_be_of_no_series_is_a_note(name: str, tmp_path: Path):
    series(tmp_path, "TS")
    (tmp_path / name).write_bytes(b"\0" * 100)
    notes: list[str] = []
    assert [entry.name for entry in find_series(tmp_path, faults=[], notes=notes)] == ["TS"]
    assert len(notes) == 1 and name in notes[0]


def test_a_closed_stack_is_the_fault_of_its_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("TS_1", "TS_2"):
        series(tmp_path, name)
    close(monkeypatch, "TS_1.st")
    faults: list[InputError] = []
    notes: list[str] = []
    assert [entry.name for entry in find_series(tmp_path, faults=faults, notes=notes)] == ["TS_2"]
    assert [str(fault) for fault in faults] == [f"{tmp_path / 'TS_1.st'}: cannot be read: Permission denied"]
    assert not notes


def test_a_broken_series_counts_once_however_many_files_describe_it(tmp_path: Path):
    foreign.write_aretomo(tmp_path, "TS_1", halves=True)
    np.savetxt(tmp_path / "TS_1.tlt", np.arange(5.0))
    foreign.write_aretomo(tmp_path, "TS_2", halves=True)
    for name in ("TS_1.mrc", "TS_1_EVN.mrc", "TS_1_ODD.mrc"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-7])
    faults: list[InputError] = []
    assert [entry.name for entry in find_series(tmp_path, faults=faults, notes=[])] == ["TS_2"]
    assert len(faults) == 1 and "truncated" in str(faults[0])


def test_listing(tmp_path: Path):
    for name in ("b", "a", ".hidden"):
        (tmp_path / name).write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / "round").symlink_to("round")
    assert files_and_folders(tmp_path) == ([tmp_path / "a", tmp_path / "b"], [tmp_path / "folder"])
    with pytest.raises(UnreadableError, match="a: cannot be read: Not a directory"):
        files_and_folders(tmp_path / "a")
    with pytest.raises(InputError, match="no such file"), open_input(tmp_path / "gone"):
        pass


def test_a_mapped_file_that_shrinks_is_an_error_line(tmp_path: Path):
    path = tmp_path / "a.mrc"
    values = np.random.default_rng(0).random((64, 64, 64), dtype=np.float32)
    write_mrc(path, values, 10.0)
    data = read_mrc(path).data
    view = data[10:, ::2]
    os.truncate(path, 5000)
    for take in (
        lambda: data[40],
        lambda: data[:, 3],
        lambda: view[20:],
        lambda: [section.sum() for section in data],
        lambda: data[data.shape[0] - 1, 0, 0],
    ):
        with pytest.raises(InputError, match=r"a\.mrc: has become shorter since it was opened \(5000 bytes"):
            take()


def test_a_mapped_file_is_an_array_like_any_other(tmp_path: Path):
    path = tmp_path / "a.mrc"
    values = np.random.default_rng(0).random((6, 7, 8), dtype=np.float32)
    write_mrc(path, values, 10.0)
    data = read_mrc(path).data
    np.testing.assert_array_equal(
        data[::-1].transpose(1, 0, 2)[2:, 1], values[::-1].transpose(1, 0, 2)[2:, 1]
    )
    for made in (data[[1, 2]], data[data > 0.5], data + 1, data.astype(np.float64), data[1] * 2):
        assert type(made) is np.ndarray or not np.shares_memory(made, data)
    assert isinstance(data[1, 2, 3], np.float32) and isinstance(data.min(), np.float32)
    assert float(np.asarray(data).mean()) == pytest.approx(float(values.mean()))
    # Replaced by another file of that name, it stays what it was.
    write_mrc(path, values[:2], 10.0)
    np.testing.assert_array_equal(data[5], values[5])


def test_a_full_disk_is_no_input_s_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Full:
        free = 0

    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: Full)
    with (
        pytest.raises(UnwritableError, match="not enough space"),
        create_mrc(tmp_path / "a.mrc", (2, 2, 2), 1.0),
    ):
        pass
