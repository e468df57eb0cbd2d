"""MRC files: round trips, every mode and byte order, and files that are broken."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
import struct
import tempfile
import warnings
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mrcfile.dtypes import HEADER_DTYPE
from numpy.typing import NDArray

from dewedge.errors import InputError
from dewedge.io.mrc import create_mrc, read_mrc, write_mrc

MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}


def mrc_bytes(
    data: NDArray[Any], pixel_mode: int, order: str = "<", extended: bytes = b"", **fields: Any
) -> bytearray:
    """A file made by hand, since mrcfile writes neither every byte order nor IMOD's stamp."""
    header = np.zeros((), HEADER_DTYPE.newbyteorder(order))
    header["nz"], header["ny"], header["nx"] = header["mz"], header["my"], header["mx"] = data.shape
    header["mode"] = pixel_mode
    for axis, n in zip("zyx", data.shape, strict=True):
        header["cella"][axis] = 7.5 * n
    header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
    header["nsymbt"] = len(extended)
    header["map"] = b"MAP "
    header["machst"] = (0x44, 0x44, 0, 0) if order == "<" else (0x11, 0x11, 0, 0)
    for name, value in fields.items():
        header[name] = value
    values = data.astype(np.dtype(MODES[pixel_mode]).newbyteorder(order))
    return bytearray(header.tobytes() + extended + values.tobytes())


@pytest.fixture
def numbers() -> NDArray[np.float64]:
    return np.arange(2 * 3 * 5, dtype=np.float64).reshape(2, 3, 5) - 7


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_and_byte_order(
    tmp_path: Path, numbers: NDArray[np.float64], mode: int, order: str
) -> None:
    values = numbers + 7 if mode == 6 else numbers
    path = tmp_path / "volume.mrc"
    path.write_bytes(mrc_bytes(values, mode, order, extended=b"e" * 100))
    mrc = read_mrc(path)
    assert mrc.data.dtype.newbyteorder("=") == np.dtype(MODES[mode])
    np.testing.assert_array_equal(mrc.data, values)
    assert mrc.voxel_size_A == 7.5
    assert isinstance(mrc.data, np.memmap) and not mrc.data.flags.writeable


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("stamp", "flags", "dtype"), [(0, 0, "i1"), (1146047817, 1, "i1"), (1146047817, 0, "u1")]
)
def test_imod_stamp_decides_sign_of_bytes(
    tmp_path: Path, order: str, stamp: int, flags: int, dtype: str
) -> None:
    raw = mrc_bytes(np.array([[[1, -1]]]), 0, order)
    raw[152:160] = struct.pack(order + "ii", stamp, flags)
    path = tmp_path / "bytes.st"
    path.write_bytes(raw)
    data = read_mrc(path).data
    assert data.dtype == np.dtype(dtype)
    assert data.ravel().tolist() == [1, -1 if dtype == "i1" else 255]


@pytest.mark.parametrize("mode", [1, 2, 6, 12])
@pytest.mark.parametrize("order", ["<", ">"])
def test_missing_map_and_machine_stamp(tmp_path: Path, mode: int, order: str) -> None:
    values = np.arange(6.0).reshape(1, 2, 3)
    path = tmp_path / "old.mrc"
    path.write_bytes(mrc_bytes(values, mode, order, map=b"", machst=(0, 0, 0, 0)) + b"trailing")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        np.testing.assert_array_equal(read_mrc(path).data, values)


