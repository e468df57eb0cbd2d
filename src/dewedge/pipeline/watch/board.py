"""The status page of a watch: one file, written anew whenever something has changed."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from dewedge.io.files import write_text_atomic
from dewedge.io.half_precision import read_result
from dewedge.pipeline.watch.records import FitFolder, Record
from dewedge.report.figure import dispensable
from dewedge.report.run.page import REFRESH_S
from dewedge.report.run.sections import middle_section, thumbnail
from dewedge.report.run.status import Status, StatusRow, status_page
from dewedge.runtime.folder import ResultFolder
from dewedge.runtime.log import duration

# Of what was done last, so that the page stays below 10 MB.
PICTURES = 500
# So many tomograms tell how long one takes.
TIMED = 20
# A page that tells nothing new is written anew after so long, as a sign of life.
SIGN_OF_LIFE_S = 60.0


@dataclass(frozen=True)
class Standing:
    """State of a watch.

    Parameters
    ----------
    records
        By name.
    queued
        Names of what has arrived and was not begun.
    waiting
        Why what lies there has not arrived, by name.
    doing
        Name of the tomogram in hand, empty for a fit or nothing, and the step.
    fits
        All, the one in hand included.
    notes
        What somebody should know.
    """

    records: Mapping[str, Record]
    queued: Collection[str] = ()
    waiting: Mapping[str, str] = field(default_factory=dict)
    doing: tuple[str, str] = ("", "")
    fits: Collection[FitFolder] = ()
    notes: Collection[str] = ()


class Board:
    """Writes the status page of an output folder."""

    def __init__(self, output: ResultFolder) -> None:
        self.output = output
        self._thumbnails: dict[str, str] = {}
        # When what is not on record came into its state.
        self._since: dict[tuple[str, str], datetime] = {}
        self._shown: object = None
        self._written_s = 0.0

    def show(self, standing: Standing, ended: str = "") -> None:
        """Write the page, unless it would tell nothing new; ``ended`` tells how it has ended, if it has."""
        now = time.monotonic()
        if not ended and standing == self._shown and now - self._written_s < SIGN_OF_LIFE_S:
            return
        with dispensable(self.output.report):
            rows = self._rows(standing)
            page = Status(
                title=self.output.name,
                sentence=_sentence(rows, ended),
                advice=self._advice(standing, ended),
                fits=[os.path.relpath(fit.report, self.output.path) for fit in standing.fits],
                rows=rows,
                goes_on=not ended,
            )
            write_text_atomic(self.output.report, status_page(page))
        self._shown, self._written_s = standing, now

    def _rows(self, standing: Standing) -> list[StatusRow]:
        """What is being done, what failed, what waits, and then what is done, the last first."""
        name, step = standing.doing
        records = sorted(standing.records.values(), key=lambda record: record.finished, reverse=True)
        done = [record for record in records if record.state == "done"]
        left = [record for record in records if record.state != "done" and record.name != name]
        left = [record for record in left if record.name not in standing.queued]
        rows = [self._coming(name, "being done", step)] if name else []
        rows += [_failed(record) for record in left if record.state == "failed"]
        rows += [self._coming(one, "waiting", why) for one, why in sorted(standing.waiting.items())]
        rows += [self._coming(one.name, one.state, "") for one in left if one.state != "failed"]
        rows += [self._coming(one, "queued", "") for one in standing.queued]
        rows += [self._done(record, i < PICTURES) for i, record in enumerate(done)]
        self._since = {key: at for key, at in self._since.items() if any(key[0] == row.name for row in rows)}
        return rows

    def _coming(self, name: str, state: str, what: str) -> StatusRow:
        since = self._since.setdefault((name, state), datetime.now())
        return StatusRow(name, state, what, since=since)

    def _done(self, record: Record, has_picture: bool) -> StatusRow:
        folder = ResultFolder(self.output.path / record.name)
        if not has_picture:
            self._thumbnails.pop(record.name, None)
        elif record.name not in self._thumbnails:
            self._thumbnails[record.name] = ""
            with dispensable(folder.result):  # somebody may have removed it
                self._thumbnails[record.name] = thumbnail(middle_section(read_result(folder.result).data))
        return StatusRow(
            record.name,
            "done",
            page=os.path.relpath(folder.report, self.output.path),
            thumbnail=self._thumbnails.get(record.name, ""),
            since=datetime.fromisoformat(record.finished),
            seconds=record.seconds,
            network=record.network,
            warnings=record.warnings,
        )

    def _advice(self, standing: Standing, ended: str) -> str:
        resume = f"dewedge run --resume -o {self.output.path} goes on."
        texts = list(standing.notes)
        if standing.doing[1] and not ended:
            texts.append(f"Now: {': '.join(filter(None, standing.doing))}.")
        last = sorted(standing.records.values(), key=lambda record: record.finished)
        times = [record.seconds for record in last if record.state == "done"][-TIMED:]
        if times:
            each = statistics.median(times)
            texts.append(f"A tomogram takes {duration(each)} (median of the last {len(times)}).")
            if standing.queued and not ended:
                texts.append(f"The queue takes about {duration(each * len(standing.queued))}.")
        if ended:
            return " ".join([*texts, resume])
        return " ".join(
            [
                *texts,
                f"Written at {datetime.now():%d %b %H:%M:%S}; this page loads itself again every {REFRESH_S} "
                f"seconds. Where the time is long past, nobody watches any more: {resume}",
            ]
        )


def _failed(record: Record) -> StatusRow:
    since = datetime.fromisoformat(record.finished)
    return StatusRow(record.name, "failed", record.reason, is_wrong=True, since=since)


def _sentence(rows: Collection[StatusRow], ended: str) -> str:
    states = [row.state for row in rows]
    others = [f", {states.count(state)} {state}" for state in dict.fromkeys(states) if state != "done"]
    return f"{ended} {states.count('done')} tomograms are done{''.join(others)}.".strip()
