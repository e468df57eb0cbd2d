"""Etomo's files beside a stack."""

from __future__ import annotations

from pathlib import Path

import foreign
import numpy as np
import pytest

from dewedge.errors import InputError
from dewedge.io import half_names
from dewedge.io.angles import write_tilt_angles
from dewedge.io.entries import SeriesEntry
from dewedge.io.files import files_and_folders
from dewedge.io.find import find_series
from dewedge.io.mrc import read_mrc, write_mrc
from dewedge.io.programs.imod import read_com, read_edf, read_etomo


def series_in(path: Path, **options: object) -> SeriesEntry:
    (entry,) = find_series(path, **options)  # type: ignore[arg-type]
    assert isinstance(entry, SeriesEntry)
    return entry


TILT_COM = """$setenv IMOD_OUTPUT_FORMAT MRC
$tilt -StandardInput
InputProjections TS_1_ali.mrc
IMAGEBINNED 4
TILTFILE TS_1.tlt
XTILTFILE TS_1.xtilt
THICKNESS 1200
#LOCALFILE not.this
XAXISTILT 1.5
OFFSET -2.0
SHIFT 0.0 25.0
EXCLUDELIST 1,3-4
EXCLUDELIST2 21
"""


def test_etomo_files_of_others(shared_data: Path) -> None:
    folder = shared_data / "metadata" / "imod"
    com = read_com(folder / "cryoet-alignment" / "tilt.com")
    assert com["THICKNESS"] == "2000" and com["FULLIMAGE"] == "3708 3832" and com["PERPENDICULAR"] == ""
    assert "$TILT" not in com and not any(key.startswith("#") for key in com)
    assert read_com(folder / "cryoet-alignment" / "newst.com")["BINBYFACTOR"] == "4"
    edf = read_edf(folder / "etomofiles" / "TS_001.edf")
    assert edf["Setup.DatasetName"] == "TS_001"
    # Names of the tilt series in tilt.com are others than these: nothing of it is used.
    assert read_etomo(folder / "cryoet-alignment", "tilt_1").thickness is None
    assert read_etomo(folder / "cryoet-alignment", "mka2018-10-01-1").thickness == 2000
    entry = series_in(folder / "etomofiles")
    assert entry.geometry.pixel_size_A == pytest.approx(6.192) and entry.geometry.n_tilts == 39
    assert any("views 40" in note for note in entry.notes)


def test_tilt_com(tmp_path: Path) -> None:
    stack = foreign.write_imod(tmp_path)
    plain = series_in(stack).geometry
    (tmp_path / "tilt.com").write_text(TILT_COM)
    (tmp_path / "TS_1.xtilt").write_text("0.5\n" * 21)
    entry = series_in(tmp_path)
    kept = [i for i in range(21) if i not in (0, 2, 3, 20)]
    assert entry.thickness == 1200 and entry.program == "IMOD"
    np.testing.assert_allclose(entry.geometry.tilt_deg, plain.tilt_deg[kept] - 2)
    np.testing.assert_array_equal(entry.geometry.shift_yx, plain.shift_yx[kept])
    images = entry.open().images
    assert images.shape == (17, 50, 54)
    np.testing.assert_array_equal(images[1], read_mrc(stack).data[kept[1]])
    text = " | ".join(entry.notes)
    for what in (
        "OFFSET of -2 degrees added",
        "SHIFT 0.0 25.0 is not used",
        "tilt of 2 degrees about x is not used",
        "views 1,3-4,21 (counted from 1) left out",
    ):
        assert what in text, text
    for name in ("TS_1.tlt", "TS_1.xf", "TS_1.xtilt", "tilt.com"):
        assert series_in(tmp_path / name).name == "TS_1"
    (tmp_path / "tilt.com").write_text(TILT_COM.replace("TS_1", "TS_2"))
    assert series_in(stack).geometry.n_tilts == 21  # of another series


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("OFFSET -2.0", "OFFSET two", "expected a number for OFFSET"),
        ("THICKNESS 1200", "THICKNESS nan", "expected a number for THICKNESS"),
        ("1,3-4", "1,3-", "expected a list of views"),
        ("1,3-4", "4-1", "expected a list of views"),
        ("1,3-4", "0", "expected a list of views"),
        ("LIST2 21", "LIST2 22", "view 22 is left out of 21"),
        ("1,3-4", "1-18", "at least 5 tilt images"),
    ],
)
def test_tilt_com_refuses(tmp_path: Path, old: str, new: str, message: str) -> None:
    stack = foreign.write_imod(tmp_path)
    (tmp_path / "tilt.com").write_text(TILT_COM.replace(old, new))
    with pytest.raises(InputError, match=message) as caught:
        find_series(stack)
    assert "\n" not in str(caught.value)