@settings(deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)),
    stack=st.booleans(),
    offset=st.sampled_from([0.0, 1e5, -3e-6]),
    voxel_size_A=st.sampled_from([None, 0.5, 10.0, 13.68]),
)
def test_round_trip(
    shape: tuple[int, int, int], stack: bool, offset: float, voxel_size_A: float | None
) -> None:
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32) + np.float32(offset)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "Größe 1 %.mrc"
        write_mrc(
            path, array, voxel_size_A, stack=stack, origin_xyz_A=(1.5, -2, 0), labels=("first",), what="test"
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            assert mrcfile.validate(path)
        with mrcfile.open(path) as other:
            assert other.is_volume() != stack
            np.testing.assert_array_equal(other.data.reshape(shape), array)
            assert other.header.dmin == array.min() and other.header.dmax == array.max()
            np.testing.assert_allclose(
                other.header.dmean, array.mean(dtype=np.float64), rtol=1e-6, atol=1e-12
            )
            np.testing.assert_allclose(other.header.rms, array.std(dtype=np.float64), rtol=1e-5, atol=1e-12)
        mrc = read_mrc(path)
        np.testing.assert_array_equal(mrc.data, array)
        assert (
            mrc.voxel_size_A is None if voxel_size_A is None else abs(mrc.voxel_size_A - voxel_size_A) < 1e-5
        )
        assert mrc.origin_xyz_A == (1.5, -2, 0)
        assert (
            mrc.labels[0] == "first" and mrc.labels[1].startswith("dewedge ") and " test 20" in mrc.labels[1]
        )
        assert os.listdir(folder) == [path.name]


def test_labels_are_carried_and_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    old = [f"label {i} " + "x" * 100 for i in range(12)] + ["", "Å µ"]
    write_mrc(path, np.zeros((1, 2, 2)), 1.0, labels=old, what="w" * 200)
    labels = read_mrc(path).labels
    assert len(labels) == 10 and all(len(label) <= 80 for label in labels)
    assert labels[-1].startswith("dewedge") and labels[-2] == "? ?"
    write_mrc(path, np.zeros((1, 2, 2)), 1.0, labels=labels)
    assert read_mrc(path).labels[:-1] == labels[1:]
    assert mrcfile.validate(path)


def test_writing_in_slabs_over_an_old_file_that_is_mapped(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    write_mrc(path, np.ones((4, 3, 2)), 5.0)
    old = read_mrc(path).data
    with create_mrc(path, (4, 3, 2), 5.0) as writer:
        assert (writer.data == 0).all()
        for z in range(4):
            writer.data[z] = 2 * old[z] + z
    assert (old == 1).all()
    np.testing.assert_array_equal(read_mrc(path).data[:, 0, 0], [2, 3, 4, 5])


def test_exception_in_the_writer_keeps_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    write_mrc(path, np.ones((2, 2, 2)), 5.0)
    before = path.read_bytes()
    with pytest.raises(RuntimeError), create_mrc(path, (2, 2, 2), 5.0) as writer:
        writer.data[:] = 3
        raise RuntimeError
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.mrc"]


def test_not_enough_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mrc"
    with pytest.raises(InputError, match=r"not enough space: .* MB needed, .* MB free"):
        write_mrc(path, np.broadcast_to(np.float32(0), (10**5, 10**5, 10**4)), 5.0)

    def full(descriptor: int, offset: int, length: int) -> None:
        assert length == 1024 + 4 * 8
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(InputError, match=r"a.mrc: cannot be written: No space left"):
        write_mrc(path, np.zeros((2, 2, 2)), 5.0)
    assert os.listdir(tmp_path) == []


def test_space_is_allocated_before_writing(tmp_path: Path) -> None:
    with create_mrc(tmp_path / "a.mrc", (16, 64, 64), 5.0):
        (temporary,) = tmp_path.iterdir()
        assert temporary.stat().st_blocks * 512 >= 16 * 64 * 64 * 4


def test_shapes_that_are_no_volume(tmp_path: Path) -> None:
    for shape in ((3, 4), (3, 4, 0), (1, 2, 3, 4)):
        with pytest.raises(ValueError, match="three positive numbers"):
            write_mrc(tmp_path / "a.mrc", np.zeros(shape), 5.0)


@settings(deadline=None)
@given(data=st.data())
def test_truncated_anywhere(data: st.DataObject) -> None:
    whole = mrc_bytes(np.zeros((3, 4, 5)), 1, extended=b"e" * 40)
    length = data.draw(st.integers(0, len(whole) - 1))
    with tempfile.NamedTemporaryFile(suffix=".mrc") as file:
        file.write(whole[:length])
        file.flush()
        with pytest.raises(InputError, match=r"truncated|too short") as info:
            read_mrc(file.name)
        assert "\n" not in str(info.value)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1023), st.integers(0, 255)), min_size=1, max_size=6), st.booleans())
def test_broken_headers_raise_input_error_only(changes: list[tuple[int, int]], big: bool) -> None:
    raw = mrc_bytes(np.zeros((3, 4, 5)), 1, ">" if big else "<")
    for position, value in changes:
        raw[position] = value
    with tempfile.NamedTemporaryFile(suffix=".mrc") as file:
        file.write(raw)
        file.flush()
        try:
            mrc = read_mrc(file.name)
        except InputError as error:
            assert file.name in str(error)
        else:
            assert mrc.data.ndim == 3 and mrc.data.nbytes <= len(raw)


