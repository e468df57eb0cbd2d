"""AreTomo's alignments and volumes."""

from __future__ import annotations

from pathlib import Path

import foreign
import numpy as np
import pytest
from foreign import Series
from hypothesis import given, settings
from hypothesis import strategies as st

from dewedge.errors import InputError
from dewedge.io.angles import read_tilt_angles
from dewedge.io.entries import HalvesEntry, SeriesEntry
from dewedge.io.find import find_series
from dewedge.io.mrc import write_mrc
from dewedge.io.programs.aln import aln_geometry, aln_sections, read_aln
from dewedge.io.xf import geometry_arrays_to_xf, read_xf


def written_xf(rot_deg: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AreTomo2's and AreTomo3's own .xf: a11 = cos(-ROT), a12 = -sin(-ROT), a21 = sin(-ROT), d = -A t."""
    r = np.radians(-rot_deg)
    matrices = np.stack([np.stack([np.cos(r), -np.sin(r)], -1), np.stack([np.sin(r), np.cos(r)], -1)], -2)
    return matrices, -np.einsum("nij,nj->ni", matrices, t)


def test_geometry_is_that_of_the_xf_aretomo_writes(shared_data: Path) -> None:
    for path in sorted((shared_data / "metadata" / "aretomo").rglob("*.aln")):
        aln = read_aln(path)
        geometry = aln_geometry(aln, 1.0)
        matrices, shifts = geometry_arrays_to_xf(
            geometry.linear_yx, geometry.shift_yx, geometry.image_shape_yx
        )
        wanted = written_xf(aln.axis_deg, aln.shift_xy)
        np.testing.assert_allclose(matrices, wanted[0], atol=1e-12)
        np.testing.assert_allclose(shifts, wanted[1], atol=1e-9)
        np.testing.assert_allclose(geometry.axis_angle_deg, aln.axis_deg.mean())


def test_alignment_with_the_tlt_and_xf_beside_it(shared_data: Path) -> None:
    """The angles agree. The .xf is alnfile's export: its turn has the other sign than AreTomo's own .xf."""
    folder = shared_data / "metadata" / "aretomo" / "alnfile"
    aln = read_aln(folder / "global_no_local.aln")
    np.testing.assert_array_equal(aln.tilt_deg, read_tilt_angles(folder / "global_no_local.tlt"))
    matrices, shifts = read_xf(folder / "global_no_local.xf")
    other_turn = written_xf(-aln.axis_deg, aln.shift_xy)
    np.testing.assert_allclose(matrices, other_turn[0], atol=1e-7)
    np.testing.assert_allclose(shifts, other_turn[1], atol=1e-4)
    assert (aln.alpha_deg, aln.n_patches, aln.raw_shape) == (-7.0, 0, (61, 4096, 4096))
    np.testing.assert_array_equal(aln_sections(aln, aln.tilt_deg + 7), np.arange(61))


def test_dark_images_and_numbers_that_count_the_others(shared_data: Path) -> None:
    aln = read_aln(shared_data / "metadata" / "aretomo" / "alnfile" / "global_and_local.aln")
    # 14 of 51 are dark; SEC runs from 0 to 36 over the rest.
    np.testing.assert_array_equal(aln.sec, np.arange(37))
    assert aln.n_patches == 16 and aln.alpha_deg == 12.3
    np.testing.assert_array_equal(aln_sections(aln), np.arange(14, 51))
    nominal = np.concatenate([aln.dark_tilt_deg, aln.tilt_deg - 12.3])
    np.testing.assert_array_equal(aln_sections(aln, nominal), np.arange(14, 51))
    order = np.random.default_rng(0).permutation(51)
    np.testing.assert_allclose(nominal[order][aln_sections(aln, nominal[order])], aln.tilt_deg - 12.3)


@pytest.mark.parametrize("base", [0, 1])
@pytest.mark.parametrize("dark", [(), (0,), (20,), (3, 4, 11)])
@pytest.mark.parametrize("shuffled", [False, True])
def test_sections(tmp_path: Path, base: int, dark: tuple[int, ...], shuffled: bool) -> None:
    path = foreign.write_aretomo(tmp_path, base=base, dark=dark, shuffled=shuffled, patches=4, halves=True)
    (entry,) = find_series(tmp_path)
    assert isinstance(entry, SeriesEntry) and entry.path == path and entry.program == "AreTomo"
    raw = np.loadtxt(tmp_path / "TS_1.rawtlt") + 2.5
    assert entry.images is not None and entry.has_frames
    np.testing.assert_allclose(raw[[s.section for s in entry.images.sources]], entry.geometry.tilt_deg)
    assert entry.geometry.n_tilts == 21 - len(dark)
    assert any("4 patches is not used" in note for note in entry.notes)
    assert any("include its offset alpha, 2.5" in note for note in entry.notes)
    even, odd = entry.open_frames()
    assert even.images.shape == odd.images.shape == (21 - len(dark), 50, 54)
    assert not any((np.asarray(image) == 0).all() for image in even.images)


def test_ctf_is_given_to_the_images_that_are_not_dark(tmp_path: Path) -> None:
    foreign.write_aretomo(tmp_path, dark=(0, 12), shuffled=True)
    lines = [f"{i + 1:4d} {20000 + 100 * i} {19000 + 100 * i} 52.0 0.5 0.1 9.6 -1" for i in range(21)]
    (tmp_path / "TS_1_CTF.txt").write_text("# Columns: #1 micrograph number; ...\n" + "\n".join(lines))
    (entry,) = find_series(tmp_path)
    assert isinstance(entry, SeriesEntry) and entry.geometry.ctf is not None
    kept = np.setdiff1d(np.arange(21), [0, 12])
    np.testing.assert_allclose(entry.geometry.ctf.defocus_u_um, 2 + 0.01 * kept)
    np.testing.assert_allclose(entry.geometry.ctf.phase_shift_deg, np.degrees(0.5))
    (tmp_path / "TS_1_CTF.txt").write_text("1 2 3 4 5 6 7\n")
    (entry,) = find_series(tmp_path)
    assert isinstance(entry, SeriesEntry) and entry.geometry.ctf is None
    assert any(note.startswith("defocus not used") for note in entry.notes)


def write_volumes(folder: Path, layout: str) -> np.ndarray:
    volume = np.random.default_rng(0).normal(size=(12, 50, 54)).astype(np.float32)
    arrays = {"yzx": volume.transpose(1, 0, 2), "-zyx": volume[::-1], "zyx": volume}
    for half in ("EVN_Vol", "ODD_Vol"):
        write_mrc(folder / f"TS_1_{half}.mrc", arrays[layout], 10.0)
    return volume


@pytest.mark.parametrize("layout, flip", [("yzx", None), ("-zyx", None), ("-zyx", 1), ("zyx", 2)])
def test_volumes_come_back_in_our_axes(tmp_path: Path, layout: str, flip: int | None) -> None:
    foreign.write_aretomo(tmp_path, series=Series(tilts=np.arange(-40.0, 61, 5)))
    (tmp_path / "TS_1.mrc").unlink()
    volume = write_volumes(tmp_path, layout)
    if flip is not None:
        (tmp_path / "AreTomo3_Session.json").write_text(f'{{ "parameters": {{ "FlipVol": {flip}, }} }}')
    (entry,) = find_series(tmp_path)
    assert isinstance(entry, HalvesEntry) and entry.half0.name == "TS_1_EVN_Vol.mrc"
    half0, half1, full = entry.open()
    np.testing.assert_array_equal(half0.data, volume)
    np.testing.assert_array_equal(half1.data, volume)
    assert full is None and entry.tilt_range is not None
    assert entry.tilt_range[:2] == pytest.approx((-35, 60))  # the first image is dark
    assert any("taken as written with -FlipVol 1" in n for n in entry.notes) == (
        layout == "-zyx" and not flip
    )
    # The half itself, or the .aln, stands for both.
    for name in ("TS_1_ODD_Vol.mrc", "TS_1.aln"):
        (same,) = find_series(tmp_path / name)
        assert isinstance(same, HalvesEntry) and (same.half0, same.half1) == (entry.half0, entry.half1)


def test_refuses(tmp_path: Path) -> None:
    path = foreign.write_aretomo(tmp_path)
    good = path.read_text()
    for bad, message in [
        ("", "not an alignment of AreTomo"),
        (good.replace("RawSize", "Size"), "not an alignment of AreTomo"),
        (good.replace("= 54 50 21", "= 54 50"), "expected RawSize"),
        (good.replace("= 54 50 21", "= 54 50 3"), "19 aligned images of a stack"),
        (good.replace("= 54 50 21", "= 64 50 21"), "expected .21, 50, 64."),
        (good[:-30], "expected the ten columns"),
        (good.replace("AlphaOffset =     2.50", "AlphaOffset = x"), "expected AlphaOffset in degrees"),
        (good.replace("\n    7 ", "\n    8 "), "SEC does not fit"),
    ]:
        path.write_text(bad)
        with pytest.raises(InputError, match=message) as caught:
            find_series(path)
        assert "\n" not in str(caught.value)
    path.write_text(good)
    (tmp_path / "TS_1.mrc").unlink()
    with pytest.raises(InputError, match="expected the raw stack"):
        find_series(path)
    write_volumes(tmp_path, "zyx")
    (tmp_path / "TS_1_ODD_Vol.mrc").unlink()
    with pytest.raises(InputError, match=r"TS_1_ODD_Vol.mrc is missing"):
        find_series(path)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_raises_input_error_only(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "aln"
    folder.mkdir(exist_ok=True)
    path = folder / "TS_1.aln"
    if not (folder / "good").exists():
        (folder / "good").write_bytes(foreign.write_aretomo(folder).read_bytes())
    raw = bytearray((folder / "good").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(1, 255))
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        find_series(path)
    except InputError as error:
        assert "\n" not in str(error)


def test_order_of_acquisition(tmp_path: Path) -> None:
    foreign.write_aretomo(tmp_path, shuffled=True, dark=(2,))
    (entry,) = find_series(tmp_path)
    assert isinstance(entry, SeriesEntry) and entry.images is not None
    assert entry.geometry.acquisition_order is None
    raw = np.loadtxt(tmp_path / "TS_1.rawtlt")
    # The steeper, the later.
    order = np.argsort(np.argsort(np.abs(raw + 0.1)))
    rows = np.stack([raw, order + 1, 3.0 * order], axis=1)
    np.savetxt(tmp_path / "TS_1_TLT.txt", rows, fmt=("%8.2f", "%4d", "%8.2f"))
    (entry,) = find_series(tmp_path)
    assert isinstance(entry, SeriesEntry) and entry.geometry.acquisition_order is not None
    in_time = entry.geometry.tilt_deg[np.argsort(entry.geometry.acquisition_order)]
    assert (np.diff(np.abs(in_time - 2.5 + 0.1)) > 0).all()
    np.savetxt(tmp_path / "TS_1_TLT.txt", rows[:5])
    (entry,) = find_series(tmp_path)
    assert any("angles of the stack not used" in note for note in entry.notes)
