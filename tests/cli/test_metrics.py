"""`dewedge import` chooses series by AreTomo3's metrics."""

from __future__ import annotations

from pathlib import Path

import foreign
import pytest

from dewedge.cli import main
from dewedge.io.find import find_series
from dewedge.io.programs.aretomo_metrics import read_metrics

NAMES = ("TS_1", "TS_2", "TS_3")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three series, of which the last is not in the table."""
    for name in NAMES:
        foreign.write_aretomo(tmp_path, name)
    foreign.write_metrics(tmp_path, NAMES[:2])
    return tmp_path


def imported(folder: Path, *bounds: str) -> int:
    metrics = folder / "TiltSeries_Metrics.csv"
    return main(
        ["import", str(folder), "-o", str(folder / "set" / "a.star"), "--metrics", str(metrics), *bounds]
    )


@pytest.mark.parametrize(
    ("bounds", "kept"),
    [
        ((), NAMES),
        (("--at-most", "CTF_Res=16"), NAMES[:2]),
        (("--at-most", "ctf_res(A)=15.9"), NAMES[:1]),
        (("--at-least", "CTF_Score=0.2", "--at-most", "CTF_Res=99"), NAMES[:1]),
        (("--at-least", "CTF_Res=9", "--at-least", "Tilt_Axis=-6", "--at-most", "Tilt_Axis=-5"), NAMES[1:2]),
    ],
)
def test_keeps_what_is_within_the_bounds(
    folder: Path, bounds: tuple[str, ...], kept: tuple[str, ...]
) -> None:
    assert imported(folder, *bounds) == 0
    assert tuple(entry.name for entry in find_series(folder / "set" / "a.star")) == kept


def test_says_why_a_series_is_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert imported(folder, "--at-most", "CTF_Res=10") == 0
    said = capsys.readouterr().err
    assert "TS_2: not taken: CTF_Res(A) 16, more than 10 by TiltSeries_Metrics.csv" in said
    assert "TS_3: not taken: no CTF_Res" in said


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (("--at-most", "CTF_Res"), "--at-most CTF_Res: expected the name of a column and a number"),
        (("--at-least", "CTF_Res=good"), "--at-least CTF_Res=good: expected"),
        (("--at-least", "Resolution=3"), "no column 'Resolution': expected one of Thickness, Tilt_Axis"),
        (("--at-least", "CTF_Res=99"), "none of 3 series is within the bounds"),
    ],
)
def test_bounds_that_cannot_be_used(
    folder: Path, capsys: pytest.CaptureFixture[str], bounds: tuple[str, ...], message: str
) -> None:
    assert imported(folder, *bounds) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "set").exists()


def test_bounds_need_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(folder), "-o", str(folder / "a.star"), "--at-most", "CTF_Res=10"]) == 2
    assert "expected --metrics" in capsys.readouterr().err


def test_the_last_line_of_a_resumed_session_counts(tmp_path: Path) -> None:
    path = foreign.write_metrics(tmp_path)
    again = path.read_text().splitlines()[1].replace("8.00", " inf").replace("0.3000", "0.4000")
    path.write_text(path.read_text() + again + "\n\n")
    metrics = read_metrics(path)
    assert list(metrics) == ["TS_1", "TS_2"]
    assert metrics["TS_1"]["CTF_Res(A)"] is None and metrics["TS_1"]["CTF_Score"] == 0.4
    assert metrics["TS_2"]["CTF_Res(A)"] == 16 and metrics["TS_2"]["Beta0"] == 0
