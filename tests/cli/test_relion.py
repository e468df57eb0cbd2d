"""`dewedge-relion` as RELION 5 calls it for an external job, and what RELION then reads."""

from __future__ import annotations

import os
import shutil
import threading
import time
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
import starfile
from scipy.ndimage import gaussian_filter

from dewedge.cli.relion import main
from dewedge.io.mrc import read_mrc, write_mrc
from dewedge.io.programs.relion import DENOISED, HALF1, HALF2, NAME, TILT_STAR, read_relion
from dewedge.io.star import read_star, write_star

SET, JOB = "Tomograms/job010/tomograms.star", "External/job012/"
# A fit of less than a second, on one thread.
TINY = {
    "--cube_size": "16",
    "--channels": "2",
    "--epochs": "1",
    "--epoch_samples": "4",
    "--batch_size": "2",
    "--held_out": "0",
    "--update_interval": "none",
    "--average_rotations": "1",
    "--device": "cpu",
    "--j": "1",
}
VOXEL_A = 20.0


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(16, 32, 32)).astype(np.float32)


def write_set(project: Path, names: list[str]) -> None:
    """A project's tomograms.star, with a list of pairs beside its table, and the half tomograms."""
    folder = (project / SET).parent
    for seed, name in enumerate(names):
        specimen = 10 * gaussian_filter(noise(99), 1.5)
        for half in (1, 2):
            path = folder / "tomograms" / f"rec_{name}_half{half}.mrc"
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                write_mrc(path, specimen + noise(10 * seed + half), VOXEL_A)
        tilts = [float(tilt) for tilt in range(-60, 61, 10)]
        table = {
            "rlnMicrographName": [f"MotionCorr/{name}_{i}.mrc" for i in range(len(tilts))],
            "rlnTomoYTilt": tilts,
        }
        write_star(folder / "tilt_series" / f"{name}.star", {name: table})
    rows = "".join(
        f"  {name}  300.0  1.35  Tomograms/job010/tilt_series/{name}.star  7.407  100 "
        f"Tomograms/job010/tomograms/rec_{name}_half1.mrc Tomograms/job010/tomograms/rec_{name}_half2.mrc \n"
        for name in names
    )
    columns = (
        NAME, "rlnVoltage", "rlnTomoTiltSeriesPixelSize", TILT_STAR, "rlnTomoTomogramBinning", "rlnTomoSizeZ",
        HALF1, HALF2,
    )  # fmt: skip
    head = "".join(f"_{column} #{i} \n" for i, column in enumerate(columns, 1))
    (project / SET).write_text(
        f"\n# version 50001\n\ndata_general\n\n_rlnTomoSubTomosAre2DStacks  1\n\n\n# version 50001\n\n"
        f"data_global\n\nloop_ \n{head}{rows} \n"
    )


def job(*more: str, star: str = SET, **params: str) -> int:
    """The command as RELION makes it."""
    given = TINY | {f"--{name}": value for name, value in params.items()}
    return main(["--o", JOB, "--in_mics", star, *(word for pair in given.items() for word in pair), *more])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a project with two tomograms, in which RELION starts its jobs."""
    write_set(tmp_path, ["TS_01", "TS_03"])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def state(project: Path) -> set[str]:
    return {path.name.removeprefix("RELION_JOB_") for path in (project / JOB).glob("RELION_JOB_*")}


def as_relion_reads(path: Path, block: str) -> dict[str, list[str]]:
    """A table by the rules of RELION's own reader: labels, then a line for each row, until an empty one."""
    lines = path.read_text().split(f"data_{block}\n")[1].splitlines()
    lines = lines[lines.index("loop_") + 1 :]
    labels = [line.partition("#")[0].strip()[1:] for line in lines if line.startswith("_")]
    rows = [line.split() for line in takewhile(bool, lines[len(labels) :])]
    assert all(len(row) == len(labels) for row in rows)
    return dict(zip(labels, map(list, zip(*rows, strict=True)), strict=True))


