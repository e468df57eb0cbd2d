"""CTF and exposure in the pipeline: whose values are used, what is said, and that every set is corrected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dewedge.errors import InputError
from dewedge.geometry import CtfParameters, Microscope, TiltGeometry, TiltRange
from dewedge.inputs.ctf import check_ctf, exposed_voltage_kV, with_ctf, with_tomogram_ctf
from dewedge.inputs.read import read_inputs
from dewedge.inputs.run_input import HalvesInput, SeriesInput
from dewedge.io.mrc import read_mrc, write_mrc
from dewedge.io.tilt_series import TiltSeries
from dewedge.io.volume_file import VolumeFile
from dewedge.physics.ctf import correct_images
from dewedge.physics.exposure import weight_by_exposure
from dewedge.pipeline.compare.methods import read_comparison
from dewedge.pipeline.half_sets import half_sets
from dewedge.pipeline.ready_made import copy_halves
from dewedge.pipeline.reconstruct import reconstruct_file
from dewedge.runtime.folder import ResultFolder
from dewedge.settings.file import resolve_config
from dewedge.settings.sections import CtfSection, ImagesSection, ReconstructSection, SplitSection
from dewedge.simulate.builtin import builtin_molecules
from dewedge.simulate.specimen import simulate_specimen
from dewedge.simulate.tilt_series import simulate_tilt_series

TILTS = np.arange(-60, 61, 15.0)
N = len(TILTS)

AS_THEY_ARE = ImagesSection(normalise="none", xrays="keep", gold="keep")


def series(labels: tuple[str, ...] = (), name: str = "ts.mrc", **geometry: Any) -> TiltSeries:
    images = np.random.default_rng(0).normal(size=(N, 24, 40)).astype(np.float32)
    values = {"tilt_deg": TILTS, "image_shape_yx": (24, 40), "pixel_size_A": 2.0} | geometry
    return TiltSeries("ts", Path(name), images, TiltGeometry(**values), (0, 0, 0), labels, ())


def measured(**values: Any) -> CtfParameters:
    return CtfParameters(**({"defocus_u_um": np.linspace(2, 3, N)} | values))


def completed(each: TiltSeries, file: Path | None = None, **section: Any) -> tuple[TiltGeometry, str]:
    [done], notes = with_ctf([each], CtfSection(**section), file)
    return done.geometry, "\n".join(notes)


def test_the_metadata_s_values_are_used_and_the_rest_is_assumed_and_said() -> None:
    each = series(ctf=measured(voltage_kV=200.0, defocus_hand=1))
    geometry, notes = completed(each, ctf="phase-flip", cs_mm=1.2)
    assert geometry.ctf is not None
    np.testing.assert_array_equal(geometry.ctf.defocus_um, np.linspace(2, 3, N))
    constants = geometry.ctf.voltage_kV, geometry.ctf.spherical_aberration_mm, geometry.ctf.amplitude_contrast
    assert constants == (200, 1.2, 0.07)
    assert geometry.ctf.defocus_hand == 1
    assert "defocus 2.00 to 3.00 um, measured" in notes
    assert "assumed, for no file tells: amplitude_contrast 0.07" in notes


def test_flags_win_over_metadata_and_the_usual_hand_is_relion_s() -> None:
    each = series(ctf=measured(voltage_kV=200.0, defocus_hand=1))
    given = {"defocus_um": 1.5, "voltage_kV": 300.0, "amplitude_contrast": 0.1, "defocus_hand": -1}
    ctf = completed(each, ctf="wiener", **given)[0].ctf
    assert ctf is not None
    np.testing.assert_array_equal(ctf.defocus_um, np.full(N, 1.5))
    assert (ctf.voltage_kV, ctf.amplitude_contrast, ctf.defocus_hand) == (300, 0.1, -1)
    geometry, notes = completed(series(), ctf="wiener", defocus_um=1.5)
    assert geometry.ctf is not None and geometry.ctf.defocus_hand == -1
    assert "defocus_hand -1" in notes.partition("assumed")[2]


def test_a_file_wins_over_metadata_but_for_what_it_lacks(tmp_path: Path) -> None:
    file = tmp_path / "ts_CTF.txt"
    rows = [f"{i + 1} {20000 + 1000 * i} {19000 + 1000 * i} 30 0 0.1 10" for i in range(N)]
    file.write_text("# a comment\n" + "\n".join(rows) + "\n")
    each = series(ctf=measured(voltage_kV=200.0, nominal=True))
    geometry, notes = completed(each, file, ctf="phase-flip")
    assert geometry.ctf is not None
    np.testing.assert_allclose(geometry.ctf.defocus_v_um, 1.9 + 0.1 * np.arange(N))
    assert geometry.ctf.voltage_kV == 200
    assert not geometry.ctf.nominal
    assert "from ts_CTF.txt" in notes
    with pytest.raises(InputError, match="expected one of them"):
        completed(each, file, ctf="phase-flip", defocus_um=2)


def test_nominal_defocus_is_used_and_said_to_be_nominal() -> None:
    assert "nominal" in completed(series(ctf=measured(nominal=True)), ctf="phase-flip")[1]


@pytest.mark.parametrize(
    "section, message",
    [
        ({"ctf": "phase-flip"}, r"ts\.mrc: --ctf phase-flip: no defocus known: expected --ctf-file"),
        ({"dose_weight": True}, "--dose-weight: the exposure before each image is not known"),
    ],
)
def test_what_is_asked_for_and_not_known_is_an_error(section: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        completed(series(), **section)


def test_critical_exposure_is_known_for_two_voltages() -> None:
    exposed = series(pre_exposure_e_per_A2=np.arange(N) * 3.0)
    assert "up to 24 electrons" in completed(exposed, dose_weight=True)[1]
    with pytest.raises(InputError, match="120 kV: expected --voltage-kV 200 or 300"):
        completed(exposed, dose_weight=True, voltage_kV=120)


@pytest.mark.parametrize(
    "name, label, what",
    [
        ("ts.mrc", "ctfPhaseFlip: CTF correction with phase flipping only", "CTF"),
        ("ts_ctfcorr.ali", "", "CTF"),
        ("ts.mrc", "Dose weighting applied", "exposure"),
        ("ts_dw.mrc", "", "exposure"),
    ],
)
def test_earlier_corrections_are_noticed(name: str, label: str, what: str) -> None:
    each = series((label,), name, ctf=measured(), pre_exposure_e_per_A2=np.zeros(N))
    assert f"corrected for the {what} already" in completed(each)[1]
    twice = {"ctf": "phase-flip"} if what == "CTF" else {"dose_weight": True}
    assert "does it again" in completed(each, **twice)[1]


def test_ordinary_names_and_labels_tell_of_no_correction() -> None:
    notes = completed(series(("SerialEM: 2024", "NEWSTACK: dwell time"), "edward_01.mrc"), ctf="none")[1]
    assert notes == ""


def test_every_set_is_corrected_alike() -> None:
    exposure = np.arange(N) * 3.0
    each = series(ctf=measured(), pre_exposure_e_per_A2=exposure)
    section = CtfSection(ctf="phase-flip", dose_weight=True)
    done, _ = with_ctf([each], section, None)
    none = CtfSection(ctf="none")
    *plain, _ = half_sets(
        SeriesInput("ts", (each,)), ReconstructSection(), none, SplitSection(), 0, AS_THEY_ARE
    )
    *sets, _ = half_sets(
        SeriesInput("ts", done), ReconstructSection(), section, SplitSection(), 0, AS_THEY_ARE
    )
    whole = sets[2]
    expected = weight_by_exposure(correct_images(plain[2].images, whole.geometry), whole.geometry)
    torch.testing.assert_close(whole.images, expected)
    assert not torch.allclose(expected, plain[2].images, atol=0.05)
    # The weights are those of the whole series: what a tilt is worth does not depend on its half-set.
    for half in sets[:2]:
        places = np.searchsorted(TILTS, half.geometry.tilt_deg)
        torch.testing.assert_close(half.images, expected[torch.from_numpy(places)])


def test_frames_are_corrected_alike() -> None:
    even = series(ctf=measured())
    odd = replace(even, images=even.images[:, ::-1].copy())
    section = CtfSection(ctf="phase-flip")
    done, _ = with_ctf([even, odd], section, None)
    none = CtfSection(ctf="none")
    *plain, _ = half_sets(SeriesInput("ts", done), ReconstructSection(), none, SplitSection(), 0, AS_THEY_ARE)
    *sets, _ = half_sets(
        SeriesInput("ts", done), ReconstructSection(), section, SplitSection(), 0, AS_THEY_ARE
    )
    for given, corrected in zip(plain, sets, strict=True):
        torch.testing.assert_close(corrected.images, correct_images(given.images, corrected.geometry))


def test_tomograms_are_only_deconvolved() -> None:
    tomogram = VolumeFile(Path("t_deconv.mrc"), np.zeros((2, 2, 2)), 10.0, (0, 0, 0), ())
    for section in (CtfSection(ctf="wiener"), CtfSection(dose_weight=True)):
        with pytest.raises(InputError, match=r"t_deconv\.mrc: .* expected --ctf wiener-tomogram"):
            with_tomogram_ctf(tomogram, None, section)
    section = CtfSection(ctf="wiener-tomogram", defocus_um=2)
    with pytest.raises(InputError, match="voxel size"):
        with_tomogram_ctf(replace(tomogram, voxel_size_A=None), None, section)
    ctf, notes = with_tomogram_ctf(tomogram, None, section)
    assert ctf is not None and ctf.defocus_um == 2
    assert "as given" in notes[0] and "does it again" in notes[-1]
    ctf, notes = with_tomogram_ctf(tomogram, None, CtfSection())
    assert ctf is None and len(notes) == 1
    with pytest.raises(InputError, match="no defocus known"):
        with_tomogram_ctf(tomogram, None, CtfSection(ctf="wiener-tomogram"))


def test_ready_made_halves_are_deconvolved_on_the_way(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        write_mrc(tmp_path / f"{name}.mrc", rng.normal(size=(48, 48, 48)).astype(np.float32), 10.0)
    halves = {"half0": [tmp_path / "a.mrc"], "half1": [tmp_path / "b.mrc"], "tilt_range": [-60, 60]}
    given = {
        "tomograms": halves,
        "fit": {"cube_size": 16},
        "ctf": {"ctf": "wiener-tomogram", "defocus_um": 3},
    }
    config = resolve_config(None, given)
    [item], faults, _ = read_inputs(config)
    assert not faults and any("defocus 3.00 um" in note for note in item.notes)
    out = ResultFolder(tmp_path / "out")
    out.path.mkdir()
    copy_halves(item, out, config.ctf, torch.device("cpu"))  # type: ignore[arg-type]
    raw, done = (np.asarray(read_mrc(folder).data) for folder in (tmp_path / "a.mrc", out.half0))
    assert abs(done.mean()) < 1e-6
    assert 0.05 < np.abs(np.corrcoef(raw.ravel(), done.ravel())[0, 1]) < 0.95


@pytest.mark.parametrize("method", ["phase-flip", "wiener", "wiener-tomogram"])
def test_a_stack_is_reconstructed_with_every_method(tmp_path: Path, method: str) -> None:
    each = series()
    write_mrc(tmp_path / "ts.mrc", each.images, 2.0, stack=True)
    np.savetxt(tmp_path / "ts.tlt", TILTS)
    results = []
    for ctf in ({}, {"ctf": method, "defocus_um": 0.5, "defocus_hand": "-1"}):
        config = resolve_config(
            None, {"paths": [tmp_path / "ts.mrc"], "reconstruct": {"thickness": 12}, "ctf": ctf}
        )
        reconstruct_file(config, tmp_path / "rec.mrc", halves=True, overwrite=True)
        results.append(np.array(read_mrc(tmp_path / "rec_half1.mrc").data))
    assert np.isfinite(results[1]).all()
    assert np.corrcoef(results[0].ravel(), results[1].ravel())[0, 1] < 0.95


def test_one_ctf_file_for_each_input(tmp_path: Path) -> None:
    each = series()
    write_mrc(tmp_path / "ts.mrc", each.images, 2.0, stack=True)
    np.savetxt(tmp_path / "ts.tlt", TILTS)
    ctf = {"ctf": "wiener", "ctf_file": [tmp_path / "a", tmp_path / "b"]}
    given = {"paths": [tmp_path / "ts.mrc"], "reconstruct": {"thickness": 12}, "ctf": ctf}
    with pytest.raises(InputError, match=r"one file for each of 1 inputs \(ts\), got 2"):
        reconstruct_file(resolve_config(None, given), None, halves=False)


def test_a_geometry_is_not_changed_where_nothing_is_asked_for() -> None:
    each = series(ctf=measured())
    geometry, notes = completed(replace(each), ctf="none")
    assert geometry.ctf is each.geometry.ctf and notes == ""


@pytest.mark.parametrize(
    "ctf, labels, flags, flipped, said",
    [
        (measured(), (), {}, True, "phases flipped, for the defocus was measured"),
        (measured(), (), {"ctf": "none"}, False, ""),
        (measured(nominal=True), (), {}, False, "the defocus is nominal: --ctf phase-flip takes it"),
        (measured(nominal=True), (), {"defocus_um": 2.0}, True, "defocus 2.00 um, as given"),
        (measured(nominal=True), (), {"ctf": "phase-flip"}, True, "nominal"),
        (measured(), ("CTF correction with phase flipping",), {}, False, "seem to be corrected already"),
        (measured(defocus_u_um=np.zeros(N)), (), {}, False, "hardly measured"),
        (None, (), {}, False, "no defocus is known"),
    ],
)
def test_auto_flips_phases_where_defocus_was_measured_and_says_why(
    ctf: CtfParameters | None, labels: tuple[str, ...], flags: dict[str, Any], flipped: bool, said: str
) -> None:
    each = series(labels, ctf=ctf)
    section = CtfSection(**flags)
    done, notes = with_ctf([each], section, None)
    assert said in "\n".join(notes)

    def images(chosen: CtfSection) -> list[torch.Tensor]:
        *sets, _ = half_sets(
            SeriesInput("ts", done), ReconstructSection(), chosen, SplitSection(), 0, AS_THEY_ARE
        )
        return [each.images for each in sets]

    got, plain = images(section), images(CtfSection(ctf="none"))
    for i, image in enumerate(got):
        assert torch.equal(image, plain[i]) != flipped
        if flipped:
            torch.testing.assert_close(image, images(CtfSection(ctf="phase-flip"))[i])


def test_auto_takes_a_ctf_file_as_measured(tmp_path: Path) -> None:
    file = tmp_path / "ts_CTF.txt"
    file.write_text("# a comment\n" + "\n".join(f"{i + 1} 20000 19000 30 0 0.1 10" for i in range(N)) + "\n")
    assert "phases flipped" in completed(series(ctf=measured(nominal=True)), file)[1]


@pytest.mark.parametrize(
    "ctf, labels, flags, binning, severity, text",
    [
        (measured(), (), {"ctf": "none"}, 2, "warning", "first zero lies at 22.4 A"),
        (measured(nominal=True), (), {}, 2, "warning", "Give --ctf phase-flip, better with --ctf-file"),
        (None, (), {"ctf": "none", "defocus_um": 3.0}, 2, "warning", "24.6 A"),
        (measured(), (), {}, 2, None, ""),
        (measured(), (), {"ctf": "wiener-tomogram"}, 2, None, ""),
        (measured(nominal=True), (), {}, 6, None, ""),
        (None, (), {}, 1, None, ""),
        (measured(), ("ctfPhaseFlip: CTF correction with phase flipping",), {}, 2, None, ""),
    ],
)
def test_a_zero_within_nyquist_is_told_where_nothing_is_corrected(
    ctf: CtfParameters | None,
    labels: tuple[str, ...],
    flags: dict[str, Any],
    binning: int,
    severity: str | None,
    text: str,
) -> None:
    item = SeriesInput("ts", (series(labels, ctf=ctf),))
    found = check_ctf(item, CtfSection(**flags), binning)
    assert [finding.severity for finding in found] == ([] if severity is None else [severity])
    assert text in " ".join(map(str, found))


def test_ready_made_tomograms_are_left_as_they_are_by_auto() -> None:
    tomogram = VolumeFile(Path("t.mrc"), np.zeros((2, 2, 2)), 10.0, (0, 0, 0), ())
    ctf = CtfParameters(defocus_u_um=np.array([3.0]))
    assert with_tomogram_ctf(tomogram, ctf, CtfSection()) == (ctf, ())
    item = HalvesInput("t", tomogram, tomogram, None, TiltRange(-60, 60), ctf=ctf)
    [note] = check_ctf(item, CtfSection(), 1)
    assert note.severity == "note" and "wiener-tomogram" in note.do
    assert check_ctf(replace(item, half0=replace(tomogram, labels=("deconv",))), CtfSection(), 1) == []


@pytest.mark.parametrize("recipe", ["deepdewedge", "cryocare", "isonet"])
def test_published_methods_correct_nothing_unless_compared(recipe: str) -> None:
    config = resolve_config(None, {"recipe": recipe})
    assert (config.ctf.ctf, config.reconstruct.filter) == ("none", "hamming")
    for given, expected in (({}, "auto"), ({"ctf": {"ctf": "wiener"}}, "wiener")):
        settings = read_comparison(None, given, [recipe])
        chosen = {stage.config.ctf.ctf for name in settings.methods for stage in settings.method(name).stages}
        assert chosen == {expected}


def test_a_displaced_axis_is_put_right_before_the_reconstruction(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(2)
    volume = simulate_specimen((24, 136, 136), builtin_molecules(20.0), rng, n_membranes=0).volume
    tilts = np.arange(-60, 61, 4.0)
    wide = TiltGeometry(tilt_deg=tilts, image_shape_yx=(136, 136), pixel_size_A=20.0)
    images = simulate_tilt_series(volume, wide, 1.0, rng).noisy[:, 8:-8, 8:-8]
    write_mrc(tmp_path / "ts.mrc", np.roll(images, -6, axis=2), 20.0, stack=True)
    np.savetxt(tmp_path / "ts.tlt", tilts)
    contrast = []
    for refine in ("never", "auto"):
        settings = {"thickness": 24, "refine_axis": refine}
        config = resolve_config(None, {"paths": [tmp_path / "ts.mrc"], "reconstruct": settings})
        with caplog.at_level("INFO"):
            reconstruct_file(config, tmp_path / "rec.mrc", halves=False, overwrite=True)
        assert ("put right, as by" in caplog.text) == (refine == "auto")
        rec = np.asarray(read_mrc(tmp_path / "rec.mrc").data)[:, 12:-12, 12:-12].astype(np.float64)
        contrast.append(float((rec**4).mean() / (rec**2).mean() ** 2))
    assert contrast[1] > 1.1 * contrast[0]


def test_the_voltage_of_an_mdoc_counts_where_the_defocus_is_given() -> None:
    each = series(told=Microscope(voltage_kV=200.0), pre_exposure_e_per_A2=np.arange(N) * 3.0)
    geometry, notes = completed(each, ctf="phase-flip", defocus_um=2.0)
    assert geometry.ctf is not None and geometry.ctf.voltage_kV == 200
    assert "voltage_kV" not in notes.partition("assumed")[2]
    assert exposed_voltage_kV(each.geometry, CtfSection(dose_weight=True)) == 200
