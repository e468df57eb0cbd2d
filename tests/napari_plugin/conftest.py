"""A small run as dewedge leaves it: of one tomogram with what dewedge trust found, and of several."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from dewedge.io.mrc import write_mrc
from dewedge.runtime.folder import ResultFolder

SHAPE = (8, 12, 10)
VERDICT = {"level": "some", "sentence": "Down to 90 Å & no further.", "advice": "Look at xy."}


def write_volumes(folder: ResultFolder, seed: int, *paths: Path) -> None:
    random = np.random.default_rng(seed)
    folder.path.mkdir(parents=True, exist_ok=True)
    for path in paths:
        write_mrc(path, random.normal(size=SHAPE), 12.5, origin_xyz_A=(1.0, 2.0, 3.0), what=path.stem)


@pytest.fixture
def run(tmp_path: Path) -> ResultFolder:
    """A finished and judged run."""
    folder = ResultFolder(tmp_path / "TS_01")
    write_volumes(folder, 0, folder.full, folder.refined)
    write_volumes(folder, 1, folder.measured, folder.added, folder.fits_difference, folder.uncertainty)
    folder.config_file.write_text("")
    folder.report.write_text("")
    folder.trust.write_text(json.dumps({"verdict": VERDICT}))
    os.utime(folder.refined, (1, 1))
    return folder


@pytest.fixture
def several(tmp_path: Path) -> ResultFolder:
    """A run of two tomograms, of which the second is not refined yet."""
    folder = ResultFolder(tmp_path / "joint")
    first, second = (ResultFolder(folder.path / name) for name in ("TS_01", "TS_02"))
    write_volumes(first, 2, first.full, first.refined)
    write_volumes(second, 3, second.full)
    folder.config_file.write_text("")
    return folder
