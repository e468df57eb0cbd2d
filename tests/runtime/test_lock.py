"""The lock of an output folder: one holder, told of; one that is gone counts no more, whatever its host."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dewedge.errors import UnwritableError
from dewedge.runtime import lock
from dewedge.runtime.lock import LOCK, locked_file, locked_folder, taken_by_turns

HOLD = """
import sys, time
from pathlib import Path
from dewedge.runtime.lock import locked_folder
with locked_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """Another process that holds a folder."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def of_another_host(folder: Path) -> Path:
    """A lock as a process of another host leaves it."""
    folder.mkdir()
    marker = folder / LOCK
    lines = ["filelock/2", "pid=77", "host=elsewhere", "mode=lease", "token=ab", f"duration={lock.LEASE_S}"]
    marker.write_text("\n".join(lines) + "\n")
    return marker


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks that are taken for stale after seconds."""
    monkeypatch.setattr(lock, "LEASE_S", 1.5)
    monkeypatch.setattr(lock, "_TOUCHED_EVERY_S", 0.4)


def test_nothing_is_left_but_the_results(tmp_path: Path):
    with locked_folder(tmp_path / "a" / "OUT"):
        assert [path.name for path in (tmp_path / "a" / "OUT").iterdir()] == [LOCK]
    assert not (tmp_path / "a" / "OUT").exists()
    with locked_folder(tmp_path / "OUT"):
        (tmp_path / "OUT" / "full.mrc").write_text("")
    assert [path.name for path in (tmp_path / "OUT").iterdir()] == ["full.mrc"]


def test_the_second_comer_is_told_who_holds_it_and_one_that_was_killed_does_not(tmp_path: Path):
    with holder(tmp_path) as process:
        with pytest.raises(UnwritableError) as refused, locked_folder(tmp_path):
            pass
        text = str(refused.value)
        assert text.startswith(f"{tmp_path}: another dewedge works there (process {process.pid} on ")
        process.send_signal(signal.SIGKILL)
    assert (tmp_path / LOCK).exists()
    with locked_folder(tmp_path):
        pass


def test_files_are_held_one_by_one(tmp_path: Path):
    with locked_file(tmp_path / "a.mrc"):
        with locked_file(tmp_path / "b.mrc"):
            pass
        with (
            pytest.raises(UnwritableError, match=r"a\.mrc: another dewedge"),
            locked_file(tmp_path / "a.mrc"),
        ):
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("impatient")
def test_a_holder_on_another_host_counts_until_it_gives_no_sign_of_life(tmp_path: Path):
    marker = of_another_host(tmp_path / "OUT")
    gone = threading.Event()

    def live() -> None:
        while not gone.wait(0.2):
            os.utime(marker)

    alive = threading.Thread(target=live)
    alive.start()
    try:
        with pytest.raises(UnwritableError, match="process 77 on elsewhere"), locked_folder(tmp_path / "OUT"):
            pass
    finally:
        gone.set()
        alive.join()
    with locked_folder(tmp_path / "OUT"):
        assert "elsewhere" not in marker.read_text()


@pytest.mark.usefixtures("impatient")
def test_folders_are_taken_by_turns_by_every_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Those that are free, then what a gone process left, on whatever host; not what a living one holds."""
    of_another_host(tmp_path / "gone")
    (tmp_path / "alive").mkdir()
    folders = [tmp_path / name for name in ("alive", "gone", "free")]
    with locked_folder(tmp_path / "alive"):
        monkeypatch.setenv("RANK", "1")
        taken = {}
        for number in taken_by_turns(folders):
            taken[folders[number].name] = (folders[number] / LOCK).read_text()
    assert list(taken) == ["free", "gone"]
    assert all(f"pid={os.getpid()}" in text for text in taken.values())
    assert [folders[number].name for number in taken_by_turns(folders)] == ["alive", "gone", "free"]
    assert not list(tmp_path.rglob("*.lock"))


@pytest.mark.usefixtures("impatient")
def test_who_loses_it_is_terminated(tmp_path: Path):
    def terminate(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, terminate)
    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt), locked_folder(tmp_path):
            (tmp_path / LOCK).unlink()
            threading.Event().wait(60)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert time.monotonic() - started < 30


def test_other_processes_of_a_run_take_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANK", "1")
    with locked_folder(tmp_path / "OUT"):
        assert not (tmp_path / "OUT").exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UnwritableError, match=r"OUT: cannot be written: "),
        locked_folder(tmp_path / "file/OUT"),
    ):
        pass
