"""`dewedge trust`: a verdict, its figures, and the two parts of the result."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dewedge.cli import main
from dewedge.geometry import TiltRange
from dewedge.io.mrc import read_mrc
from dewedge.learn.checkpoint import load_model
from dewedge.physics.wedge import wedge_mask


@pytest.fixture(scope="module")
def trusted(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trusted") / "OUT"
    shutil.copytree(finished, output)
    assert main(["trust", str(output), "--device", "cpu"]) == 0
    return output


def inside(path: Path, tilt_range: TiltRange) -> float:
    """Share of a tomogram's power that lies in the wedge."""
    data = read_mrc(path).data.astype(np.float64)
    spectrum = np.abs(np.fft.rfftn(data - data.mean())) ** 2
    measured = wedge_mask(data.shape, tilt_range).numpy()
    return float((spectrum * (1 - measured)).sum() / spectrum.sum())


def without_times(path: Path) -> dict[str, object]:
    found = json.loads(path.read_text())
    assert min(found.pop("seconds").values()) > 0
    return found


def test_the_figures_are_written_and_read_well(trusted: Path, capsys):
    found = json.loads((trusted / "trust.json").read_text())
    resolutions = [shell["resolution_A"] for shell in found["wedge"]]
    assert resolutions == sorted(resolutions, reverse=True) and len(resolutions) == 7
    for shell in found["wedge"]:
        if shell["correlation"] is None:
            assert shell["reason"] and shell["low"] is None and shell["high"] is None
        else:
            assert -1 <= shell["low"] <= shell["correlation"] <= shell["high"] <= 1 and not shell["reason"]
    assert len(found["extra_wedge"]) == 4
    page = (trusted / "trust.html").read_text()
    assert found["verdict"]["sentence"] in page and page.count("data:image/png;base64") == 7
    withheld = found["withheld"]
    assert len(withheld["explained"]) == len(withheld["edges_per_voxel"]) - 1 == 4
    assert f"beyond {max(map(abs, withheld['given_deg'])):.0f} degrees" in page
    assert len(withheld["predicted"]) == len(withheld["error"]) == 4
    assert (trusted / "withheld" / "validate.md").exists()
    assert f'class="verdict {found["verdict"]["level"]}"' in page


def test_the_measured_part_is_held_against_the_images(trusted: Path):
    found = json.loads((trusted / "trust.json").read_text())["consistency"]
    assert [tilt["image"] for tilt in found["tilts"]] == list(range(1, 42))
    assert found["noise_from"] in ("frames", "neighbouring tilts")
    told = [value for value in found["residual_over_noise"] if value is not None]
    assert len(told) > 10 and min(told) > 0
    assert "The measured part against the images" in (trusted / "trust.html").read_text()


def test_without_its_images_a_run_is_still_judged(finished: Path, tmp_path: Path, capsys):
    output = tmp_path / "OUT"
    shutil.copytree(finished, output)
    config = output / "config.toml"
    config.write_text(config.read_text().replace("TS.mrc", "gone.mrc"))
    assert main(["trust", str(output), "--quick", "--device", "cpu"]) == 0
    assert json.loads((output / "trust.json").read_text())["consistency"] is None
    told = capsys.readouterr().err
    assert "gone.mrc" in told and told.count("  OUT: its images cannot be asked") == 1


def test_both_parts_are_the_result(trusted: Path):
    refined, measured, added = (
        read_mrc(trusted / name).data for name in ("refined.mrc", "refined_measured.mrc", "refined_added.mrc")
    )
    np.testing.assert_allclose(measured + added, refined, atol=1e-4 * refined.std())
    tilt_range = load_model(trusted / "model.safetensors").tilt_range
    assert inside(trusted / "refined_added.mrc", tilt_range) > 0.99
    if not (trusted / "beads.mrc").exists():
        assert inside(trusted / "refined_measured.mrc", tilt_range) < 0.01


def test_the_same_fit_is_made_to_specimens_without_structure(trusted: Path):
    found = json.loads((trusted / "trust.json").read_text())
    controls = found["controls"]
    for control in (controls[name][how] for name in ("ice", "randomised") for how in ("fitted", "applied")):
        assert len(control["inside"]) == len(control["outside"]) == 7
        assert 0 < control["total"] < 100
    assert len(controls["estimated_correlation"]) == 7
    page = (trusted / "trust.html").read_text()
    assert "Out of pure noise the same fit makes" in page
    refined = read_mrc(trusted / "refined.mrc")
    for name in ("ice", "randomised"):
        folder = trusted / "controls" / name
        half = read_mrc(folder / "half0.mrc")
        assert half.data.shape == refined.data.shape and half.voxel_size_A == refined.voxel_size_A
        # Both together cost half a fit, of at least one epoch.
        assert len(load_model(folder / "model.safetensors").details["epochs"]) == 1


