"""Half tomograms from OME-Zarr, and the refined tomogram as OME-Zarr, MRC or both."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaozarrs

import dewedge
from dewedge.cli import main
from dewedge.io.formats import read_volume, write_volume
from dewedge.io.mrc import read_mrc


def data(path: Path) -> np.ndarray:
    return np.asarray(read_volume(path).data)


@pytest.fixture(scope="module")
def halves(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Flags that name half-sets, one as OME-Zarr 0.5, one as 0.4."""
    folder = tmp_path_factory.mktemp("halves")
    for name, version in (("half0", "0.5"), ("half1", "0.4")):
        mrc = read_mrc(finished / f"{name}.mrc")
        write_volume(folder / f"{name}.zarr", mrc.data, mrc.voxel_size_A, zarr_version=version)
    # It belongs to what lies beside it.
    shutil.copy(finished / "planes.json", folder)
    given = ["--half0", str(folder / "half0.zarr"), "--half1", str(folder / "half1.zarr")]
    return [*given, "--tilt-range", "-60", "60"]


def test_halves_of_zarr_give_what_those_of_mrc_give_in_both_formats(
    halves: list[str], finished: Path, tiny_fit: list[str], tmp_path: Path
) -> None:
    own = [halves[0], str(finished / "half0.mrc"), halves[2], str(finished / "half1.mrc"), *halves[4:]]
    assert main(["run", *own, *tiny_fit, "-o", str(tmp_path / "mrc")]) == 0
    both = tmp_path / "both"
    halves = [halves[0], f"{halves[1]}/0", *halves[2:]]
    assert main(["run", *halves, *tiny_fit, "--output-format", "both", "-o", str(both)]) == 0
    np.testing.assert_array_equal(data(both / "refined.mrc"), data(tmp_path / "mrc" / "refined.mrc"))
    np.testing.assert_array_equal(data(both / "refined.zarr"), data(both / "refined.mrc"))
    assert read_volume(both / "refined.zarr").voxel_size_A == pytest.approx(20)
    yaozarrs.validate_zarr_store(str(both / "refined.zarr"))


def test_zarr_alone_is_written_where_a_finished_run_is_resumed(finished: Path, tmp_path: Path) -> None:
    output = tmp_path / "OUT"
    shutil.copytree(finished, output)
    expected = data(finished / "refined.mrc")
    (output / ".refined.0123abcd.zarr").mkdir()
    again = ["run", "--resume", "-o", str(output), "--zarr-version", "0.4", "--output-format"]
    assert main([*again, "both"]) == 0
    np.testing.assert_array_equal(data(output / "refined.zarr"), expected)
    assert (output / "refined.zarr" / ".zattrs").is_file()
    # Made anew, it takes the place of the MRC file for all that reads a run.
    (output / "refined.mrc").unlink()
    shutil.rmtree(output / "refined.zarr")
    assert main([*again, "zarr"]) == 0
    assert not (output / "refined.mrc").exists() and not list(output.glob(".refined*"))
    np.testing.assert_array_equal(data(output / "refined.zarr"), expected)
    assert main(["evaluate", str(output)]) == 0
    assert main(["run", "--resume", "-o", str(output), "--output-format", "mrc"]) == 0
    np.testing.assert_array_equal(data(output / "refined.mrc"), expected)


def test_refine_reads_and_writes_zarr(halves: list[str], finished: Path, tmp_path: Path) -> None:
    model, half0 = str(finished / "model.safetensors"), Path(halves[1])
    given = ["refine", model, str(half0), "--precision", "32-true", "-o"]
    assert main([*given, str(tmp_path / "a.zarr")]) == 0
    assert main([*given, str(tmp_path / "a.mrc")]) == 0
    np.testing.assert_array_equal(data(tmp_path / "a.zarr"), data(tmp_path / "a.mrc"))
    refined = dewedge.load(model).refine(half0, out=tmp_path / "b.zarr", precision="32-true")
    np.testing.assert_array_equal(refined.data[:], data(tmp_path / "a.mrc"))


def test_a_result_replaces_no_input_and_nothing_unasked(
    halves: list[str], finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, half0 = str(finished / "model.safetensors"), halves[1]
    before = data(Path(half0))
    for source in (half0, f"{half0}/0"):
        assert main(["refine", model, source, "-o", half0, "--overwrite"]) == 2
        assert "is an input that a result would replace" in capsys.readouterr().err
    other = tmp_path / "other.zarr"
    shutil.copytree(half0, other)
    assert main(["refine", model, half0, "-o", str(other)]) == 2
    assert "exists already" in capsys.readouterr().err
    np.testing.assert_array_equal(data(Path(half0)), before)


def test_a_store_that_has_changed_is_noticed(
    halves: list[str], tiny_fit: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(halves[1], tmp_path / "half0.zarr")
    given = [halves[0], str(tmp_path / "half0.zarr"), *halves[2:]]
    assert main(["fit", *given, *tiny_fit, "-o", str(tmp_path / "OUT")]) == 0
    write_volume(tmp_path / "half0.zarr", data(Path(halves[1])) + 1, 20.0)
    capsys.readouterr()
    assert main(["fit", "--resume", "-o", str(tmp_path / "OUT")]) == 2
    assert "half0.zarr: has changed since then" in capsys.readouterr().err


def test_what_is_no_zarr_is_told_in_one_line(
    halves: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.zarr").mkdir()
    given = [halves[0], str(tmp_path / "a.zarr"), *halves[2:]]
    assert main(["run", *given, "-o", str(tmp_path / "OUT")]) == 2
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith("a.zarr: no OME-Zarr image there: expected a group with multiscales")
    )
