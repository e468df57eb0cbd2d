"""The tests of a GPU: each holds what a device computes against the CPU.

With ``device`` a test runs on the CPU as well, which tells that the test itself works; those that are marked
``gpu`` run on a GPU alone: they would take too long on the CPU, or other tests do the same there.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from comparisons import fabric_on
from lightning_fabric import Fabric


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU, and torch finds none")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("gpu"):
            # A driver's warning should not hide what the test tells.
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture
def gpu() -> torch.device:
    return torch.device("cuda")


@pytest.fixture(autouse=True)
def exact_float32() -> Iterator[None]:
    """Without the ten bits of TF32, which convolutions on a GPU have by default, float32 is that of a CPU."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def fabric(device: torch.device) -> Fabric:
    return fabric_on(device)
