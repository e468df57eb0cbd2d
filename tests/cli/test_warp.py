"""A project of Warp in, its denoised tomograms out."""

from __future__ import annotations

from pathlib import Path

import foreign
import numpy as np
import pytest

from dewedge.cli import main
from dewedge.io.mrc import read_mrc

TINY = (
    *("--cube-size", "16", "--channels", "2", "--epochs", "1", "--epoch-samples", "4", "--batch-size", "2"),
    *("--held-out", "0", "--update-interval", "none", "--average-rotations", "1", "--device", "cpu"),
)


def run(settings: Path, output: Path, *more: str) -> int:
    return main(["run", str(settings), *TINY, "--to-warp", "-o", str(output), *more])


def test_results_lie_where_warp_keeps_denoised_tomograms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = foreign.write_warp_project(tmp_path)
    assert run(settings, tmp_path / "OUT") == 0
    denoised, half = (
        read_mrc(tmp_path / "warp_tiltseries" / folder / "TS_1_10.00Apx.mrc")
        for folder in ("denoised", "reconstruction/even")
    )
    assert denoised.voxel_size_A == half.voxel_size_A == 10.0
    assert denoised.data.shape == half.data.shape
    np.testing.assert_array_equal(denoised.data, read_mrc(tmp_path / "OUT" / "refined.mrc").data)
    capsys.readouterr()
    assert run(settings, tmp_path / "OTHER") == 2
    assert "denoised/TS_1_10.00Apx.mrc: exists already" in capsys.readouterr().err
    denoised.path.unlink()
    assert main(["run", "--resume", "-o", str(tmp_path / "OUT")]) == 0
    assert denoised.path.is_file()


def test_only_for_half_tomograms_of_warp(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    foreign.write_warp_project(tmp_path)
    halves = [tmp_path / half / "TS_1.mrc" for half in ("even", "odd")]
    for half in halves:
        half.parent.mkdir()
        (tmp_path / f"warp_tiltseries/reconstruction/{half.parent.name}/TS_1_10.00Apx.mrc").rename(half)
    given = ["--half0", str(halves[0]), "--half1", str(halves[1]), "--tilt-range", "-60", "60"]
    assert main(["run", *given, *TINY, "--to-warp", "-o", str(tmp_path / "OUT")]) == 2
    assert "--to-warp: TS_1: expected half tomograms in the folders" in capsys.readouterr().err