@settings(deadline=None)
@given(st.binary(min_size=0, max_size=3000))
def test_arbitrary_bytes(raw: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".mrc") as file:
        file.write(raw)
        file.flush()
        with pytest.raises(InputError):
            read_mrc(file.name)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"nx": 0}, "broken MRC header"),
        ({"ny": -3}, "broken MRC header"),
        ({"nx": 2**31 - 1, "ny": 2**31 - 1, "nz": 2**31 - 1}, "truncated"),
        ({"nsymbt": 2**31 - 1}, "truncated"),
        ({"nsymbt": -1}, "broken MRC header"),
        ({"mode": 4}, "MRC mode 4 .*: expected mode 0, 1, 2, 6 or 12"),
        ({"mode": 101}, "MRC mode 101"),
        ({"mode": 77, "map": b"    "}, "not an MRC file"),
        ({"ispg": 401, "mz": 0}, "stack of volumes"),
        ({"mapc": 3, "maps": 1}, "permuted"),
        ({"mx": 10}, "same size along every axis"),
        ({"mz": 10}, "same size along every axis"),
    ],
)
def test_broken_files_say_what_is_wrong(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    path = tmp_path / "broken.mrc"
    path.write_bytes(mrc_bytes(np.zeros((2, 4, 5)), 2, **fields))
    with pytest.raises(InputError, match=message) as info:
        read_mrc(path)
    assert str(path) in str(info.value)


def test_missing_folder_and_compressed(tmp_path: Path, numbers: NDArray[np.float64]) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_mrc(tmp_path / "none.mrc")
    with pytest.raises(InputError, match="folder"):
        read_mrc(tmp_path)
    (tmp_path / "a.mrc.gz").write_bytes(gzip.compress(bytes(mrc_bytes(numbers, 2)) * 50))
    with pytest.raises(InputError, match="compressed"):
        read_mrc(tmp_path / "a.mrc.gz")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"file/a.mrc"):
        read_mrc(tmp_path / "file" / "a.mrc")


def test_stack_needs_square_pixels_only(tmp_path: Path, numbers: NDArray[np.float64]) -> None:
    path = tmp_path / "stack.mrc"
    path.write_bytes(mrc_bytes(numbers, 2, mz=20))
    assert read_mrc(path, stack=True).voxel_size_A == 7.5
    path.write_bytes(mrc_bytes(numbers, 2, mz=1, ispg=0))
    assert read_mrc(path).voxel_size_A == 7.5
    path.write_bytes(mrc_bytes(numbers, 2, my=20))
    with pytest.raises(InputError, match=r"pixels of 7.5 x 1.125 A"):
        read_mrc(path, stack=True)


@pytest.mark.parametrize("cell", [0.0, -30.0, np.nan, np.inf, 1e-9])
def test_no_plausible_voxel_size(tmp_path: Path, numbers: NDArray[np.float64], cell: float) -> None:
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc_bytes(numbers, 2, cella=(cell, cell, cell)))
    assert read_mrc(path).voxel_size_A is None
    path.write_bytes(mrc_bytes(numbers, 2, mx=0, my=0, mz=0))
    assert read_mrc(path).voxel_size_A is None


def test_files_of_other_programs(shared_data: Path, tmp_path: Path) -> None:
    series = read_mrc(shared_data / "empiar-10499-00254" / "00254.mrc", stack=True)
    assert series.data.shape == (41, 630, 652) and series.data.dtype == np.float16
    assert series.voxel_size_A == 10
    needle = read_mrc(shared_data / "haadf-needle" / "HAADF.mrc", stack=True)
    assert needle.data.shape == (77, 256, 256) and needle.data.dtype == np.int16
    assert needle.data.min() == -31908 and needle.labels == ("Fei Company (c) Copyright 2003",)
    maps = sorted((shared_data / "structures-10A").glob("*.mrc"))
    assert len(maps) == 13
    for path in maps:
        mrc = read_mrc(path)
        assert mrc.voxel_size_A == 10 and np.isfinite(mrc.data).all()
    stack = read_mrc(shared_data / "metadata" / "imod" / "etomofiles" / "TS_001.st", stack=True)
    assert stack.data.shape == (40, 1, 1) and stack.voxel_size_A is None
    cut = tmp_path / "cut.mrc"
    shutil.copyfile(maps[0], cut)
    os.truncate(cut, cut.stat().st_size - 1)
    with pytest.raises(InputError, match="truncated"):
        read_mrc(cut)
