"""Fixtures that all tests share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def nobody_shows_messages() -> Iterator[None]:
    """What a test sends messages to is none of the next one's, whose caplog would not see them."""
    yield
    if "dewedge.runtime.log" in sys.modules:
        sys.modules["dewedge.runtime.log"].stop_messages()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of data made by others, beside the checkout; the tests that need it run wherever it exists."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no folder ../shared/data beside the checkout")
    return folder