def test_denoises_and_leaves_the_rest_of_the_set_as_it_was(project: Path) -> None:
    assert job() == 0
    assert state(project) == {"EXIT_SUCCESS"}
    written = project / JOB / "tomograms.star"
    before, after = read_star(project / SET), read_star(written)
    names = [f"External/job012/{name}/refined.mrc" for name in ("TS_01", "TS_03")]
    assert after["global"].pop(DENOISED) == names
    assert after == before
    assert written.read_text().count("# version 50001\n") == 2
    assert as_relion_reads(written, "global")[DENOISED] == names
    frame = starfile.read(written, always_dict=True, parse_as_string=["rlnTomoName"])["global"]
    assert list(frame[DENOISED]) == names
    for name, half1 in zip(names, before["global"][HALF1], strict=True):
        refined, half = read_mrc(project / name), read_mrc(project / half1)
        assert refined.data.shape == half.data.shape and refined.voxel_size_A == VOXEL_A
        assert refined.data.std() > 0
    assert [entry.name for entry in read_relion(written)] == ["TS_01", "TS_03"]
    nodes = as_relion_reads(project / JOB / "RELION_OUTPUT_NODES.star", "output_nodes")
    assert nodes == {
        "rlnPipeLineNodeName": ["External/job012/tomograms.star"],
        "rlnPipeLineNodeTypeLabel": ["TomogramGroupMetadata.star.relion.tomo.denoise"],
        "rlnPipeLineNodeTypeLabelDepth": ["1"],
    }


def test_goes_on_with_new_tomograms_and_the_network_of_the_first(project: Path) -> None:
    write_set(project, ["TS_01"])
    assert job() == 0
    model, refined = project / JOB / "model.safetensors", project / JOB / "TS_01" / "refined.mrc"
    kept = [(path, path.stat().st_mtime_ns) for path in (model, refined)]
    write_set(project, ["TS_01", "TS_03"])
    assert job() == 0
    assert all(path.stat().st_mtime_ns == then for path, then in kept)
    done = read_star(project / JOB / "tomograms.star")["global"][DENOISED]
    assert done == ["External/job012/TS_01/refined.mrc", "External/job012/TS_03/refined.mrc"]
    assert job(seed="5") == 2 and state(project) == {"EXIT_FAILURE"}
    assert job("--overwrite", seed="5") == 0 and state(project) == {"EXIT_SUCCESS"}
    assert all(path.stat().st_mtime_ns != then for path, then in kept)


def test_fits_to_those_named_and_applies_to_all(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert job(fit_on="TS_01:TS_02") == 2
    assert "--fit-on TS_02: no input that can be used: expected TS_01, TS_03" in capsys.readouterr().err
    assert job(fit_on="TS_03") == 0
    both = [read_mrc(project / JOB / name / "refined.mrc").data for name in ("TS_01", "TS_03")]
    shutil.rmtree(project / JOB)
    write_set(project, ["TS_03"])
    assert job() == 0
    alone = read_mrc(project / JOB / "TS_03" / "refined.mrc").data
    np.testing.assert_array_equal(both[1], alone)
    assert both[0].std() > 0 and not np.array_equal(both[0], both[1])


def test_applies_the_model_of_another_job(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(project, ["TS_03"])
    assert job() == 0
    first = read_mrc(project / JOB / "TS_03" / "refined.mrc").data.copy()
    os.rename(project / JOB, project / "External/job011")
    write_set(project, ["TS_01", "TS_03"])
    model = "External/job011/model.safetensors"
    # The model's own network and cubes count, not these, in which a fit could not be done.
    assert job(model=model, channels="8", cube_size="32") == 0
    assert (project / JOB / "model.safetensors").read_bytes() == (project / model).read_bytes()
    assert not (project / JOB / "loss.csv").exists()
    np.testing.assert_array_equal(read_mrc(project / JOB / "TS_03" / "refined.mrc").data, first)
    done = read_star(project / JOB / "tomograms.star")["global"][DENOISED]
    assert done == ["External/job012/TS_01/refined.mrc", "External/job012/TS_03/refined.mrc"]
    kept = (project / done[0]).stat().st_mtime_ns
    assert job(model=model, channels="8", cube_size="32") == 0
    assert (project / done[0]).stat().st_mtime_ns == kept
    assert job("--overwrite", model=model, fit_on="TS_01") == 2
    assert "--model: no network is fitted" in capsys.readouterr().err
    assert job("--overwrite", model=JOB + "model.safetensors") == 2
    assert (project / JOB / "model.safetensors").exists()


def test_a_model_of_another_voxel_size_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert job() == 0
    os.rename(project / JOB, project / "External/job011")
    for path in (project / "Tomograms/job010/tomograms").glob("*.mrc"):
        write_mrc(path, read_mrc(path).data.copy(), 2 * VOXEL_A)
    assert job(model="External/job011/model.safetensors") == 2
    assert "the model was fitted to 20 A" in capsys.readouterr().err


def test_a_tomogram_without_halves_is_left_out(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "Tomograms/job010/tomograms/rec_TS_01_half2.mrc").unlink()
    assert job() == 2
    assert "rec_TS_01_half2.mrc" in capsys.readouterr().err
    assert state(project) == {"EXIT_FAILURE"}
    done = read_star(project / JOB / "tomograms.star")["global"][DENOISED]
    assert done == ["N/A", "External/job012/TS_03/refined.mrc"]


def test_tilt_series_are_not_reconstructed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    micrographs = project / "MotionCorr"
    micrographs.mkdir()
    for i in range(13):
        write_mrc(micrographs / f"TS_01_{i}.mrc", noise(i)[:1], 1.35, stack=True)
    star = project / "Tomograms/job010/tilt_series/TS_01.star"
    table = read_star(star)["TS_01"]
    aligned = ("rlnTomoXTilt", "rlnTomoZRot", "rlnTomoXShiftAngst", "rlnTomoYShiftAngst")
    write_star(star, {"TS_01": table | dict.fromkeys(aligned, ["0.0"] * 13)})
    (project / "Tomograms/job010/tomograms/rec_TS_01_half1.mrc").unlink()
    assert job() == 2
    assert "TS_01 has no half tomograms that exist" in capsys.readouterr().err
    assert read_mrc(project / JOB / "TS_03" / "refined.mrc").data.std() > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda text: text.replace(f"_{HALF1} ", "_rlnOther "),
            "no column rlnTomoReconstructedTomogramHalf1",
        ),
        (lambda text: text.replace(f"_{NAME} ", "_rlnOther "), "no column rlnTomoName"),
        (lambda text: "loop_ loop_", "not a STAR file"),
    ],
)
def test_another_file_fails_with_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], change: object, words: str
) -> None:
    assert callable(change)
    (project / SET).write_text(change((project / SET).read_text()))
    assert job() == 2
    assert words in capsys.readouterr().err
    assert state(project) == {"EXIT_FAILURE"}


