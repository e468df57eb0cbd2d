"""Files of measured defocus."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dewedge.errors import InputError
from dewedge.geometry import CtfParameters
from dewedge.io.ctf_files import read_ctf_file, write_ctffind


def test_files_of_others(shared_data: Path) -> None:
    folder = shared_data / "metadata" / "ctf" / "gpl"
    ctffind = read_ctf_file(folder / "017_ctffind4.txt", 60)
    assert ctffind.defocus_u_um[0] == pytest.approx(1.4477870117)
    assert ctffind.defocus_v_um[0] == pytest.approx(1.3500001953)
    assert ctffind.astigmatism_deg[1] == pytest.approx(-84.116628)
    assert (ctffind.voltage_kV, ctffind.spherical_aberration_mm, ctffind.amplitude_contrast) == (
        300,
        2.7,
        0.07,
    )
    gctf = read_ctf_file(folder / "017_gctf.star", 60)
    assert gctf.defocus_u_um[1] == pytest.approx(3.4332652344)
    assert gctf.defocus_u_um[1] < gctf.defocus_v_um[1]
    assert (gctf.voltage_kV, gctf.amplitude_contrast) == (300, 0.07)
    imod = read_ctf_file(folder / "defocusValuesGijs.defocus", 61)
    assert (imod.defocus_u_um[0], imod.defocus_v_um[0]) == pytest.approx((3.0837, 2.8368))
    np.testing.assert_allclose(imod.astigmatism_deg[[0, 3]], [-15.33, -15.52])
    aretomo = read_ctf_file(
        shared_data / "metadata" / "aretomo" / "cryoet-alignment" / "test_8col_CTF.txt", 31
    )
    assert aretomo.defocus_um[0] == pytest.approx((2.171731 + 2.074078) / 2) and aretomo.voltage_kV is None
    # All agree with each other on what the unit is.
    for ctf in (ctffind, gctf, imod, aretomo):
        assert 1 < np.median(ctf.defocus_um) < 5


def test_ctfplotter_versions_and_flags(tmp_path: Path) -> None:
    path = tmp_path / "a.defocus"
    path.write_text("1 1 -60 -60 3000 2\n3 3 -54 -54 3200\n5 7 -48 -42 4000\n")
    np.testing.assert_allclose(
        read_ctf_file(path, 8).defocus_um, [3, 3.1, 3.2, 3.2 + 0.8 / 3, 3.2 + 1.6 / 3, 4, 4, 4]
    )
    path.write_text("0 0 -60 -60 3000\n2 2 -54 -54 3200\n")  # before version 2, views count from 0
    np.testing.assert_allclose(read_ctf_file(path, 3).defocus_um, [3, 3.1, 3.2])
    path.write_text("15 0 0 0 0 3\n1 1 0 0 3000 2000 1.5 0.5\n3 3 0 0 3000 2000 -1.5 1.5\n")
    ctf = read_ctf_file(path, 3)
    np.testing.assert_allclose(ctf.phase_shift_deg, np.degrees([0.5, 1.0, 1.5]))
    # Between 1.5 and -1.5 radians lies pi / 2, an axis, not 0.
    np.testing.assert_allclose(np.abs(ctf.astigmatism_deg), np.degrees([1.5, np.pi / 2, 1.5]))
    path.write_text("4 0 0 0 0 3\n1 1 0 0 3000 90\n2 2 0 0 3000 80\n")
    np.testing.assert_allclose(read_ctf_file(path, 2).phase_shift_deg, [90, 80])
    assert (read_ctf_file(path, 2).defocus_u_um == read_ctf_file(path, 2).defocus_v_um).all()


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("a.txt", "", "found no line"),
        ("a.txt", "1 2 3\n", "expected CTFFIND's columns"),
        ("a.txt", "1 nan 3 4 5 6 7\n2 2 3 4 5 6 7\n", "expected CTFFIND's columns"),
        ("a.txt", "1 2 3 4 5 6 7\n", "defocus of 1 images for a stack of 2"),
        ("a.txt", "2 2 3 4 5 6 7\n1 2 3 4 5 6 7\n", "numbered from 1"),
        ("a.txt", "1 2e9 3 4 5 6 7\n2 2 3 4 5 6 7\n", "expected micrometres"),
        ("a.defocus", "a b", "expected a .defocus file"),
        ("a.defocus", "1 0 0 0 0 3\n1 1 0 0 3000\n", "at least 7 numbers"),
        ("a.defocus", "1 9 0 0 3000 2\n", "views 1 to 9"),
        ("a.defocus", "1 0 0 0 0 3\n", "at least 7 numbers"),
        ("a.star", "data_\nloop_\n_rlnMicrographName\na\nb\n", "no column rlnDefocusU"),
        ("a.star", "hello", "not a STAR file"),
    ],
)
def test_refuses(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_ctf_file(tmp_path / name, 2)
    assert "\n" not in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(
    st.text(max_size=200) | st.text("0123456789. -\n", max_size=200),
    st.sampled_from([".txt", ".defocus", ".star"]),
)
def test_any_text_reads_or_raises_input_error(
    tmp_path_factory: pytest.TempPathFactory, text: str, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        read_ctf_file(path, 2)
    except InputError as error:
        assert "\n" not in str(error)


def test_what_is_written_as_ctffind_reads_the_same(tmp_path: Path) -> None:
    ctf = CtfParameters(
        defocus_u_um=[2.1, 1.9],
        defocus_v_um=[2.0, 1.8],
        astigmatism_deg=[10.0, -35.5],
        phase_shift_deg=[0.0, 90.0],
        voltage_kV=200.0,
        spherical_aberration_mm=2.7,
        amplitude_contrast=0.07,
    )
    write_ctffind(tmp_path / "ts_ctf.txt", ctf)
    again = read_ctf_file(tmp_path / "ts_ctf.txt", 2)
    for name in ("defocus_u_um", "defocus_v_um", "astigmatism_deg", "phase_shift_deg"):
        np.testing.assert_allclose(getattr(again, name), getattr(ctf, name), atol=1e-4)
    for name in ("voltage_kV", "spherical_aberration_mm", "amplitude_contrast"):
        assert getattr(again, name) == pytest.approx(getattr(ctf, name))
