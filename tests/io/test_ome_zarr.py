"""Volumes as OME-Zarr: round trips, levels, axes and units, and stores that are not to be trusted."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaozarrs
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import GZip, Pickle, Zstd
from numpy.typing import NDArray

import dewedge.io.zarr_array as zarr_array
from dewedge.errors import InputError, UnwritableError
from dewedge.io.files import remove, remove_leftovers
from dewedge.io.formats import create_volume, read_volume, write_volume
from dewedge.io.ome_zarr import pyramid_shapes
from dewedge.io.volume_file import ZarrVersion, file_of
from dewedge.io.zarr_store import decoded_bytes

VERSIONS: tuple[ZarrVersion, ...] = ("0.4", "0.5")
SHAPE = (70, 130, 9)


@pytest.fixture(scope="module")
def volume() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


@pytest.fixture(params=VERSIONS)
def store(tmp_path: Path, volume: NDArray[np.float32], request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "TS_1.zarr"
    write_volume(path, volume, 10.0, origin_xyz_A=(1, 2, 3), labels=["first"], zarr_version=request.param)
    return path


def group_file(store: Path) -> Path:
    return next(file for name in ("zarr.json", ".zattrs") if (file := store / name).is_file())


def array_file(store: Path) -> Path:
    return next(file for name in ("zarr.json", ".zarray") if (file := store / "0" / name).is_file())


def chunk_file(store: Path) -> Path:
    return next(file for name in ("c/0/0/0", "0/0/0") if (file := store / "0" / name).is_file())


def change(file: Path, edit: Callable[[Any], object]) -> None:
    """Edit a JSON file; of a group's, its OME attributes."""
    values = json.loads(file.read_text())
    edit(values.get("attributes", {}).get("ome", values))
    file.write_text(json.dumps(values))


def raw_store(folder: Path, data: NDArray[Any], unit: str | None = "angstrom", **options: Any) -> Path:
    """An OME-Zarr 0.4 image of one level as another program might write it."""
    path = folder / "raw.zarr"
    scale = [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]
    axes = [{"name": name, "type": "space"} | ({} if unit is None else {"unit": unit}) for name in "zyx"]
    datasets = [{"path": "s0", "coordinateTransformations": scale}]
    multiscale = {"version": "0.4", "axes": axes, "datasets": datasets}
    zarr.create_group(path, zarr_format=2, attributes={"multiscales": [multiscale]})
    array = zarr.create_array(path / "s0", shape=data.shape, dtype=data.dtype, zarr_format=2, **options)
    array[...] = data
    return path


def test_what_is_written_is_read_again(store: Path, volume: NDArray[np.float32]) -> None:
    found = read_volume(store)
    np.testing.assert_array_equal(found.data, volume)
    assert found.data.shape == SHAPE and found.data.dtype == np.float32 and found.data.size == volume.size
    assert (found.voxel_size_A, found.origin_xyz_A) == (10.0, (1.0, 2.0, 3.0))
    assert found.labels[0] == "first" and found.labels[1].startswith("dewedge")
    yaozarrs.validate_zarr_store(str(store))
    np.testing.assert_array_equal(zarr.open_array(store / "0", mode="r")[:], volume)


def test_levels_are_means_at_their_places(store: Path, volume: NDArray[np.float32]) -> None:
    assert pyramid_shapes(SHAPE) == [SHAPE, (35, 65, 4), (17, 32, 2)]
    means = volume[:, :, :8].reshape(35, 2, 65, 2, 4, 2).mean(axis=(1, 3, 5))
    found = read_volume(store / "1")
    np.testing.assert_allclose(found.data, means, atol=1e-6)
    # The middle of its first voxel lies half a voxel of the finest level further on.
    assert (found.voxel_size_A, found.origin_xyz_A) == (20.0, (6.0, 7.0, 8.0))
    coarsest = read_volume(store / "2")
    assert (coarsest.voxel_size_A, coarsest.origin_xyz_A) == (40.0, (16.0, 17.0, 18.0))
    assert file_of(store / "2") == store
    with pytest.raises(InputError, match=r"no level of .*TS_1\.zarr: expected one of \['0', '1', '2'\]"):
        read_volume(store / "3")


def test_a_pyramid_ends_where_it_is_small() -> None:
    assert pyramid_shapes((64, 64, 64)) == [(64, 64, 64)]
    assert pyramid_shapes((1, 3, 200)) == [(1, 3, 200), (1, 1, 100), (1, 1, 50)]


