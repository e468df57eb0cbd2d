"""What the log of a run tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from dewedge.runtime.log import duration
from dewedge.runtime.logged import read_log


@pytest.mark.parametrize("seconds", [0.04, 59.9, 60, 3599, 3600, 1e6])
def test_steps_take_as_long_as_they_are_told(tmp_path: Path, seconds: float) -> None:
    path = tmp_path / "dewedge.log"
    path.write_text(f"2026-01-31 12:00:00,000 INFO TS: refine: {duration(seconds)}, peak memory 1.00 GB\n")
    told = read_log(path)
    assert [name for name, *_ in told.steps] == ["TS: refine"]
    assert told.seconds == pytest.approx(seconds, abs=0.5)


@pytest.mark.parametrize("time", ["1x s", "1.2.3 s", "1:2:3:4 h", "9" * 400 + " s"])
def test_a_time_that_is_none_is_passed_over(tmp_path: Path, time: str) -> None:
    path = tmp_path / "dewedge.log"
    path.write_text(f"2026-01-31 12:00:00,000 INFO TS: refine: {time}, peak memory 1.00 GB\n")
    assert read_log(path).seconds == 0
