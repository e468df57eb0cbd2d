"""dewedge frames: movies of known frames to the half-sets of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from dewedge.cli import main
from dewedge.io.entries import SeriesEntry
from dewedge.io.find import find_series
from dewedge.io.mrc import read_mrc, write_mrc
from dewedge.io.tilt_series import read_tilt_series

TILTS = (0.0, 3.0, -3.0, 6.0, -6.0)
SHAPE = (16, 24)


def movie_name(i: int) -> str:
    return f"TS 1_{i:03}.tif"


def frames_of(i: int) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 50, (4 + i % 2, *SHAPE)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five LZW movies, another series' movie, and an mdoc with images binned by two."""
    movies = tmp_path / "movies"
    movies.mkdir()
    for i in (*range(5), 77):
        with tifffile.TiffWriter(movies / movie_name(i)) as tiff:
            for frame in frames_of(i):
                tiff.write(frame[::-1], compression="lzw", contiguous=False)
    lines = [
        "PixelSpacing = 4",
        "ImageFile = TS 1.mrc",
        "ImageSize = 12 8",
        "",
        "[T = Tilt axis angle = 85.3]",
    ]
    for i, tilt in enumerate(TILTS):
        lines += ["", f"[ZValue = {i}]", f"TiltAngle = {tilt}", "PixelSpacing = 4", "ExposureDose = 3"]
        lines += [f"SubFramePath = D:\\DATA\\x\\{movie_name(i)}", f"DateTime = 01-Jan-21  09:00:{i:02}"]
    (tmp_path / "TS 1.mrc.mdoc").write_text("\n".join(lines) + "\n")
    return tmp_path