def test_an_inner_block_is_kept_back_where_that_is_asked(trusted: Path, tmp_path: Path):
    found = json.loads((trusted / "trust.json").read_text())
    assert found["inner"] is None and not (trusted / "withheld_inner").exists()
    output = tmp_path / "OUT"
    shutil.copytree(trusted, output, ignore=shutil.ignore_patterns("withheld", "controls"))
    assert main(["trust", str(output), "--only", "inner", "--budget", "2s", "--device", "cpu"]) == 0
    found = json.loads((output / "trust.json").read_text())
    assert found["withheld"] is None and found["controls"] is None
    inner = found["inner"]
    assert 0 < min(inner["withheld_deg"]) < max(inner["withheld_deg"]) < max(inner["given_deg"])
    assert len(inner["images_predicted"]) == len(inner["images_given"]) == len(inner["explained"]) == 4
    page = (output / "trust.html").read_text()
    assert f"the tilts from {min(inner['withheld_deg']):.0f} to" in page
    assert (output / "withheld_inner" / "validate.md").exists()


def test_independent_fits_are_compared(trusted: Path):
    found = json.loads((trusted / "trust.json").read_text())["fits"]
    inside, outside, most = (
        np.array(found[key], dtype=np.float64) for key in ("inside", "outside", "correlation_at_most")
    )
    assert len(inside) == len(found["edges_per_voxel"]) - 1 == 7
    told = np.isfinite(inside) & np.isfinite(outside)
    assert told.any() and outside[told].max() > 0.5
    np.testing.assert_allclose(most[told], np.sqrt(2 / (1 + 1 / np.maximum(inside[told], 1e-9))), atol=1e-3)
    a, b, difference = (
        read_mrc(trusted / name).data
        for name in ("independent/a/refined.mrc", "independent/b/refined.mrc", "refined_difference.mrc")
    )
    np.testing.assert_array_equal(difference, a - b)
    assert difference.std() > 0
    assert len({(trusted / "independent" / n / "model.safetensors").read_bytes() for n in "ab"}) == 2


def test_uncertainty_is_mapped(trusted: Path):
    found = json.loads((trusted / "trust.json").read_text())["uncertainty"]
    assert found["networks"] == 3 and 0 < found["coverage"] <= 1 and len(found["coverage_by_quarter"]) == 4
    sentence = "is calibrated" if found["calibrated"] else "is not to be believed here"
    assert f"refined_uncertainty {sentence}" in (trusted / "trust.html").read_text()
    sigma = read_mrc(trusted / "refined_uncertainty.mrc").data
    assert sigma.shape == read_mrc(trusted / "refined.mrc").data.shape
    assert (sigma >= 0).all() and np.isfinite(sigma).all() and sigma.max() > 0
    np.testing.assert_allclose(sigma.min() ** 2, found["a"], atol=found["b"] * sigma.var() + found["a"])


def test_a_run_is_told_with_its_verdict(trusted: Path, tmp_path: Path, capsys):
    output = tmp_path / "OUT"
    shutil.copytree(trusted, output)
    before = without_times(output / "trust.json")
    torch.manual_seed(5)
    fits = [output / name / "model.safetensors" for name in ("withheld/seed0", "controls/ice")]
    fitted = [fit.stat().st_mtime_ns for fit in fits]
    assert main(["trust", str(output), "--device", "cpu"]) == 0
    assert without_times(output / "trust.json") == before  # nothing is left to chance
    assert [fit.stat().st_mtime_ns for fit in fits] == fitted  # or fitted twice
    assert before["verdict"]["sentence"] in " ".join(capsys.readouterr().out.split())


def test_every_tomogram_of_a_run_is_judged(finished: Path, tmp_path: Path, capsys):
    output = tmp_path / "OUT"
    output.mkdir()
    for name in ("config.toml", "model.safetensors"):
        shutil.copy(finished / name, output / name)
    for name in ("A", "B"):
        shutil.copytree(finished, output / name, ignore=shutil.ignore_patterns("*.toml", "*.safetensors"))
    assert main(["trust", str(output), "--device", "cpu"]) == 0
    for name in ("A", "B"):
        found = json.loads((output / name / "trust.json").read_text())
        assert found["name"] == name and found["withheld"] is None
        assert found["controls"] is None and found["fits"] is None
        assert found["uncertainty"]["networks"] == 1
    assert "of several tomograms no tilts are kept back" in capsys.readouterr().err


def test_a_run_may_end_with_it(series: Path, tiny: list[str], tmp_path: Path, capsys):
    output = tmp_path / "OUT"
    assert main(["run", str(series / "TS.mrc"), *tiny, "--trust", "-o", str(output)]) == 0
    found = json.loads((output / "trust.json").read_text())
    assert found["withheld"] is None and not (output / "withheld").exists()
    assert found["fits"] is None and not (output / "independent").exists()
    assert found["uncertainty"]["networks"] == 1
    assert found["verdict"]["advice"] in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda folder: (folder / "half0.mrc").unlink(), "half0.mrc not there: `dewedge run --resume"),
        (lambda folder: (folder / "refined.mrc").unlink(), "no finished run"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no model.safetensors"),
        (shutil.rmtree, "no such folder"),
    ],
)
def test_what_cannot_be_judged(finished: Path, tmp_path: Path, capsys, spoil, message):
    output = tmp_path / "OUT"
    shutil.copytree(finished, output)
    spoil(output)
    assert main(["trust", str(output), "--device", "cpu"]) == 2
    assert message in capsys.readouterr().err
