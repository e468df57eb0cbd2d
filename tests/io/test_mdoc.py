"""SerialEM's mdoc files and our own."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from dewedge.errors import InputError
from dewedge.geometry import CtfParameters, TiltGeometry
from dewedge.io.mdoc import read_mdoc, write_mdoc


def mdoc_text(
    *sections: str, header: str = "PixelSpacing = 2\nImageFile = TS.mrc\nImageSize = 40 30\n"
) -> str:
    return header + "".join(f"\n[ZValue = {i}]\n{text}\n" for i, text in enumerate(sections))


def geometry(**changes: object) -> TiltGeometry:
    order = np.array([4, 2, 0, 1, 3])
    values: dict[str, object] = {
        "tilt_deg": [-60.0, -30.125, 0.0, 30.0, 60.0],
        "image_shape_yx": (30, 40),
        "pixel_size_A": 13.68,
        "acquisition_order": order,
        "pre_exposure_e_per_A2": order * 2.5,
        "ctf": CtfParameters(defocus_u_um=np.array([3.0, 3.25, 3.5, 4.0, -1.0]), nominal=True),
    }
    return TiltGeometry(**(values | changes))  # type: ignore[arg-type]


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a folder" / "TS 1.mrc.mdoc"
    wanted = geometry()
    write_mdoc(path, wanted, "TS 1.mrc", exposure_e_per_A2=2.5)
    mdoc = read_mdoc(path)
    np.testing.assert_array_equal(mdoc.tilt_deg, wanted.tilt_deg)
    np.testing.assert_array_equal(mdoc.acquisition_order, wanted.acquisition_order)
    np.testing.assert_array_equal(mdoc.pre_exposure_e_per_A2, wanted.pre_exposure_e_per_A2)
    assert wanted.ctf is not None
    np.testing.assert_array_equal(mdoc.defocus_um, wanted.ctf.defocus_um)
    assert mdoc.voltage_kV == 300
    assert (mdoc.pixel_size_A, mdoc.axis_angle_deg) == (13.68, 0.0)
    assert (mdoc.image_file, mdoc.image_shape_yx) == ("TS 1.mrc", (30, 40))


def test_round_trip_of_little(tmp_path: Path) -> None:
    path = tmp_path / "a.mdoc"
    write_mdoc(
        path,
        geometry(acquisition_order=None, pre_exposure_e_per_A2=None, ctf=None),
        "a.mrc",
    )
    mdoc = read_mdoc(path)
    np.testing.assert_array_equal(mdoc.acquisition_order, np.arange(5))
    assert mdoc.pre_exposure_e_per_A2 is None and mdoc.defocus_um is None


def test_the_library_reads_what_we_write(tmp_path: Path) -> None:
    import mdocfile

    path = tmp_path / "a.mdoc"
    write_mdoc(path, geometry(), "a.mrc", exposure_e_per_A2=2.5)
    table = mdocfile.read(path)
    np.testing.assert_array_equal(table["TiltAngle"], geometry().tilt_deg)
    np.testing.assert_array_equal(table["PriorRecordDose"], geometry().pre_exposure_e_per_A2)
    assert (table["ExposureDose"] == 2.5).all() and (table["PixelSpacing"] == 13.68).all()
    assert "Tilt axis angle = 0.0, binning = 1" in table["titles"].iloc[0][1]


def test_serialem_tilt_series(
    shared_data: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = shared_data / "metadata" / "mdoc"
    with caplog.at_level(logging.WARNING):
        for name in ("TS_01.mrc.mdoc", "tilt_series.mdoc"):
            mdoc = read_mdoc(folder / name)
            assert mdoc.tilt_deg.shape == (41,)
            np.testing.assert_allclose(mdoc.tilt_deg[:3], [0.000999877, 3.00113, -2.99863])
            np.testing.assert_array_equal(mdoc.acquisition_order, np.arange(41))
            assert (mdoc.pixel_size_A, mdoc.axis_angle_deg) == (5.4, 85.3)
            assert mdoc.pre_exposure_e_per_A2 is None
            assert mdoc.defocus_um is not None and mdoc.defocus_um[0] == 4
            assert (mdoc.image_file, mdoc.image_shape_yx) == ("TS_01.mrc", (958, 924))

        mdoc = read_mdoc(folder / "gpl" / "017.mdoc")
        # Sorted by angle; taken from the smallest angle outwards.
        assert (np.diff(mdoc.tilt_deg) > 0).all() and mdoc.tilt_deg.shape == (60,)
        first = int(np.flatnonzero(mdoc.acquisition_order == 0)[0])
        assert mdoc.pre_exposure_e_per_A2 is not None and mdoc.pre_exposure_e_per_A2[first] < 0.1
        by_dose = np.argsort(mdoc.pre_exposure_e_per_A2)
        np.testing.assert_array_equal(mdoc.acquisition_order[by_dose], np.arange(60))
        assert (mdoc.pixel_size_A, mdoc.axis_angle_deg) == (1.971, 82.9)

        mdoc = read_mdoc(folder / "frame_set_multiple.mdoc")
        assert mdoc.tilt_deg.shape == (20,) and mdoc.axis_angle_deg is None and mdoc.pixel_size_A is None
        for name, message in (
            ("frame_set_single.mdoc", "no .ZValue"),
            ("montage_section.mdoc", "montage"),
            ("montage_section_multiple.mdoc", "montage"),
        ):
            with pytest.raises(InputError, match=message):
                read_mdoc(folder / name)
    assert capfd.readouterr() == ("", "") and not caplog.records


@pytest.mark.parametrize("year", ["21", "2021"])
def test_order_of_acquisition_from_both_date_formats(tmp_path: Path, year: str) -> None:
    path = tmp_path / "a.mdoc"
    times = ["31-Dec-20  23:59:59".replace("-20 ", f"-{year[:-1]}0 "), f"02-Jan-{year}  08:00:00"]
    times += [f"01-Jan-{year}  10:00:00", f"01-Jan-{year}  09:00:00"]
    sections = [f"TiltAngle = {i}\nExposureDose = {i + 1}\nDateTime = {t}" for i, t in enumerate(times)]
    path.write_text(mdoc_text(*sections))
    mdoc = read_mdoc(path)
    np.testing.assert_array_equal(mdoc.acquisition_order, [0, 3, 2, 1])
    np.testing.assert_array_equal(mdoc.pre_exposure_e_per_A2, [0, 8, 5, 1])


def test_sections_are_sorted_and_a_missing_date_means_section_order(tmp_path: Path) -> None:
    path = tmp_path / "a.mdoc"
    path.write_bytes(
        b"\xef\xbb\xbfImageFile = C:\\data\\TS 1.mrc\r\n[ZValue = 1]\r\nTiltAngle = 3\r\n"
        b"DateTime = 01-Jan-21  09:00:00\r\nNote = \xc2\xb5m\r\n[ZValue = 0]\r\nTiltAngle = 0\r\n"
    )
    mdoc = read_mdoc(path)
    np.testing.assert_array_equal(mdoc.tilt_deg, [0, 3])
    np.testing.assert_array_equal(mdoc.acquisition_order, [0, 1])
    assert mdoc.image_file == "TS 1.mrc" and mdoc.defocus_um is None


def test_titles_with_and_without_brackets(tmp_path: Path) -> None:
    path = tmp_path / "a.mdoc"
    for title in ("[T =  Tilt axis angle = -86.7, binning = 1]", "T = Tilt axis angle = -86.7, binning = 1"):
        path.write_text(title + "\n" + mdoc_text("TiltAngle = 3\nRotationAngle = 3.3"))
        assert read_mdoc(path).axis_angle_deg == -86.7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no .ZValue"),
        ("hello\n", "not an mdoc"),
        (mdoc_text("TiltAngle = x"), "not an mdoc .*TiltAngle"),
        (mdoc_text("TiltAngle = nan"), "no TiltAngle"),
        (mdoc_text("TiltAngle = 1", "StageZ = 1"), "no TiltAngle"),
        (mdoc_text("TiltAngle = 1") + mdoc_text("TiltAngle = 2", header=""), "ZValue occurs twice"),
        ("\0", "text file"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.mdoc"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as info:
        read_mdoc(path)
    assert str(path) in str(info.value) and "\n" not in str(info.value)
