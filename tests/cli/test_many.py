"""`dewedge import` and `dewedge run` on folders of several programs' files, and on many tomograms."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import foreign
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from dewedge.cli import main
from dewedge.io.entries import SeriesEntry
from dewedge.io.find import find_series
from dewedge.io.mrc import read_mrc, write_mrc
from dewedge.learn.checkpoint import load_model
from dewedge.settings.file import resolve_config

RESULTS = ("half0", "half1", "full", "refined")


@pytest.fixture(scope="module")
def flags(tiny_fit: list[str]) -> list[str]:
    """Flags for a run on the small series, in a second."""
    given = dict(zip(tiny_fit[::2], tiny_fit[1::2], strict=True))
    given |= {"--epochs": "1", "--epoch-samples": "8", "--thickness": "24"}
    return [word for pair in given.items() for word in pair]


def noise(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def write_series(folder: Path, name: str, seed: int) -> Path:
    """A stack of 13 raw images, turned and shifted, with IMOD's angles and alignment."""
    folder.mkdir(parents=True, exist_ok=True)
    series = foreign.Series(shape_yx=(48, 48), tilts=np.arange(-60.0, 61, 10), seed=seed, axis=8.0)
    images = foreign.images(series, foreign.imod_xy)
    stack = folder / f"{name}.st"
    write_mrc(stack, 4 * images + noise(images.shape, seed), 20.0, stack=True)
    np.savetxt(folder / f"{name}.tlt", series.tilts, fmt="%.2f")
    turns = np.stack([foreign.turn(-angle).ravel() for angle in series.axes])
    np.savetxt(folder / f"{name}.xf", np.concatenate([turns, series.shifts], axis=1), fmt="%12.7f")
    return stack