def fails(capsys: pytest.CaptureFixture[str], arguments: list[str], *parts: str) -> None:
    capsys.readouterr()
    assert main(["frames", *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert all(part in lines[0] for part in parts), lines


def averages(i: int) -> tuple[np.ndarray, np.ndarray]:
    values = frames_of(i).astype(np.float64)
    return values[::2].mean(axis=0), values[1::2].mean(axis=0)


def test_by_mdoc(folder: Path) -> None:
    out = folder / "out"
    arguments = [str(folder / "movies"), "--mdoc", str(folder / "TS 1.mrc.mdoc"), "-o", str(out)]
    assert main(["frames", *arguments]) == 0
    for half, stack in enumerate((out / "TS 1_EVN.mrc", out / "TS 1_ODD.mrc")):
        # As a run reads --even and --odd.
        series = read_tilt_series(stack)
        wanted = np.stack([averages(i)[half] for i in range(5)])
        np.testing.assert_allclose(series.images, wanted, rtol=1e-6)
        geometry = series.geometry
        np.testing.assert_allclose(geometry.tilt_deg, TILTS)
        np.testing.assert_array_equal(geometry.acquisition_order, np.arange(5))
        np.testing.assert_allclose(geometry.pre_exposure_e_per_A2, 3 * np.arange(5))
        assert geometry.pixel_size_A == pytest.approx(2)  # half of 4 A: the mdoc's images are binned by 2
        assert geometry.axis_angle_deg == pytest.approx(85.3)
    (entry,) = find_series(out)
    assert isinstance(entry, SeriesEntry) and entry.name == "TS 1" and entry.has_frames
    assert main(["frames", *arguments]) == 2
    assert main(["frames", *arguments, "--overwrite"]) == 0


def test_by_angles_with_gain(folder: Path) -> None:
    gain = np.linspace(0.5, 2, SHAPE[0] * SHAPE[1], dtype=np.float32).reshape(1, *SHAPE)
    write_mrc(folder / "gain.mrc", gain, 1.0, stack=True)
    (folder / "sorted.tlt").write_text("-6\n-3\n0\n3\n6\n")
    order = np.argsort(TILTS)
    movies = [str(folder / "movies" / movie_name(i)) for i in order]
    flags = ["--angles", str(folder / "sorted.tlt"), "--gain", str(folder / "gain.mrc"), "--name", "TS"]
    assert main(["frames", *movies, *flags, "--pixel-size", "1.7", "-o", str(folder / "out")]) == 0
    for half, stack in enumerate((folder / "out" / "TS_EVN.mrc", folder / "out" / "TS_ODD.mrc")):
        mrc = read_mrc(stack, stack=True)
        wanted = np.stack([averages(i)[half] for i in order]) * gain
        np.testing.assert_allclose(mrc.data, wanted, rtol=1e-6)
        assert mrc.voxel_size_A == pytest.approx(1.7)
        np.testing.assert_allclose(read_tilt_series(stack).geometry.tilt_deg, np.sort(TILTS))


def test_a_run_takes_them(folder: Path, tiny_fit: list[str]) -> None:
    """Up to the split, which says that they are half-sets already."""
    out = folder / "out"
    assert (
        main(["frames", str(folder / "movies"), "--mdoc", str(folder / "TS 1.mrc.mdoc"), "-o", str(out)]) == 0
    )
    halves = ["--even", str(out / "TS 1_EVN.mrc"), "--odd", str(out / "TS 1_ODD.mrc")]
    size = ["--thickness", "8", "-o", str(out / "volumes")]
    assert main(["reconstruct", "--split", "frames", *halves, *size, "--halves", "--device", "cpu"]) == 0


def test_wrong_input(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    movies, mdoc = folder / "movies", folder / "TS 1.mrc.mdoc"
    out = ["-o", str(folder / "out")]
    by_mdoc = ["--mdoc", str(mdoc), *out]
    files = [str(movies / movie_name(i)) for i in range(5)]
    (folder / "four.tlt").write_text("0\n3\n-3\n6\n")
    (folder / "five.tlt").write_text("0\n3\n-3\n6\n-6\n")
    by_angles = ["--angles", str(folder / "five.tlt"), *out]
    write_mrc(folder / "gain.mrc", np.ones((1, *SHAPE[::-1])), 1.0, stack=True)

    fails(capsys, [str(movies), *out], "--mdoc", "--angles")
    fails(capsys, by_mdoc, "no movies")
    fails(capsys, [*files[:3], *by_mdoc], "2 of its 5 movies are missing", movie_name(3), movie_name(4))
    fails(
        capsys, [*files, str(movies / movie_name(77)), *by_mdoc], "1 movies it does not name", movie_name(77)
    )
    fails(capsys, [str(movies), *by_angles], "a folder has no order")
    fails(capsys, [*files, "--angles", str(folder / "four.tlt"), *out], "4 angles for 5 movies")
    fails(capsys, [*files[:4], files[0], *by_angles], "listed twice")
    fails(capsys, [*files, *by_angles], "--pixel-size")
    fails(capsys, [*files, *by_angles, "--pixel-size", "0"], "--pixel-size 0: expected a positive")
    fails(capsys, [*files, *by_mdoc, "--gain", str(folder / "gain.mrc")], "rotate it first")

    text = mdoc.read_text()
    mdoc.write_text(text.replace(movie_name(1), movie_name(0)))
    fails(capsys, [*files, *by_mdoc], "named twice")
    mdoc.write_text(text.replace("SubFramePath", "SubFrame", 1))
    fails(capsys, [*files, *by_mdoc], "no SubFramePath")
    mdoc.write_text(text)

    tifffile.imwrite(files[2], frames_of(2)[0])
    fails(capsys, [*files, *by_mdoc], movie_name(2), "one frame")
    tifffile.imwrite(files[2], np.zeros((3, 5, 5), np.uint8), photometric="minisblack")
    fails(capsys, [*files, *by_mdoc], movie_name(2), "(5, 5)", "(16, 24)")
    Path(files[2]).write_bytes(Path(files[1]).read_bytes()[:1500])
    fails(capsys, [*files, *by_mdoc], movie_name(2), "truncated")
    assert not (folder / "out").exists() or not list((folder / "out").iterdir())
