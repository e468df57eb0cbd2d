"""Progress on a terminal, where a bar names its stage, and elsewhere in a few lines."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Column

from dewedge.errors import printable
from dewedge.learn.loss_curve import EpochRow
from dewedge.learn.options import FitOptions
from dewedge.learn.state import FitState
from dewedge.runtime.log import console, duration, is_on_terminal

logger = logging.getLogger(__name__)

# Without a terminal, between two lines: of rounds of a fit, of its epochs where rounds are long or there are
# none, and of all else.
ROUND_S = 60.0
QUIET_S = 300.0
COUNT_S = 60.0
# After so many seconds a fit that got less than this share of its cores says so: alone it gets .9, beside one
# other process of its own priority on two cores .55, of the lowest .6 to .8 (docs/notebook/speed.md).
BUSY_S = 30.0
BUSY_SHARE = 0.7


class FitProgress:
    """Time left, loss, held-out loss and sub-tomograms a second; use as a context.

    On a terminal a bar shows them, elsewhere a line a round: after the first epoch, whenever the wedge of the
    inputs was replaced, but at most once a minute, and where rounds take longer than `QUIET_S`. The log file
    has a line for each epoch.

    Parameters
    ----------
    options
        Of the fit, whose limits tell when it ends.
    visible
        False on all processes but the first.
    cores
        Those that the fit computes on; None where it does not wait for the processor, as on a GPU.
    """

    def __init__(self, options: FitOptions, visible: bool = True, cores: int | None = None) -> None:
        self.options = options
        self.cores = cores  # None, too, once it was told how busy they are
        self.began: tuple[float, float] | None = None  # seconds of the clock and of the processor
        self.losses = "no loss yet"
        self.then_s: float | None = None  # what follows the fit, once that was measured
        self.first: tuple[int, float] | None = None  # step and seconds when it began here
        self.rounds, self.rounds_s = 0, 0.0  # ended since then, and what filling at their ends took
        self.round_steps = 0.0
        self.told: float | None = None  # seconds at the last line
        self.bar = _bar(visible)
        self.task = self.bar.add_task("", total=1.0, stage="fit")

    def __enter__(self) -> FitProgress:
        self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.stop()

    def step(self, state: FitState) -> None:
        """Show where the fit stands after a step."""
        if self.first is None:
            self.first = (state.step, state.seconds)
            self.began = (time.monotonic(), time.process_time())
        share = min(state.progress(self.options), 1.0)
        text = "  ".join(filter(None, [self._left(state), self.losses, self._speed(state)]))
        self.bar.update(self.task, completed=share, description=text)

    def epoch(self, state: FitState) -> None:
        """Tell of an epoch; where the wedge of the inputs was replaced at its end, after that."""
        row = state.rows[-1]
        self.losses = row.losses
        self.rounds_s += state.seconds - row.seconds
        self._tell(state, row, "", self.told is None or row.seconds - self.told > QUIET_S)
        self._tell_if_busy()

    def round(self, number: int, state: FitState) -> None:
        """Tell that the wedge of the inputs was replaced the ``number``-th time, at the end of an epoch."""
        row = state.rows[-1]
        self.rounds += 1
        self.round_steps = state.step / number
        self._tell(state, row, f"round {number}: ", self.told is None or row.seconds - self.told > ROUND_S)

    def seconds_left(self, state: FitState) -> float | None:
        """Seconds until the end of the fit by steps or by its budget; None before a pace is known."""
        budget_s = math.inf if self.options.budget_s is None else self.options.budget_s
        by_time, steps = budget_s - state.seconds, state.steps_left(self.options)
        if self.first is None or state.step <= self.first[0]:
            return None
        by_steps = math.inf
        if math.isfinite(steps):
            step, seconds = self.first
            by_steps = steps * (state.seconds - seconds - self.rounds_s) / (state.step - step)
            if self.rounds > 0:  # none ends with the fit
                by_steps += (math.ceil(steps / self.round_steps) - 1) * self.rounds_s / self.rounds
        return max(0.0, min(by_time, by_steps))

    def _tell(self, state: FitState, row: EpochRow, what: str, due: bool) -> None:
        pace = "  ".join(filter(None, [self._speed(state), self._left(state)]))
        level = logging.INFO if due and not console.is_terminal else logging.DEBUG
        logger.log(level, "%sepoch %d  %s  %s", what, row.epoch, self.losses, pace)
        if due:
            self.told = row.seconds

    def _tell_if_busy(self) -> None:
        """Once, where other processes hold the cores."""
        if self.cores is None or self.began is None:
            return
        clock_s, processor_s = self.began
        passed_s = time.monotonic() - clock_s
        if passed_s < BUSY_S:
            return
        share = (time.process_time() - processor_s) / (passed_s * self.cores)
        if share < BUSY_SHARE:
            logger.warning(
                "fit: it computes for %.0f %% of the time that its threads have (%d): other processes hold "
                "the cores, or files are read slowly; alone it learns more in the same time",
                100 * share, self.cores,
            )  # fmt: skip
        self.cores = None

    def _speed(self, state: FitState) -> str:
        if self.first is None or state.step <= self.first[0] or state.seconds <= self.first[1]:
            return ""
        step, seconds = self.first
        speed = (state.step - step) * self.options.batch_size / (state.seconds - seconds)
        return f"{speed:.1f} sub-tomograms/s"

    def _left(self, state: FitState) -> str:
        left = self.seconds_left(state)
        if left is None:
            return ""
        then = "" if self.then_s is None else f", refinement {duration(self.then_s)}"
        return f"{_remaining(left)}{then}"


class Counted:
    """Counts what a stage is made of; without a terminal a line appears every minute."""

    def __init__(self, bar: Progress, stage: str, name: str, unit: str) -> None:
        self.bar, self.stage, self.name, self.unit = bar, stage, printable(name), unit
        self.task = bar.add_task(self.name, total=None, stage=stage)
        self.started = self.shown = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` are done."""
        now = time.monotonic()
        left = _remaining((now - self.started) * (total - done) / max(done, 1))
        text = f"{left}  {self.name}: {self.unit} {done} of {total}"
        self.bar.update(self.task, total=total, completed=done, description=text)
        if not console.is_terminal and now - self.shown > COUNT_S:
            self.shown = now
            logger.info("%s %s: %s %d of %d  %s", self.stage, self.name, self.unit, done, total, left)


@contextmanager
def counted(stage: str, name: str, unit: str = "") -> Iterator[Counted]:
    """Show a bar for a stage with this name, which moves to and fro until something is counted.

    It is shown where messages are: of several processes by the first, and to nobody who calls from Python.
    """
    bar = _bar()
    with bar:
        yield Counted(bar, stage, name, unit)


def _remaining(seconds: float) -> str:
    """The time left; past the last step or tile come losses and files, which nobody has timed."""
    return f"{duration(seconds)} left" if seconds >= 0.1 else "finishing"


def _bar(visible: bool = True) -> Progress:
    """Stage, bar and percentage; what follows is cut where the terminal is narrow."""
    return Progress(
        TextColumn("{task.fields[stage]}", markup=False),
        BarColumn(bar_width=max(6, min(24, console.width // 5))),
        TaskProgressColumn(show_speed=False),
        TextColumn(
            "{task.description}",
            markup=False,
            table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
        ),
        console=console,
        expand=True,
        transient=True,
        disable=not (visible and is_on_terminal()),
    )
