"""The calibration of `dewedge trust` at its smallest: simulated, run, judged, and held against the truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trust as calibration
from notebook_tables.calibration import calibration as table
from notebook_tables.calibration import told as shells_told


def test_what_is_told_is_true_of_a_small_specimen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(calibration, "SHAPE_ZYX", (64, 96, 96))
    case = calibration.Case(
        ("--specimen", "purified", "--membranes", "0"), ("--epochs", "2", "--cube-size", "40")
    )
    monkeypatch.setattr(calibration, "CASES", {"small": case})
    file = tmp_path / "rows.json"
    arguments = ["trust.py", "run", "--data", str(tmp_path), "--json", str(file), "--seeds", "1"]
    monkeypatch.setattr("sys.argv", arguments)
    calibration.main()
    calibration.main()  # nothing is computed twice
    [row] = json.loads(file.read_text())["rows"]
    told = np.array(shells_told(row))
    assert len(told) >= 2
    truth, estimate, low, high = told.T
    np.testing.assert_allclose(estimate, truth, atol=0.25)
    assert ((low <= truth) & (truth <= high)).mean() >= 0.5
    assert "1 tomograms" in table([row])
