"""What a run keeps of its volumes: half precision, half-sets that are dropped, and the format of all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from dewedge.cli import main
from dewedge.errors import InputError
from dewedge.io.formats import read_volume
from dewedge.io.mrc import read_mrc
from dewedge.napari_plugin.layers import tomogram_layers
from dewedge.runtime.folder import ResultFolder

JUDGED = ("refined_measured", "refined_added", "refined_uncertainty")


def mode(path: Path) -> int:
    with mrcfile.open(path, header_only=True) as mrc:
        return int(mrc.header.mode)


@pytest.fixture(scope="module")
def half_precision(series: Path, tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("float16") / "OUT"
    given = ["run", str(series / "TS.mrc"), *tiny, "--output-dtype", "float16", "-o", str(output)]
    assert main(given) == 0
    return output


def test_all_volumes_of_half_precision_and_what_reads_them(half_precision: Path, finished: Path) -> None:
    for path in half_precision.glob("*.mrc"):
        assert mode(path) == 12, path
        own, other = np.float32(read_mrc(path).data), read_mrc(finished / path.name).data
        # The fit sees other digits.
        limit = 0.3 if path.name == "refined.mrc" else 0.01
        assert np.abs(own - other).std() <= limit * other.std() + 1e-12, path
    assert main(["evaluate", str(half_precision), "--device", "cpu"]) == 0
    assert mode(half_precision / "refined_half1.mrc") == 12
    assert main(["report", str(half_precision)]) == 0
    assert main(["trust", str(half_precision), "--device", "cpu", "--only", "fits"]) == 0
    assert main(["trust", str(half_precision), "--device", "cpu", "--only", "controls"]) == 0
    for name in ("refined_measured", "refined_added", "refined_difference"):
        if (half_precision / f"{name}.mrc").exists():
            assert mode(half_precision / f"{name}.mrc") == 12
    refined, parts = (
        np.float32(read_mrc(half_precision / "refined.mrc").data),
        [np.float32(read_mrc(half_precision / f"{name}.mrc").data) for name in JUDGED[:2]],
    )
    assert np.abs(sum(parts) - refined).std() < 0.01 * refined.std()
    assert {"refined", "refined_added"} <= set(tomogram_layers(ResultFolder(half_precision)))


def test_a_volume_beyond_half_precision_stays_and_is_told(
    half_precision: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "OUT"
    shutil.copytree(half_precision, output)
    with mrcfile.mmap(output / "full.mrc", mode="r") as mrc:
        data = np.float32(mrc.data) * np.float32(1e9)
    with mrcfile.new(output / "full.mrc", data, overwrite=True) as mrc:
        mrc.voxel_size = 20
    assert main(["run", "--resume", "-o", str(output)]) == 0
    assert mode(output / "full.mrc") == 2
    assert "full.mrc: stays float32: values up to" in (output / "dewedge.log").read_text()


@pytest.fixture(scope="module")
def dropped(series: Path, tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("dropped") / "OUT"
    assert main(["run", str(series / "TS.mrc"), *tiny, "--half-sets", "drop", "-o", str(output)]) == 0
    return output


def copy_of(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "OUT"))


def test_half_sets_that_are_not_kept_are_not_made_again_unasked(
    dropped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = copy_of(dropped, tmp_path)
    assert not list(output.glob("*half*.mrc")) and (output / "refined.mrc").exists()
    assert main(["run", "--resume", "--dry-run", "-o", str(output)]) == 0
    assert "would take the full tomogram that is there, whose half-sets" in capsys.readouterr().out
    (output / "dewedge.log").write_text("")
    before = (output / "refined.mrc").stat().st_mtime_ns
    assert main(["run", "--resume", "-o", str(output)]) == 0
    log = (output / "dewedge.log").read_text()
    assert "align and split" not in log and "refined tomogram is there" in log
    assert not list(output.glob("*half*.mrc")) and (output / "refined.mrc").stat().st_mtime_ns == before
    assert "were not kept" in (output / "report.html").read_text()


def test_what_needs_them_says_how_they_are_made_again(
    dropped: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = copy_of(dropped, tmp_path)
    capsys.readouterr()
    assert main(["trust", str(output), "--quick", "--device", "cpu"]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "half0.mrc and half1.mrc not there" in told and "--resume --half-sets keep -o" in told
    assert main(["evaluate", str(output), "--device", "cpu"]) == 0
    assert "measured without half-sets" in " ".join(capsys.readouterr().err.split())
    before = (output / "refined.mrc").stat().st_mtime_ns
    assert main(["run", "--resume", "--half-sets", "keep", "-o", str(output)]) == 0
    assert (output / "refined.mrc").stat().st_mtime_ns == before
    for name in ("half0.mrc", "half1.mrc"):
        np.testing.assert_array_equal(read_mrc(output / name).data, read_mrc(finished / name).data)
    assert "were not kept" not in (output / "report.html").read_text()
    assert main(["trust", str(output), "--quick", "--device", "cpu"]) == 0


def test_a_finished_run_drops_them_when_it_is_resumed(finished: Path, tmp_path: Path) -> None:
    output = copy_of(finished, tmp_path)
    assert "were not kept" not in (output / "report.html").read_text()
    assert main(["run", "--resume", "--half-sets", "drop", "-o", str(output)]) == 0
    assert not list(output.glob("*half*.mrc"))
    assert "were not kept" in (output / "report.html").read_text()


def test_of_tomograms_taken_by_turns_they_are_dropped_and_made_again(finished: Path, tmp_path: Path) -> None:
    given, output = tmp_path / "given", tmp_path / "OUT"
    given.mkdir()
    for name in ("A", "B"):
        for half in ("even", "odd"):
            shutil.copy(finished / f"half{int(half == 'odd')}.mrc", given / f"{name}_{half}.mrc")
    flags = ["--tilt-range", "-60", "60", "--no-check", "--model", str(finished / "model.safetensors")]
    run = ["run", str(given), *flags, "--tile", "16", "--overlap", "4", "--average-rotations", "1"]

    def halves() -> int:
        return len(list(output.glob("*/half?.mrc")))

    assert main([*run, "--device", "cpu", "--half-sets", "drop", "-o", str(output)]) == 0
    assert halves() == 0
    before = [(output / name / "refined.mrc").stat().st_mtime_ns for name in ("A", "B")]
    for wanted, count in (("keep", 4), ("drop", 0)):
        assert main(["run", "--resume", "--half-sets", wanted, "-o", str(output)]) == 0
        assert halves() == count
        for name in ("A", "B"):
            page = (output / name / "report.html").read_text()
            assert ("were not kept" in page) == (wanted == "drop")
    assert [(output / name / "refined.mrc").stat().st_mtime_ns for name in ("A", "B")] == before


def test_they_are_kept_until_the_run_is_judged(series: Path, tiny: list[str], tmp_path: Path) -> None:
    output = tmp_path / "OUT"
    given = ["run", str(series / "TS.mrc"), *tiny, "--half-sets", "drop", "--trust", "-o", str(output)]
    assert main(given) == 0
    assert json.loads((output / "trust.json").read_text())["verdict"]["sentence"]
    assert not list(output.glob("*half*.mrc"))
    assert 'half_sets = "drop"' in (output / "config.toml").read_text()
    assert "were not kept" in (output / "report.html").read_text()


@pytest.mark.parametrize("ends_with", [InputError("disk full"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
def test_where_they_could_not_be_judged_a_line_says_how_they_go(
    ends_with: BaseException,
    series: Path,
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import dewedge.pipeline.trust.trust

    def fail(*given: object, **named: object) -> None:
        raise ends_with

    output = tmp_path / "OUT"
    given = ["run", str(series / "TS.mrc"), *tiny, "--half-sets", "drop", "--trust", "-o", str(output)]
    with monkeypatch.context() as patched:
        patched.setattr(dewedge.pipeline.trust.trust, "judged", fail)
        assert main(given) in (2, 130)
    told = " ".join(capsys.readouterr().err.split())
    assert f"half-sets stay in {output}, as they have not been judged" in told
    assert len(list(output.glob("half?.mrc"))) == 2
    again = f"run --resume --trust -o {output}"
    assert again in told
    words = again.split() if isinstance(ends_with, InputError) else again.replace(" --trust", "").split()
    assert main(words) == 0
    assert not list(output.glob("*half*.mrc"))
    assert (output / "trust.json").exists() == isinstance(ends_with, InputError)
    assert "half-sets stay" not in capsys.readouterr().err


def test_a_dry_run_follows(series: Path, tiny: list[str], tmp_path: Path, capsys) -> None:
    def told(*more: str) -> str:
        given = ["run", str(series / "TS.mrc"), *tiny, "--dry-run", "-o", str(tmp_path / "O"), *more]
        assert main(given) == 0
        return capsys.readouterr().out

    assert "half0.mrc" in told() and "at the end" not in told().partition("forecast")[2].partition("\n")[0]
    less = told("--half-sets", "drop")
    assert "half0.mrc" not in less and "GB at the end" in less


def test_a_watched_folder_keeps_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    assert main(["run", "--live", str(folder), "-o", str(tmp_path / "OUT"), "--half-sets", "drop"]) == 2
    assert "--half-sets drop" in capsys.readouterr().err


def test_of_two_formats_none_is_written_again(finished: Path, tmp_path: Path) -> None:
    output = copy_of(finished, tmp_path)
    assert main(["run", "--resume", "-o", str(output), "--output-format", "both"]) == 0
    refined = [output / "refined.mrc", output / "refined.zarr" / "zarr.json"]
    before = [path.stat().st_mtime_ns for path in refined]
    assert main(["run", "--resume", "-o", str(output)]) == 0
    assert [path.stat().st_mtime_ns for path in refined] == before


@pytest.mark.parametrize("kind", ["zarr", "both"])
def test_parts_of_the_result_have_its_format(finished: Path, tmp_path: Path, kind: str) -> None:
    output = copy_of(finished, tmp_path)
    (output / "refined.mrc").unlink()
    # Of an earlier judgement.
    (output / "refined_added.mrc").write_bytes(b"")
    assert main(["run", "--resume", "-o", str(output), "--output-format", kind]) == 0
    assert main(["trust", str(output), "--quick", "--device", "cpu"]) == 0
    stems = [name for name in JUDGED if (output / f"{name}.zarr").exists()]
    assert set(JUDGED[:2]) <= set(stems)
    for stem in stems:
        assert (output / f"{stem}.mrc").exists() == (kind == "both")
        volume = read_volume(output / f"{stem}.zarr")
        assert volume.voxel_size_A == pytest.approx(20)
        if kind == "both":
            np.testing.assert_array_equal(np.asarray(volume.data), read_mrc(output / f"{stem}.mrc").data)
    refined, measured, added = (
        np.asarray(read_volume(output / f"{stem}.zarr").data) for stem in ("refined", *JUDGED[:2])
    )
    np.testing.assert_allclose(measured + added, refined, atol=1e-4 * refined.std())
    layers = tomogram_layers(ResultFolder(output))
    assert set(stems) <= set(layers) and layers["refined_added"][1]["colormap"]["name"] == "dewedge signed"
    # Again, in the other format: none of two is stale.
    assert main(["run", "--resume", "-o", str(output), "--output-format", "mrc"]) == 0
    shutil.rmtree(output / "refined.zarr")
    assert main(["trust", str(output), "--quick", "--device", "cpu"]) == 0
    assert not list(output.glob("refined_*.zarr")) and (output / "refined_added.mrc").exists()
