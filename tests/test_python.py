"""The interface for Python: it does what the command line does, in memory, and the README's example runs."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dewedge
from dewedge.cli import main
from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.io.mrc import read_mrc, write_mrc

README = Path(__file__).parents[1] / "README.md"
# A fit of seconds, in float32, so that machines with and without bfloat16 do the same.
TINY: dict[str, Any] = {
    "epochs": 2,
    "cube_size": 16,
    "epoch_samples": 40,
    "batch_size": 2,
    "validation_crops": 2,
    "precision": "32-true",
    "device": "cpu",
}


def data(path: Path) -> np.ndarray:
    return np.asarray(read_mrc(path).data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with TS.mrc (41 images of 64 x 64, 20 A) and its sidecars; not to be changed."""
    folder = tmp_path_factory.mktemp("series")
    size = ["--shape", "32", "64", "64", "--voxel-size", "20"]
    specimen = ["--particles", "12", "--membranes", "0", "--gold", "2", "--snr", "2"]
    assert main(["simulate", "-o", str(folder), "--name", "TS", *size, *specimen]) == 0
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    """Output of ``dewedge run`` with the same settings as `halves` and `model`."""
    output = folder.parent / "run"
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in TINY.items()]
    assert main(["run", str(folder / "TS.mrc"), "--thickness", "32", *flags, "-o", str(output)]) == 0
    return output


@pytest.fixture(scope="module")
def halves(folder: Path) -> dewedge.Halves:
    series = dewedge.open(folder / "TS.mrc", thickness=32)
    assert isinstance(series, dewedge.Series)
    assert repr(series) == (
        "<Series TS: 41 images of 64 x 64 (y, x), pixel size 20 A, tilts -60 to 60 degrees>"
    )
    return series.reconstruct(device="cpu")


@pytest.fixture(scope="module")
def model(halves: dewedge.Halves) -> dewedge.Model:
    return dewedge.fit([halves], **TINY)


def test_names_are_there_when_asked_for_and_no_others():
    assert set(dewedge.__all__) <= set(dir(dewedge))
    for name in dewedge.__all__:
        assert getattr(dewedge, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'refine'"):
        dewedge.refine  # noqa: B018


def test_half_sets_are_those_of_a_run(run: Path, halves: dewedge.Halves):
    half0, half1, full = halves
    for name, tomogram in (("half0", half0), ("half1", half1), ("full", full)):
        np.testing.assert_array_equal(tomogram.data, data(run / f"{name}.mrc"))
        assert tomogram.voxel_size_A == pytest.approx(20)
        assert tomogram.tilt_range[:2] == (-60, 60)
    assert full.beads is not None
    np.testing.assert_array_equal(full.beads, data(run / "beads.mrc"))


def test_refined_is_that_of_a_run(run: Path, halves: dewedge.Halves, model: dewedge.Model):
    refined = model.refine(halves.full, device="cpu", precision="32-true")
    assert isinstance(refined, dewedge.Tomogram)
    # A run measures the grey scale of the full tomogram, a fit that of the mean of both half-sets.
    of_run = data(run / "refined.mrc")
    np.testing.assert_allclose(refined, of_run, atol=1e-3 * of_run.std())
    assert refined.voxel_size_A == pytest.approx(20)


def test_fit_is_that_of_the_command(run: Path, model: dewedge.Model, tmp_path: Path):
    """Of files and of arrays in memory."""
    files = [
        "--half0",
        str(run / "half0.mrc"),
        "--half1",
        str(run / "half1.mrc"),
        "--tilt-range",
        "-60",
        "60",
    ]
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in TINY.items()]
    assert main(["fit", *files, *flags, "-o", str(tmp_path)]) == 0
    of_command = dewedge.load(tmp_path / "model.safetensors")
    for name, weights in of_command.fitted.weights.items():
        np.testing.assert_array_equal(weights, model.fitted.weights[name])


