"""A tilt series and the files beside it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dewedge.errors import InputError
from dewedge.geometry import CtfParameters, TiltGeometry
from dewedge.io.angles import write_tilt_angles
from dewedge.io.mdoc import write_mdoc
from dewedge.io.mrc import write_mrc
from dewedge.io.tilt_series import find_sidecars, read_tilt_series
from dewedge.io.xf import write_xf, xf_to_geometry_arrays

TILTS = np.array([-40.0, -20.0, 1.0, 20.0, 40.0, 60.0])
ORDER = np.array([4, 2, 0, 1, 3, 5])


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    path = tmp_path / "TS 01.x.mrc"
    images = np.random.default_rng(0).normal(size=(6, 8, 12))
    write_mrc(path, images, 10.0, stack=True, origin_xyz_A=(1, 2, 3), labels=("from the camera",))
    return path


def geometry(tilts: np.ndarray = TILTS, order: np.ndarray = ORDER, **changes: object) -> TiltGeometry:
    values: dict[str, object] = {"image_shape_yx": (8, 12), "pixel_size_A": 10.0}
    values |= {"pre_exposure_e_per_A2": order * 2.0, "ctf": CtfParameters(defocus_u_um=3 + order / 8)}
    return TiltGeometry(tilt_deg=tilts, acquisition_order=order, **(values | changes))  # type: ignore[arg-type]


def turned(angle_deg: float, n: int = 6) -> TiltGeometry:
    angle = np.radians(angle_deg)
    matrix = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    linear_yx, _ = xf_to_geometry_arrays([matrix] * n, np.zeros((n, 2)), (8, 12))
    return geometry(linear_yx=linear_yx)


def test_angles_alone(stack: Path) -> None:
    write_tilt_angles(stack.with_name("TS 01.x.rawtlt"), TILTS)
    series = read_tilt_series(stack)
    assert series.name == "TS 01.x" and series.images.shape == (6, 8, 12)
    np.testing.assert_array_equal(series.geometry.tilt_deg, TILTS)
    assert series.geometry.is_aligned and series.geometry.pixel_size_A == 10
    assert series.geometry.acquisition_order is None and series.geometry.pre_exposure_e_per_A2 is None
    assert series.origin_xyz_A == (1, 2, 3) and series.labels[0] == "from the camera"
    notes = "\n".join(series.notes)
    assert "tilt angles from TS 01.x.rawtlt" in notes and "taken as aligned" in notes
    assert "order of acquisition not known" in notes


def test_order_of_precedence_of_angles(stack: Path) -> None:
    write_mdoc(stack.with_name("TS 01.x.mdoc"), geometry(TILTS + 0.1), stack.name)
    assert read_tilt_series(stack).geometry.tilt_deg[0] == pytest.approx(-39.9)
    write_tilt_angles(stack.with_name("TS 01.x.rawtlt"), TILTS + 0.2)
    assert read_tilt_series(stack).geometry.tilt_deg[0] == pytest.approx(-39.8)
    write_tilt_angles(stack.with_name("TS 01.x.tlt"), TILTS + 0.3)
    assert read_tilt_series(stack).geometry.tilt_deg[0] == pytest.approx(-39.7)
    given = stack.with_name("given.txt")
    write_tilt_angles(given, TILTS + 0.4)
    series = read_tilt_series(str(stack), angles=str(given))
    assert series.geometry.tilt_deg[0] == pytest.approx(-39.6)
    assert "tilt angles from given.txt" in series.notes
    np.testing.assert_array_equal(series.geometry.acquisition_order, ORDER)


def test_mdoc_gives_everything(stack: Path) -> None:
    write_mdoc(stack.with_name(stack.name + ".mdoc"), turned(85.3), stack.name)
    series = read_tilt_series(stack)
    np.testing.assert_array_equal(series.geometry.acquisition_order, ORDER)
    np.testing.assert_array_equal(series.geometry.pre_exposure_e_per_A2, ORDER * 2.0)
    ctf = series.geometry.ctf
    assert ctf is not None and ctf.nominal and ctf.voltage_kV == 300
    np.testing.assert_array_equal(ctf.defocus_um, 3 + ORDER / 8)
    assert series.geometry.axis_angle_deg == pytest.approx(85.3)
    np.testing.assert_allclose(series.geometry.linear_yx, turned(85.3).linear_yx)
    assert any("rotated by the tilt-axis angle 85.3" in note for note in series.notes)
    assert read_tilt_series(stack, axis_angle_deg=0).geometry.is_aligned


@pytest.mark.parametrize(("name", "shape"), [("other.mrc", (8, 12)), (None, (16, 24))])
def test_mdoc_of_another_stack_does_not_turn_the_images(
    stack: Path, name: str | None, shape: tuple[int, int]
) -> None:
    path = stack.with_name(stack.name + ".mdoc")
    write_mdoc(path, geometry(image_shape_yx=shape, linear_yx=turned(85.3).linear_yx), name or stack.name)
    series = read_tilt_series(stack)
    assert series.geometry.is_aligned
    assert any("of another stack" in note and "taken as aligned" in note for note in series.notes)


def test_mdoc_without_axis_angle_is_not_guessed(stack: Path) -> None:
    path = stack.with_name(stack.name + ".mdoc")
    write_mdoc(path, geometry(), stack.name)
    path.write_text(path.read_text().replace("Tilt axis angle", "Something"))
    with pytest.raises(InputError, match="--axis-angle"):
        read_tilt_series(stack)
    assert read_tilt_series(stack, axis_angle_deg=-3).geometry.axis_angle_deg == pytest.approx(-3)


def test_mdoc_in_order_of_acquisition_of_a_sorted_stack(stack: Path) -> None:
    """The stack was sorted by angle and its angles refined, the mdoc was not."""
    in_time = np.argsort(ORDER)
    path = stack.with_name(stack.name + ".mdoc")
    write_mdoc(path, geometry(TILTS[in_time], np.arange(6)), stack.name)
    write_tilt_angles(stack.with_name("TS 01.x.tlt"), TILTS + 9.5 + np.linspace(-0.5, 0.5, 6))
    series = read_tilt_series(stack)
    np.testing.assert_array_equal(series.geometry.acquisition_order, ORDER)
    np.testing.assert_array_equal(series.geometry.pre_exposure_e_per_A2, ORDER * 2.0)
    assert any("matched to the images by tilt angle" in note for note in series.notes)

    write_tilt_angles(stack.with_name("TS 01.x.tlt"), 1.3 * TILTS)
    series = read_tilt_series(stack)
    assert series.geometry.acquisition_order is None and series.geometry.ctf is None
    assert any("not those of the images" in note for note in series.notes)


def test_xf_is_used_for_raw_stacks_only(stack: Path) -> None:
    write_tilt_angles(stack.with_name("TS 01.x.tlt"), TILTS)
    matrices = np.array([[[0.9, 0.1], [-0.1, 0.9]]] * 6)
    shifts = np.arange(12.0).reshape(6, 2) / 4
    write_xf(stack.with_name("TS 01.x.xf"), matrices, shifts)
    series = read_tilt_series(stack)
    linear_yx, shift_yx = xf_to_geometry_arrays(matrices, shifts, (8, 12))
    np.testing.assert_allclose(series.geometry.linear_yx, linear_yx)
    np.testing.assert_allclose(series.geometry.shift_yx, shift_yx)
    assert "alignment from TS 01.x.xf: the images are raw" in series.notes

    for name in ("TS 01.x.ali", "TS 01.x_ali.mrc"):
        aligned = stack.with_name(name)
        shutil.copyfile(stack, aligned)
        series = read_tilt_series(aligned)
        assert series.geometry.is_aligned
        assert f"{name} is an aligned stack by its name" in series.notes
    assert not read_tilt_series(aligned, xf=stack.with_name("TS 01.x.xf")).geometry.is_aligned
    assert read_tilt_series(stack, axis_angle_deg=0).geometry.is_aligned
    with pytest.raises(InputError, match="got both"):
        read_tilt_series(stack, xf=stack.with_name("TS 01.x.xf"), axis_angle_deg=3)

    write_xf(stack.with_name("TS 01.x.xf"), matrices, shifts * 10)
    assert any("another binning" in note for note in read_tilt_series(stack).notes)


def test_counts_must_agree(stack: Path) -> None:
    tlt, xf, mdoc = (stack.with_name("TS 01.x" + suffix) for suffix in (".tlt", ".xf", ".mdoc"))
    write_tilt_angles(tlt, TILTS[:5])
    with pytest.raises(InputError, match=r"TS 01.x.tlt: 5 angles for 6 images in TS 01.x.mrc: "):
        read_tilt_series(stack)
    write_tilt_angles(tlt, TILTS)
    write_xf(xf, [np.eye(2)] * 7, np.zeros((7, 2)))
    with pytest.raises(InputError, match=r"TS 01.x.xf: 7 transforms for 6 images"):
        read_tilt_series(stack)
    xf.unlink()
    write_mdoc(mdoc, geometry(TILTS[:4], np.arange(4)), stack.name)
    assert any(note.startswith("mdoc not used") for note in read_tilt_series(stack).notes)
    with pytest.raises(InputError, match="4 sections for 6 images"):
        read_tilt_series(stack, mdoc=mdoc)
    tlt.unlink()
    with pytest.raises(InputError, match="4 sections for 6 images"):
        read_tilt_series(stack)


def test_no_angles(stack: Path) -> None:
    with pytest.raises(InputError, match=r"no tilt angles: .*TS 01.x.tlt, .rawtlt or TS 01.x.mrc.mdoc"):
        read_tilt_series(stack)
    with pytest.raises(InputError, match=r"none.tlt: no such file"):
        read_tilt_series(stack, angles="none.tlt")
    write_tilt_angles(stack.with_name("TS 01.x.tlt"), np.full(6, 10))
    with pytest.raises(InputError, match="all are 10"):
        read_tilt_series(stack)


def test_pixel_size(stack: Path) -> None:
    mdoc = stack.with_name("TS 01.x.mdoc")
    write_mdoc(mdoc, geometry(pixel_size_A=5.0), stack.name)
    series = read_tilt_series(stack)
    assert series.geometry.pixel_size_A == 10
    assert "pixel size 10 A from the stack's header; the mdoc says 5 A" in series.notes
    assert read_tilt_series(stack, pixel_size_A=7).geometry.pixel_size_A == 7
    for header in (None, 1.0):
        write_mrc(stack, np.zeros((6, 8, 12)), header, stack=True)
        assert read_tilt_series(stack).geometry.pixel_size_A == 5
    mdoc.rename(stack.with_name("elsewhere"))
    write_tilt_angles(stack.with_name("TS 01.x.tlt"), TILTS)
    assert any("filler" in note for note in read_tilt_series(stack).notes)
    write_mrc(stack, np.zeros((6, 8, 12)), None, stack=True)
    with pytest.raises(InputError, match="give --pixel-size"):
        read_tilt_series(stack)
    with pytest.raises(InputError, match="expected a positive number"):
        read_tilt_series(stack, pixel_size_A=-1)


def test_too_few_images(tmp_path: Path) -> None:
    for n in (1, 4):
        write_mrc(tmp_path / "a.mrc", np.zeros((n, 8, 12)), 10.0, stack=True)
        with pytest.raises(InputError, match=f"at least 5 tilt images, got {n}"):
            read_tilt_series(tmp_path / "a.mrc")


def test_real_tilt_series(shared_data: Path) -> None:
    series = read_tilt_series(shared_data / "empiar-10499-00254" / "00254.mrc")
    assert series.images.shape == (41, 630, 652) and isinstance(series.images, np.memmap)
    assert series.geometry.axis_angle_deg == pytest.approx(-4.3, abs=0.01)
    assert series.geometry.pixel_size_A == 10
    assert series.geometry.tilt_range[:2] == (-60.01, 59.98)
    # A (1/2, 1/2) + d of the first line, since both axes have an even length.
    np.testing.assert_allclose(series.geometry.shift_yx[0], [-1.6549181, -26.6328964])

    needle = read_tilt_series(shared_data / "haadf-needle" / "HAADF.mrc", pixel_size_A=33.6)
    assert needle.images.shape == (77, 256, 256) and needle.geometry.is_aligned
    assert needle.geometry.tilt_range[:2] == (-76, 76)


def test_import_needs_no_heavy_library() -> None:
    code = (
        "import sys, dewedge.io.tilt_series, dewedge.io.particles\n"
        "print([name for name in ('torch', 'pandas', 'starfile', 'mdocfile') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_stacks_of_frames_find_the_sidecars_of_their_series(tmp_path: Path):
    for name in ("TS_EVN.mrc", "TS.tlt", "TS.xf", "TS.mrc.mdoc"):
        (tmp_path / name).touch()
    found = find_sidecars(tmp_path / "TS_EVN.mrc", of_whole=True)
    assert [p.name for p in (found.angles, found.xf, found.mdoc) if p] == ["TS.tlt", "TS.xf", "TS.mrc.mdoc"]
    (tmp_path / "TS_EVN.tlt").touch()
    own = find_sidecars(tmp_path / "TS_EVN.mrc", of_whole=True).angles
    assert own is not None and own.name == "TS_EVN.tlt"
