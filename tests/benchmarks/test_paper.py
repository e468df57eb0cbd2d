"""The paper's experiments on stand-ins that have the names, folders and headers of the downloads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paper import settings, standins
from paper.command import main, parsed
from paper.experiments import METHODS, Request, of_shrec
from paper.figures import curves_figure, log_power
from paper.flagella import flagella, within
from paper.ribosomes import acquisition_order, defocus, ribosomes
from paper.runs import Variant, stage_configs
from paper.shrec import read_cell, read_locations

from dewedge.errors import InputError
from dewedge.io.find import find_series
from dewedge.io.mrc import read_mrc
from dewedge.scores import correlation
from dewedge.settings.recipes import read_recipe
from dewedge.simulate.specimen import Specimen
from dewedge.simulate.tilt_series import dose_symmetric_order

Download = tuple[Path, Any]


@pytest.fixture(scope="module")
def of_ribosomes(tmp_path_factory: pytest.TempPathFactory) -> Download:
    folder = tmp_path_factory.mktemp("10045")
    return folder, standins.write_ribosomes(folder, numbers=(5, 11), edge=40, depth=32, step=6)


@pytest.fixture(scope="module")
def of_flagella(tmp_path_factory: pytest.TempPathFactory) -> Download:
    folder = tmp_path_factory.mktemp("Tomo110")
    return folder, standins.write_flagella(folder, edge=40, depth=32, step=8)


@pytest.fixture(scope="module")
def of_shrec_(tmp_path_factory: pytest.TempPathFactory) -> Download:
    folder = tmp_path_factory.mktemp("shrec")
    return folder, standins.write_shrec(folder, edge=72)


def paper(*words: object) -> int:
    return main("", [str(word) for word in words])


def rows_of(output: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    rows = json.loads((output / "rows.json").read_text())["rows"]
    return {(row["variant"], row["method"], row["tomogram"]): row for row in rows}


# Settings.


@pytest.mark.parametrize("experiment", list(settings.FIT))
@pytest.mark.parametrize("method", [method for method in METHODS if method != "fbp"])
def test_the_papers_settings_are_those_of_every_run(tmp_path: Path, experiment: str, method: str) -> None:
    variant = Variant(name="x", experiment=experiment, entries=[], methods=METHODS, figures=(3,))
    stages = read_recipe(method).stages
    for config, stage in zip(stage_configs(variant, method, {}, tmp_path), stages, strict=True):
        own = settings.FIT[experiment].get(stage, (settings.BUDGET,))
        values = config.model_dump(mode="json")
        assert config.recipe == stage and own
        for setting in own:
            section, _, key = setting.key.partition(".")
            assert values[section][key] == setting.value
        assert config.fit.cube_size % 8 == 0 and (config.fit.epochs or config.fit.budget)
        assert config.refine.overlap <= config.fit.cube_size // 2
    first = stage_configs(variant, method, {}, tmp_path)[0]
    for setting in settings.RECONSTRUCTION[experiment]:
        section, _, key = setting.key.partition(".")
        assert first.model_dump()[section][key] == setting.value


def test_every_setting_tells_its_source_and_whether_that_is_sure(capsys: pytest.CaptureFixture[str]) -> None:
    assert paper("settings") == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(setting.source for _, _, setting in settings.listed())
    assert "? 10045    deepdewedge  fit.epochs = 500" in lines
    assert "  tomo110  deepdewedge  fit.epochs = 1000" in lines


def test_what_a_figure_compares_is_not_overridden(tmp_path: Path) -> None:
    given = parsed("fit.cube_size=32") | {"reconstruct": {"bin": 2}}
    variant = Variant(
        name="x",
        experiment="shrec",
        entries=[],
        settings={"fit": {"cube_size": 64}},
        methods=METHODS,
        figures=(7,),
    )
    (config,) = stage_configs(variant, "deepdewedge", given, tmp_path)
    assert (config.fit.cube_size, config.reconstruct.bin, config.refine.overlap) == (64, 2, 21)
    (config,) = stage_configs(replace(variant, settings={}), "deepdewedge", given, tmp_path)
    assert config.fit.cube_size == 32
    with pytest.raises(InputError, match=r"--set epochs=3: expected section\.key=value"):
        parsed("epochs=3")


# What lies in the folders.


def test_the_ribosomes_are_found_with_order_defocus_and_thickness(of_ribosomes: Download) -> None:
    folder, _ = of_ribosomes
    first, last = ribosomes(folder)
    assert (first.name, last.name) == ("IS002_291013_005", "IS002_291013_011")
    assert first.geometry.pixel_size_A == pytest.approx(2.17)
    assert first.thickness == 32 * 6
    assert np.array_equal(
        first.geometry.acquisition_order, dose_symmetric_order(np.round(first.geometry.tilt_deg))
    )
    assert first.geometry.is_aligned
    assert last.geometry.tilt_range.max_deg < 32 < 58 < first.geometry.tilt_range.max_deg
    assert first.geometry.ctf is not None
    high = np.abs(first.geometry.tilt_deg) > 30
    assert np.ptp(first.geometry.ctf.defocus_um[high]) == 0 < np.ptp(first.geometry.ctf.defocus_um)
    assert first.geometry.ctf.defocus_um == pytest.approx(3.0, abs=0.4)
    # A folder above is as good, and one that holds none says where to get them.
    assert [entry.name for entry in ribosomes(folder.parent)] == [first.name, last.name]


def test_files_of_another_series_are_refused(of_ribosomes: Download, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no IS002_291013_005\.mrcs .*EMPIAR-10045"):
        ribosomes(tmp_path)
    tilts = np.arange(-6.0, 7.0, 3.0)
    order = tmp_path / "x.order"
    order.write_text("0,1.5\n3,3\n-3,4.5\n-6,6\n6,7.5\n")
    assert acquisition_order(order, tilts + 0.4).tolist() == [3, 2, 0, 1, 4]
    order.write_text("0 1.5\n30 3\n-3 4.5\n-6 6\n6 7.5\n")
    with pytest.raises(InputError, match="5 nominal angles are not those of the 5 tilts"):
        acquisition_order(order, tilts)
    order.write_text("0 first\n")
    with pytest.raises(InputError, match="expected a nominal angle and a dose"):
        acquisition_order(order, tilts)
    star = next(of_ribosomes[0].rglob("*_005_ctffind.star"))
    with pytest.raises(InputError, match="42 estimates for 5 tilts"):
        defocus(star, tilts)


def test_the_flagellum_is_found_with_frames_order_and_exposure(of_flagella: Download, tmp_path: Path) -> None:
    folder, _ = of_flagella
    entry = flagella(folder, tmp_path)
    geometry = entry.geometry
    assert entry.has_frames and entry.images is not None and entry.thickness == 32 * 6
    assert geometry.pixel_size_A == pytest.approx(2.3555)
    assert geometry.tilt_deg[0] == pytest.approx(64.4)
    assert geometry.axis_angle_deg == pytest.approx(3.0, abs=0.1)
    order = geometry.acquisition_order
    assert order is not None and geometry.pre_exposure_e_per_A2 is not None
    # From -16 degrees up, then down: the names tell the time.
    assert geometry.tilt_deg[np.argsort(order)][:2].tolist() == pytest.approx([-15.6, -7.6])
    assert geometry.tilt_deg[np.argsort(order)][-1] == pytest.approx(-63.6)
    assert geometry.pre_exposure_e_per_A2[np.argsort(order)][:2].tolist() == pytest.approx([3.0, 4.61])
    movie = read_mrc(next(folder.rglob("01_*.mrc")), stack=True).data
    assert movie.dtype == np.uint8 and entry.even is not None and entry.odd is not None
    assert np.allclose(entry.even[0], movie[::2].mean(axis=0))
    assert np.allclose(entry.images[0], (entry.even[0] + entry.odd[0]) / 2)
    wider = within(entry, 60.0)
    assert wider.geometry.tilt_deg.tolist() == [a for a in geometry.tilt_deg if abs(a) < 60.5]
    assert np.array_equal(wider.even[0], entry.even[1])  # type: ignore[index]


def test_motion_corrected_halves_are_taken_where_they_are(tmp_path: Path) -> None:
    standins.write_flagella(tmp_path, edge=32, depth=32, step=32, motion_corrected=True)
    entry = flagella(tmp_path, tmp_path / "work")
    half = read_mrc(next(tmp_path.rglob("even/01_*.mrc")), stack=True).data[0]
    assert entry.even is not None and np.array_equal(entry.even[0], half)
    third = next(tmp_path.rglob("odd/03_*.mrc"))
    third.rename(third.with_name(third.name.replace("_0.0_", "_8.0_")))
    with pytest.raises(InputError, match=r"at 8 degrees by its name, 0\.4 by Tomo110\.tlt"):
        flagella(tmp_path, tmp_path / "again")
    third.with_name(third.name.replace("_0.0_", "_8.0_")).unlink()
    with pytest.raises(InputError, match=r"4 files of tilts for the 5 angles .*Tomo110\.zip"):
        flagella(tmp_path, tmp_path / "again")


@pytest.mark.parametrize("number", [0, 1])
def test_the_cells_of_both_years_are_read_in_one_frame(of_shrec_: Download, number: int) -> None:
    folder, specimens = of_shrec_
    place = folder / "shrec2020_full_dataset" / f"model_{number}"
    cell, specimen = read_cell(place), specimens[number]
    assert np.array_equal(cell.density, specimen.volume)  # without water
    assert np.array_equal(cell.centres_zyx, specimen.centres_zyx)  # and without the fiducial
    assert cell.species == specimen.species
    names, places = read_locations(place / "particle_locations.txt")
    assert names[-1] == "fiducial" and len(places) == len(specimen.species) + 1


def test_particles_of_another_cell_are_refused(of_shrec_: Download, tmp_path: Path) -> None:
    folder, _ = of_shrec_
    models = [folder / "shrec2020_full_dataset" / f"model_{number}" for number in (0, 1)]
    for name in ("grandmodel_noisefree.mrc", "occupancy_mask.mrc"):
        (tmp_path / name).symlink_to(models[0] / name)
    with pytest.raises(InputError, match=r"particle_locations\.txt: no such file"):
        read_cell(tmp_path)
    (tmp_path / "particle_locations.txt").symlink_to(models[1] / "particle_locations.txt")
    with pytest.raises(InputError, match=r"only \d+% of the particles .* lie where occupancy_mask\.mrc says"):
        read_cell(tmp_path)
    with pytest.raises(InputError, match=r"no model_7 .*10\.34894/Y2ZMRH"):
        of_shrec(Request(folder, tmp_path, models=(7,)))


# The commands.


def test_ribosomes_from_download_to_figure(
    of_ribosomes: Download, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, specimens = of_ribosomes
    command = ("10045", folder, "-o", tmp_path, "--small", "--methods", "fbp", "cryocare+isonet")
    assert paper(*command) == 0
    rows = rows_of(tmp_path)
    names = ["IS002_291013_005", "IS002_291013_011"]
    assert list(rows) == [("ribosomes", m, name) for m in ("cryocare+isonet", "fbp") for name in names]
    for (_, method, name), row in rows.items():
        assert row["figures"] == [3] and row["commit"] and row["versions"] and row["machine"]
        assert -1 < row["scores"]["cc_signal"] < 1
        assert row["samples"] == {"fbp": 0, "cryocare+isonet": 8}[method]
        assert (tmp_path / f"figure3_{name}.png").read_bytes().startswith(b"\x89PNG")
    # The second stage starts from the tomogram of the first, and its own wedge.
    second = find_series(tmp_path / "ribosomes" / "cryocare+isonet.star")
    assert [entry.full for entry in second] == [  # type: ignore[union-attr]
        tmp_path / "ribosomes" / "cryocare" / name / "refined.mrc" for name in names
    ]
    assert second[1].tilt_range == ribosomes(folder)[1].geometry.tilt_range  # type: ignore[union-attr]
    for name, specimen in zip(names, specimens, strict=True):
        check_reconstruction(tmp_path / rows["ribosomes", "fbp", name]["volume"], specimen, 0.5)

    before = (tmp_path / "rows.json").read_bytes()
    assert paper(*command) == 0
    assert (tmp_path / "rows.json").read_bytes() == before
    # As after a kill: one tomogram is not refined, and there is no row of the method.
    (tmp_path / "ribosomes" / "cryocare+isonet" / names[1] / "refined.mrc").unlink()
    kept = [row for row in rows.values() if row["method"] == "fbp"]
    (tmp_path / "rows.json").write_text(json.dumps({"rows": kept}))
    assert paper(*command) == 0
    again = rows_of(tmp_path)
    assert {key: row["scores"] for key, row in again.items()} == {k: r["scores"] for k, r in rows.items()}
    # Other settings are another experiment, and its folder another one.
    capsys.readouterr()
    assert paper(*command, "--set", "fit.seed=1") == 2
    assert "fit.seed = 0, not 1" in capsys.readouterr().err


def test_flagella_from_movies_to_figure_9(of_flagella: Download, tmp_path: Path) -> None:
    folder, specimen = of_flagella
    assert (
        paper("tomo110", folder, "-o", tmp_path, "--small", "--figure", 9, "--methods", "fbp", "deepdewedge")
        == 0
    )
    rows = rows_of(tmp_path)
    variants = ("frames_flip", "tilts_flip", "frames_flip_wide")
    assert set(rows) == {(v, method, "Tomo110") for v in variants for method in ("fbp", "deepdewedge")}
    wedges = [rows[variant, "fbp", "Tomo110"]["wedge_deg"] for variant in variants]
    assert wedges == [52, 52, 68]  # -56 to 56 is what eights leave
    for variant in variants:
        check_reconstruction(tmp_path / rows[variant, "fbp", "Tomo110"]["volume"], specimen, 0.6)
        log = (tmp_path / variant / "deepdewedge" / "dewedge.log").read_text()
        assert ("averages of even and of odd frames" in log) == (variant != "tilts_flip")
        assert "weighted by exposure" in log and "specimen mask" in log
    assert (tmp_path / "figure9.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "figure4.png").exists()


def test_cells_from_model_to_figure_7(of_shrec_: Download, tmp_path: Path) -> None:
    folder, specimens = of_shrec_
    assert (
        paper("shrec", folder, "-o", tmp_path, "--small", "--figure", 7, "--methods", "fbp", "dewedge") == 0
    )
    rows = rows_of(tmp_path)
    name = "model_0_snr_0.250"
    assert set(rows) == {(name, "fbp", name), (name, "dewedge", name), (f"{name}_cube_8", "dewedge", name)}
    assert [rows[v, "dewedge", name]["cube"] for v in (name, f"{name}_cube_8")] == [16, 8]
    fbp = rows[name, "fbp", name]["scores"]
    assert fbp["cc"] > 0.4 and fbp["cc_outside"] > 2 * fbp["cc_inside"] and fbp["n_particles"] > 0
    check_reconstruction(tmp_path / rows[name, "fbp", name]["volume"], specimens[0], 0.4)
    assert (tmp_path / "figure7.png").read_bytes().startswith(b"\x89PNG")


def check_reconstruction(path: Path, specimen: Specimen, least: float) -> None:
    """The tomogram is that of the specimen in its own frame; mirrored or upside down it is not."""
    volume = np.asarray(read_mrc(path).data)
    assert volume.shape == specimen.volume.shape
    assert correlation(volume, -specimen.volume) > least
    for axis in range(3):
        assert correlation(np.flip(volume, axis), -specimen.volume) < 0.7 * least


# Pictures.


def test_the_spectrum_shows_the_wedge() -> None:
    kz, kx = np.meshgrid(*(np.fft.fftfreq(64) for _ in range(2)), indexing="ij")
    measured = np.abs(np.arctan2(kz, np.where(kx == 0, 1e-9, kx)) % np.pi - np.pi / 2) > np.radians(30)
    noise = np.random.default_rng(0).normal(size=(64, 4, 64))
    volume = np.fft.ifft2(np.fft.fft2(noise, axes=(0, 2)) * measured[:, None], axes=(0, 2)).real
    power = log_power(volume)
    assert power[32, 48] - power[48, 32] > 2  # kx against kz, zero in the middle
    assert power.shape == (64, 64)


def test_curves_show_every_method_and_skip_what_has_no_score() -> None:
    scores = dict.fromkeys(("cc", "cc_outside", "cc_inside", "fsc_A"), 0.5) | {"fsc_inside_A": None}
    rows = [{"method": m, "snr": snr, "scores": scores} for m in ("fbp", "dewedge") for snr in (0.5, 1 / 6)]
    figure = curves_figure(rows, "snr", "SNR")
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["1/6", "1/2"]
    assert [text.get_text() for text in figure.axes[-1].get_legend().get_texts()] == ["FBP", "dewedge"]