def test_memory_mapped_in_streamed_out(
    run: Path, halves: dewedge.Halves, model: dewedge.Model, tmp_path: Path
):
    out = tmp_path / "refined.mrc"
    options: dict[str, Any] = {"device": "cpu", "precision": "32-true"}
    tiles: list[tuple[int, int]] = []
    streamed = model.refine(
        run / "full.mrc", out=out, progress=lambda done, total: tiles.append((done, total)), **options
    )
    assert isinstance(streamed, dewedge.Tomogram)
    assert isinstance(streamed.data, np.memmap) and streamed.files == [out]
    assert tiles[-1][0] == tiles[-1][1]
    in_memory = model.refine(halves.full.data, **options)
    assert type(in_memory) is np.ndarray and in_memory.dtype == np.float32
    np.testing.assert_array_equal(streamed, in_memory)
    with_beads = dewedge.Tomogram.read(run / "full.mrc", beads=run / "beads.mrc")
    np.testing.assert_array_equal(model.refine(with_beads, **options), in_memory + halves.full.beads)
    with pytest.raises(dewedge.InputError, match=r"refined.mrc: exists already"):
        model.refine(run / "full.mrc", out=out)
    with pytest.raises(dewedge.InputError, match=r"refined.mrc: is an input"):
        model.refine(streamed, out=out, overwrite=True)
    average = model.refine((run / "half0.mrc", run / "half1.mrc"), **options)
    assert 0.8 < dewedge.scores.correlation(average, in_memory) < 0.99999


def test_a_tilt_range_may_hold_a_tilt_about_x(run: Path):
    files = {"half0": run / "half0.mrc", "half1": run / "half1.mrc"}
    for given, expected in (((-60, 60), 0), (TiltRange(-60, 60), 0), (TiltRange(-60, 60, 8), 8)):
        opened = dewedge.open(**files, tilt_range=given)
        assert isinstance(opened, dewedge.Halves)
        assert opened.half0.tilt_range == (-60, 60, expected)
    model = dewedge.fit([opened], tilt_range=TiltRange(-55, 60), epochs=1, cube_size=16, epoch_samples=4)
    assert model.tilt_range == (-55, 60, 8)
    again = dewedge.fit([opened], tilt_range=(-55, 60, 3), epochs=1, cube_size=16, epoch_samples=4)
    assert again.tilt_range == (-55, 60, 3)


def test_half_tomograms_of_files_are_not_read_into_memory(run: Path, halves: dewedge.Halves, tmp_path: Path):
    opened = dewedge.open(half0=run / "half0.mrc", half1=run / "half1.mrc", tilt_range=(-60, 60))
    assert isinstance(opened, dewedge.Halves)
    half0, half1, full = opened
    assert isinstance(half0.data, np.memmap) and isinstance(half1.data, np.memmap)
    np.testing.assert_allclose(full, (halves.half0.data + halves.half1.data) / 2, rtol=1e-6, atol=1e-6)
    full.save(tmp_path / "mean.mrc")
    saved = dewedge.Tomogram.read(tmp_path / "mean.mrc")
    np.testing.assert_array_equal(saved, full)
    assert saved.voxel_size_A == pytest.approx(20)
    with pytest.raises(dewedge.InputError, match="exists already"):
        full.save(tmp_path / "mean.mrc")


def test_half_tomograms_are_deconvolved_if_asked_for(run: Path):
    files: dict[str, Any] = {"half0": run / "half0.mrc", "half1": run / "half1.mrc", "tilt_range": (-60, 60)}
    plain = dewedge.open(**files)
    opened = dewedge.open(**files, ctf="wiener-tomogram", defocus_um=3)
    assert isinstance(plain, dewedge.Halves) and isinstance(opened, dewedge.Halves)
    assert 0.2 < dewedge.scores.correlation(opened.half0, plain.half0) < 0.999
    assert not isinstance(opened.half0.data, np.memmap)


def test_plain_arrays_of_any_type_are_fitted(halves: dewedge.Halves):
    pair = (halves.half0.data.astype(np.float64), halves.half1.data.astype(np.float64))
    mask = np.zeros(halves.half0.shape)
    mask[8:24] = 1
    short = TINY | {"epochs": 1}
    model = dewedge.fit([pair, halves], tilt_range=(-60, 60), mask=[mask, "none"], **short)
    assert model.tilt_range[:2] == (-60, 60)
    assert repr(model).startswith("<Model of 16 channels, fitted to cubes of 16 voxels in 1 epochs")


