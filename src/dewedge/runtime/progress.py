"""Progress of a fit and of a refinement."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from dewedge.runtime.log import console, duration

logger = logging.getLogger(__name__)

QUIET_S = 300.0  # of a fit whose rounds are long, or that has none, without a line


class Epoch(Protocol):
    """Show an epoch: its row of the loss curve."""

    @property
    def epoch(self) -> int: ...
    @property
    def samples(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def losses(self) -> str: ...


class FitProgress:
    """Loss, held-out loss, sub-tomograms a second and time left; use as a context.

    On a terminal a bar shows them, elsewhere a line a round: after the first epoch, whenever the wedge of the
    inputs was replaced, and where that takes longer than `QUIET_S`. The log file has a line for each epoch.
    """

    def __init__(self, batch_size: int, visible: bool = True) -> None:
        self.batch_size = batch_size
        self.losses = "no loss yet"
        self.first: tuple[float, float, int] | None = None  # seconds, progress and samples when it began
        self.told: float | None = None  # seconds at the last line
        self.bar = _bar(visible)
        self.task = self.bar.add_task("fit", total=1.0)

    def __enter__(self) -> FitProgress:
        self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.stop()

    def step(self, step: int, seconds: float, progress: float) -> None:
        """After a step: ``progress`` is the share of the fit that is done."""
        samples = step * self.batch_size
        if self.first is None:
            self.first = (seconds, progress, samples)
        text = f"{self.losses}  {self._pace(samples, seconds, progress)}"
        self.bar.update(self.task, completed=min(progress, 1.0), description=text)

    def epoch(self, row: Epoch, progress: float) -> None:
        """After an epoch."""
        self.losses = row.losses
        due = self.told is None or row.seconds - self.told > QUIET_S
        self._tell(row, progress, "", due)

    def round(self, number: int, row: Epoch, progress: float) -> None:
        """After the wedge of the inputs was replaced for the ``number``-th time, at the end of an epoch."""
        self._tell(row, progress, f"round {number}: ", True)

    def _tell(self, row: Epoch, progress: float, what: str, due: bool) -> None:
        pace = self._pace(row.samples, row.seconds, progress)
        level = logging.INFO if due and not console.is_terminal else logging.DEBUG
        logger.log(level, "%sepoch %d  %s  %s", what, row.epoch, self.losses, pace)
        if due:
            self.told = row.seconds

    def restart(self) -> None:
        """Judge the pace anew: from now on the fit ends sooner."""
        self.first = None

    def seconds_left(self, seconds: float, progress: float) -> float | None:
        """Until the end of the fit; None before a pace is known."""
        if self.first is None or progress <= self.first[1] or seconds <= self.first[0]:
            return None
        return (seconds - self.first[0]) * max(0.0, 1 - progress) / (progress - self.first[1])

    def _pace(self, samples: int, seconds: float, progress: float) -> str:
        left = self.seconds_left(seconds, progress)
        if self.first is None or left is None:
            return ""
        speed = (samples - self.first[2]) / (seconds - self.first[0])
        return f"{speed:.1f} sub-tomograms/s  {_remaining(left)}"


@contextmanager
def tile_progress(name: str) -> Iterator[TileProgress]:
    """A bar for the tiles of a refinement."""
    bar = _bar()
    with bar:
        yield TileProgress(bar, name)


class TileProgress:
    """Counts tiles; without a terminal a line appears every half minute."""

    def __init__(self, bar: Progress, name: str) -> None:
        self.bar = bar
        self.name = name
        self.task = bar.add_task(name, total=1.0)
        self.started = self.shown = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        left = _remaining((now - self.started) * (total - done) / max(done, 1))
        text = f"{self.name}: tile {done} of {total}  {left}"
        self.bar.update(self.task, completed=done / total, description=text)
        if not console.is_terminal and now - self.shown > 30:
            self.shown = now
            logger.info(text)


def _remaining(seconds: float) -> str:
    """The time left; past the last step or tile come losses and files, which nobody has timed."""
    return f"{duration(seconds)} left" if seconds >= 0.1 else "finishing"


def _bar(visible: bool = True) -> Progress:
    return Progress(
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.description}"),
        console=console,
        transient=True,
        disable=not (visible and console.is_terminal),
    )
