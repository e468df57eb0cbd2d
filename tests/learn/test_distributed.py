"""Two processes with gloo give the loss curve of one process with the same batch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys, warnings
import torch
from lightning_fabric import Fabric
from test_sampling import make_pair
from dewedge.learn.fit import fit
from dewedge.learn.network import NetworkConfig
from dewedge.learn.options import FitOptions

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    processes = int(sys.argv[1])
    fabric = Fabric(accelerator="cpu", devices=processes, strategy="ddp" if processes > 1 else "auto")
    fabric.launch()
    options = FitOptions(cube_size=16, batch_size=4, epoch_samples=16, epochs=3, validation_crops=4)
    _, rows = fit([make_pair((24, 48, 48))], NetworkConfig(channels=2, levels=2), options, fabric)
    if fabric.is_global_zero:
        print(json.dumps([[row.fit_loss, row.validation_loss] for row in rows]))
"""


def test_two_processes_fit_as_one_does(tmp_path: Path):
    script = tmp_path / "fit_small.py"
    script.write_text(SCRIPT)
    curves = []
    for processes in ("1", "2"):
        done = subprocess.run(
            [sys.executable, script, processes],
            env={"PYTHONPATH": str(Path(__file__).parent), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        curves.append(json.loads(done.stdout.splitlines()[-1]))
    for one, two in zip(*curves, strict=True):
        assert one == pytest.approx(two, rel=1e-5)
