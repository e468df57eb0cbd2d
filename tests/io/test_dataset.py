"""Finding what lies in a folder, pairing halves, and the dataset file."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import foreign
import numpy as np
import pytest
import starfile

from dewedge.errors import InputError
from dewedge.geometry import Microscope, TiltRange
from dewedge.io.dataset_file import write_dataset
from dewedge.io.entries import Entry, HalvesEntry, SeriesEntry
from dewedge.io.find import find_series
from dewedge.io.half_names import pair_halves
from dewedge.io.mdoc import read_mdoc, write_mdoc
from dewedge.io.mrc import read_mrc, write_mrc
from dewedge.io.programs.relion import Optics, read_relion
from dewedge.io.star import Table, read_star
from dewedge.pipeline.import_ import with_optics

VOLUME = np.random.default_rng(0).normal(size=(6, 8, 9)).astype(np.float32)


def volume(path: Path, add: float = 0.0) -> Path:
    write_mrc(path, VOLUME + add, 10.0)
    return path


def halves_in(path: Path, **options: object) -> list[HalvesEntry]:
    entries = find_series(path, **options)  # type: ignore[arg-type]
    assert all(isinstance(entry, HalvesEntry) for entry in entries)
    return entries  # type: ignore[return-value]


class TestHalfNames:
    @pytest.mark.parametrize(
        "first, second, name",
        [
            ("TS_1_EVN.mrc", "TS_1_ODD.mrc", "TS_1"),
            ("TS_1_EVN_Vol.mrc", "TS_1_ODD_Vol.mrc", "TS_1_Vol"),
            ("rec_TS_1_half1.mrc", "rec_TS_1_half2.mrc", "rec_TS_1"),
            ("half0.mrc", "half1.mrc", "folder"),
            ("tomo_even_frames.rec", "tomo_odd_frames.rec", "tomo_frames"),
            ("a/even/TS 1.mrc", "a/odd/TS 1.mrc", "TS 1"),
            ("a_even/TS.mrc", "a_odd/TS.mrc", "TS"),
            ("even_TS.mrc", "odd_TS.mrc", "TS"),
            ("odd-even.mrc", "odd-odd.mrc", "odd"),
            ("HALF_1.mrc", "HALF_2.mrc", "folder"),
        ],
    )
    def test_pairs(self, first: str, second: str, name: str) -> None:
        paths = [Path("/folder") / first, Path("/folder") / second]
        for given in (paths, paths[::-1]):
            assert [(p.name, p.half0, p.half1) for p in pair_halves(given)] == [(name, *paths)]

    def test_many_by_name_and_not_by_position(self) -> None:
        names = ["b_odd.mrc", "a_even.mrc", "c_half2.mrc", "b_even.mrc", "c_half1.mrc", "a_odd.mrc"]
        pairs = pair_halves(Path(name) for name in names)
        assert [(p.name, str(p.half0), str(p.half1)) for p in pairs] == [
            ("a", "a_even.mrc", "a_odd.mrc"),
            ("b", "b_even.mrc", "b_odd.mrc"),
            ("c", "c_half1.mrc", "c_half2.mrc"),
        ]

    @pytest.mark.parametrize(
        "names, message",
        [
            (["a_even.mrc", "b_odd.mrc"], "a_even.mrc: its other half is missing"),
            (["a_even.mrc"], "a_even.mrc: its other half is missing"),
            (["a_even.mrc", "a_half2.mrc"], "its other half is missing"),
            (["modded.mrc"], "no word such as even"),
            (["a_half1.mrc", "a_half2.mrc", "a_half0.mrc"], "its other half is missing"),
            (["a_even.mrc", "a_even.rec"], "its other half is missing"),
        ],
    )
    def test_unmatched_are_named(self, names: list[str], message: str) -> None:
        with pytest.raises(InputError, match=message) as caught:
            pair_halves(Path(name) for name in names)
        assert "\n" not in str(caught.value)


class TestHalves:
    def test_folder_of_pairs(self, tmp_path: Path) -> None:
        for name in ("b_odd.mrc", "a_even.mrc", "b_even.mrc", "a_odd.mrc", "other.mrc", "a.mrc"):
            volume(tmp_path / name)
        entries = halves_in(tmp_path, tilt_range=TiltRange(-50, 60))
        assert [(e.name, e.half0.name, e.half1.name) for e in entries] == [
            ("a", "a_even.mrc", "a_odd.mrc"),
            ("b", "b_even.mrc", "b_odd.mrc"),
        ]
        assert entries[0].full == tmp_path / "a.mrc" and entries[1].full is None
        assert entries[0].tilt_range[:2] == (-50, 60)
        (tmp_path / "b_odd.mrc").unlink()
        with pytest.raises(InputError, match=r"b_even.mrc: its other half is missing"):
            find_series(tmp_path)

    def test_folders_even_and_odd(self, tmp_path: Path) -> None:
        for half in ("even", "odd"):
            for name in ("TS_2", "TS_1"):
                volume(tmp_path / "reconstruction" / half / f"{name}_10.00Apx.mrc", half == "odd")
        for path in (tmp_path / "reconstruction", tmp_path):
            entries = halves_in(path)
            assert [e.name for e in entries] == ["TS_1_10.00Apx", "TS_2_10.00Apx"]
            np.testing.assert_array_equal(entries[0].open()[1].data, VOLUME + 1)
        (one,) = halves_in(tmp_path / "reconstruction" / "odd" / "TS_2_10.00Apx.mrc")
        assert one.half0.parent.name == "even"

    def test_shapes_must_agree(self, tmp_path: Path) -> None:
        volume(tmp_path / "a_even.mrc")
        write_mrc(tmp_path / "a_odd.mrc", VOLUME[:5], 10.0)
        (entry,) = halves_in(tmp_path)
        with pytest.raises(InputError, match=r"a_odd.mrc: shape \(5, 8, 9\)"):
            entry.open()

    def test_isonet(self, tmp_path: Path) -> None:
        for name in ("TS_1_even", "TS_1_odd", "TS_1", "mask"):
            volume(tmp_path / "tomos" / f"{name}.mrc")
        columns = ["rlnIndex", "rlnTomoName", "rlnTomoReconstructedTomogramHalf1"]
        columns += ["rlnTomoReconstructedTomogramHalf2", "rlnPixelSize", "rlnDefocus", "rlnVoltage"]
        columns += ["rlnSphericalAberration", "rlnMaskName", "rlnTiltMin", "rlnTiltMax", "rlnNumberSubtomo"]
        row = "1 tomos/TS_1.mrc tomos/TS_1_even.mrc tomos/TS_1_odd.mrc 10 38000 300 2.7 "
        row += "tomos/mask.mrc -60 51 3000"
        star = tmp_path / "tomograms.star"
        head = "".join(f"_{column} #{i}\n" for i, column in enumerate(columns, 1))
        star.write_text(f"data_\n\nloop_\n{head}{row}\n")
        for path in (star, tmp_path):
            (entry,) = halves_in(path)
            assert (entry.program, entry.name) == ("IsoNet", "TS_1") and entry.tilt_range[:2] == (-60, 51)
            assert entry.mask is not None and entry.open_mask() is not None
            assert (
                entry.ctf is not None
                and entry.ctf.defocus_um == pytest.approx([3.8])
                and entry.ctf.voltage_kV == 300
            )
            assert "does not define its sign" in entry.notes[0]
        star.write_text(star.read_text().replace("tomos/TS_1_odd.mrc", "None"))
        with pytest.raises(InputError, match="no half tomograms"):
            find_series(star)
        star.write_text(f"data_\n\nloop_\n{head}{row}\n".replace(" -60 ", " 60 "))
        with pytest.raises(InputError, match="tilt range 60 to 51"):
            find_series(star)

    DDW = (
        "shared:\n  project_dir: ./p\n  tomo0_files:\n    - ./d/b_even.rec\n    - ./d/a_even.rec\n"
        "  tomo1_files:\n    - ./d/b_odd.rec\n    - ./d/a_odd.rec\n  subtomo_size: 96\n  mw_angle: 50\n"
        "prepare_data:\n  mask_files:\n    - ./d/m.mrc\n    - ./d/m.mrc\nfit_model:\n  adam: 1e-3\n"
    )

    def test_deepdewedge(self, tmp_path: Path) -> None:
        for name in ("a_even.rec", "a_odd.rec", "b_even.rec", "b_odd.rec", "m.mrc"):
            volume(tmp_path / "d" / name)
        config = tmp_path / "config.yaml"
        config.write_text(self.DDW)
        entries = halves_in(config)
        assert [e.name for e in entries] == ["b", "a"]
        assert all(e.tilt_range[:2] == (-65, 65) and e.mask is not None for e in entries)
        assert entries[0].open()[0].path.name == "b_even.rec"
        assert [e.name for e in halves_in(tmp_path)] == ["a", "b"]

    @pytest.mark.parametrize(
        "old, new, message",
        [
            ("b_odd.rec\n    - ./d/a_odd", "a_odd.rec\n    - ./d/b_odd", "same place, but their names"),
            ("    - ./d/b_odd.rec\n", "", "2 tomo0_files and 1 tomo1_files"),
            ("mw_angle: 50", "mw_angle: wide", "mw_angle 'wide'"),
            ("mw_angle: 50", "mw_angle: 180", "mw_angle '180'"),
            ("shared:", "common:", "no section shared"),
            ("shared:", "shared: [", "not a YAML file"),
            ("shared:", "!!python/object/apply:os.system ['true']\nx:", "alias or tag"),
            ("    - ./d/m.mrc\n", "", "expected a list|1 mask_files|^$"),
        ],
    )
    def test_deepdewedge_refuses(self, tmp_path: Path, old: str, new: str, message: str) -> None:
        config = tmp_path / "config.yaml"
        config.write_text(self.DDW.replace(old, new, 1))
        with pytest.raises(InputError, match=message) as caught:
            find_series(config)
        assert "\n" not in str(caught.value)


class TestFinding:
    def test_several_programs_in_several_folders(self, tmp_path: Path) -> None:
        for name in ("one", "two", "three", "four"):
            (tmp_path / name).mkdir()
        foreign.write_imod(tmp_path / "one", "A")
        foreign.write_aretomo(tmp_path / "two", "B")
        foreign.write_relion(tmp_path / "three", "C")
        foreign.write_warp(tmp_path / "four", "D")
        entries = find_series(
            tmp_path / "four", tmp_path / "one", tmp_path / "two" / "B.mrc", tmp_path / "three"
        )
        assert [(e.name, e.program) for e in entries] == [
            ("D", "Warp"), ("A", "IMOD"), ("B", "AreTomo"), ("C", "RELION"),
        ]  # fmt: skip
        assert sorted(e.name for e in find_series(tmp_path)) == ["A", "B", "C", "D"]
        # The same thing twice is one; two of one name are not.
        assert len(find_series(tmp_path / "one", tmp_path / "one" / "A.xf")) == 1
        foreign.write_imod(tmp_path / "two", "A")
        with pytest.raises(InputError, match="two inputs are named A"):
            find_series(tmp_path / "one", tmp_path / "two")

    def test_a_broken_series_does_not_hide_the_others(self, tmp_path: Path) -> None:
        for i in range(3):
            foreign.write_imod(tmp_path, f"TS_{i}")
        (tmp_path / "TS_1.tlt").write_text("1\n2\n")
        with pytest.raises(InputError, match=r"TS_1.tlt: 2 angles"):
            find_series(tmp_path)
        faults: list[InputError] = []
        assert [e.name for e in find_series(tmp_path, faults=faults)] == ["TS_0", "TS_2"]
        assert len(faults) == 1 and "TS_1.tlt" in str(faults[0])

    def test_a_broken_file_does_not_hide_its_neighbours(self, tmp_path: Path) -> None:
        """Junk in a folder, a half without its other half, a lost stack of a dataset."""
        (tmp_path / "series").mkdir()
        for i in range(3):
            foreign.write_imod(tmp_path / "series", f"TS_{i}")
        dataset = tmp_path / "d.star"
        write_dataset(dataset, find_series(tmp_path / "series"))
        (tmp_path / "series" / "TS_1.st").unlink()
        (tmp_path / "series" / "junk.star").write_bytes(b"\0\1")
        (tmp_path / "halves").mkdir()
        for name in ("a_even", "a_odd", "b_even"):
            volume(tmp_path / "halves" / f"{name}.mrc")
        for path, names, error in (
            (dataset, ["TS_0", "TS_2"], "TS_1.star: none of the images"),
            (tmp_path / "series", ["TS_0", "TS_2"], "junk.star"),
            (tmp_path / "halves", ["a"], "b_even.mrc: its other half is missing"),
        ):
            faults: list[InputError] = []
            assert [e.name for e in find_series(path, faults=faults)] == names
            assert len(faults) == 1 and error in str(faults[0])
        (tmp_path / "halves" / "a_odd.mrc").unlink()
        faults = []
        assert find_series(tmp_path / "halves", faults=faults) == [] and len(faults) == 2

    def test_lists_of_particles_are_no_tilt_series(self, tmp_path: Path) -> None:
        foreign.write_imod(tmp_path)
        text = "data_particles\n\nloop_\n_rlnTomoName #1\n_rlnCoordinateX #2\nTS_1 3\n"
        (tmp_path / "particles.star").write_text(text)
        assert [e.name for e in find_series(tmp_path)] == ["TS_1"]

    def test_mdoc_stands_for_its_stack(self, tmp_path: Path) -> None:
        stack = foreign.write_imod(tmp_path)
        (entry,) = find_series(stack)
        assert isinstance(entry, SeriesEntry)
        for path in (tmp_path / "TS_1.xf", tmp_path / "TS_1.tlt"):
            path.unlink()
        mdoc = tmp_path / "TS_1.st.mdoc"
        write_mdoc(mdoc, entry.geometry, "TS_1.st")
        for path in (mdoc, tmp_path):
            (found,) = find_series(path)
            assert isinstance(found, SeriesEntry) and found.program == "SerialEM"
            assert found.geometry.axis_angle_deg == pytest.approx(entry.geometry.axis_angle_deg, abs=0.1)
        stack.unlink()
        with pytest.raises(InputError, match=r"no stack TS_1\.st beside it"):
            find_series(mdoc)

    def test_names_with_spaces_and_letters(self, tmp_path: Path) -> None:
        folder = tmp_path / "Zelle Ä 1"
        folder.mkdir()
        foreign.write_aretomo(folder, "Serie ü 1", halves=True)
        (entry,) = find_series(folder)
        assert entry.name == "Serie ü 1" and isinstance(entry, SeriesEntry) and entry.has_frames
        write_dataset(tmp_path / "d.star", [entry])
        (again,) = read_relion(tmp_path / "d.star")
        assert again.name == entry.name and isinstance(again, SeriesEntry)
        assert again.images is not None and again.images.sources[0].path.samefile(folder / "Serie ü 1.mrc")

    @pytest.mark.parametrize(
        "name", ["a.txt", "a.star", "a.xml", "a.yaml", "a.aln", "a.mrc", "a.tomostar", "a.mdoc"]
    )
    @pytest.mark.parametrize(
        "content", [b"", b"\0\1\2" * 600, b"data_x\n", b"<a/>", "\u00e4\n".encode("latin-1")]
    )
    def test_foreign_files_give_one_line(self, tmp_path: Path, name: str, content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError) as caught:
            find_series(tmp_path / name)
        assert "\n" not in str(caught.value) and name in str(caught.value)

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no such file or folder"):
            find_series(tmp_path / "nothing")
        with pytest.raises(InputError, match="no tilt series"):
            find_series(tmp_path)
        os.symlink(tmp_path, tmp_path / "loop")
        with pytest.raises(InputError, match="no tilt series"):
            find_series(tmp_path)


SESSION = """{
     "PixSize":  0.675000,
     "kV":  200,
     "Cs":  2.600000,
     "Serial":  1,
     "TiltAxis":  [84.000000, 1.000000],
     "AmpContrast":  0.100000,
     "Time":  "Sun Nov 29"
}
"""


class TestRelionColumns:
    def written(self, folder: Path, path: Path, **given: object) -> tuple[Table, Table]:
        """The only row of the set, and the table of its tilt series."""
        (entry,) = find_series(path)
        write_dataset(folder / "d.star", [with_optics(entry, Optics(**given))])  # type: ignore[arg-type]
        (series,) = read_star(folder / "tilt_series" / f"{entry.name}.star").values()
        return read_star(folder / "d.star")["global"], series

    def aretomo3(self, folder: Path) -> Path:
        """A series with what AreTomo3 writes beside it."""
        path = foreign.write_aretomo(folder, shuffled=True, dark=(2,))
        (folder / "AreTomo3_Session.json").write_text(SESSION)
        raw = np.loadtxt(folder / "TS_1.rawtlt")
        order = np.argsort(np.argsort(np.abs(raw + 0.1)))
        rows = np.stack([raw, order + 1, np.full(len(raw), 3.5)], axis=1)
        np.savetxt(folder / "TS_1_TLT.txt", rows, fmt=("%8.2f", "%4d", "%8.2f"))
        return path

    def test_all_are_relions(self, tmp_path: Path, shared_data: Path) -> None:
        """Spelling and table of every column that is not our own, against RELION 5's files."""
        table, series = self.written(tmp_path, self.aretomo3(tmp_path))
        folder = shared_data / "metadata" / "relion5" / "gpl"
        tables = [read_star(folder / "R5_tutorial_run_tomograms.star")["global"]]
        tables += read_star(folder / "tilt_series_metadata" / "tilt_series" / "220728_TS_01.star").values()
        for own, relions in zip((table, series), tables, strict=True):
            assert {name for name in own if not name.startswith("dewedge")} <= set(relions)
        assert set(tables[0]) - set(table) == {
            "rlnOpticsGroupName", "rlnEtomoDirectiveFile", "rlnTomoTomogramBinning", "rlnTomoHand",
            "rlnTomoSizeZ", "rlnTomoReconstructedTomogramHalf1", "rlnTomoReconstructedTomogramHalf2",
        }  # fmt: skip

    def test_of_aretomo3(self, tmp_path: Path) -> None:
        table, series = self.written(tmp_path, self.aretomo3(tmp_path))
        known = {
            "rlnVoltage": 200, "rlnSphericalAberration": 2.6, "rlnAmplitudeContrast": 0.1,
            "rlnMicrographOriginalPixelSize": 0.675, "rlnTomoTiltSeriesPixelSize": foreign.PIXEL_A,
        }  # fmt: skip
        assert {name: float(table[name][0]) for name in known} == pytest.approx(known)
        # The steeper, the later: the dark image took its share, too.
        tilts = np.array(series["rlnTomoYTilt"], dtype=float) - 2.5
        exposure = np.array(series["rlnMicrographPreExposure"], dtype=float)
        order = np.argsort(np.abs(tilts + 0.1))
        rank = np.array(series["rlnTomoTiltMovieIndex"], dtype=int)
        assert rank[order].tolist() == list(range(1, len(order) + 1))
        steps = np.diff(exposure[order])
        assert exposure[order[0]] == 0 and set(np.round(steps, 6)) == {3.5, 7.0}

    def test_flags_count_first_and_are_read_again(self, tmp_path: Path) -> None:
        given = Microscope(voltage_kV=300, defocus_hand=-1)
        path = self.aretomo3(tmp_path)
        table, _ = self.written(tmp_path, path, microscope=given, optics_group="optics1")
        row = {name: column[0] for name, column in table.items()}
        assert (row["rlnVoltage"], row["rlnTomoHand"], row["rlnOpticsGroupName"]) == ("300", "-1", "optics1")
        assert float(row["rlnSphericalAberration"]) == pytest.approx(2.6)
        (again,) = read_relion(tmp_path / "d.star")
        assert isinstance(again, SeriesEntry) and again.optics_group == "optics1"
        assert again.movie_pixel_size_A == pytest.approx(0.675) and again.geometry.ctf is None
        assert again.geometry.microscope == Microscope(
            voltage_kV=300, spherical_aberration_mm=2.6, amplitude_contrast=0.1, defocus_hand=-1
        )

    def test_nothing_is_guessed(self, tmp_path: Path) -> None:
        table, series = self.written(tmp_path, foreign.write_aretomo(tmp_path))
        assert not {name for name in table if "Optics" in name or "Original" in name or name == "rlnTomoHand"}
        assert not {"rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast"} & set(table)
        assert "rlnMicrographPreExposure" not in series

    def test_voltage_of_an_mdoc_without_defocus(self, tmp_path: Path, shared_data: Path) -> None:
        lines = (shared_data / "metadata" / "mdoc" / "gpl" / "017.mdoc").read_text().splitlines(True)
        mdoc = tmp_path / "017.mrc.mdoc"
        mdoc.write_text("".join(line for line in lines if "TargetDefocus" not in line))
        document = read_mdoc(mdoc)
        assert document.defocus_um is None and document.pre_exposure_e_per_A2 is not None
        images = np.zeros((len(document.tilt_deg), 8, 9), np.float32)
        write_mrc(tmp_path / "017.mrc", images, 5.0, stack=True)
        table, series = self.written(tmp_path, tmp_path / "017.mrc")
        assert float(table["rlnVoltage"][0]) == 300 and "rlnSphericalAberration" not in table
        exposure = np.array(series["rlnMicrographPreExposure"], dtype=float)
        np.testing.assert_allclose(exposure, document.pre_exposure_e_per_A2)

    def test_a_session_that_cannot_be(self, tmp_path: Path) -> None:
        path = self.aretomo3(tmp_path)
        (tmp_path / "AreTomo3_Session.json").write_text(SESSION.replace(" 200", " 3"))
        (entry,) = find_series(path)
        assert isinstance(entry, SeriesEntry) and entry.geometry.microscope == Microscope()
        assert any("AreTomo3_Session.json not used" in note for note in entry.notes)


