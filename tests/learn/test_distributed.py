"""Two processes with gloo fit and refine as one process does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dewedge

SCRIPT = """
import json, sys, warnings
import numpy as np
import torch
from lightning_fabric import Fabric
from test_sampling import make_pair
from dewedge.learn import refine
from dewedge.learn.fit import fit
from dewedge.learn.network import NetworkConfig, UNet
from dewedge.learn.options import FitOptions

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    processes = int(sys.argv[1])
    fabric = Fabric(accelerator="cpu", devices=processes, strategy="ddp" if processes > 1 else "auto")
    fabric.launch()
    options = FitOptions(
        cube_size=16, batch_size=4, epoch_samples=16, epochs=3, validation_crops=4, update_interval=1
    )
    pair, config = make_pair((24, 48, 48)), NetworkConfig(channels=2, levels=2)
    _, rows = fit([pair], config, options, fabric)
    torch.manual_seed(0)
    network, output = UNet(config), np.empty(pair.half0.shape, np.float32) if fabric.is_global_zero else None
    refine.COLUMN_VOXELS = 1  # every tile along x in a column of its own
    small = refine.RefineOptions(tile=16, overlap=4)
    refine.refine(
        [pair.half0], output, network, pair.tilt_range, small, input_std=1, fabric=fabric
    )
    if fabric.is_global_zero:
        refined = output[::5, ::5, ::5] / output.std()
        print(json.dumps([[[row.fit_loss, row.validation_loss] for row in rows], refined.ravel().tolist()]))
"""


def test_two_processes_fit_and_refine_as_one_does(tmp_path: Path):
    script = tmp_path / "fit_small.py"
    script.write_text(SCRIPT)
    folders = Path(__file__).parent, Path(dewedge.__file__).parents[1]
    results = []
    for processes in ("1", "2"):
        done = subprocess.run(
            [sys.executable, script, processes],
            env={"PYTHONPATH": os.pathsep.join(map(str, folders)), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        results.append(json.loads(done.stdout.splitlines()[-1]))
    (curve, refined), (curve_of_two, refined_by_two) = results
    for one, two in zip(curve, curve_of_two, strict=True):
        assert one == pytest.approx(two, rel=1e-5)
    assert refined_by_two == pytest.approx(refined, abs=1e-4)
