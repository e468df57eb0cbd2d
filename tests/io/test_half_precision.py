"""MRC files of half precision: what becomes one, and what stays as it is."""

from __future__ import annotations

import os
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from dewedge.api.tomogram import Tomogram
from dewedge.geometry import TiltRange
from dewedge.io.half_precision import MOST_ERROR, to_half_precision
from dewedge.io.mrc import read_mrc, write_mrc

VALUES = np.random.default_rng(0).normal(size=(7, 8, 9)).astype(np.float32)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_half_as_large_and_all_else_as_it_was(tmp_path: Path, scale: float) -> None:
    path = tmp_path / "a.mrc"
    write_mrc(path, VALUES * scale, 7.5, origin_xyz_A=(1.0, 2.0, 3.0), what="volume")
    before, size = read_mrc(path), path.stat().st_size
    os.utime(path, ns=(5_000_000_000, 7_000_000_001))
    assert to_half_precision(path) == ""
    after = read_mrc(path)
    assert after.data.dtype == np.float16 and size - path.stat().st_size == 2 * VALUES.size
    assert np.abs(after.data - before.data).std() < MOST_ERROR * before.data.std()
    assert (after.voxel_size_A, after.origin_xyz_A) == (before.voxel_size_A, before.origin_xyz_A)
    assert after.labels[:-1] == before.labels and "float16" in after.labels[-1]
    assert path.stat().st_mtime_ns == 7_000_000_001
    # The library sums in the file's own precision, which others do not suffer.
    assert scale != 1 or mrcfile.validate(path)
    with mrcfile.open(path) as mrc:
        assert mrc.header.mode == 12
        np.testing.assert_array_equal(mrc.data, (VALUES * np.float32(scale)).astype(np.float16))
    content = path.read_bytes()
    assert to_half_precision(path) == "" and path.read_bytes() == content


@pytest.mark.parametrize(
    "values, why",
    [
        (VALUES * 1e5, "float16 ends at 65504"),
        (VALUES * 1e-8, "of a standard deviation of"),
        # Nothing of it is lost by its size, but it lies far from zero.
        (VALUES + 1000, "of a standard deviation of"),
    ],
)
def test_what_would_be_lost_stays(tmp_path: Path, values: np.ndarray, why: str) -> None:
    path = tmp_path / "a.mrc"
    write_mrc(path, values, 7.5)
    content = path.read_bytes()
    assert why in to_half_precision(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays(tmp_path: Path, value: float) -> None:
    path = tmp_path / "a.mrc"
    write_mrc(path, VALUES, 7.5)
    np.memmap(path, np.float32, "r+", offset=1024)[5] = value
    assert "not finite" in to_half_precision(path) and read_mrc(path).data.dtype == np.float32


@pytest.mark.parametrize("values", [np.zeros((3, 4, 5)), np.full((3, 4, 5), 2.0), np.eye(4)[None] > 0.5])
def test_masks_and_constants_are_exact(tmp_path: Path, values: np.ndarray) -> None:
    path = tmp_path / "mask.mrc"
    write_mrc(path, values, None)
    assert to_half_precision(path) == ""
    np.testing.assert_array_equal(read_mrc(path).data, values)


def test_opened_from_python_it_is_float32(tmp_path: Path):
    """Whose sums do not overflow."""
    path = tmp_path / "refined.mrc"
    write_mrc(path, VALUES * np.float32(300), 10.0)
    assert to_half_precision(path) == ""
    tomogram = Tomogram.read(path, tilt_range=TiltRange(-60, 60))
    assert tomogram.data.dtype == np.float32
    assert tomogram.data.std() == pytest.approx(300 * VALUES.std(), rel=1e-3)
