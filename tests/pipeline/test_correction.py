"""CTF and exposure in the pipeline: whose values are used, what is said, and that every set is corrected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dewedge.errors import InputError
from dewedge.geometry import CtfParameters, TiltGeometry
from dewedge.io.mrc import Mrc, read_mrc, write_mrc
from dewedge.io.tilt_series import TiltSeries
from dewedge.physics.ctf import correct_images
from dewedge.physics.exposure import weight_by_exposure
from dewedge.pipeline.config import CtfSection, ReconstructSection, SplitSection
from dewedge.pipeline.config_file import resolve_config
from dewedge.pipeline.ctf import with_ctf, with_tomogram_ctf
from dewedge.pipeline.inputs import read_inputs
from dewedge.pipeline.items import SeriesInput
from dewedge.pipeline.reconstruct import copy_halves, half_sets, reconstruct_file

TILTS = np.arange(-60, 61, 15.0)
N = len(TILTS)


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
    assert completed(series(("SerialEM: 2024", "NEWSTACK: dwell time"), "edward_01.mrc"))[1] == ""


def test_every_set_is_corrected_alike() -> None:
    exposure = np.arange(N) * 3.0
    each = series(ctf=measured(), pre_exposure_e_per_A2=exposure)
    section = CtfSection(ctf="phase-flip", dose_weight=True)
    done, _ = with_ctf([each], section, None)
    plain = half_sets(SeriesInput("ts", (each,)), ReconstructSection(), CtfSection(), SplitSection(), 0)
    sets = half_sets(SeriesInput("ts", done), ReconstructSection(), section, SplitSection(), 0)
    for raw, corrected in zip(plain[:3], sets[:3], strict=True):
        geometry = corrected.geometry
        expected = weight_by_exposure(correct_images(raw.images, geometry), geometry)
        torch.testing.assert_close(corrected.images, expected)
        assert not torch.allclose(corrected.images, raw.images, atol=0.05)


def test_frames_are_corrected_alike() -> None:
    even, odd = series(ctf=measured()), series(ctf=measured())
    section = CtfSection(ctf="phase-flip")
    done, _ = with_ctf([even, odd], section, None)
    sets = half_sets(SeriesInput("ts", done), ReconstructSection(), section, SplitSection(), 0)
    torch.testing.assert_close(sets[0].images, sets[1].images)
    torch.testing.assert_close(sets[0].images, sets[2].images)


def test_tomograms_are_only_deconvolved() -> None:
    tomogram = Mrc(Path("t_deconv.mrc"), np.zeros((2, 2, 2)), 10.0, (0, 0, 0), ())
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
    [item], faults = read_inputs(config)
    assert not faults and any("defocus 3.00 um" in note for note in item.notes)
    out = tmp_path / "out"
    out.mkdir()
    copy_halves(item, out, config.ctf, torch.device("cpu"))  # type: ignore[arg-type]
    raw, done = (np.asarray(read_mrc(folder).data) for folder in (tmp_path / "a.mrc", out / "half0.mrc"))
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
    geometry, notes = completed(replace(each))
    assert geometry.ctf is each.geometry.ctf and notes == ""
