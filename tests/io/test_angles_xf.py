"""Tilt angles and IMOD transforms."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dewedge.errors import InputError
from dewedge.geometry import TiltGeometry
from dewedge.io.angles import read_tilt_angles, write_tilt_angles
from dewedge.io.xf import geometry_arrays_to_xf, read_xf, write_xf, xf_to_geometry_arrays


@settings(deadline=None)
@given(
    st.lists(st.integers(-899999, 899999), min_size=1, max_size=100).filter(lambda x: max(map(abs, x)) > 2e4)
)
def test_angles_round_trip(ten_thousandths: list[int]) -> None:
    angles = np.array(ten_thousandths) / 1e4
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "series 1.tlt"
        write_tilt_angles(path, angles)
        np.testing.assert_array_equal(read_tilt_angles(path), angles)


@pytest.mark.parametrize(
    "raw",
    [b"-60\n0.5\n60\n", b"-60\r\n\r\n0.5\r\n60", b"\xef\xbb\xbf -60\n\t0,5 \n\n+6e1\n", b"-60\r0.5\r60\r"],
)
def test_angle_files_as_people_have_them(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "a.rawtlt"
    path.write_bytes(raw)
    np.testing.assert_array_equal(read_tilt_angles(path), [-60, 0.5, 60])


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"-60\nsixty\n", "line 2: expected one tilt angle in degrees, got 'sixty'"),
        (b"-60\n\n-57 -54\n", "line 3"),
        (b"-60\nnan\n", "line 2"),
        (b"-60\n1e999\n", "line 2"),
        (b"-60\n-91\n", "line 2: .* between -90 and 90 degrees, got -91"),
        (b"-60,-57,-54\n", "line 1"),
        (b"-1.047\n-0.5\n0\n0.5\n1.047\n", "radians"),
        (b"MAP \0\0\0", "text file"),
        ("-60°\n".encode(), "line 1"),
        (b"-60\xb0\n", "line 1"),
    ],
)
def test_wrong_angle_files(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "a.tlt"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=message) as info:
        read_tilt_angles(path)
    assert str(path) in str(info.value) and "\n" not in str(info.value)


def test_small_angles_in_degrees_are_not_radians(tmp_path: Path) -> None:
    path = tmp_path / "a.tlt"
    path.write_text("-1\n0\n1\n0\n")
    np.testing.assert_array_equal(read_tilt_angles(path), [-1, 0, 1, 0])


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_tilt_angles(tmp_path / "none.tlt")
    with pytest.raises(InputError, match="folder"):
        read_xf(tmp_path)


shapes = st.tuples(st.integers(2, 9), st.integers(2, 9))
transforms = st.lists(
    st.tuples(st.floats(-180, 180), st.floats(0.9, 1.1), st.floats(-500, 500), st.floats(-500, 500)),
    min_size=1,
    max_size=5,
)


def matrices_of(rows: list[tuple[float, float, float, float]]) -> tuple[np.ndarray, np.ndarray]:
    angle, scale = np.radians([row[0] for row in rows]), np.array([row[1] for row in rows])
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    matrices = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)
    return matrices, np.array([row[2:] for row in rows])


@settings(deadline=None)
@given(shapes, transforms)
def test_xf_round_trip(shape_yx: tuple[int, int], rows: list[tuple[float, float, float, float]]) -> None:
    matrices, shifts = matrices_of(rows)
    linear_yx, shift_yx = xf_to_geometry_arrays(matrices, shifts, shape_yx)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a b.xf"
        write_xf(path, *geometry_arrays_to_xf(linear_yx, shift_yx, shape_yx))
        again, shifts_again = read_xf(path)
    np.testing.assert_allclose(again, matrices, atol=1e-9)
    np.testing.assert_allclose(shifts_again, shifts, atol=1e-6)


@settings(deadline=None)
@given(shapes, transforms, st.integers(0, 8), st.integers(0, 8))
def test_geometry_maps_pixels_as_imod_does(
    shape_yx: tuple[int, int], rows: list[tuple[float, float, float, float]], j: int, i: int
) -> None:
    """The distance of a pixel from the tilt axis is the same, whichever centre one counts from."""
    matrices, shifts = matrices_of(rows)
    height, width = shape_yx
    imod = matrices @ [i - (width - 1) / 2, j - (height - 1) / 2] + shifts
    linear_yx, shift_yx = xf_to_geometry_arrays(matrices, shifts, shape_yx)
    ours = linear_yx @ [j - height // 2, i - width // 2] + shift_yx
    np.testing.assert_allclose(ours[:, ::-1], imod, atol=1e-9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 0 0 1 0 0\n1 0 0 1 0\n", "line 2: expected six numbers"),
        ("1 0 0 1 0 0\n\n0 0 0 0 5 5\n", "line 3: expected a matrix that can be inverted"),
        ("1 0 0 1 0 x\n", "line 1"),
        ("", "empty"),
    ],
)
def test_wrong_xf_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.xf"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_xf(path)


def test_files_of_imod_and_aretomo(shared_data: Path) -> None:
    pairs = [
        ("empiar-10499-00254/00254.xf", "empiar-10499-00254/00254.tlt", 41, -4.3),
        ("metadata/imod/etomofiles/TS_001.xf", "metadata/imod/etomofiles/TS_001.tlt", 40, 84.0),
        ("metadata/imod/cryoet-alignment/tilt_1.xf", "metadata/imod/cryoet-alignment/tilt_1.tlt", 59, -100.3),
        (
            "metadata/aretomo/alnfile/global_no_local.xf",
            "metadata/aretomo/alnfile/global_no_local.tlt",
            61,
            95.4,
        ),
        (
            "metadata/aretomo/cryoet-alignment/test.xf",
            "metadata/aretomo/cryoet-alignment/test.rawtlt",
            3,
            -11.4,
        ),
    ]
    for xf, tlt, n, axis_angle_deg in pairs:
        angles = read_tilt_angles(shared_data / tlt)
        matrices, shifts = read_xf(shared_data / xf)
        assert angles.shape == (n,) and matrices.shape == (n, 2, 2) and shifts.shape == (n, 2)
        assert (np.diff(angles) > 0).all()
        linear_yx, shift_yx = xf_to_geometry_arrays(matrices, shifts, (630, 652))
        geometry = TiltGeometry(
            tilt_deg=angles,
            image_shape_yx=(630, 652),
            pixel_size_A=10,
            linear_yx=linear_yx,
            shift_yx=shift_yx,
        )
        assert geometry.axis_angle_deg == pytest.approx(axis_angle_deg, abs=0.3)
    np.testing.assert_allclose(read_xf(shared_data / pairs[0][0])[1][0], [-27.094, -2.191])
    for path in (shared_data / "metadata" / "imod").rglob("*.rawtlt"):
        assert len(read_tilt_angles(path)) == 40
