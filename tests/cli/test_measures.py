"""`dewedge validate`, and `dewedge evaluate` without truth: tables, resuming, what cannot be used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dewedge.cli import main
from dewedge.geometry import TiltGeometry
from dewedge.io.mrc import read_mrc, write_mrc
from dewedge.scores.coefficient import correlation
from dewedge.scores.withheld import withheld_scores
from dewedge.settings.file import resolve_config
from dewedge.simulate.builtin import builtin_molecules
from dewedge.simulate.specimen import simulate_specimen
from dewedge.simulate.tilt_series import simulate_tilt_series

FLAGS = ["--thickness", "32", "--channels", "2", "--cube-size", "16", "--epochs", "1", "--epoch-samples", "4"]
FLAGS += [
    "--batch-size",
    "2",
    "--validation-crops",
    "2",
    "--average-rotations",
    "1",
    "--precision",
    "32-true",
]
FLAGS += ["--device", "cpu", "--beyond", "43"]


@pytest.fixture(scope="module")
def validated(series: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("validated") / "OUT"
    assert main(["validate", str(series / "TS.mrc"), *FLAGS, "--seeds", "3", "-o", str(output)]) == 0
    return output


def figures(output: Path) -> dict:
    return json.loads((output / "validate.json").read_text())


def times(output: Path, *names: str) -> list[int]:
    return [(output / name).stat().st_mtime_ns for name in names]


class TestValidate:
    def test_fits_to_the_tilts_given_and_tells_of_the_rest(self, validated: Path):
        found = figures(validated)
        assert sorted(map(abs, found["withheld_deg"])) == [a for a in range(45, 61, 3) for _ in range(2)]
        assert np.abs(found["given_deg"]).max() == 42
        run = (validated / "seed3" / "dewedge.log").read_text()
        assert "29 images" in run and "images left out as asked: 1-6,36-41" in run
        [scores] = found["cone"].values()
        np.testing.assert_allclose(scores["cone_deg"], [[-61, -53], [53, 61]])
        # The series has frames, so there is a ceiling.
        assert scores["ceiling"]["correlation"][-1] > 0.1
        assert len(found["tilts"]["prediction, seed 3"]) == 12
        assert (validated / "validate.png").stat().st_size > 10000

    def test_the_axis_that_all_tilts_show_is_that_of_the_tilts_given(self, tmp_path: Path):
        rng = np.random.default_rng(2)
        specimen = simulate_specimen((32, 136, 136), builtin_molecules(20.0), rng, n_membranes=0)
        tilts = np.arange(-60, 61, 4.0)
        wide = TiltGeometry(tilt_deg=tilts, image_shape_yx=(136, 136), pixel_size_A=20.0)
        images = simulate_tilt_series(specimen.volume, wide, 1.0, rng).noisy[:, 8:-8, 8:-8]
        write_mrc(tmp_path / "ts.mrc", np.roll(images, -6, axis=2), 20.0, stack=True)
        np.savetxt(tmp_path / "ts.tlt", tilts)
        output = tmp_path / "OUT"
        words = ["validate", str(tmp_path / "ts.mrc"), *FLAGS, "--withhold", "side"]
        assert main([*words, "-o", str(output)]) == 0
        of_seed = resolve_config(output / "seed0" / "config.toml", {})
        assert of_seed.reconstruct.refine_axis == "never"
        assert of_seed.series.axis_shift == pytest.approx(6, abs=1)
        # With an axis of their own, the tilts of one side lie elsewhere than all of them.
        whole, given = (read_mrc(path).data for path in (output / "all_tilts.mrc", output / "seed0/full.mrc"))
        assert correlation(whole[:, 12:-12, 12:-12], given[:, 12:-12, 12:-12]) > 0.7
        assert main([*words, "-o", str(output), "--resume"]) == 0

    def test_what_a_run_would_refuse_leaves_nothing(self, series: Path, tmp_path: Path, capsys):
        flags = [str(series / "TS.mrc"), "--thickness", "32", "--epochs", "1", "-o", str(tmp_path / "OUT")]
        assert main(["validate", *flags]) == 2
        message = capsys.readouterr().err.splitlines()[-1]
        assert "cubes of 48 voxels do not fit" in message and "a cube size of at most 24" in message
        assert not (tmp_path / "OUT").exists()

    def test_figures_are_those_of_the_files(self, validated: Path):
        found = figures(validated)
        prediction, whole, given = (
            read_mrc(validated / name).data
            for name in ("seed3/refined.mrc", "all_tilts.mrc", "seed3/full.mrc")
        )
        beads = validated / "seed3" / "beads.mrc"
        if beads.exists():  # the gold that the run gave back is no prediction
            prediction = prediction - read_mrc(beads).data
        expected = withheld_scores(prediction, whole, given, found["given_deg"], found["withheld_deg"])
        row = found["cone"]["prediction, seed 3"]
        assert row["prediction"] == expected.prediction.as_dict()
        table = (validated / "validate.md").read_text()
        values = [
            "-" if np.isnan(value) else f"{value:.2f}"
            for value in [*expected.prediction.correlation, *expected.prediction.explained]
        ]
        assert f"| prediction, seed 3 | {' | '.join(values)} |" in table

    def test_resuming_computes_nothing_twice_and_adds_seeds(self, validated: Path, tmp_path: Path):
        output = tmp_path / "OUT"
        shutil.copytree(validated, output)
        kept = ["all_tilts.mrc", "seed3/model.safetensors", "seed3/refined.mrc", "seed3/half0.mrc"]
        before = times(output, *kept)
        assert main(["validate", "--resume", "-o", str(output), "--seeds", "3", "4"]) == 0
        assert times(output, *kept) == before
        assert list(figures(output)["cone"]) == ["prediction, seed 3", "prediction, seed 4"]
        assert "mean of the predictions" in (output / "validate.md").read_text()

    def test_a_killed_one_goes_on(self, validated: Path, tmp_path: Path):
        output = tmp_path / "OUT"
        shutil.copytree(validated, output)
        before = figures(output)
        for name in ("seed3/refined.mrc", "all_tilts.mrc", "validate.json", "validate.md", "validate.png"):
            (output / name).unlink()
        kept = times(output, "seed3/model.safetensors", "seed3/half0.mrc")
        assert main(["validate", "--resume", "-o", str(output)]) == 0
        assert times(output, "seed3/model.safetensors", "seed3/half0.mrc") == kept
        assert figures(output) == before

    def test_the_truth_made_elsewhere_beats_the_back_projection(self, series: Path, tmp_path: Path):
        command = ["validate", str(series / "TS.mrc"), "--thickness", "32", "--device", "cpu"]
        command += ["--shells", "0.07", "0.12", "0.2", "--withhold", "side"]
        command += ["--gold", "keep", "--filter", "hamming"]
        other = tmp_path / "other" / "TS_truth.mrc"  # of the same name
        other.parent.mkdir()
        shutil.copy(series / "TS_truth.mrc", other)
        command += ["--prediction", str(series / "TS_truth.mrc"), "--prediction", str(other)]
        assert main([*command, "-o", str(tmp_path / "O")]) == 0
        cone = figures(tmp_path / "O")["cone"]
        scores = cone["other/TS_truth.mrc"]
        assert list(cone.values()) == [scores, scores]
        np.testing.assert_allclose(scores["cone_deg"], [[41, 61]])
        assert scores["edges_per_voxel"] == [0.07, 0.12, 0.2]
        truth, given, ceiling = (scores[name]["explained"] for name in ("prediction", "given", "ceiling"))
        assert not (tmp_path / "O" / "seed0").exists()
        assert truth[-1] > given[-1] + 0.2
        assert truth[-1] == pytest.approx(ceiling[-1], abs=0.2)

    @pytest.mark.parametrize(
        "arguments, message",
        [
            (["--seeds", "3"], "already holds a validation"),
            (["--resume", "--withhold", "side"], "withhold = 'outer', not 'side'"),
            (["--resume", "--beyond", "40"], "limits_deg = (43.0,), not (40.0,)"),
            (["--resume", "--cube-size", "24"], "fit.cube_size"),
            (["--resume", "--overwrite"], "got both"),
            (["--overwrite", "--beyond", "59.5", "--gap", "70"], "no direction keeps a distance of 70"),
            (["--overwrite", "--between", "1", "2", "--beyond", "3"], "got both"),
            (["--overwrite", "--beyond", "75"], "none of 41 tilts"),
        ],
    )
    def test_what_cannot_be_used(self, validated: Path, series: Path, capsys, arguments, message):
        before = figures(validated)
        inputs = [] if "--resume" in arguments else [str(series / "TS.mrc"), *FLAGS]
        if "--beyond" in arguments and inputs:
            inputs = inputs[: inputs.index("--beyond")]
        assert main(["validate", *inputs, *arguments, "-o", str(validated)]) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("dewedge: error: ") and message in error
        assert figures(validated) == before

    def test_another_run_in_the_folder_of_a_seed_stays(self, series: Path, finished: Path, tmp_path, capsys):
        shutil.copytree(finished, tmp_path / "O" / "seed0")
        before = times(tmp_path, "O/seed0/refined.mrc")
        assert main(["validate", str(series / "TS.mrc"), *FLAGS, "-o", str(tmp_path / "O")]) == 2
        assert "already holds a run" in capsys.readouterr().err
        assert times(tmp_path, "O/seed0/refined.mrc") == before

    def test_half_tomograms_cannot_be_validated(self, finished: Path, tmp_path: Path, capsys):
        config = tmp_path / "halves.toml"
        names = (f'half{i} = ["{finished / f"half{i}.mrc"}"]' for i in (0, 1))
        config.write_text("\n".join(["[tomograms]", *names, "tilt_range = [[-60, 60]]"]))
        assert main(["validate", "--config", str(config), "-o", str(tmp_path / "O")]) == 2
        assert "expected a tilt series" in capsys.readouterr().err


class TestEvaluate:
    def test_a_finished_run(self, finished: Path, tmp_path: Path, capsys):
        output, scores = tmp_path / "OUT", tmp_path / "scores.json"
        shutil.copytree(finished, output)
        assert main(["evaluate", str(output), "--json", str(scores), "--device", "cpu"]) == 0
        found = json.loads(scores.read_text())[str(output)]
        assert set(found["anisotropy"]) == {"FBP", "refined"}
        assert found["anisotropy"]["FBP"]["wedge"]["inside"][-1] < 0.1
        assert found["half_sets_held_out"] and 0 < found["half_sets"]["error_ratio"] < 2
        assert set(found["half_sets"]["directions"]) == {"x", "y", "z"}
        printed = capsys.readouterr().out
        assert "power in the rotated wedge" in printed and "region held out of the fit" in printed
        before = times(output, "refined_half0.mrc", "refined_half1.mrc")
        assert main(["evaluate", str(output), "--device", "cpu"]) == 0
        assert times(output, "refined_half0.mrc", "refined_half1.mrc") == before

    def test_gold_that_was_given_back_is_no_object(self, finished: Path, tmp_path: Path):
        output, scores = tmp_path / "OUT", tmp_path / "scores.json"
        shutil.copytree(finished, output)
        assert main(["evaluate", str(output), "--json", str(scores), "--device", "cpu"]) == 0
        [before] = json.loads(scores.read_text()).values()
        refined = read_mrc(output / "refined.mrc")
        beads = output / "beads.mrc"
        gold = np.array(read_mrc(beads).data) if beads.exists() else np.zeros_like(refined.data)
        more = np.zeros_like(gold)
        more[14:19, 30:33, 30:33] = more[14:19, 40:43, 20:23] = 50 * refined.data.min()
        write_mrc(output / "refined.mrc", refined.data + more, 20.0)
        write_mrc(beads, gold + more, 20.0)
        assert main(["evaluate", str(output), "--json", str(scores), "--device", "cpu"]) == 0
        [after] = json.loads(scores.read_text()).values()
        for measure in ("wedge", "weave"):
            was, found = (scores["anisotropy"]["refined"][measure] for scores in (before, after))
            for name in was:
                values = (np.array(part[name], dtype=float) for part in (found, was))
                np.testing.assert_allclose(*values, atol=1e-2, equal_nan=True)

    def test_a_tomogram(self, series: Path, tmp_path: Path):
        scores = tmp_path / "scores.json"
        truth = series / "TS_truth.mrc"
        assert main(["evaluate", str(truth), "--json", str(scores)]) == 0
        found = json.loads(scores.read_text())[str(truth)]
        assert found["half_sets"] is None
        assert found["anisotropy"]["TS_truth"]["wedge"]["inside"][-1] > 0.4

    @pytest.mark.parametrize(
        "arguments, message",
        [
            ([], "nothing to score"),
            (["FOLDER"], "no finished run"),
            (["TRUTH", "--tilt-range", "-60", "60"], "are for --truth"),
            (["TRUTH", "--truth", "TRUTH"], "expected --tilt-range"),
        ],
    )
    def test_what_cannot_be_used(self, series: Path, capsys, arguments, message):
        named = {"FOLDER": str(series), "TRUTH": str(series / "TS_truth.mrc")}
        assert main(["evaluate", *(named.get(text, text) for text in arguments)]) == 2
        assert message in capsys.readouterr().err
