"""`dewedge reconstruct` by SIRT and total variation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dewedge.cli import main
from dewedge.io.mrc import read_mrc


@pytest.mark.parametrize(
    "flags, label",
    [
        (["--algorithm", "sirt"], "SIRT (5 iterations)"),
        (["--algorithm", "sirt", "--iterations", "2"], "SIRT (2 iterations)"),
        (["--algorithm", "tv", "--tv-weight", "0.5", "--iterations", "10"], "TV (weight 0.5, 10 iterations)"),
    ],
)
def test_reconstruct_writes_a_tomogram(flags: list[str], label: str, series: Path, tmp_path: Path):
    output = tmp_path / "rec.mrc"
    assert main(["reconstruct", str(series / "TS.mrc"), "--thickness", "32", *flags, "-o", str(output)]) == 0
    tomogram, truth = read_mrc(output), read_mrc(series / "TS_truth.mrc")
    assert label in "\n".join(tomogram.labels)
    assert np.corrcoef(tomogram.data.ravel(), truth.data.ravel())[0, 1] > 0.3


def test_what_belongs_to_replaced_half_sets_goes_with_them(series: Path, tmp_path: Path):
    output, planes = tmp_path / "rec.mrc", tmp_path / "rec_planes.json"
    command = ["reconstruct", str(series / "TS.mrc"), "--thickness", "32", "--halves", "-o", str(output)]
    assert main(command) == 0
    assert planes.exists()
    assert main([*command, "--algorithm", "sirt", "--overwrite"]) == 0
    assert not planes.exists()  # what SIRT sends through is not known


@pytest.mark.parametrize(
    "flags, expected",
    [
        (["--iterations", "20"], "filtered back-projection has none"),
        (["--algorithm", "sirt", "--iterations", "0"], "greater than 0"),
        (["--algorithm", "tv", "--tv-weight", "-1"], "greater than or equal to 0"),
        (["--algorithm", "art"], "fbp"),
    ],
)
def test_wrong_flags_give_one_line(
    flags: list[str], expected: str, series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "rec.mrc"
    given = ["reconstruct", str(series / "TS.mrc"), "--thickness", "32", *flags, "-o", str(output)]
    assert main(given) == 2
    assert expected in capsys.readouterr().err
    assert not output.exists()