def volume(path: Path, seed: int) -> Path:
    """A specimen that all have in common, and noise of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (24, 48, 48)
    specimen = gaussian_filter(noise(shape, 99), 1.5)
    write_mrc(path, 10 * specimen + noise(shape, seed), 20.0)
    return path


def data(path: Path) -> np.ndarray:
    return np.asarray(read_mrc(path).data)


def results(folder: Path) -> Iterator[np.ndarray]:
    return (data(folder / f"{name}.mrc") for name in RESULTS)


def logs(output: Path) -> str:
    """The log of a run, and those of tomograms with a network of their own."""
    return "".join(path.read_text() for path in (output / "dewedge.log", *output.glob("*/dewedge.log")))


def test_import_lists_and_writes_what_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_series(tmp_path / "imod", "TS_1", 1)
    for half in ("EVN", "ODD"):
        volume(tmp_path / "tomograms" / f"TS_[2]_{half}_Vol.mrc", len(half))
    dataset = tmp_path / "dataset.star"
    given = ["import", str(tmp_path / "imod"), str(tmp_path / "tomograms"), "-o", str(dataset)]
    assert main([*given, "--tilt-range", "-50", "60"]) == 0
    printed = capsys.readouterr().out
    for words in (
        ("TS_1", "IMOD", "tilt series", "13 x 48 x 48", "-60 to 60", "20", "tilts"),
        ("TS_[2]_Vol", "names", "half tomograms", "24 x 48 x 48", "-50 to 60", "20", "TS_[2]_EVN_Vol.mrc"),
    ):
        assert any(all(word in line for word in words) for line in printed.splitlines()), words
    assert "TS_1: alignment from TS_1.xf" in printed
    assert [entry.name for entry in find_series(dataset)] == ["TS_1", "TS_[2]_Vol"]
    assert main(given) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*given, "--overwrite"]) == 0


@pytest.mark.parametrize("size", ["0", "-0.5", "nan"])
def test_import_refuses_a_pixel_size_of_movies_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size: str
):
    write_series(tmp_path, "TS_1", 1)
    dataset = tmp_path / "dataset.star"
    assert main(["import", str(tmp_path), "-o", str(dataset), f"--movie-pixel-size={size}"]) == 2
    assert f"--movie-pixel-size {size}: expected a positive number" in capsys.readouterr().err
    assert not dataset.exists()


def test_more_series_than_open_files(tmp_path: Path):
    """Twenty series of three stacks each, where 40 files may be open and the system would grant more."""
    for i in range(20):
        stack = write_series(tmp_path, f"TS_{i}", i)
        for half in ("even", "odd"):
            shutil.copy(stack, stack.with_stem(f"{stack.stem}_{half}"))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    done = subprocess.run(
        [sys.executable, "-m", "dewedge", "import", str(tmp_path), "-o", str(tmp_path / "dataset.star")],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, hard)),
    )
    assert done.returncode == 0, done.stderr
    assert "done: 20 inputs" in done.stderr


def test_import_leaves_out_what_is_broken(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for i in range(3):
        write_series(tmp_path, f"TS_{i}", i)
    (tmp_path / "TS_1.xf").write_text("1 0 0 1 0 0\n")
    dataset = tmp_path / "dataset.star"
    assert main(["import", str(tmp_path), "-o", str(dataset)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert (
        error.startswith("dewedge: error: 1 of 3 inputs could not be used: ") and "TS_1.xf: 1 tran" in error
    )
    assert [entry.name for entry in find_series(dataset)] == ["TS_0", "TS_2"]
    assert main(["import", str(tmp_path), "-o", str(tmp_path / "dataset.txt")]) == 2
    assert "ends in .star" in capsys.readouterr().err


def test_run_on_a_dataset_equals_run_on_the_folder(tmp_path: Path, flags: list[str]):
    """Raw images, turned and shifted, of two series; bit for bit."""
    folder, dataset = tmp_path / "in", tmp_path / "dataset.star"
    for i in range(2):
        write_series(folder, f"TS_{i}", i)
    assert main(["import", str(folder), "-o", str(dataset)]) == 0
    for source, output in ((folder, "A"), (dataset, "B")):
        assert main(["run", str(source), *flags, "-o", str(tmp_path / output)]) == 0
    for name in ("TS_0", "TS_1"):
        for a, b in zip(results(tmp_path / "A" / name), results(tmp_path / "B" / name), strict=True):
            np.testing.assert_array_equal(a, b)
    (entry, _) = find_series(folder)
    assert isinstance(entry, SeriesEntry) and abs(entry.geometry.axis_angle_deg) == pytest.approx(8, abs=0.5)


def test_aretomo_folder_uses_frames_and_thickness_of_the_metadata(tmp_path: Path, flags: list[str]):
    folder = tmp_path / "aretomo"
    folder.mkdir()
    foreign.write_aretomo(folder, "TS_1", halves=True)
    for i, half in enumerate(("EVN", "ODD")):
        stack = folder / f"TS_1_{half}.mrc"
        images = data(stack)
        write_mrc(stack, images + noise(images.shape, i), foreign.PIXEL_A, stack=True)
    output = tmp_path / "OUT"
    assert main(["run", str(folder), *flags, "-o", str(output)]) == 0
    half0, half1, full, refined = results(output)
    assert refined.shape == (24, 50, 54)
    np.testing.assert_allclose(full, (half0 + half1) / 2, atol=1e-4 * full.std())
    log = (output / "dewedge.log").read_text()
    assert "TS_1: read from TS_1.aln (AreTomo)" in log
    assert "TS_1: half-sets are the averages of even and of odd frames" in log
    assert tomllib.loads((output / "config.toml").read_text())["split"]["split"] == "auto"
    # The same as the frames by name, and other than the tilts.
    tilts = tmp_path / "TILTS"
    assert main(["run", str(folder), "--split", "tilts", *flags, "-o", str(tilts)]) == 0
    assert not np.array_equal(data(tilts / "half0.mrc"), half0)


def test_thickness_of_the_metadata(tmp_path: Path, flags: list[str]):
    stack = write_series(tmp_path, "TS_1", 1)
    (tmp_path / "tilt.com").write_text("$tilt -StandardInput\nTHICKNESS 32\nTILTFILE TS_1.tlt\n")
    place = flags.index("--thickness")
    without = flags[:place] + flags[place + 2 :]
    assert (
        main(["run", str(stack), *without, "--bin", "2", "--held-out", "0", "-o", str(tmp_path / "A")]) == 0
    )
    assert data(tmp_path / "A" / "refined.mrc").shape == (16, 24, 24)
    assert "thickness 32 pixels from IMOD's metadata" in (tmp_path / "A" / "dewedge.log").read_text()
    assert main(["reconstruct", str(stack), "--thickness", "20", "-o", str(tmp_path / "b.mrc")]) == 0
    assert data(tmp_path / "b.mrc").shape == (20, 48, 48)


def test_halves_are_matched_by_name(tmp_path: Path, flags: list[str], capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "tomograms"
    for i, name in enumerate(("b_odd", "a_even", "b_even", "a_odd", "a")):
        volume(folder / f"{name}.mrc", i)
    output = tmp_path / "OUT"
    assert main(["run", str(folder), *flags, "-o", str(output)]) == 2
    assert "thickness = 24: cannot be used with ready-made half-sets" in capsys.readouterr().err
    place = flags.index("--thickness")
    flags = flags[:place] + flags[place + 2 :]
    assert main(["run", str(folder), *flags, "-o", str(output)]) == 2
    assert "no tilt range known: expected --tilt-range" in capsys.readouterr().err
    assert main(["run", str(folder), "--tilt-range", "-60", "60", *flags, "-o", str(output)]) == 0
    for name in ("a", "b"):
        for half, word in (("half0", "even"), ("half1", "odd")):
            expected = data(folder / f"{name}_{word}.mrc")
            np.testing.assert_array_equal(data(output / name / f"{half}.mrc"), expected)
    np.testing.assert_array_equal(data(output / "a" / "full.mrc"), data(folder / "a.mrc"))
    (folder / "a_odd.mrc").unlink()
    capsys.readouterr()
    given = ["run", str(folder), "--tilt-range", "-60", "60", *flags, "-o", str(tmp_path / "OUT2")]
    assert main(given) == 2
    assert "a_even.mrc: its other half is missing" in capsys.readouterr().err.splitlines()[-1]
    assert (tmp_path / "OUT2" / "b" / "refined.mrc").exists()


def cut(folder: Path) -> None:
    stack = folder / "TS_1.st"
    stack.write_bytes(stack.read_bytes()[:-500])


def add_nan(folder: Path) -> None:
    images = data(folder / "TS_1.st").copy()
    images[3, 5, 5] = np.nan
    write_mrc(folder / "TS_1.st", images, 20.0, stack=True)


def lose_angles(folder: Path) -> None:
    (folder / "TS_1.tlt").write_text("-60\n0\n60\n")


def test_a_broken_series_given_by_several_of_its_files_counts_once(
    tmp_path: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
):
    for i in range(2):
        write_series(tmp_path, f"TS_{i}", i)
    stacks = sorted(tmp_path.glob("TS_*.st"))
    for stack in stacks:
        for half in ("EVN", "ODD"):
            shutil.copyfile(stack, stack.with_name(f"{stack.stem}_{half}.st"))
    lose_angles(tmp_path)
    given = [str(path) for path in sorted([*tmp_path.glob("*.st"), tmp_path / "TS_1.tlt"])]
    assert len(given) == 7
    assert main(["run", *given, *flags, "--no-check", "--dry-run", "-o", str(tmp_path / "OUT")]) == 2
    told, error = capsys.readouterr()
    assert told.count("left out: ") == 1
    assert "1 of 2 inputs could not be used" in error and error.count("TS_1.tlt: 3 angles") == 1


def test_thin_tomograms_get_smaller_cubes_unless_others_were_asked_for(
    tmp_path: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
):
    write_series(tmp_path, "TS_0", 0)
    place = flags.index("--cube-size")
    asked, flags = flags[place : place + 2], flags[:place] + flags[place + 2 :]
    stack, note = str(tmp_path / "TS_0.st"), "cubes of 16 voxels are taken, not of 48"
    given = ["run", stack, *flags, "-o", str(tmp_path / "OUT")]
    assert main(["check", stack, *flags]) == 0
    assert note in capsys.readouterr().out
    assert main([*given, "--cube-size", "48"]) == 2
    assert "expected a cube size of at most 16" in capsys.readouterr().err
    assert main(given) == 0
    assert note in (tmp_path / "OUT" / "dewedge.log").read_text()
    assert resolve_config(tmp_path / "OUT" / "config.toml", {}).fit.cube_size == 16
    assert load_model(tmp_path / "OUT" / "model.safetensors").cube_size == 16
    assert main(["run", "--resume", "-o", str(tmp_path / "OUT")]) == 0
    capsys.readouterr()
    assert main([*given, *asked, "--dry-run", "--overwrite"]) == 0
    assert "are taken" not in capsys.readouterr().out


# How many series, what breaks one of them, what is said of it, and further flags.
BROKEN = {
    "unreadable": (3, cut, "TS_1.st: truncated", []),
    "NaN": (3, add_nan, "TS_1.st: image 4 (at -30 degrees) holds NaN", ["--fit-each"]),
    "mismatch": (10, lose_angles, "TS_1.tlt: 3 angles for 13 images", []),
}


@pytest.mark.parametrize("case", BROKEN)
def test_one_of_many_is_broken(
    case: str, tmp_path: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
):
    """The others are done; mended and resumed, they stay as they are and the one is done too."""
    count, damage, message, more = BROKEN[case]
    folder, output = tmp_path / "in", tmp_path / "OUT"
    for i in range(count):
        write_series(folder, f"TS_{i}", i)
    good = (folder / "TS_1.st").read_bytes(), (folder / "TS_1.tlt").read_bytes()
    damage(folder)
    assert main(["run", str(folder), *flags, *more, "-o", str(output)]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"dewedge: error: 1 of {count} inputs could not be used: ") and message in last
    log = logs(output)
    assert f"{count - 1} of {count} inputs are done" in log
    table = log[log.index("tomogram  status") :].splitlines()[1 : count + 1]
    assert [row.split()[3:5] for row in table[:-1]] == [[f"TS_{i}", "done"] for i in range(count) if i != 1]
    assert "failed" in table[-1] and message in table[-1]
    assert f"{count - 1} of {count} tomograms are finished, 1 failed" in (output / "report.html").read_text()
    for beginning in ("left out: ", "not done: "):
        assert any(beginning in line and message in line for line in log.splitlines())
    done = sorted(path.parent.name for path in output.glob("*/refined.mrc"))
    assert done == [f"TS_{i}" for i in range(count) if i != 1]
    assert len(list(output.glob("*/model.safetensors"))) == (count - 1 if more else 0)
    for name in done:
        assert f"{name}: refine" in log and (output / name / "slices.png").exists()

    before = {path: path.stat().st_mtime_ns for path in output.glob("*/*.*")}
    (folder / "TS_1.st").write_bytes(good[0])
    (folder / "TS_1.tlt").write_bytes(good[1])
    capsys.readouterr()
    assert main(["run", "--resume", "-o", str(output)]) == 0
    told = capsys.readouterr().err
    assert "TS_1: 13 images" in told and "TS_0: 13 images" not in told
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (output / "TS_1" / "refined.mrc").exists()
    assert f"{count} of {count} tomograms are finished</p>" in (output / "report.html").read_text()
    log = logs(output)
    assert ("TS_1: had no part in the fit" in log) == (not more)


def lose_stack(folder: Path) -> None:
    (folder / "TS_1.st").unlink()


# What became of the input of a finished tomogram, how it is given, and what is said.
GONE = {
    "unreadable": (cut, False, "TS_1.st: truncated"),
    "given, unreadable": (cut, True, "TS_1.st: truncated"),
    "NaN": (add_nan, False, "holds NaN"),
    "angles": (lose_angles, False, "TS_1.tlt: 3 angles for 13 images"),
    "given, angles": (lose_angles, True, "TS_1.tlt: 3 angles for 13 images"),
    "given, away": (lose_stack, True, "no such file"),
    "away": (lose_stack, False, "no input of this name is found any more"),
}


@pytest.fixture(scope="module")
def two(flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two series, in/, and runs of them: OUT of the folder, GIVEN of the stacks."""
    folder = tmp_path_factory.mktemp("two")
    stacks = [str(write_series(folder / "in", f"TS_{i}", i)) for i in range(2)]
    for given, output in (([str(folder / "in")], "OUT"), (stacks, "GIVEN")):
        assert main(["run", *given, *flags, "-o", str(folder / output)]) == 0
    return folder