@pytest.mark.parametrize("voxel_size_A", [None, 7.84])
@pytest.mark.parametrize("version", VERSIONS)
def test_an_axis_of_one_and_no_voxel_size(
    tmp_path: Path, version: ZarrVersion, voxel_size_A: float | None
) -> None:
    values = np.arange(200, dtype=np.float32).reshape(1, 1, 200)
    write_volume(tmp_path / "a.zarr", values, voxel_size_A, zarr_version=version)
    yaozarrs.validate_zarr_store(str(tmp_path / "a.zarr"))
    found = read_volume(tmp_path / "a.zarr")
    assert found.voxel_size_A == voxel_size_A
    np.testing.assert_array_equal(found.data, values)


_INDEX = st.one_of(
    st.integers(-5, 4),
    st.slices(5),
    st.builds(slice, st.integers(-6, 6), st.integers(-6, 6), st.sampled_from([-3, -1, 1, 2, 3])),
)


@settings(deadline=None, max_examples=60)
@given(index=st.lists(_INDEX, max_size=3).map(tuple))
def test_a_part_is_that_of_an_array(index: tuple[Any, ...], tmp_path_factory: pytest.TempPathFactory) -> None:
    values = np.arange(125, dtype=np.int16).reshape(5, 5, 5)
    path = tmp_path_factory.getbasetemp() / "parts"
    if not path.is_dir():
        path.mkdir()
        raw_store(path, values, chunks=(2, 3, 4))
    part = read_volume(path / "raw.zarr").data[index]
    np.testing.assert_array_equal(part, values[index])
    assert np.shape(part) == values[index].shape and part.dtype == np.int16


def test_only_what_is_asked_for_is_read_and_little_of_it_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.arange(8 * 8 * 8, dtype=np.float32).reshape(8, 8, 8)
    path = raw_store(tmp_path, values, chunks=(2, 4, 4))
    monkeypatch.setattr(zarr_array, "CACHE_BYTES", 0)
    data: Any = read_volume(path).data
    read: list[object] = []
    decoded = data._decoded
    monkeypatch.setattr(data, "_decoded", lambda number: read.append(number) or decoded(number))
    data[3, 1, 5]
    assert read == [(1, 0, 1)]
    data._cache.clear()
    read.clear()
    for section, expected in zip(data, values, strict=True):
        np.testing.assert_array_equal(section, expected)
    # Each of the 16 chunks once, for a layer of them is kept, and no more.
    assert len(read) == 16
    assert sum(chunk.nbytes for chunk in data._cache.values()) <= 2 * 8 * 8 * 4


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("angstrom", 1.0), ("nanometer", 10.0), ("micrometer", 1e4), ("picometer", 0.01), (None, None)],
)
def test_units(tmp_path: Path, unit: str | None, expected: float | None) -> None:
    found = read_volume(raw_store(tmp_path, np.zeros((2, 2, 2), np.int8), unit))
    assert found.voxel_size_A == expected and found.data.dtype == np.int8


def test_transformations_of_all_levels_come_after_those_of_one(store: Path) -> None:
    both = [{"type": "scale", "scale": [0.1] * 3}, {"type": "translation", "translation": [1, 2, 3]}]

    def edit(values: Any) -> None:
        for axis in values["multiscales"][0]["axes"]:
            axis["unit"] = "nanometer"
        values["multiscales"][0]["coordinateTransformations"] = both

    change(group_file(store), edit)
    found = read_volume(store)
    assert found.voxel_size_A == pytest.approx(10.0)
    assert found.origin_xyz_A == pytest.approx((31.0, 22.0, 13.0))


def _axes(values: Any) -> None:
    values["multiscales"][0]["axes"].reverse()


def _unit(values: Any) -> None:
    values["multiscales"][0]["axes"][0]["unit"] = "parsec"


def _scale(values: Any) -> None:
    values["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"] = [10, 10, 5]


def _path(name: str) -> Callable[[Any], None]:
    return lambda values: values["multiscales"][0]["datasets"][0].update(path=name)


def _multiscales(values: Any) -> None:
    values["multiscales"] = [[1, {"axes": "zyx"}]]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_axes, r"axes \[.*expected z, y, x"),
        (_unit, "units .*parsec.*expected one of angstrom, nanometer, micrometer"),
        (_scale, r"voxels of 10 x 10 x 5 A \(z first\)"),
        (_path("../../TS_1.zarr/0"), "valid Zarr node name|expected a folder in it"),
        (_path("/etc"), "valid Zarr node name|expected a folder in it"),
        (_path("7"), "no Zarr array there"),
        (_multiscales, r"not OME-Zarr 0\.4 or 0\.5: multiscales\.0"),
        (lambda values: values.pop("multiscales"), "no OME-Zarr image there"),
    ],
)
def test_an_image_that_is_none_for_us(store: Path, edit: Callable[[Any], object], message: str) -> None:
    change(group_file(store), edit)
    with pytest.raises(InputError, match=message):
        read_volume(store)


