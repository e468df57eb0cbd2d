"""dewedge check, and the same at the start of dewedge run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dewedge.cli import main
from dewedge.io.mrc import read_mrc, write_mrc


@pytest.fixture
def duplicated(series: Path, tmp_path: Path) -> Path:
    """The tiny series with one image in place of another."""
    images = np.array(read_mrc(series / "TS.mrc", stack=True).data)
    images[9] = images[8]
    (tmp_path / "bad").mkdir()
    write_mrc(tmp_path / "bad" / "TS.mrc", images, 20.0, stack=True)
    (tmp_path / "bad" / "TS.tlt").write_text((series / "TS.tlt").read_text())
    return tmp_path / "bad" / "TS.mrc"


def test_table_and_json_of_a_good_series(series: Path, tiny: list[str], tmp_path: Path, capsys):
    report = tmp_path / "check.json"
    assert main(["check", str(series / "TS.mrc"), *tiny, "--json", str(report)]) == 0
    shown = capsys.readouterr().out
    assert "41 images of 64 x 64" in shown and "TS: nothing wrong was found" in shown
    values = json.loads(report.read_text())
    assert [item["name"] for item in values["inputs"]] == ["TS"]
    assert "half-sets agree" in values["inputs"][0]["facts"]  # its frames lie beside it
    # Six files of 32 x 64 x 64 float32 voxels, and one of half the edge.
    assert values["forecast"]["disk_GB"] == pytest.approx(6.125 * 4 * 32 * 64 * 64 / 1e9)
    assert values["forecast"]["fit_samples"] == 80 and values["run"] == []


def test_errors_are_told_and_set_the_exit_status(duplicated: Path, capsys):
    assert main(["check", str(duplicated)]) == 2
    captured = capsys.readouterr()
    assert "error TS, image 9, 10: two images are the same." in captured.out
    assert captured.err.splitlines()[-1] == "dewedge: error: 1 error found: see above"


def test_one_broken_input_does_not_hide_the_others(series: Path, tmp_path: Path, capsys):
    for name in ("A", "B"):
        (tmp_path / f"{name}.mrc").write_bytes((series / "TS.mrc").read_bytes())
        (tmp_path / f"{name}.tlt").write_text((series / "TS.tlt").read_text())
    (tmp_path / "A.mrc").write_bytes(b"nothing")
    assert main(["check", str(tmp_path)]) == 2
    shown = capsys.readouterr().out
    assert "B: nothing wrong was found" in shown
    # A list comes first, with a row each: what was measured of one, and what is wrong with the other.
    rows = {words[0]: words[1:] for line in shown.splitlines()[:5] if (words := line.split())}
    assert rows["B"][:4] == ["nothing", "wrong", "41", "x"] and rows["A"] == ["1", "error"]


def test_nothing_is_called_right_beside_an_error(duplicated: Path, capsys):
    """Nor is a run: that its cubes are smaller is a note, not an input."""
    assert main(["check", str(duplicated), "--thickness", "40"]) == 2
    shown = capsys.readouterr().out
    assert "note run, thickness against cube size: cubes of" in shown
    assert "error TS, image 9, 10" in shown and "nothing wrong" not in shown


def test_run_stops_before_anything_is_written(duplicated: Path, tiny: list[str], tmp_path: Path, capsys):
    output = tmp_path / "OUT"
    assert main(["run", str(duplicated), *tiny, "-o", str(output)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "two images are the same" in line and "--no-check" in line
    assert not output.exists()


def test_run_without_the_check(duplicated: Path, tiny: list[str], tmp_path: Path):
    assert main(["run", str(duplicated), *tiny, "--no-check", "-o", str(tmp_path / "OUT")]) == 0


def test_run_logs_warnings(series: Path, tiny: list[str], tmp_path: Path):
    (tmp_path / "TS.mrc").write_bytes((series / "TS.mrc").read_bytes())
    angles = (series / "TS.tlt").read_text().split()
    (tmp_path / "TS.tlt").write_text("\n".join([*angles[:10], angles[9], *angles[11:]]))
    assert main(["run", str(tmp_path / "TS.mrc"), *tiny, "-o", str(tmp_path / "OUT")]) == 0
    assert "share" in (tmp_path / "OUT" / "dewedge.log").read_text()


def test_halves_with_swapped_axes(finished: Path, tmp_path: Path, capsys):
    for half in ("half0", "half1"):
        write_mrc(tmp_path / f"{half}.mrc", read_mrc(finished / f"{half}.mrc").data.transpose(0, 2, 1), 20.0)
    given = ["--half0", str(tmp_path / "half0.mrc"), "--half1", str(tmp_path / "half1.mrc")]
    small = ["--cube-size", "16", "--tilt-range", "-60", "60"]
    assert main(["check", *given, *small]) == 2
    assert "z (beam), x, y (tilt axis)" in capsys.readouterr().out
    good = ["--half0", str(finished / "half0.mrc"), "--half1", str(finished / "half1.mrc")]
    assert main(["check", *good, *small]) == 0
    assert "half0: nothing wrong was found" in capsys.readouterr().out
