"""Smaller parts of the pipeline: processes, progress, log."""

from __future__ import annotations

import io
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from dewedge.errors import InputError, UnwritableError
from dewedge.learn.loss_curve import EpochRow
from dewedge.learn.options import FitOptions
from dewedge.learn.state import FitState
from dewedge.pipeline.simulate import tilt_angles
from dewedge.runtime.devices import on_first_process
from dewedge.runtime.folder import ResultFolder, tomogram_folders
from dewedge.runtime.log import duration, log_file, log_to_file, show_on_terminal, step, stop_messages
from dewedge.runtime.progress import FitProgress, counted


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


OPTIONS = FitOptions(epochs=100, epoch_samples=40, batch_size=4)  # of ten steps each


def state(step: int, seconds: float, **changes: Any) -> FitState:
    """A fit after so many steps, and the row of its last epoch, whose end is now."""
    row = EpochRow(step // 10, step, 4 * step, seconds, 1e-3, 0.5, None)
    return FitState(step=step, seconds=seconds, rows=[row], **changes)


def test_progress_counts_only_what_was_done_since_it_began(caplog: pytest.LogCaptureFixture):
    """A resumed fit: speed and time left come from this process alone."""
    progress = FitProgress(OPTIONS, visible=False)
    progress.step(state(500, 50.0))
    progress.step(state(510, 60.0))
    with caplog.at_level(logging.DEBUG, "dewedge"):
        progress.epoch(state(510, 60.0))
    # Ten steps, 40 sub-tomograms, in 10 s: the 490 steps that remain take as many seconds.
    assert caplog.messages == ["epoch 51  loss 0.5000  4.0 sub-tomograms/s  8:10 min left"]


def test_after_the_last_step_no_time_is_told(caplog: pytest.LogCaptureFixture):
    progress = FitProgress(OPTIONS, visible=False)
    progress.step(state(900, 50.0))
    progress.step(state(1000, 60.0))
    assert progress.bar.tasks[0].description.startswith("finishing  no loss yet")
    with caplog.at_level(logging.DEBUG, "dewedge"):
        progress.epoch(state(1000, 60.0))
    assert caplog.messages[0].endswith("sub-tomograms/s  finishing")


def test_elsewhere_than_on_a_terminal_a_round_is_a_line_but_at_most_one_a_minute(
    caplog: pytest.LogCaptureFixture,
):
    """A thousand epochs are a thousand lines in the log file alone."""
    progress = FitProgress(OPTIONS, visible=False)
    with caplog.at_level(logging.INFO, "dewedge"):
        for i in range(1, 9):
            progress.epoch(state(10 * i, 50.0 * i))
            if i in (2, 4):
                progress.round(i // 2, state(10 * i, 50.0 * i))
    # The first, the end of a round that is not within a minute of it, and none but after five minutes.
    assert [message.split("  ")[0] for message in caplog.messages] == ["epoch 1", "round 2: epoch 4"]
    with caplog.at_level(logging.INFO, "dewedge"):
        progress.epoch(state(90, 501.0))
    assert caplog.messages[-1].startswith("epoch 9")


@pytest.mark.parametrize(
    "cores, processor_s, told", [(2, 65.0, False), (2, 30.0, True), (1, 32.0, False), (None, 1.0, False)]
)
def test_a_fit_that_gets_little_of_its_cores_says_so_once(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    cores: int | None,
    processor_s: float,
    told: bool,
):
    clock, processor = iter([100.0, 110.0, 135.0]), iter([7.0, 7.0 + processor_s])
    monkeypatch.setattr("dewedge.runtime.progress.time.monotonic", lambda: next(clock))
    monkeypatch.setattr("dewedge.runtime.progress.time.process_time", lambda: next(processor))
    with caplog.at_level(logging.WARNING, "dewedge"):
        progress = FitProgress(OPTIONS, visible=False, cores=cores)
        progress.step(state(0, 0.0))
        for i in range(1, 4):  # too early, then once
            progress.epoch(state(10 * i, 50.0 * i))
    warned = [message for message in caplog.messages if "it computes for" in message]
    assert len(warned) == told and all(message.startswith("fit: it computes for 43 %") for message in warned)


def test_a_budget_is_what_is_left_whatever_filling_takes():
    progress = FitProgress(replace(OPTIONS, epochs=None, budget_s=600.0), visible=False)
    progress.step(state(1, 5.0))
    now = state(100, 100.0)
    now.seconds = 160.0  # the wedge was filled after the epoch
    progress.epoch(now)
    progress.round(1, now)
    assert progress.seconds_left(now) == pytest.approx(600 - 160)


def test_what_filling_takes_comes_on_top_of_the_steps_that_are_left():
    progress = FitProgress(OPTIONS, visible=False)
    assert progress.seconds_left(state(0, 0.0)) is None
    progress.step(state(0, 0.0))
    now = state(100, 100.0)
    now.seconds = 107.0
    progress.epoch(now)
    progress.round(1, now)
    # 900 steps of a second; of the nine rounds the last one is not filled.
    assert progress.seconds_left(now) == pytest.approx(900 + 8 * 7)
    progress.epoch(state(110, 117.0))
    assert progress.seconds_left(state(110, 117.0)) == pytest.approx(890 + 8 * 7)


def test_a_fit_that_is_brought_to_its_end_takes_a_quarter_of_the_steps_so_far():
    progress = FitProgress(replace(OPTIONS, epochs=None, budget_s=600.0, patience=5), visible=False)
    progress.step(state(0, 0.0))
    now = state(160, 160.0)
    assert progress.seconds_left(now) == pytest.approx(440)
    now.cool(progress.options)
    assert progress.seconds_left(now) == pytest.approx(40)
    assert FitState(200, 200.0, cooling=now.cooling).finished(progress.options)


def test_the_refinement_is_told_of_once_it_was_measured(caplog: pytest.LogCaptureFixture):
    progress = FitProgress(OPTIONS, visible=False)
    progress.step(state(0, 0.0))
    progress.then_s = 70.0
    with caplog.at_level(logging.DEBUG, "dewedge"):
        progress.epoch(state(970, 970.0))
    assert caplog.messages[0].endswith("30.0 s left, refinement 1:10 min")


@pytest.mark.parametrize("width", [40, 60, 200])
def test_bar_and_percentage_are_there_however_narrow_the_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch
):
    screen = Console(width=width, force_terminal=True, file=io.StringIO(), color_system=None)
    monkeypatch.setattr("dewedge.runtime.progress.console", screen)
    progress = FitProgress(OPTIONS)
    progress.then_s = 5000.0
    for number in (0, 430):
        progress.step(state(number, 3.0 * number))
    with screen.capture() as shown:
        screen.print(progress.bar.get_renderable())
    [line] = shown.get().splitlines()
    assert line.startswith("fit ") and "━" * 3 in line and " 43% 28:30 min left" in line
    assert len(line) <= width


def test_elsewhere_what_is_counted_is_a_line_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    now = 0.0
    monkeypatch.setattr("dewedge.runtime.progress.time.monotonic", lambda: now)
    with caplog.at_level(logging.INFO, "dewedge"), counted("read", "TS\x1b[1m", "image") as count:
        for i in range(1, 31):
            now += 5
            count(i, 40)
    assert caplog.messages == [
        "read TS\\x1b[1m: image 13 of 40  2:15 min left",
        "read TS\\x1b[1m: image 26 of 40  1:10 min left",
    ]


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
