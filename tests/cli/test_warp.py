"""A project of Warp in, its denoised tomograms out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


def project_of_two(folder: Path) -> Path:
    """The settings of a project with half tomograms of two series."""
    foreign.write_warp_project(folder, "TS_2")
    return foreign.write_warp_project(folder, "TS_1")


def test_each_result_is_copied_when_it_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when all are: the first of two is in Warp's folder though the second one cannot be refined."""
    from dewedge.errors import UnwritableError
    from dewedge.pipeline import stages

    refine_files = stages.refine_files

    def failing(name: str, *rest: Any, **more: Any) -> None:
        if name == "TS_2":
            raise UnwritableError("the disk is full")
        refine_files(name, *rest, **more)

    monkeypatch.setattr(stages, "refine_files", failing)
    settings = project_of_two(tmp_path)
    assert run(settings, tmp_path / "OUT") == 2
    denoised = tmp_path / "warp_tiltseries" / "denoised"
    assert [path.name for path in denoised.iterdir()] == ["TS_1_10.00Apx.mrc"]
    monkeypatch.undo()
    assert main(["run", "--resume", "-o", str(tmp_path / "OUT")]) == 0
    assert len(list(denoised.iterdir())) == 2


def test_a_result_of_another_process_that_shares_the_run_is_none_to_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has begun, and done a tomogram, while this one read its inputs."""
    from dewedge.pipeline import run as pipeline
    from dewedge.pipeline.warp import paths_in_warp
    from dewedge.settings.file import resolve_config

    read, output = pipeline.read_inputs, tmp_path / "OUT"

    def reading_slowly(config: Any) -> Any:
        found = read(config)
        output.mkdir()
        (output / "config.toml").write_text("")
        copy = paths_in_warp(found[0])[0]
        copy.parent.mkdir()
        copy.write_bytes(b"")
        return found

    monkeypatch.setattr(pipeline, "read_inputs", reading_slowly)
    given = {"paths": [project_of_two(tmp_path)], "output": output, "fit": {"cube_size": 16, "held_out": 0.0}}
    given |= {"fit_each": True, "to_warp": True, "no_check": True}
    assert pipeline.prepared(resolve_config(None, given), share=True).total == 2


def test_flags_of_tilt_series_are_not_ignored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of half tomograms that are found: refused where there is nothing else, else warned of."""
    settings = project_of_two(tmp_path)
    assert run(settings, tmp_path / "OUT", "--bin", "2", "--dry-run") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "bin = 2: cannot be used with ready-made half-sets" in error
    assert "give TS_1.xml itself to use its images" in error or "give TS_2.xml itself" in error
    for half in ("even", "odd"):
        (tmp_path / f"warp_tiltseries/reconstruction/{half}/TS_2_10.00Apx.mrc").unlink()
    given = [
        "run",
        str(settings),
        *TINY,
        "--bin",
        "2",
        "--dry-run",
        "--no-check",
        "-o",
        str(tmp_path / "OUT"),
    ]
    main(given)
    told = capsys.readouterr().err
    assert "bin = 2: not used for TS_1, ready-made half-sets, which are used as they are" in told
    assert "not used for TS_1, TS_2" not in told


def test_half_tomograms_of_one_name_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = foreign.write_warp_project(tmp_path)
    assert run(settings, tmp_path / "OUT", "--dry-run") == 0
    pair = "even/TS_1_10.00Apx.mrc", "odd/TS_1_10.00Apx.mrc"
    assert f"half-sets {' and '.join(pair)}" in capsys.readouterr().out
    assert main(["import", str(settings), "-o", str(tmp_path / "dataset.star")]) == 0
    assert ", ".join(pair) in capsys.readouterr().out
