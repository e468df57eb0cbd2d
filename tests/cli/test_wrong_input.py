"""Input that is whole but not what is meant: changed since the kill, of two voxel sizes, no tomogram."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dewedge.cli import main
from dewedge.io.mrc import read_mrc, write_mrc


def copied(series: Path, folder: Path) -> Path:
    for name in ("TS.mrc", "TS.tlt", "TS.mrc.mdoc"):
        shutil.copy(series / name, folder / name)
    return folder / "TS.mrc"


def halves(finished: Path, folder: Path) -> list[str]:
    names = ("half0.mrc", "half1.mrc")
    paths = [shutil.copy(finished / name, folder / name) for name in names]
    return [word for path, name in zip(paths, names, strict=True) for word in (f"--{name[:5]}", str(path))]


def another_image(folder: Path) -> None:
    images = np.array(read_mrc(folder / "TS.mrc", stack=True).data)
    images[7] = images[8]
    write_mrc(folder / "TS.mrc", images, 20.0, stack=True)


def other_angles(folder: Path) -> None:
    angles = np.loadtxt(folder / "TS.tlt")
    np.savetxt(folder / "TS.tlt", angles + 0.5)


def another_half(folder: Path) -> None:
    shutil.copy(folder / "half0.mrc", folder / "half1.mrc")
    write_mrc(folder / "half1.mrc", 2 * np.array(read_mrc(folder / "half0.mrc").data)[::-1], 20.0)


CHANGES: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "run, image": ("run", another_image, "TS.mrc: has changed since then"),
    "run, angles": ("run", other_angles, "TS: its tilt_deg is not what was read then"),
    "compare": ("compare", another_image, "TS.mrc: has changed since then"),
    "validate": ("validate", another_image, "TS.mrc: has changed since then"),
    "fit": ("fit", another_half, "half1.mrc: has changed since then"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_input_that_has_changed_is_not_mixed_with_what_was_made_before(
    case: str,
    series: Path,
    finished: Path,
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    import dewedge.pipeline.compare.compare
    import dewedge.pipeline.fit
    import dewedge.pipeline.run

    verb, change, says = CHANGES[case]
    output = tmp_path / "OUT"

    def stop(*given: object, **named: object) -> None:
        (output / "checkpoint.safetensors").write_text("of a fit that was begun")
        raise KeyboardInterrupt

    for module in (dewedge.pipeline.run, dewedge.pipeline.fit, dewedge.pipeline.compare.compare):
        monkeypatch.setattr(module, "fit_model", stop)
    if verb == "fit":
        given = [*halves(finished, tmp_path), "--tilt-range", "-60", "60", *tiny[2:]]
    else:
        given = [str(copied(series, tmp_path)), *tiny]
    if verb == "compare":
        given = [*given, "--methods", "cryocare"]
    assert main([verb, *given, "--no-check", "-o", str(output)]) == 130
    unchanged = {path: path.read_bytes() for path in tmp_path.glob("*.*")}
    capsys.readouterr()
    change(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.mrc")}
    assert main([verb, "--resume", "-o", str(output)]) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert says in last and "give --overwrite" in last
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*.mrc")} == before
    # What it was is put back, though at another time: the work goes on as far as the fit.
    for path, content in unchanged.items():
        path.write_bytes(content)
    assert main([verb, "--resume", "-o", str(output)]) == 130


def with_voxels(path: Path, folder: Path, size_A: float) -> Path:
    mrc = read_mrc(path)
    write_mrc(folder / path.name, mrc.data, size_A)
    return folder / path.name


@pytest.mark.parametrize("verb", ["run", "fit", "refine", "check"])
def test_halves_of_two_voxel_sizes_are_refused_unless_told(
    verb: str, finished: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    other = with_voxels(finished / "half1.mrc", tmp_path, 24.0)
    given = ["--half0", str(finished / "half0.mrc"), "--half1", str(other), "--tilt-range", "-60", "60"]
    output = tmp_path / "OUT"
    if verb == "refine":
        command = ["refine", str(finished / "model.safetensors"), *given, "-o", str(output / "new.mrc")]
    else:
        command = [verb, *given, *tiny[2:], *([] if verb == "check" else ["-o", str(output)])]
    assert main(command) == 2
    printed = capsys.readouterr()
    text = " ".join(printed.out.split()) if verb == "check" else printed.err.splitlines()[-1]
    assert "voxels of 24 A" in text and "of 20 A" in text
    assert not output.exists()
    if verb == "refine":
        assert "--no-check" in text
        assert main([*command, "--no-check"]) == 0


def test_a_model_of_another_voxel_size(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    other = with_voxels(finished / "full.mrc", tmp_path, 10.0)
    command = ["refine", str(finished / "model.safetensors"), str(other)]
    assert main(command) == 2
    assert "voxels are of 10 A, the model was fitted to 20 A" in capsys.readouterr().err
    assert main([*command, "--no-check"]) == 0


def test_a_tilt_series_is_no_tomogram(
    series: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    command = ["refine", str(finished / "model.safetensors"), str(series / "TS.mrc")]
    assert main([*command, "-o", str(tmp_path / "new.mrc")]) == 2
    assert "TS.mrc is rather a stack of tilt images than a tomogram" in capsys.readouterr().err
    assert not (tmp_path / "new.mrc").exists()


@pytest.mark.parametrize("verb", ["run", "fit"])
def test_weights_to_start_from_of_another_voxel_size(
    verb: str, finished: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    halves = [with_voxels(finished / f"half{i}.mrc", tmp_path, 10.0) for i in (0, 1)]
    given = ["--half0", str(halves[0]), "--half1", str(halves[1]), "--tilt-range", "-60", "60"]
    output, init = tmp_path / "OUT", str(finished / "model.safetensors")
    command = [verb, *given, *tiny[2:], "--init", init, "-o", str(output)]
    assert main(command) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "voxels are of 10 A, the model was fitted to 20 A" in error and "--no-check" in error
    assert not output.exists()
    assert main([*command, "--no-check"]) == 0


def test_a_truth_of_another_voxel_size(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    other = with_voxels(finished / "full.mrc", tmp_path, 10.0)
    command = ["evaluate", str(finished / "refined.mrc"), "--truth", str(other), "--tilt-range", "-60", "60"]
    assert main(command) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "refined.mrc has voxels of 20 A" in error and "full.mrc of 10 A" in error
    assert main([*command, "--no-check"]) == 0


def test_a_prediction_of_another_voxel_size(
    series: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    other = with_voxels(finished / "refined.mrc", tmp_path, 24.0)
    command = ["validate", str(series / "TS.mrc"), "--thickness", "32", "--prediction", str(other)]
    command += ["--device", "cpu", "-o", str(tmp_path / "OUT")]
    assert main(command) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "refined.mrc has voxels of 24 A, the reconstruction of 20 A" in error
    assert not (tmp_path / "OUT").exists()
    assert main([*command, "--no-check"]) == 0


def flat(path: Path) -> None:
    mrc = read_mrc(path)
    write_mrc(path, np.array(mrc.data[:1]), 20.0)


def not_a_number(path: Path) -> None:
    data = np.array(read_mrc(path).data)
    data[3, 4, 5] = np.nan
    write_mrc(path, data, 20.0)


def constant(path: Path) -> None:
    write_mrc(path, np.full_like(read_mrc(path).data, 3), 20.0)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def complex_numbers(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[12:16] = (4).to_bytes(4, "little")
    path.write_bytes(content)


UNUSABLE: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "flat": (flat, "a tomogram of (1, 64, 64) (z, y, x)", "give all of it"),
    "NaN": (not_a_number, "holds NaN", "reconstruct it again"),
    "constant": (constant, "all voxels are the same", "reconstruct it again"),
    "truncated": (truncated, "truncated", "copy or write it again"),
    "complex": (complex_numbers, "MRC mode 4 (complex numbers", "write it again as real numbers"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_one_unusable_tomogram_among_several_is_left_out_by_refine(
    case: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    damage, what, remedy = UNUSABLE[case]
    names = ("a", "b", "c")
    paths = [Path(shutil.copy(finished / "full.mrc", tmp_path / f"{name}.mrc")) for name in names]
    damage(paths[1])
    before = b"of an earlier refinement"
    (tmp_path / "b_refined.mrc").write_bytes(before)
    small = ["--device", "cpu", "--tile", "32", "--overlap", "4", "--average-rotations", "1"]
    command = ["refine", str(finished / "model.safetensors"), *map(str, paths), *small, "--overwrite"]
    assert main(command) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("dewedge: error: 1 of 3 inputs could not be used: ") and str(paths[1]) in error
    assert what in error and remedy in error
    for name in ("a", "c"):
        assert np.isfinite(read_mrc(tmp_path / f"{name}_refined.mrc").data).all()
    assert (tmp_path / "b_refined.mrc").read_bytes() == before
    assert main([*command[:2], str(paths[1]), *small, "--overwrite"]) == 2
    told = capsys.readouterr().err
    assert what in told and told.count(str(paths[1])) == 1
    assert (tmp_path / "b_refined.mrc").read_bytes() == before


@pytest.mark.parametrize("case", UNUSABLE)
def test_an_unusable_half_tomogram_is_named_with_its_file(
    case: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    damage, what, remedy = UNUSABLE[case]
    given = halves(finished, tmp_path)
    for path in (given[1::2]) if case == "flat" else given[3:]:
        damage(Path(path))
    output = tmp_path / "OUT"
    command = ["run", *given, "--tilt-range", "-60", "60", "--model", str(finished / "model.safetensors")]
    assert main([*command, "--device", "cpu", "-o", str(output)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert what in error and remedy in error and ("half" in error)
    assert (case == "flat" or str(given[3]) in error) and not output.exists()


@pytest.mark.parametrize("flag", ["--beads", "--tv"])
def test_nothing_that_is_added_holds_NaN(
    flag: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    added = Path(shutil.copy(finished / ("tv.mrc" if flag == "--tv" else "full.mrc"), tmp_path / "added.mrc"))
    not_a_number(added)
    command = ["refine", str(finished / "model.safetensors"), str(finished / "full.mrc"), flag, str(added)]
    assert main([*command, "--device", "cpu", "-o", str(tmp_path / "new.mrc")]) == 2
    assert f"{added}: holds NaN" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "new.mrc").exists()
