"""`dewedge run --init` with the model of an earlier run."""

from __future__ import annotations

from pathlib import Path

import pytest

from dewedge.cli import main


def test_a_run_starts_from_the_model_of_another(
    finished: Path, series: Path, tmp_path: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
):
    model, output = finished / "model.safetensors", tmp_path / "OUT"
    assert main(["run", str(series / "TS.mrc"), *tiny, "--init", str(model), "-o", str(output)]) == 0
    assert f"the fit starts from the weights of {model}" in (output / "dewedge.log").read_text()
    assert f'init = "{model}"' in (output / "config.toml").read_text()
    first = [(folder / "loss.csv").read_text().splitlines()[1].split(",") for folder in (output, finished)]
    assert float(first[0][5]) < float(first[1][5])

    assert main(["run", "--resume", "-o", str(output), "--init", "random"]) == 2
    assert "the run there has fit.init = " in capsys.readouterr().err.splitlines()[-1]


def test_a_run_does_not_replace_the_model_it_starts_from(
    finished: Path, series: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
):
    model = finished / "model.safetensors"
    stack = str(series / "TS.mrc")
    assert main(["run", stack, *tiny, "--init", str(model), "-o", str(finished), "--overwrite"]) == 2
    assert "is an input that a result would replace" in capsys.readouterr().err.splitlines()[-1]
    assert model.exists()


def test_weights_of_another_network_end_the_run_before_it_begins(
    finished: Path, series: Path, tmp_path: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
):
    model, output = finished / "model.safetensors", tmp_path / "OUT"
    arguments = ["run", str(series / "TS.mrc"), *tiny, "--channels", "4", "--init", str(model)]
    assert main([*arguments, "-o", str(output)]) == 2
    assert "its network has channels = 16" in capsys.readouterr().err.splitlines()[-1]
    assert not output.exists()
