"""Smaller parts of the pipeline: processes, progress, log."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from dewedge.errors import InputError, UnwritableError
from dewedge.learn.loss_curve import EpochRow
from dewedge.pipeline.simulate import tilt_angles
from dewedge.runtime.devices import on_first_process
from dewedge.runtime.folder import ResultFolder, tomogram_folders
from dewedge.runtime.log import duration, log_file, log_to_file, show_on_terminal, step, stop_messages
from dewedge.runtime.progress import FitProgress


class OtherProcess:
    """Looks like a Fabric of two processes; what the first broadcasts is given."""

    world_size = 2

    def __init__(self, first: bool, received: Any = None) -> None:
        self.is_global_zero = first
        self.received = received

    def broadcast(self, value: Any) -> Any:
        return value if self.is_global_zero else self.received


def test_only_the_first_process_acts_and_all_get_the_result():
    assert on_first_process(OtherProcess(first=True), lambda: 3) == 3  # type: ignore[arg-type]
    other = OtherProcess(first=False, received=(3, None))
    assert on_first_process(other, lambda: pytest.fail("acted")) == 3  # type: ignore[arg-type]


def test_a_wrong_input_found_by_the_first_process_ends_all():
    def fail() -> None:
        raise UnwritableError("full disk")

    received = (None, UnwritableError("full disk"))
    for process in (OtherProcess(first=True), OtherProcess(first=False, received=received)):
        with pytest.raises(UnwritableError, match="full disk"):
            on_first_process(process, fail)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "seconds, text", [(4.24, "4.2 s"), (185, "3:05 min"), (7210, "2:00:10 h"), (3600, "1:00:00 h")]
)
def test_durations_for_people(seconds: float, text: str):
    assert duration(seconds) == text


def test_one_tomogram_lies_in_the_output_itself():
    assert tomogram_folders(Path("out"), ["a"], several=False) == [ResultFolder(Path("out"))]
    a, b = tomogram_folders(Path("out"), ["a", "b"], several=True)
    assert (a.path, b.full) == (Path("out/a"), Path("out/b/full.mrc"))


def test_tilt_angles_hold_both_ends():
    assert tilt_angles((-60, 60), 3) == [float(a) for a in range(-60, 61, 3)]
    assert tilt_angles((-0.3, 0.3), 0.1)[-1] == pytest.approx(0.3)
    with pytest.raises(InputError, match="--tilt-step"):
        tilt_angles((-60, 60), 0)


def test_progress_counts_only_what_was_done_since_it_began(caplog: pytest.LogCaptureFixture):
    """A resumed fit: speed and time left come from this process alone."""
    progress = FitProgress(batch_size=4, visible=False)
    progress.step(100, 50.0, 0.5)
    progress.step(110, 60.0, 0.6)
    row = EpochRow(3, 110, 440, 60.0, 1e-3, 0.5, None)
    with caplog.at_level(logging.DEBUG, "dewedge"):
        progress.epoch(row, 0.6)
    # 40 sub-tomograms in 10 s; a tenth in 10 s leaves 40 s.
    assert caplog.messages == ["epoch 3  loss 0.5000  4.0 sub-tomograms/s  40.0 s left"]


@pytest.mark.parametrize("share", [1.0, 1.01])
def test_after_the_last_step_no_time_is_told(share: float, caplog: pytest.LogCaptureFixture):
    progress = FitProgress(batch_size=4, visible=False)
    progress.step(100, 50.0, 0.9)
    progress.step(110, 60.0, share)
    assert progress.bar.tasks[0].description.endswith("4.0 sub-tomograms/s  finishing")
    with caplog.at_level(logging.DEBUG, "dewedge"):
        progress.epoch(EpochRow(3, 110, 440, 60.0, 1e-3, 0.5, None), share)
    assert caplog.messages[0].endswith("sub-tomograms/s  finishing")


def test_elsewhere_than_on_a_terminal_a_round_is_a_line(caplog: pytest.LogCaptureFixture):
    """A thousand epochs are a thousand lines in the log file alone."""
    progress = FitProgress(batch_size=4, visible=False)
    with caplog.at_level(logging.INFO, "dewedge"):
        for i in range(1, 9):
            row = EpochRow(i, 10 * i, 40 * i, 50.0 * i, 1e-3, 0.5, None)
            progress.epoch(row, i / 8)
            if i == 4:
                progress.round(1, row, i / 8)
    # The first, the end of the round, and none but the one after five minutes without any.
    assert [message.split("  ")[0] for message in caplog.messages] == ["epoch 1", "round 1: epoch 4"]
    with caplog.at_level(logging.INFO, "dewedge"):
        progress.epoch(EpochRow(9, 90, 360, 501.0, 1e-3, 0.5, None), 1.0)
    assert caplog.messages[-1].startswith("epoch 9")


def test_time_left_is_judged_anew_where_the_fit_is_brought_to_its_end():
    progress = FitProgress(batch_size=4, visible=False)
    progress.step(0, 0.0, 0.0)
    assert progress.seconds_left(0.0, 0.0) is None
    assert progress.seconds_left(100.0, 0.1) == pytest.approx(900)
    progress.restart()
    progress.step(100, 100.0, 0.1)
    assert progress.seconds_left(110.0, 0.55) == pytest.approx(10)


def test_log_file_is_appended_to_and_closed(tmp_path: Path):
    path = tmp_path / "sub" / "dewedge.log"
    for i in range(2):
        log_to_file(path)
        assert log_file() == path
        with step(f"part {i}"):
            pass
        stop_messages()
    assert log_file() is None
    assert path.read_text().count("peak memory") == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_ends_the_log_and_nothing_else(capfd: pytest.CaptureFixture[str]):
    show_on_terminal()
    log_to_file(Path("/dev/full"))
    for _ in range(2000):
        logging.getLogger("dewedge").debug("a line")
    assert log_file() is None
    logging.getLogger("dewedge").info("the next line")
    stop_messages()
    [fault, following] = [line.partition("  ")[2] for line in capfd.readouterr().err.splitlines()]
    assert fault == "/dev/full: cannot be written any more: the run goes on without: No space left on device"
    assert following == "the next line"


def test_log_that_cannot_be_written_is_wrong_input(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        log_to_file(tmp_path / "file" / "dewedge.log")