def test_measured_defocus_takes_the_place_of_the_nominal(tmp_path: Path) -> None:
    stack = foreign.write_imod(tmp_path)
    assert series_in(stack).geometry.ctf is None
    rows = [f"{i}\t{i}\t0\t0\t{3000 + i}\t{2000 + i}\t-15.0" for i in range(1, 22)]
    (tmp_path / "TS_1.defocus").write_text("1\t0\t0.0\t0.0\t0.0\t3\n" + "\n".join(rows))
    ctf = series_in(stack).geometry.ctf
    assert ctf is not None and not ctf.nominal
    np.testing.assert_allclose(ctf.defocus_u_um, 3 + 1e-3 * np.arange(1, 22))
    (tmp_path / "TS_1.defocus").write_text("nonsense")
    entry = series_in(stack)
    assert entry.geometry.ctf is None and any("defocus not used" in note for note in entry.notes)


def test_aligned_stack_yields_to_the_raw_one(tmp_path: Path) -> None:
    stack = foreign.write_imod(tmp_path)
    write_mrc(tmp_path / "TS_1_ali.mrc", read_mrc(stack).data, 20.0, stack=True)
    write_mrc(tmp_path / "TS_1_rec.mrc", np.zeros((9, 8, 7)), 20.0)
    assert series_in(tmp_path).path == stack
    stack.unlink()
    entry = series_in(tmp_path)
    assert entry.path.name == "TS_1_ali.mrc" and entry.geometry.is_aligned


@pytest.mark.parametrize("one_by_one", [True, False])
def test_a_folder_of_many_series_is_listed_for_halves_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_by_one: bool
) -> None:
    images = np.random.default_rng(0).normal(size=(5, 8, 8)).astype(np.float32)
    for i in range(4):
        for half in ("", "_EVN", "_ODD") if i % 2 else ("",):
            write_mrc(tmp_path / f"TS_{i}{half}.mrc", images, 10.0, stack=True)
        write_tilt_angles(tmp_path / f"TS_{i}.tlt", np.linspace(-60, 60, 5))
    listed: list[Path] = []

    def listing(folder: Path) -> tuple[list[Path], list[Path]]:
        listed.append(folder)
        return files_and_folders(folder)

    monkeypatch.setattr(half_names, "files_and_folders", listing)
    entries = find_series(*([tmp_path / f"TS_{i}.mrc" for i in range(4)] if one_by_one else [tmp_path]))
    assert [isinstance(e, SeriesEntry) and e.has_frames for e in entries] == [False, True, False, True]
    assert listed == [tmp_path]


@pytest.mark.parametrize("words", [("_EVN", "_ODD"), ("_even", "_odd"), ("-half1", "-half2"), ("/",)])
@pytest.mark.parametrize("whole", [True, False])
def test_even_and_odd_stacks(tmp_path: Path, words: tuple[str, ...], whole: bool) -> None:
    stack = foreign.write_imod(tmp_path)
    data = np.array(read_mrc(stack).data)
    names = [f"TS_1{w}.st" for w in words] if len(words) == 2 else ["even/TS_1.st", "odd/TS_1.st"]
    for i, name in enumerate(names):
        write_mrc(tmp_path / name, data + 1 + i, foreign.PIXEL_A, stack=True)
    if not whole:
        if len(words) < 2:
            return  # angles beside no stack say nothing
        stack.unlink()
    entry = series_in(tmp_path)
    assert (entry.name, entry.has_frames) == ("TS_1", True)
    even, odd = entry.open_frames()
    np.testing.assert_allclose(even.images[3], data[3] + 1, atol=1e-6)
    np.testing.assert_allclose(odd.images[3], data[3] + 2, atol=1e-6)
    if whole:
        np.testing.assert_array_equal(entry.open().images[3], data[3])
    else:
        with pytest.raises(InputError, match="only even and odd averages"):
            entry.open()
        (tmp_path / names[1]).unlink()
        with pytest.raises(InputError, match="its other half is missing"):
            find_series(tmp_path)


def test_axis_angle_and_pixel_size_as_given(tmp_path: Path) -> None:
    stack = foreign.write_imod(tmp_path)
    geometry = series_in(stack, axis_angle_deg=30, pixel_size_A=7.5).geometry
    assert geometry.axis_angle_deg == pytest.approx(30) and geometry.pixel_size_A == 7.5
