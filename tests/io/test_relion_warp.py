"""RELION 5's STAR files and Warp's .xml and .tomostar."""

from __future__ import annotations

import re
from pathlib import Path

import foreign
import numpy as np
import pytest

from dewedge.errors import InputError
from dewedge.geometry import Microscope, TiltGeometry
from dewedge.io.angles import read_tilt_angles
from dewedge.io.dataset_file import write_dataset
from dewedge.io.entries import HalvesEntry, SeriesEntry
from dewedge.io.find import find_series
from dewedge.io.mrc import write_mrc
from dewedge.io.programs.relion import Optics, read_optics, relion_geometry
from dewedge.io.programs.warp import read_warp, warp_geometry
from dewedge.io.star import read_star, write_star
from dewedge.io.xf import geometry_arrays_to_xf, read_xf


def only_series(path: Path) -> SeriesEntry:
    (entry,) = find_series(path)
    assert isinstance(entry, SeriesEntry)
    return entry


def project_xy(geometry: TiltGeometry, i: int, places_xyz: np.ndarray) -> np.ndarray:
    """Raw (x, y) index coordinates of places from the centre of the volume."""
    x, y, z = places_xyz.T
    a = np.radians(geometry.tilt_deg[i])
    aligned = np.stack([y, x * np.cos(a) + z * np.sin(a)], axis=1)
    raw = np.linalg.solve(geometry.linear_yx[i], (aligned - geometry.shift_yx[i]).T).T
    return (raw + np.array(geometry.image_shape_yx) // 2)[:, ::-1]


def test_relions_own_projection_matrices(shared_data: Path) -> None:
    """Its files hold Euler angles and, made from them by RELION, matrices of projection."""
    folder = shared_data / "metadata" / "relion5" / "gpl" / "tilt_series_metadata"
    (sets,) = read_star(folder / "tilt_series.star").values()
    places = np.random.default_rng(0).uniform(-800, 800, (8, 3))
    checked = 0
    for row, name in enumerate(sets["rlnTomoName"]):
        path = folder / "tilt_series" / f"{name}.star"
        (table,) = read_star(path).values()
        # 3838 x 3710 images of a K3, turned.
        geometry, notes = relion_geometry(path, table, (3838, 3710), read_optics(path, sets, row))
        assert geometry.pixel_size_A == 1.35 and notes[0].startswith("alignment from")
        centre = np.array([2000.0, 2000.0, 1500.0])
        for i in range(geometry.n_tilts):
            rows = [
                [float(x) for x in re.findall(r"[-\d.e]+", table[f"rlnTomoProj{axis}"][i])] for axis in "XY"
            ]
            matrix = np.array(rows)
            wanted = (places + centre) @ matrix[:, :3].T + matrix[:, 3]
            np.testing.assert_allclose(project_xy(geometry, i, places), wanted, atol=0.02)
            checked += 1
    assert checked > 150


def test_relion_tilt_series_of_the_tutorial(shared_data: Path) -> None:
    path = shared_data / "metadata" / "relion5" / "gpl" / "relion5_TS_01_tilt.star"
    (table,) = read_star(path).values()
    optics = Optics(pixel_size_A=1.35, microscope=Microscope(voltage_kV=300, defocus_hand=-1))
    geometry, _ = relion_geometry(path, table, (100, 90), optics)
    assert geometry.n_tilts == 40 and geometry.tilt_range[:2] == (-57, 60)
    assert geometry.axis_angle_deg == pytest.approx(85, abs=0.5)
    ctf = geometry.ctf
    assert ctf is not None and ctf.defocus_hand == -1 and not ctf.nominal
    assert ctf.defocus_u_um[0] == pytest.approx(3.9527781)
    assert ctf.astigmatism_deg[0] == pytest.approx(44.527622)
    assert geometry.acquisition_order is not None
    first = int(np.argmin(geometry.acquisition_order))
    assert abs(geometry.tilt_deg[first]) < 1 and geometry.pre_exposure_e_per_A2[first] == 0
    # Without its alignment the nominal angles and the nominal axis count.
    for column in list(table):
        if column.startswith(("rlnTomoXTilt", "rlnTomoYTilt", "rlnTomoZRot", "rlnDefocus")):
            del table[column]
    nominal, notes = relion_geometry(path, table, (100, 90), optics)
    assert "not aligned" in notes[0] and nominal.axis_angle_deg == pytest.approx(85)
    assert nominal.ctf is not None and nominal.ctf.nominal and nominal.ctf.defocus_um[0] == 4


def test_relion_fields(tmp_path: Path) -> None:
    star = foreign.write_relion(tmp_path)
    for path in (star, tmp_path):
        entry = only_series(path)
        assert (entry.name, entry.program, entry.thickness) == ("TS_1", "RELION", 2000)
        assert entry.has_frames and entry.even is not None and entry.odd is not None
        assert "_EVN" in entry.even.sources[0].path.name and "_ODD" in entry.odd.sources[0].path.name
        ctf = entry.geometry.ctf
        assert ctf is not None
        np.testing.assert_allclose(ctf.defocus_u_um, 2 + 1e-4 * np.arange(21))
        assert (ctf.voltage_kV, ctf.spherical_aberration_mm, ctf.amplitude_contrast) == (300, 2.7, 0.1)
    # The file of the tilt series alone: the pixel size is that of the images.
    assert only_series(tmp_path / "tilt_series" / "TS_1.star").geometry.pixel_size_A == foreign.PIXEL_A


def test_relion_half_tomograms(tmp_path: Path) -> None:
    star = foreign.write_relion(tmp_path)
    text = star.read_text()
    columns = "_rlnTomoReconstructedTomogramHalf1 #9\n_rlnTomoReconstructedTomogramHalf2 #10\n"
    names = "Tomograms/job006/tomograms/rec_TS_1_half1.mrc Tomograms/job006/tomograms/rec_TS_1_half2.mrc"
    star.write_text(text.replace(" TS_1 300", f"{columns} TS_1 300").replace(" 2000 \n", f" 2000 {names} \n"))
    assert isinstance(only_series(star), SeriesEntry)  # the tomograms do not exist
    for name in names.split():
        write_mrc(tmp_path / name, np.random.default_rng(0).normal(size=(8, 9, 10)), 10)
    (entry,) = find_series(star)
    assert isinstance(entry, HalvesEntry)
    assert entry.half0.name == "rec_TS_1_half1.mrc" and entry.half1.name == "rec_TS_1_half2.mrc"
    assert entry.tilt_range == (-60, 60, 0) and entry.open()[0].data.shape == (8, 9, 10)
    of_series = tmp_path / "tilt_series" / "TS_1.star"
    table = read_star(of_series)
    (name,) = table
    table[name]["rlnTomoXTilt"] = ["-3.5"] * len(table[name]["rlnTomoXTilt"])
    write_star(of_series, table)
    (entry,) = find_series(star)
    assert isinstance(entry, HalvesEntry) and entry.tilt_range == (-60, 60, -3.5)
    # Our own dataset file has no table of tilts for it.
    write_dataset(tmp_path / "dataset.star", [entry])
    (again,) = find_series(tmp_path / "dataset.star")
    assert isinstance(again, HalvesEntry) and again.tilt_range == entry.tilt_range


def test_warp_xml_of_a_real_series_agrees_with_its_xf_and_tlt(shared_data: Path) -> None:
    folder = shared_data / "empiar-10499-00254"
    series = read_warp(folder / "00254.warp.xml")
    geometry = warp_geometry(series, (630, 652), 10.0)
    # The same angles, in Warp's sense, so the negated ones in ours.
    np.testing.assert_allclose(geometry.tilt_deg, -read_tilt_angles(folder / "00254.tlt"), atol=1e-9)
    matrices, shifts = read_xf(folder / "00254.xf")
    ours, our_shifts = geometry_arrays_to_xf(geometry.linear_yx, geometry.shift_yx, (630, 652))
    np.testing.assert_allclose(ours, matrices, atol=1e-6)
    # Warp puts IMOD's centre, (N - 1) / 2, at N / 2: half a pixel along both sides of the raw image.
    np.testing.assert_allclose(our_shifts + matrices @ np.array([0.5, 0.5]), shifts, atol=2e-3)
    assert any("without inversion" in note for note in series.notes)
    (entry,) = find_series(folder)
    assert entry.program == "IMOD" and any("00254.warp.xml not used" in note for note in entry.notes)


def test_warp_xml_with_local_alignment(shared_data: Path) -> None:
    series = read_warp(shared_data / "metadata" / "warp" / "TS_1.xml")
    text = " ".join(series.notes)
    for what in ("local movement", "warping of the volume", "correction of magnification"):
        assert what in text
    assert series.ctf is not None
    assert series.ctf.defocus_um[0] == pytest.approx(2.5221846)
    assert (series.ctf.voltage_kV, series.ctf.defocus_hand) == (300, 1)
    assert series.tilt_deg[0] == 40.01 and series.axis_deg[0] == -85.59953
    assert len(series.movies) == 41


def test_warp_fields(tmp_path: Path) -> None:
    entry = only_series(foreign.write_warp(tmp_path / "ts"))
    assert entry.geometry.n_tilts == 20 and any("1 of 21 tilts left out" in n for n in entry.notes)
    ctf = entry.geometry.ctf
    assert ctf is not None
    np.testing.assert_allclose(ctf.defocus_u_um, 2.6)
    np.testing.assert_allclose(ctf.defocus_v_um, 2.4)
    np.testing.assert_allclose(ctf.phase_shift_deg, 90)
    assert entry.geometry.pre_exposure_e_per_A2 is not None
    first = int(np.argmin(entry.geometry.pre_exposure_e_per_A2))
    assert abs(entry.geometry.tilt_deg[first]) < 1
    # Movies' names hold the microscope's angles, of the other sign than Warp's: as it should be.
    assert not any("inversion" in note for note in entry.notes)


def test_warp_tomostar(tmp_path: Path) -> None:
    foreign.write_warp(tmp_path / "warp", averages=True)
    rows = [
        f"../frames/TS_1_{i:03d}_{-a:.1f}.tif {a:.2f} 7.0 {3 * i}"
        for i, a in enumerate(np.arange(-60.0, 61, 6))
    ]
    path = tmp_path / "tomostar" / "TS_1.tomostar"
    path.parent.mkdir()
    head = "".join(
        f"_wrp{c} #{i}\n" for i, c in enumerate(("MovieName", "AngleTilt", "AxisAngle", "Dose"), 1)
    )
    path.write_text(f"\ndata_\n\nloop_\n{head}" + "\n".join(rows) + "\n")
    entry = only_series(path)
    np.testing.assert_array_equal(entry.geometry.tilt_deg, -np.arange(-60, 61, 6))
    assert entry.has_frames and entry.geometry.axis_angle_deg == pytest.approx(7)
    assert "not aligned" in " ".join(entry.notes)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("<TiltSeries", "<Movie", "<Movie>|not an .xml"),
        ("</AxisAngle>", "", "not an .xml file"),
        ("<Angles>-60.0", "<Angles>minus", "expected numbers in Angles"),
        ("<Angles>-60.0\n", "<Angles>", "<AxisOffsetX>: expected 20 numbers"),
        ('<?xml version="1.0" encoding="utf-8"?>', '<!DOCTYPE a [<!ENTITY b "c">]>', "document type"),
        ('Depth="21"', 'Depth="9999999999"', "expected .* nodes"),
        ('Depth="21"', 'Depth="-1"', "expected .* nodes"),
        ('Z="20"', 'Z="21"', "outside its grid"),
        ('Name="Voltage" Value="300.0"', 'Name="Voltage" Value="x"', "expected numbers in Voltage"),
    ],
)
def test_warp_refuses(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = foreign.write_warp(tmp_path)
    path.write_text(path.read_text(encoding="utf-8-sig").replace(old, new))
    with pytest.raises(InputError, match=message) as caught:
        find_series(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("data_global", "global", "not a STAR file"),
        ("_rlnTomoName ", "_rlnName ", "expected a STAR file of RELION 5"),
        ("tilt_series/TS_1.star", "tilt_series/other.star", "no such file"),
        ("_rlnTomoTiltSeriesStarFile", "_rlnSomething", "has neither rlnTomoTiltSeriesStarFile"),
        ("300.000000", "three", "expected a number in column rlnVoltage"),
        (" 5.000000 ", " -5 ", "pixel size -5"),
    ],
)
def test_relion_refuses(tmp_path: Path, old: str, new: str, message: str) -> None:
    star = foreign.write_relion(tmp_path, per_tilt_files=False)
    star.write_text(star.read_text().replace(old, new))
    with pytest.raises(InputError, match=message) as caught:
        find_series(star)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("_rlnTomoYTilt ", "_rlnY ", None),  # the nominal angles stand for it
        ("_rlnTomoZRot ", "_rlnZ ", "no column rlnTomoZRot"),
        ("000021@", "000022@", "no image 22"),
        ("000021@", "last@", "expected NUMBER@STACK"),
        ("_rlnMicrographName ", "_rlnName ", None),  # even and odd averages stand for it
        ("MotionCorr", "MotionCor", "none of the images"),
    ],
)
def test_relion_refuses_tilt_series(tmp_path: Path, old: str, new: str, message: str | None) -> None:
    star = foreign.write_relion(tmp_path, per_tilt_files=False)
    tilt_star = tmp_path / "tilt_series" / "TS_1.star"
    tilt_star.write_text(tilt_star.read_text().replace(old, new))
    if message is None:
        only_series(star)
        return
    with pytest.raises(InputError, match=message) as caught:
        find_series(star)
    assert "\n" not in str(caught.value)


def test_relion_4_is_named(shared_data: Path) -> None:
    with pytest.raises(InputError, match="RELION 4"):
        find_series(shared_data / "metadata" / "relion5" / "warptools_matching_tomograms.star")