def test_a_later_version_is_refused(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.zarr", np.zeros((2, 2, 2)), 10.0)
    change(tmp_path / "a.zarr" / "zarr.json", lambda values: values.update(version="0.6"))
    with pytest.raises(InputError, match=r"not OME-Zarr 0\.4 or 0\.5: version: Input should be '0\.5'"):
        read_volume(tmp_path / "a.zarr")


@pytest.mark.parametrize("file", [group_file, array_file])
def test_broken_json(store: Path, file: Callable[[Path], Path]) -> None:
    path = file(store)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(InputError, match=r"damaged, not JSON"):
        read_volume(store)
    path.write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"more than 32 deep"):
        read_volume(store)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda v: v.update(shape=[10**9, 10**9, 10**9]), "shape .*expected three axes"),
        (lambda v: v.update(shape=[70, 130]), "shape .*expected three axes"),
        (lambda v: v.update(shape=[70, 130, True]), "shape .*expected three axes"),
        (lambda v: v.update(data_type="string", dtype="|O"), "values of type '(string|.O)'"),
        (lambda v: v.update(data_type="complex64", dtype="<c8"), "expected integers of up to 32 bits"),
        (lambda v: v.update(codecs=[{"name": "pickle"}], compressor={"id": "pickle"}), "expected"),
        (lambda v: v.update(codecs=["bytes", "vlen-utf8"], filters=[{"id": "pickle"}]), "expected"),
    ],
)
def test_an_array_that_is_not_trusted(store: Path, edit: Callable[[Any], object], message: str) -> None:
    change(array_file(store), edit)
    with pytest.raises(InputError, match=message):
        read_volume(store)


def test_huge_chunks_are_refused_before_there_is_memory_for_them(tmp_path: Path) -> None:
    path = raw_store(tmp_path, np.zeros((2, 2, 2), np.float32), chunks=(2, 2, 2))
    change(path / "s0" / ".zarray", lambda values: values.update(chunks=[60_000, 60_000, 60_000]))
    with pytest.raises(InputError, match=r"chunks of \(60000, 60000, 60000\).* MB each"):
        read_volume(path)


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    path = raw_store(tmp_path, np.zeros((2, 2, 2), np.float32))
    shutil.rmtree(path / "s0")
    (path / "s0").mkdir()
    fields = {"zarr_format": 2, "shape": [2, 2, 2], "chunks": [2, 2, 2], "fill_value": None, "order": "C"}
    fields |= {"dtype": "|O", "filters": [{"id": "pickle", "protocol": 5}], "compressor": None}
    (path / "s0" / ".zarray").write_text(json.dumps(fields))
    (path / "s0" / "0.0.0").write_bytes(Pickle().encode(np.array([os.system], dtype=object)))
    with pytest.raises(InputError, match=r"values of type '\|O'"):
        read_volume(path)


def test_a_missing_chunk_has_the_fill_value_as_the_specification_says(store: Path) -> None:
    chunk_file(store).unlink()
    assert not np.asarray(read_volume(store).data)[:64, :64].any()


@pytest.mark.parametrize("kept", [0, 10, 1000])
def test_a_damaged_chunk(store: Path, kept: int) -> None:
    file = chunk_file(store)
    file.write_bytes(file.read_bytes()[:kept])
    data = read_volume(store).data
    with pytest.raises(InputError, match=r"TS_1\.zarr/0"):
        data[0]


def test_a_link_out_of_the_store_is_not_followed(store: Path, tmp_path: Path) -> None:
    file = chunk_file(store)
    outside = tmp_path / "outside"
    shutil.copy(file, outside)
    file.unlink()
    file.symlink_to(outside)
    data = read_volume(store).data
    with pytest.raises(InputError, match=r"leads out of .* by a link"):
        data[0]
    shutil.move(store / "0", tmp_path / "level")
    (store / "0").symlink_to(tmp_path / "level")
    with pytest.raises(InputError, match=r"leads out of .* by a link"):
        read_volume(store)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_a_pipe_in_the_place_of_a_chunk_is_not_waited_for(store: Path) -> None:
    file = chunk_file(store)
    file.unlink()
    os.mkfifo(file)
    data = read_volume(store).data
    with pytest.raises(InputError, match="expected a file, this is none"):
        data[0]


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_chunk_that_would_fill_the_memory(tmp_path: Path, codec: str) -> None:
    compressor = GZip() if codec == "gzip" else Zstd()
    values = np.random.default_rng(0).normal(size=(4, 4, 4))
    path = raw_store(tmp_path, values, chunks=(4, 4, 4), compressors=compressor)
    np.testing.assert_array_equal(read_volume(path).data, values)
    file = path / "s0" / "0.0.0"
    file.write_bytes(compressor.encode(bytes(10**8)))
    assert file.stat().st_size < 10**6
    with pytest.raises(InputError, match="expected 512 bytes when decoded, it would have"):
        np.asarray(read_volume(path).data)


