"""A final name never stands for half a file."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dewedge.errors import InputError
from dewedge.io.files import atomic_path, write_text_atomic


def test_writes_whole_file_into_new_folder_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a new folder" / "Ölprobe 1.txt"
    write_text_atomic(path, "µm\n")
    assert path.read_bytes() == "µm\n".encode()
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_exception_keeps_old_file_and_removes_temporary(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "result.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.txt"]


def test_final_name_appears_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    with atomic_path(path) as temporary:
        temporary.write_text("x")
        assert not path.exists()
        assert temporary.parent == tmp_path and temporary.suffix == ".png" and temporary.name.startswith(".")
    assert path.read_text() == "x"


def test_killed_process_leaves_old_file(tmp_path: Path) -> None:
    path = tmp_path / "result.txt"
    path.write_text("old")
    code = (
        "import os, signal, sys; from dewedge.io.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as t:\n"
        "    t.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -9
    assert path.read_text() == "old"


def test_path_under_a_file_and_folder_as_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "a.txt", tmp_path / "file" / "b" / "a.txt", tmp_path):
        with pytest.raises(InputError, match="cannot be written") as info:
            write_text_atomic(path, "y")
        assert str(path) in str(info.value) and "\n" not in str(info.value)
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_system_errors_name_the_final_path(tmp_path: Path, number: int) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(InputError, match=r"a.txt: cannot be written") as info, atomic_path(path) as temporary:
        temporary.write_text("half")
        raise OSError(number, os.strerror(number))
    assert os.strerror(number) in str(info.value)
    assert os.listdir(tmp_path) == []


def test_error_about_another_file_passes_through(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        (tmp_path / "other").read_text()
    assert os.listdir(tmp_path) == []


def test_very_long_name(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / ("n" * 250 + ".txt"), "x")
    with pytest.raises(InputError, match="cannot be written"):
        write_text_atomic(tmp_path / ("n" * 300), "x")
    assert len(os.listdir(tmp_path)) == 1
