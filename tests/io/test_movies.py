"""Movies of known frames, whole and broken."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from dewedge.errors import InputError
from dewedge.io.mdoc import copy_mdoc, read_mdoc
from dewedge.io.movies import even_odd_averages, movie_frames, read_gain, read_movie
from dewedge.io.mrc import write_mrc

SHAPE = (7, 9)


def frames(n: int, dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(n).integers(0, 100, (n, *SHAPE)).astype(dtype)


def write(path: Path, values: np.ndarray, compression: str | None = "lzw", bigtiff: bool = False) -> Path:
    """Write an MRC stack, or a TIFF whose first row is, as in every TIFF, the top one."""
    if path.suffix == ".mrc":
        write_mrc(path, values, 2.5, stack=True)
        return path
    with tifffile.TiffWriter(path, bigtiff=bigtiff) as tiff:
        for frame in values:
            tiff.write(frame[::-1], compression=compression, contiguous=False, photometric="minisblack")
    return path


@pytest.mark.parametrize("n", [2, 5])
@pytest.mark.parametrize(
    ("name", "compression", "bigtiff", "dtype"),
    [
        ("a.mrc", None, False, "float32"),
        ("a.tif", "lzw", False, "uint8"),
        ("a.tiff", "deflate", True, "uint16"),
        ("a.tif", None, False, "int16"),
        ("a.tif", None, True, "float32"),
    ],
)
def test_averages(
    tmp_path: Path, n: int, name: str, compression: str | None, bigtiff: bool, dtype: str
) -> None:
    values = frames(n, dtype)
    movie = read_movie(write(tmp_path / name, values, compression, bigtiff))
    assert (movie.n_frames, movie.shape_yx) == (n, SHAPE)
    assert movie.pixel_size_A == (2.5 if name == "a.mrc" else None)
    np.testing.assert_array_equal(np.stack(list(movie_frames(movie))), values)
    even, odd = even_odd_averages(movie)
    np.testing.assert_allclose(even, values[::2].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(odd, values[1::2].mean(axis=0), rtol=1e-6)


def eer_bytes(frame: np.ndarray) -> bytes:
    """Eight bits for each run of empty pixels, then four for the place of the electron within its pixel."""
    runs = np.diff([-1, *np.flatnonzero(frame), frame.size]) - 1
    bits = [int(run) >> k & 1 for run in runs for k in range(8 + 4)]
    padding = [0] * (-len(bits) % 64)
    return np.packbits(np.array(bits + padding, np.uint8), bitorder="little").tobytes()


def write_eer(path: Path, values: np.ndarray) -> Path:
    """Write a BigTIFF: the sum of the frames, which some programs put first, then each frame in one strip."""
    metadata = b"<metadata></metadata>"
    pages = [(1, values.sum(axis=0).astype(np.uint8).tobytes()), *((65000, eer_bytes(v)) for v in values)]
    out = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16)
    for i, (compression, data) in enumerate(pages):
        start = len(out) + 8 + 10 * 20 + 8
        numbers = {256: SHAPE[1], 257: SHAPE[0], 258: 8 if compression == 1 else 1, 259: compression, 262: 1}
        numbers |= {273: start + len(metadata), 277: 1, 278: SHAPE[0], 279: len(data)}
        out += struct.pack("<Q", 10)
        out += b"".join(struct.pack("<HHQQ", tag, 16, 1, number) for tag, number in numbers.items())
        out += struct.pack("<HHQQ", 65001, 7, len(metadata), start)
        following = start + len(metadata) + len(data)
        out += struct.pack("<Q", following if i + 1 < len(pages) else 0) + metadata + data
    path.write_bytes(out)
    return path


def test_eer(tmp_path: Path) -> None:
    values = (np.random.default_rng(1).random((5, *SHAPE)) < 0.1).astype(np.uint8)
    movie = read_movie(write_eer(tmp_path / "a.eer", values))
    assert (movie.n_frames, movie.shape_yx) == (5, SHAPE)
    even, odd = even_odd_averages(movie)
    np.testing.assert_allclose(even, values[::2].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(odd, values[1::2].mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize("name", ["gain.mrc", "gain.tif"])
def test_gain(tmp_path: Path, name: str) -> None:
    gain = np.linspace(0.5, 1.5, 63, dtype=np.float32).reshape(1, *SHAPE)
    read = read_gain(write(tmp_path / name, gain))
    np.testing.assert_array_equal(read, gain[0])
    values = frames(4)
    even, odd = even_odd_averages(read_movie(write(tmp_path / "a.tif", values)), read)
    np.testing.assert_allclose(even, values[::2].mean(axis=0) * gain[0], rtol=1e-6)
    np.testing.assert_allclose(odd, values[1::2].mean(axis=0) * gain[0], rtol=1e-6)


def one_wrong(value: float) -> np.ndarray:
    values = np.ones((1, *SHAPE))
    values[0, 3, 4] = value
    return values


@pytest.mark.parametrize("name", ["gain.mrc", "gain.tif"])
@pytest.mark.parametrize(
    "values",
    [
        frames(2),
        *(np.full((1, *SHAPE), value) for value in (0, np.nan, np.inf, 1e38)),
        *map(one_wrong, (np.nan, -np.inf, 1e38, -1e7)),
    ],
)
def test_no_gain_reference(tmp_path: Path, name: str, values: np.ndarray) -> None:
    with np.errstate(invalid="ignore"):
        path = write(tmp_path / name, values.astype("float32"))
    with pytest.raises(InputError, match=f"{name}: expected a gain reference: one image"):
        read_gain(path)


@pytest.mark.parametrize("bigtiff", [False, True])
def test_a_tiff_truncated_anywhere_is_one_line(tmp_path: Path, bigtiff: bool) -> None:
    whole = write(tmp_path / "a.tif", frames(3), bigtiff=bigtiff).read_bytes()
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        needed = max(
            max(page.dataoffsets[0] + page.databytecounts[0], page.offset + 2) for page in tiff.pages
        )
    path = tmp_path / "cut.tif"
    for size in range(0, needed, 7):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"cut\.tif: ") as info:
            even_odd_averages(read_movie(path))
        assert "\n" not in str(info.value), size


def test_broken_compressed_data(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", frames(3))
    with tifffile.TiffFile(path) as tiff:
        start, count = tiff.pages[1].dataoffsets[0], tiff.pages[1].databytecounts[0]
    raw = bytearray(path.read_bytes())
    raw[start : start + count] = b"\xff" * count
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"a\.tif: frame 1 "):
        even_odd_averages(read_movie(path))


def test_wrong_files(tmp_path: Path) -> None:
    color = tmp_path / "color.tif"
    tifffile.imwrite(color, np.zeros((8, 8, 3), np.uint8), photometric="rgb")
    mixed = tmp_path / "mixed.tif"
    with tifffile.TiffWriter(mixed) as tiff:
        tiff.write(np.zeros((8, 8), np.uint8))
        tiff.write(np.zeros((8, 9), np.uint8))
    text = tmp_path / "text.eer"
    text.write_text("no movie")
    for path, message in (
        (write(tmp_path / "one.tif", frames(1)), "one frame"),
        (write(tmp_path / "one.mrc", frames(1)), "one frame"),
        (color, "grey-scale"),
        (mixed, "frame 1 of shape"),
        (text, "not a TIFF file"),
        (tmp_path / "a.dm4", "expected a movie"),
        (tmp_path / "none.tif", "no such file"),
    ):
        with pytest.raises(InputError, match=message) as info:
            read_movie(path)
        assert str(path) in str(info.value) and "\n" not in str(info.value)


@pytest.mark.parametrize("tag", [256, 257])
@pytest.mark.parametrize("kind", range(14))
def test_a_size_of_a_nonsensical_type(tmp_path: Path, tag: int, kind: int) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((8, 6), dtype=np.uint8), photometric="minisblack")
    content = path.read_bytes()
    with tifffile.TiffFile(path) as tiff:
        entry = tiff.pages[0].tags[tag].offset
    path.write_bytes(content[: entry + 2] + struct.pack("<H", kind) + content[entry + 4 :])
    try:
        frames = list(movie_frames(read_movie(path)))
    except InputError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
    else:
        assert frames[0].shape == (8, 6)


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    values = frames(3, "float32")
    values[1, 2, 3] = np.nan
    with pytest.raises(InputError, match="not finite"):
        even_odd_averages(read_movie(write(tmp_path / "a.tif", values)))


def test_movies_and_copies_of_serialem_mdocs(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "metadata" / "mdoc" / "TS_01.mrc.mdoc"
    mdoc = read_mdoc(source)
    assert mdoc.movie_files is not None and len(mdoc.movie_files) == 41
    assert mdoc.movie_files[0] == "TS_01_000_0.0.mrc"
    copy_mdoc(source, tmp_path / "a.mdoc", 1.35, (3838, 3710))
    copy = read_mdoc(tmp_path / "a.mdoc")
    assert (copy.image_file, copy.pixel_size_A, copy.image_shape_yx) == (None, 1.35, (3838, 3710))
    np.testing.assert_array_equal(copy.tilt_deg, mdoc.tilt_deg)
    np.testing.assert_array_equal(copy.acquisition_order, mdoc.acquisition_order)
    assert (copy.axis_angle_deg, copy.movie_files) == (mdoc.axis_angle_deg, mdoc.movie_files)