def test_decoded_sizes_of_chunks() -> None:
    data = np.arange(1000, dtype=np.int64)
    assert decoded_bytes("zstd", Zstd().encode(data), 10**6) == 8000
    assert decoded_bytes("gzip", GZip().encode(data), 10**6) == 8000
    assert decoded_bytes("gzip", gzip.compress(b"a") + gzip.compress(bytes(10**6)), 10) is None
    assert decoded_bytes(None, b"abc", 2) == 2
    for codec in ("blosc", "gzip", "zlib", "zstd", "lz4"):
        assert decoded_bytes(codec, b"", 10) is None
    # A frame that does not tell: 1000 blocks of 128 KiB, each of one repeated byte.
    header = (1000 * [(0b010 | (1 << 17 << 3)).to_bytes(3, "little") + b"\0"])[:-1]
    last = (0b011 | (1 << 17 << 3)).to_bytes(3, "little") + b"\0"
    frame = b"\x28\xb5\x2f\xfd\x00\x58" + b"".join(header) + last
    assert decoded_bytes("zstd", frame, 10**6) == 999 * (1 << 17) // 2
    assert decoded_bytes("zstd", frame[:-3], 10**6) is None


def test_a_folder_that_is_no_store_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "mine.zarr"
    path.mkdir()
    (path / "thesis.tex").write_text("years of work")
    for act in (lambda: write_volume(path, np.zeros((2, 2, 2)), 1.0), lambda: remove(path)):
        with pytest.raises(UnwritableError, match="holds no Zarr store"):
            act()
    assert (path / "thesis.tex").read_text() == "years of work"
    with pytest.raises(UnwritableError, match="not of a level"), create_volume(path / "0", (2, 2, 2), 1.0):
        pass


def test_a_store_is_replaced_as_a_whole_or_stays(store: Path, volume: NDArray[np.float32]) -> None:
    with pytest.raises(KeyError), create_volume(store, (3, 3, 3), 5.0) as writer:
        writer.data[...] = 1
        raise KeyError
    np.testing.assert_array_equal(read_volume(store).data, volume)
    with create_volume(store, (3, 3, 3), 5.0) as writer:
        writer.data[...] = 1
        writer.data[0] += 1
    np.testing.assert_array_equal(np.asarray(read_volume(store).data)[:, 0, 0], [2, 1, 1])
    assert [path.name for path in store.parent.iterdir()] == ["TS_1.zarr"]


def test_version_5_has_few_files_of_many_chunks(tmp_path: Path) -> None:
    for version in VERSIONS:
        write_volume(tmp_path / f"{version}.zarr", np.zeros((2, 300, 70)) + 1, 10.0, zarr_version=version)
    array = zarr.open_array(tmp_path / "0.5.zarr" / "0", mode="r")
    assert (array.chunks, array.shards) == ((2, 64, 64), (8, 256, 256))
    assert len([path for path in (tmp_path / "0.5.zarr" / "0" / "c").rglob("*") if path.is_file()]) == 2
    old = zarr.open_array(tmp_path / "0.4.zarr" / "0", mode="r")
    assert (old.chunks, old.shards, old.metadata.zarr_format) == ((2, 128, 70), None, 2)


def test_what_a_killed_process_left_is_cleared(store: Path) -> None:
    left = store.with_name(".TS_1.0123abcd.zarr")
    shutil.copytree(store, left)
    (left / "zarr.json").unlink(missing_ok=True)
    remove_leftovers(store)
    assert not left.exists() and store.exists()


def test_a_full_disk_while_it_is_written(
    tmp_path: Path, volume: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        free = 1000

    monkeypatch.setattr("dewedge.io.files.shutil.disk_usage", lambda _: Full)
    with pytest.raises(UnwritableError, match="not enough space"):
        write_volume(tmp_path / "a.zarr", volume, 10.0)
    assert not list(tmp_path.iterdir())


def test_without_the_libraries_it_says_what_to_install(
    store: Path, monkeypatch: pytest.MonkeyPatch, volume: NDArray[np.float32]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yaozarrs", None)
    with pytest.raises(InputError, match=r"install zarr and yaozarrs: dewedge\[zarr\]"):
        read_volume(store)
    with (
        pytest.raises(InputError, match=r"install zarr and yaozarrs: dewedge\[zarr\]"),
        create_volume(store, (2, 2, 2), 1.0),
    ):
        pass
