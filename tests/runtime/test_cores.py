"""Cores of this process: affinity, quotas of both versions of cgroups, SLURM."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dewedge.check import cgroups
from dewedge.runtime.cores import usable_cores
from dewedge.runtime.devices import limit_threads

AFFINITY = 16


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of 16 cores, without quotas, SLURM or a number of threads; the folder of its cgroups."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(AFFINITY)), raising=False)
    monkeypatch.setattr(cgroups, "CGROUPS", tmp_path)
    monkeypatch.setattr(cgroups, "OWN_CGROUPS", tmp_path / "own")
    # Set first, so that what the code sets is undone, too.
    for name in ("SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    "own, files, expected",
    [
        ("", {}, 16),
        ("0::/\n", {"cpu.max": "max 100000"}, 16),
        ("0::/\n", {"cpu.max": "400000 100000"}, 4),
        ("0::/a/b\n", {"a/b/cpu.max": "250000 100000"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "800000 100000", "a/cpu.max": "200000 100000"}, 2),
        # A container that is told the host's path.
        ("0::/docker/0123\n", {"cpu.max": "400000 100000"}, 4),
        ("0::/\n", {"cpu.max": "50000 100000"}, 1),
        ("0::/\n", {"cpu.max": "nonsense"}, 16),
        ("0::/\n", {"cpu.max": "100000 0"}, 16),
        (
            "4:memory:/m\n3:cpu,cpuacct:/job\n0::/\n",
            {"cpu/job/cpu.cfs_quota_us": "600000\n", "cpu/job/cpu.cfs_period_us": "100000\n"},
            6,
        ),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 16),
        # Of another controller.
        ("4:cpuset:/\n", {"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 16),
    ],
)
def test_a_quota_counts(own: str, files: dict[str, str], expected: int, machine: Path):
    write(machine / "own", own)
    for name, text in files.items():
        write(machine / name, text)
    assert usable_cores() == expected


@pytest.mark.parametrize(
    "slurm, processes, expected",
    [("", 1, 16), ("8", 1, 8), ("8", 4, 4), ("2", 4, 2), ("64", 1, 16), ("", 32, 1)],
)
def test_cores_of_each_process(slurm: str, processes: int, expected: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", slurm)
    assert usable_cores(processes) == expected


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("variables, expected", [({"SLURM_CPUS_PER_TASK": "2"}, 2), ({}, 3)])
def test_torch_has_no_more_threads_than_cores(
    variables: dict[str, str], expected: int, three_threads: None, monkeypatch: pytest.MonkeyPatch
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    limit_threads(1)
    assert torch.get_num_threads() == expected
    assert "OMP_NUM_THREADS" not in os.environ


def test_the_number_of_threads_that_was_told_stays(three_threads: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    limit_threads(1)
    assert torch.get_num_threads() == 3


def test_processes_to_start_share_the_cores(three_threads: None):
    limit_threads(8)
    assert torch.get_num_threads() == 2
    assert os.environ["OMP_NUM_THREADS"] == "2"