@pytest.mark.parametrize("case", GONE)
def test_a_finished_tomogram_whose_input_is_gone_stays(
    case: str, two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    damage, given, message = GONE[case]
    output = Path(shutil.copytree(two / ("GIVEN" if given else "OUT"), tmp_path / "OUT"))
    good = {path: path.read_bytes() for path in (two / "in").iterdir()}
    before = {path: path.stat().st_mtime_ns for path in output.glob("*/*.*")}
    capsys.readouterr()
    try:
        damage(two / "in")
        assert main(["run", "--resume", "--dry-run", "-o", str(output)]) == 0
        told = capsys.readouterr().out
        assert "TS_1: would keep what is there" in told and message in told and "left out" not in told
        assert main(["run", "--resume", "-o", str(output)]) == 0
        assert "2 of 2 tomograms were refined before" in capsys.readouterr().err
        log = (output / "dewedge.log").read_text()
        table = log[log.rindex("tomogram  status") :].splitlines()[1:4]
        rows = [row.split()[3:6] for row in table]
        assert rows[0][:2] == ["TS_0", "done"] and rows[1] == rows[2] == ["TS_1", "done", "earlier"]
        assert "24 x 48 x 48" in table[1] and message in table[2]
        assert "not done: " not in log and "left out: " not in log
        for _ in range(2):
            page = (output / "report.html").read_text()
            assert "2 of 2 tomograms are finished</p>" in page and "TS_1/report.html" in page
            assert "done earlier: its input cannot be read now" in page and message in page
            assert main(["report", str(output)]) == 0
        changed = [path.name for path in before if path.stat().st_mtime_ns != before[path]]
        assert set(changed) <= {"report.html"}
        assert not (output / "refined.mrc").exists() and not (output / "TS_1.st").exists()
        if case in ("unreadable", "away"):
            # A half-set that is to be kept cannot be made again.
            (output / "TS_1" / "half0.mrc").unlink()
            assert main(["run", "--resume", "-o", str(output)]) == 2
            last = capsys.readouterr().err.splitlines()[-1]
            assert message in last and "1 of 2 inputs could not be used" in last
            log = (output / "dewedge.log").read_text()
            last = log[log.rindex("tomogram  status") :].splitlines()[2]
            assert last.split()[3:5] == ["TS_1", "failed"] and "1 of 2 inputs are done" in log
    finally:
        for path, content in good.items():
            path.write_bytes(content)


def test_fit_each_equals_runs_alone(tmp_path: Path, flags: list[str]):
    for i in range(2):
        write_series(tmp_path / "in", f"TS_{i}", i)
    output = tmp_path / "OUT"
    assert main(["run", str(tmp_path / "in"), "--fit-each", *flags, "-o", str(output)]) == 0
    alone = tmp_path / "ALONE"
    assert main(["run", str(tmp_path / "in" / "TS_1.st"), *flags, "-o", str(alone)]) == 0
    for a, b in zip(results(output / "TS_1"), results(alone), strict=True):
        np.testing.assert_array_equal(a, b)
    assert {path.name for path in output.iterdir()} == {
        "TS_0",
        "TS_1",
        "config.toml",
        "inputs.json",
        "report.html",
        "dewedge.log",
    }
    assert "2 of 2 tomograms are finished" in (output / "report.html").read_text()


def test_a_fit_that_fails_harms_no_other(
    tmp_path: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
):
    """Even and odd stacks that are copies of each other: found when the tomograms are there."""
    for fit_each in (False, True):
        folder, output = tmp_path / f"in{fit_each}", tmp_path / f"OUT{fit_each}"
        write_series(folder, "TS_0", 0)
        write_series(folder, "TS_1", 1)
        for half in ("even", "odd"):
            shutil.copy(folder / "TS_1.st", folder / f"TS_1_{half}.st")
        more = ["--no-check", "--fit-each"] if fit_each else ["--no-check"]
        assert main(["run", str(folder), *flags, *more, "-o", str(output)]) == 2
        assert "TS_1: both half-sets are the same" in capsys.readouterr().err.splitlines()[-1]
        assert "left out: TS_1: both half-sets" in logs(output)
        assert (output / "TS_0" / "refined.mrc").exists()
        assert not (output / "TS_1" / "refined.mrc").exists()


def test_two_places_of_one_name_and_unsafe_names(
    tmp_path: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
):
    for place in ("a", "b"):
        write_series(tmp_path / place, "TS", 1)
    given = [str(tmp_path / place) for place in ("a", "b")]
    assert main(["run", *given, *flags, "-o", str(tmp_path / "OUT")]) == 2
    assert "two inputs are named TS" in capsys.readouterr().err
    dataset = tmp_path / "dataset.star"
    assert main(["import", given[0], "-o", str(dataset)]) == 0
    dataset.write_text(dataset.read_text().replace("\nTS ", "\n../../TS "))
    capsys.readouterr()
    assert main(["run", str(dataset), *flags, "-o", str(tmp_path / "OUT")]) == 2
    assert "the name '../../TS' holds a separator of folders" in capsys.readouterr().err


def test_a_full_disk_ends_the_run_and_leaves_no_input_out(
    tmp_path: Path, flags: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    import dewedge.io.files

    for i in range(3):
        write_series(tmp_path / "in", f"TS_{i}", i)
    output = tmp_path / "OUT"
    usage = shutil.disk_usage

    def full(folder: Path) -> object:
        return usage(folder) if folder.name != "TS_1" else type("Full", (), {"free": 10})

    monkeypatch.setattr(dewedge.io.files.shutil, "disk_usage", full)
    assert main(["run", str(tmp_path / "in"), *flags, "--no-check", "-o", str(output)]) == 2
    assert "not enough space" in capsys.readouterr().err.splitlines()[-1]
    assert "left out" not in (output / "dewedge.log").read_text()
    assert not (output / "model.safetensors").exists() and not (output / "TS_2").exists()


def test_names_that_lead_elsewhere_write_nothing_there(
    tmp_path: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
):
    """Rows of a dataset file by every verb that takes one; and a folder in the output that is a link."""
    write_series(tmp_path / "in", "TS", 1)
    dataset = tmp_path / "in" / "dataset.star"
    assert main(["import", str(tmp_path / "in"), "-o", str(dataset)]) == 0
    good = dataset.read_text()
    output, elsewhere = tmp_path / "out" / "OUT", tmp_path / "elsewhere"
    output.mkdir(parents=True)
    elsewhere.mkdir()
    place = ["--thickness", "24"]
    for name in ("..", "../../x", str(elsewhere / "x"), "config.toml", "' '"):
        dataset.write_text(good.replace("\nTS ", f"\n{name} "))
        for command in (
            ["run", str(dataset), *flags, "--overwrite", "-o", str(output)],
            ["validate", str(dataset), *flags, "--overwrite", "-o", str(output)],
            ["compare", str(dataset), "--methods", "fbp", *place, "--overwrite", "-o", str(output)],
            ["split", str(dataset), "-o", str(output)],
            ["reconstruct", str(dataset), *place],
            ["check", str(dataset), *place, "--cube-size", "16", "--device", "cpu"],
            ["import", str(dataset), "-o", str(output / "again.star")],
        ):
            before = sorted(tmp_path.rglob("*"))
            capsys.readouterr()
            assert main(command) == 2, (name, command)
            printed = capsys.readouterr()
            assert "the name" in printed.err + printed.out and "expected a plain name" in " ".join(
                (printed.err + printed.out).split()
            )
            assert sorted(tmp_path.rglob("*")) == before
    write_series(tmp_path / "in", "TS_2", 2)
    (output / "TS_2").symlink_to(elsewhere)
    given = [str(tmp_path / "in" / f"{name}.st") for name in ("TS", "TS_2")]
    assert main(["run", *given, *flags, "-o", str(output)]) == 2
    assert "TS_2: leads out of" in capsys.readouterr().err.splitlines()[-1]
    assert list(elsewhere.iterdir()) == []


def test_two_rows_of_one_name_are_an_error(
    tmp_path: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
):
    for i in (1, 2):
        write_series(tmp_path / "in", f"TS_{i}", i)
    dataset = tmp_path / "dataset.star"
    assert main(["import", str(tmp_path / "in"), "-o", str(dataset)]) == 0
    dataset.write_text(dataset.read_text().replace("\nTS_2 ", "\nTS_1 "))
    for given in (dataset, tmp_path):
        capsys.readouterr()
        assert main(["run", str(given), *flags, "-o", str(tmp_path / "OUT")]) == 2
        assert "dataset.star: two inputs are named TS_1" in capsys.readouterr().err.splitlines()[-1]
