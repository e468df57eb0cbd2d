"""Who started how many processes: torchrun, srun, or nobody."""

from __future__ import annotations

import pytest
import torch

from dewedge.errors import InputError
from dewedge.runtime.devices import choose_precision, launch, started_processes
from dewedge.runtime.first_process import is_first_process
from dewedge.settings.sections import ComputeSection, DeviceSection

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"}
SRUN = {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4"}
# In a batch script, before any srun.
BATCH = {"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4", "SLURM_PROCID": "0"}


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variables of a launcher."""
    for name in (*TORCHRUN, *SRUN, "RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)


def given(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    "variables, expected",
    [
        ({}, None),
        (TORCHRUN, (4, 2)),
        (SRUN, (4, 2)),
        ({**SRUN, **TORCHRUN, "WORLD_SIZE": "4"}, (4, 1)),
        (BATCH, None),
        ({**SRUN, "SLURM_NTASKS": "1", "SLURM_NTASKS_PER_NODE": "1"}, None),
    ],
)
def test_processes_of_a_node_and_nodes(
    variables: dict[str, str], expected: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
):
    given(monkeypatch, variables)
    assert started_processes() == expected


@pytest.mark.parametrize(
    "variables, devices, nodes, message",
    [
        ({}, 1, 2, "--nodes 2: expected to be started on every node"),
        (BATCH, 4, 2, "--nodes 2: expected to be started on every node"),
        (SRUN, 8, 1, "--devices 8 --nodes 1: expected 4 and 2"),
        (TORCHRUN, 4, 1, "--devices 4 --nodes 1: expected 4 and 2"),
        ({"SLURM_STEP_ID": "0", "SLURM_NTASKS": "4"}, 4, 1, "expected --ntasks-per-node"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_waits(
    variables: dict[str, str], devices: int, nodes: int, message: str, monkeypatch: pytest.MonkeyPatch
):
    given(monkeypatch, variables)
    with pytest.raises(InputError, match=message):
        launch(ComputeSection(device="cpu", devices=devices, nodes=nodes))


@pytest.mark.parametrize(
    "variables, expected",
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0", "SLURM_PROCID": "1"}, True),  # torchrun may number nodes otherwise
        ({"RANK": "4", "LOCAL_RANK": "0", "SLURM_PROCID": "1"}, False),
        ({"SLURM_PROCID": "4"}, False),
        ({"SLURM_PROCID": "0", "LOCAL_RANK": "1"}, False),  # started by the first one, in a batch script
    ],
)
def test_the_first_process(variables: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch):
    given(monkeypatch, variables)
    assert is_first_process() == expected


def test_float16_needs_a_gpu():
    section = DeviceSection(precision="16-mixed")
    assert choose_precision(section, torch.device("cuda")) == "16-mixed"
    with pytest.raises(InputError, match="16-mixed: expected a CUDA GPU"):
        choose_precision(section, torch.device("cpu"))