def test_wrong_flags_fail_where_relion_sees_it(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert job(in_parts="particles.star") == 2
    assert "See: dewedge-relion --help" in capsys.readouterr().err
    assert state(project) == {"EXIT_FAILURE"}


def test_stops_when_relion_asks_and_goes_on(project: Path) -> None:
    def abort() -> None:
        while not (project / JOB / "loss.csv").exists():
            time.sleep(0.02)
        (project / JOB / "RELION_JOB_ABORT_NOW").touch()

    threading.Thread(target=abort, daemon=True).start()
    assert job(epochs="2000") == 143
    assert state(project) == {"ABORT_NOW", "EXIT_ABORTED"}
    assert (project / JOB / "checkpoint.safetensors").exists()
    assert not (project / JOB / "tomograms.star").exists()
    epochs = len((project / JOB / "loss.csv").read_text().splitlines()) - 1
    assert 0 < epochs < 2000
    # RELION removes its files; who starts the job in a shell need not.
    assert job(epochs=str(epochs + 1)) == 0
    assert state(project) == {"EXIT_SUCCESS"}
    assert "the fit goes on" in (project / JOB / "dewedge.log").read_text()


def test_reads_files_that_relion_wrote(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The set of RELION's tutorial, with half tomograms in the places it names."""
    monkeypatch.chdir(tmp_path)
    original = shared_data / "metadata/relion5/gpl/R5_tutorial_run_tomograms.star"
    table = read_star(original)["global"]
    write_set(tmp_path, table[NAME])
    for name, half1, half2 in zip(table[NAME], table[HALF1], table[HALF2], strict=True):
        for half, wanted in ((1, half1), (2, half2)):
            os.makedirs((tmp_path / wanted).parent, exist_ok=True)
            ours = tmp_path / "Tomograms/job010/tomograms" / f"rec_{name}_half{half}.mrc"
            os.rename(ours, tmp_path / wanted)
        ours = tmp_path / "Tomograms/job010/tilt_series" / f"{name}.star"
        wanted = tmp_path / table[TILT_STAR][table[NAME].index(name)]
        wanted.parent.mkdir(parents=True, exist_ok=True)
        os.rename(ours, wanted)
    star = tmp_path / "Tomograms/job006/tomograms.star"
    shutil.copyfile(original, star)
    assert job(star=str(star.relative_to(tmp_path))) == 0
    after = read_star(tmp_path / JOB / "tomograms.star")["global"]
    assert after.pop(DENOISED) == [f"External/job012/{name}/refined.mrc" for name in table[NAME]]
    assert after == table
    assert as_relion_reads(tmp_path / JOB / "tomograms.star", "global")[NAME] == table[NAME]