class TestDatasetFile:
    def entries(self, folder: Path) -> list[Entry]:
        for name in ("imod", "aretomo", "warp", "halves"):
            (folder / name).mkdir()
        stack = foreign.write_imod(folder / "imod", "A")
        # A magnification and a stretch, which RELION's columns cannot say.
        xf = np.loadtxt(folder / "imod" / "A.xf")
        xf[:, :4] *= [1.01, 1.0, 1.02, 0.99]
        np.savetxt(folder / "imod" / "A.xf", xf, fmt="%12.7f")
        foreign.write_aretomo(folder / "aretomo", "B", halves=True, shuffled=True)
        foreign.write_warp(folder / "warp", "C")
        for half in ("even", "odd"):
            volume(folder / "halves" / f"D_{half}.mrc")
        paths = (stack, folder / "aretomo", folder / "warp", folder / "halves")
        return find_series(*paths, tilt_range=TiltRange(-55, 50))

    def test_round_trip(self, tmp_path: Path) -> None:
        entries = self.entries(tmp_path)
        dataset = tmp_path / "dataset.star"
        write_dataset(dataset, entries)
        again = find_series(dataset)
        assert [(e.name, e.program) for e in again] == [(e.name, e.program) for e in entries]
        for a, b in zip(entries, again, strict=True):
            if isinstance(a, HalvesEntry):
                assert isinstance(b, HalvesEntry)
                assert (a.half0, a.half1, a.tilt_range, a.layout) == (
                    b.half0,
                    b.half1,
                    b.tilt_range,
                    b.layout,
                )
                continue
            assert isinstance(b, SeriesEntry) and b.images is not None and a.images is not None
            assert [
                (p.samefile(q), i == j)
                for (p, i), (q, j) in zip(a.images.sources, b.images.sources, strict=True)
            ]
            assert a.has_frames == b.has_frames
            for name in ("tilt_deg", "linear_yx", "shift_yx", "acquisition_order", "pre_exposure_e_per_A2"):
                one, two = getattr(a.geometry, name), getattr(b.geometry, name)
                assert (one is None) == (two is None), name
                if one is not None:
                    np.testing.assert_array_equal(one, two, err_msg=name)
            assert a.geometry.pixel_size_A == b.geometry.pixel_size_A
            if a.geometry.ctf is not None:
                assert b.geometry.ctf is not None
                for name in ("defocus_u_um", "defocus_v_um", "astigmatism_deg", "phase_shift_deg"):
                    one, two = getattr(a.geometry.ctf, name), getattr(b.geometry.ctf, name)
                    np.testing.assert_allclose(one, two, atol=1e-9)
                assert a.geometry.ctf.defocus_hand == b.geometry.ctf.defocus_hand
                assert a.geometry.ctf.voltage_kV == b.geometry.ctf.voltage_kV

    def test_the_fields_library_reads_it(self, tmp_path: Path) -> None:
        entries = self.entries(tmp_path)
        write_dataset(tmp_path / "dataset.star", entries)
        table = starfile.read(tmp_path / "dataset.star", parse_as_string=["rlnTomoName"])
        assert list(table["rlnTomoName"]) == ["A", "B", "C", "D"]
        (blocks,) = starfile.read(tmp_path / "tilt_series" / "B.star", always_dict=True).values()
        first = entries[1]
        assert isinstance(first, SeriesEntry)
        np.testing.assert_allclose(blocks["rlnTomoYTilt"], first.geometry.tilt_deg)
        assert {"rlnMicrographName", "rlnMicrographNameEven", "rlnTomoZRot", "rlnTomoXShiftAngst"} <= set(
            blocks
        )
        number, _, name = blocks["rlnMicrographName"][3].partition("@")
        assert first.images is not None
        assert int(number) == first.images.sources[3].section + 1 and name == "aretomo/B.mrc"

    def test_values_of_the_images_are_those_of_the_file(self, tmp_path: Path) -> None:
        path = foreign.write_aretomo(tmp_path, shuffled=True, dark=(3,))
        (entry,) = find_series(path)
        assert isinstance(entry, SeriesEntry) and entry.images is not None
        series = entry.open()
        data = read_mrc(tmp_path / "TS_1.mrc").data
        assert series.images.shape == (20, 50, 54) and series.images.dtype == np.float32
        for image, source in zip(series.images, entry.images.sources, strict=True):
            np.testing.assert_array_equal(image, data[source.section])

    def test_two_of_one_name(self, tmp_path: Path) -> None:
        (entry,) = find_series(foreign.write_imod(tmp_path))
        with pytest.raises(InputError, match="two inputs are named TS_1"):
            write_dataset(tmp_path / "d.star", [entry, entry])
        alike = [replace(entry, name=name) for name in ("TS 1", "TS_1")]
        with pytest.raises(InputError, match=r"TS 1 and TS_1 would both be TS_1\.star"):
            write_dataset(tmp_path / "d.star", alike)
