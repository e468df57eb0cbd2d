"""Memory: what is needed, what is free, and what is done where it is short."""

from __future__ import annotations

import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

import dewedge.check.memory as memory
from dewedge.check import cgroups
from dewedge.check.memory import (
    fit_bytes,
    free_memory_GB,
    reconstruct_bytes,
    refine_bytes,
    require_free_memory,
)
from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.learn.checkpoint import Model
from dewedge.learn.network import PRESETS, NetworkConfig, UNet
from dewedge.learn.options import FitOptions
from dewedge.learn.tiling import smaller_tile
from dewedge.pipeline.refine import refine_arrays
from dewedge.settings.sections import DeviceSection, ReconstructSection, TileSection

CPU = torch.device("cpu")
SHAPES = [(64, 128, 128)]


def test_batches_cubes_channels_and_tiles_take_memory():
    options = FitOptions(budget_s=60, update_interval=None)
    config = PRESETS["default"]
    needed = fit_bytes(config, options, SHAPES, "32-true")
    assert fit_bytes(config, replace(options, batch_size=10**9), SHAPES, "32-true") > 1e6 * needed
    assert fit_bytes(config, replace(options, cube_size=512), SHAPES, "32-true") > 100 * needed
    assert fit_bytes(replace(config, channels=1024), options, SHAPES, "32-true") > 2e10
    assert refine_bytes(config, [(4096,) * 3], 4096, "32-true") > 1e12


def test_images_and_total_variation_take_memory():
    tilts, fbp = np.arange(-60, 61, 2.0), ReconstructSection()
    images = 4 * tilts.size * 928 * 928
    shape = (464, 928, 928)
    plain = reconstruct_bytes(shape, tilts, fbp)
    # The full set, half-sets, one copy of all of them, and two blocks.
    assert plain == pytest.approx(3 * images + 2**29)
    assert reconstruct_bytes(shape, tilts, fbp, frames=True) == pytest.approx(plain + images)
    with_tv = reconstruct_bytes(shape, tilts, fbp, with_tv=True)
    assert 1.4e9 < with_tv - 2.25 * images < 1.8e9
    assert reconstruct_bytes((464, 1856, 928), tilts, fbp, with_tv=True) < 1.6 * with_tv
    assert reconstruct_bytes(shape, tilts, ReconstructSection(algorithm="tv")) > with_tv + 1e9


def test_what_is_far_more_than_free_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "free_memory_GB", lambda device: 4.0)
    require_free_memory(5e9, CPU, "fit", "give less")
    with pytest.raises(InputError, match=r"fit: about 8\.\d GB of memory needed, 4\.0 GB free: give less"):
        require_free_memory(9e9, CPU, "fit", "give less")
    monkeypatch.setattr(memory, "free_memory_GB", lambda device: None)
    require_free_memory(1e30, CPU, "fit", "give less")


def test_a_limit_of_the_shell_counts():
    code = (
        "import resource\nfrom dewedge.check.memory import free_memory_GB\n"
        "resource.setrlimit(resource.RLIMIT_AS, (8 * 10**9, resource.RLIM_INFINITY))\nprint(free_memory_GB())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 8
    assert (
        resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY or (free_memory_GB() or 0) < 1e9
    )


V2 = {"memory.max": "8000000000\n", "memory.current": "5000000000\n"}
V1 = {"memory.limit_in_bytes": "8000000000\n", "memory.usage_in_bytes": "5000000000\n"}
STAT = "anon 1\ninactive_file 400000000\nactive_file 600000000\n"
STAT_1 = "inactive_file 1\ntotal_inactive_file 400000000\ntotal_active_file 600000000\n"


@pytest.mark.parametrize(
    "own, folder, files, expected",
    [
        # 3 GB, and 1 GB of pages of files.
        ("0::/\n", "", V2 | {"memory.stat": STAT}, 4.0),
        ("0::/system.slice/job_7/step_0\n", "system.slice/job_7", V2 | {"memory.stat": STAT}, 4.0),
        ("0::/docker/0123\n", "", V2 | {"memory.stat": STAT}, 4.0),
        ("9:cpu:/a\n4:memory:/slurm/job_7\n0::/\n", "memory/slurm/job_7", V1 | {"memory.stat": STAT_1}, 4.0),
        ("0::/\n", "", V2 | {"memory.max": "max\n", "memory.stat": STAT}, None),
        ("0::/\n", "", V2, None),
        ("9:cpu:/a\n", "memory/a", V1 | {"memory.stat": STAT_1}, None),
        ("", "", {}, None),
    ],
)
def test_a_limit_of_a_container_or_job_counts(own, folder, files, expected, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(cgroups, "CGROUPS", tmp_path)
    monkeypatch.setattr(cgroups, "OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(memory, "_free_of_machine", lambda: 100e9)
    monkeypatch.setattr(memory, "_free_of_limit", lambda: None)
    (tmp_path / "own").write_text(own)
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (tmp_path / folder / name).write_text(text)
    assert free_memory_GB() == pytest.approx(100.0 if expected is None else expected)


def test_pages_of_mapped_files_are_not_taken(tmp_path: Path):
    path, size = tmp_path / "large", 2**27
    path.write_bytes(bytes(size))
    before = memory.taken_bytes()
    volume = np.memmap(path, mode="r")
    assert volume.sum() == 0
    assert abs(memory.taken_bytes() - before) < size / 4
    own = np.ones(size, np.uint8)
    assert memory.taken_bytes() - before > 0.75 * own.size or before == 0


class ShortOfMemory(UNet):
    """Fails as torch does on a CPU that has no memory for tiles beyond an edge."""

    largest = 16

    def forward(self, volume):
        if max(volume.shape[2:]) > self.largest:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return super().forward(volume)


def refined(tile: int) -> np.ndarray:
    config = NetworkConfig(channels=2, levels=1, convolutions=1)
    torch.manual_seed(0)
    model = Model(UNet(config).state_dict(), config, 16, 1.0, None, None, TiltRange(-60, 60), {})
    fabric = Fabric(accelerator="cpu", devices=1)
    volume = np.random.default_rng(0).normal(size=(24, 40, 40)).astype(np.float32)
    output = np.zeros_like(volume)
    refine_arrays(
        [volume], output, model, TiltRange(-60, 60), TileSection(tile=tile, overlap=8),
        DeviceSection(device="cpu", precision="32-true"), fabric, names=["a.mrc"],
    )  # fmt: skip
    return output


def test_tiles_for_which_memory_is_short_are_made_smaller_once(monkeypatch, caplog):
    expected = refined(16)
    monkeypatch.setattr("dewedge.learn.checkpoint.UNet", ShortOfMemory)
    with caplog.at_level("WARNING", "dewedge"):
        np.testing.assert_array_equal(refined(32), expected)
    assert "a.mrc: out of memory: refined again with tiles of 16, not 32" in caplog.messages
    monkeypatch.setattr(ShortOfMemory, "largest", 4)
    with pytest.raises(RuntimeError, match="allocate"):
        refined(32)


def test_tiles_are_not_made_smaller_where_the_result_depends_on_them():
    assert smaller_tile(128, 24, PRESETS["default"]) == 64
    assert smaller_tile(48, 24, PRESETS["default"]) is None
    assert smaller_tile(128, 24, PRESETS["paper"]) is None


def test_a_prediction_that_is_not_finite_is_refused(monkeypatch):
    class Infinite(UNet):
        def forward(self, volume):
            return super().forward(volume) / 0

    monkeypatch.setattr("dewedge.learn.checkpoint.UNet", Infinite)
    with pytest.raises(InputError, match="prediction is not finite"):
        refined(16)