def test_without_half_sets_the_full_tomogram_is_fitted(halves: dewedge.Halves):
    options = TINY | {"epochs": 1, "preset": "default", "held_out": 0.1}
    model = dewedge.fit([halves], recipe="isonet", **options)
    assert model.fitted.details["options"]["objective"] == "isonet"


def test_progress_prints_and_a_model_is_read_back(
    halves: dewedge.Halves, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    model = dewedge.fit([tuple(halves)], progress=print, **TINY | {"preset": "default"})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert re.fullmatch(r"epoch 2  loss \d\.\d{4}  held-out \d\.\d{4}  \d+ s", lines[1])
    model.save(tmp_path / "model.safetensors")
    again = dewedge.load(tmp_path / "model.safetensors")
    assert again.losses == model.losses and [str(row) for row in again.losses] == lines
    with pytest.raises(dewedge.InputError, match="exists already"):
        model.save(tmp_path / "model.safetensors")


VOLUME = np.zeros((16, 16, 16), np.float32)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: dewedge.open("no.mrc"), "no.mrc: no such file"),
        (lambda: dewedge.open("no.mrc", thicknes=3), "unknown option 'thicknes'; the nearest.*'thickness'"),
        (lambda: dewedge.open("no.mrc", bin=3), "unknown option 'bin'; the nearest known one is 'binning'"),
        (
            lambda: dewedge.open("no.mrc", binning=0),
            "open: binning: expected greater than or equal to 1, got 0",
        ),
        (lambda: dewedge.open("no.mrc", recipe="magic"), "recipe 'magic': expected one of"),
        (lambda: dewedge.open(), "nothing to read"),
        (lambda: dewedge.open("."), r"open: expected one input, got 2 \(a, b\): dewedge.open_all opens all"),
        (lambda: dewedge.open("a.mrc").reconstruct(), "a: no thickness"),
        (lambda: dewedge.open("a.mrc", thickness=8).reconstruct(device="gpu"), "device: expected 'auto'"),
        (lambda: dewedge.open("a.mrc", thickness=8).reconstruct(), "image 1 .* is constant"),
        (lambda: dewedge.fit([(VOLUME, VOLUME)]), "tomogram: no tilt range known: expected tilt_range="),
        (lambda: dewedge.fit((VOLUME, VOLUME)), "expected a list of pairs of half-sets"),
        (lambda: dewedge.fit([(VOLUME, VOLUME[:8])]), r"shape \(8, 16, 16\) .*expected \(16, 16, 16\)"),
        (lambda: dewedge.fit([(VOLUME, 3)]), "expected a tomogram: .* got int"),
        (lambda: dewedge.fit([], tilt_range=(60, -60)), "fit: expected at least one pair"),
        (lambda: dewedge.fit([(VOLUME, VOLUME)], tilt_range=(60, -60)), "tilt range 60 to -60 degrees"),
        (lambda: dewedge.fit([(VOLUME, VOLUME)], tilt_range=60), "fit: tilt_range: expected"),
        (lambda: dewedge.fit([(VOLUME, VOLUME)], learning_rte=1), "nearest known one is 'learning_rate'"),
        (lambda: dewedge.fit([(VOLUME, VOLUME)], budget="soon"), "fit: budget: duration 'soon': expected"),
        (lambda: dewedge.fit([(VOLUME, VOLUME)], recipe="fbp"), "recipe fbp: fits no network"),
        (
            lambda: dewedge.fit([(VOLUME, VOLUME)], tilt_range=(-60, 60), mask=["auto", "none"]),
            "fit: mask: expected one, or one for each of 1 pairs, got 2",
        ),
        (lambda: dewedge.load("no.safetensors"), "no.safetensors: no such file"),
        (lambda: dewedge.Tomogram(VOLUME[0]), r"expected three axes \(z, y, x\)"),
        (lambda: dewedge.Tomogram(VOLUME, beads=VOLUME[:8]), r"beads of shape \(8, 16, 16\)"),
    ],
)
def test_wrong_input_is_one_clear_line(call: Any, message: str, tmp_path: Path, monkeypatch: Any):
    for name in "ab":
        write_mrc(tmp_path / f"{name}.mrc", np.ones((5, 16, 20), np.float32), 10.0, stack=True)
        (tmp_path / f"{name}.rawtlt").write_text("-20\n-10\n0\n10\n20\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(dewedge.InputError, match=message) as raised:
        call()
    assert len(str(raised.value).splitlines()) == 1


def test_wrong_input_of_a_refinement(model: dewedge.Model):
    with pytest.raises(dewedge.InputError, match=r"refine: unknown option 'tyle'; the nearest.*'tile'"):
        model.refine(VOLUME, tyle=3)
    with pytest.raises(dewedge.InputError, match=r"or a pair \(half0, half1\), got 3"):
        model.refine((VOLUME, VOLUME, VOLUME))  # type: ignore[call-overload]
    with pytest.raises(dewedge.InputError, match="tomogram"):
        model.refine(VOLUME)


def test_what_memory_is_short_for_is_refused_before_it_begins(
    halves: dewedge.Halves, model: dewedge.Model, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("dewedge.check.memory.free_memory_GB", lambda device: 0.0)
    monkeypatch.setattr("dewedge.check.memory.taken_bytes", lambda: 0.0)
    with pytest.raises(InputError, match=r"^fit: about .* GB of memory needed, 0\.0 GB free"):
        dewedge.fit([halves], **TINY)
    with pytest.raises(InputError, match=r"^refinement: about .* GB of memory needed, 0\.0 GB free"):
        model.refine(halves.full, device="cpu")
    dewedge.fit([halves], no_check=True, **{**TINY, "epochs": 1, "epoch_samples": 2})


def test_weights_to_start_from_are_of_one_voxel_size(
    halves: dewedge.Halves, model: dewedge.Model, tmp_path: Path
):
    model.save(tmp_path / "model.safetensors")
    given: dict[str, Any] = {
        **TINY,
        "epochs": 1,
        "epoch_samples": 2,
        "init": str(tmp_path / "model.safetensors"),
    }
    other = dewedge.Halves(*(replace(half, voxel_size_A=10.0, planes=None) for half in halves))
    with pytest.raises(InputError, match="voxels are of 10 A, the model was fitted to 20 A"):
        dewedge.fit([other], **given)
    dewedge.fit([halves], **given)
    dewedge.fit([other], no_check=True, **given)


def test_every_series_of_a_folder(folder: Path):
    [series] = dewedge.open_all(folder / "TS.mrc", thickness=64, binning=2)
    assert isinstance(series, dewedge.Series) and series.images.shape == (41, 64, 64)
    full = series.reconstruct(device="cpu").full
    assert full.shape == (32, 32, 32) and full.voxel_size_A == pytest.approx(40)


def test_the_example_of_the_readme(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    section = README.read_text(encoding="utf-8").partition("## In Python\n")[2].partition("\n## ")[0]
    lines = [line[4:] for line in section.splitlines() if line.startswith("    ")]
    code = "\n".join(lines)
    small = {
        'budget="10min"': "epochs=1, cube_size=16, epoch_samples=10, validation_crops=2",
        "thickness=1200, binning=6": "thickness=32",
    }
    for there, instead in small.items():
        assert code.count(there) == 1
        code = code.replace(there, instead)
    for file in folder.glob("TS.*"):
        (tmp_path / file.name.replace("TS", "TS_01")).symlink_to(file)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(README), "exec"), {})
    assert "epoch 1  loss" in capsys.readouterr().out
    assert dewedge.Tomogram.read("refined.mrc").shape == (32, 64, 64)
    assert dewedge.load("model.safetensors").tilt_range[:2] == (-60, 60)


def test_a_tomogram_is_sliced_as_an_array_and_alone_is_no_list_of_pairs() -> None:
    data = np.random.default_rng(0).normal(size=(6, 7, 8)).astype(np.float32)
    half = dewedge.Tomogram(data, 10.0, TiltRange(-60, 60), "half")
    np.testing.assert_array_equal(half[2:4, 1], data[2:4, 1])
    with pytest.raises(dewedge.InputError, match=r"expected a list of pairs: dewedge.fit\(\[\(half0, half1"):
        dewedge.fit(half, epochs=1)  # type: ignore[arg-type]
