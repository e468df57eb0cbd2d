"""The faults that docs/figures/troubleshooting.py makes are those that the measures tell, each by its own."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dewedge.geometry import TiltRange
from dewedge.scores.anisotropy import Anisotropy, anisotropy

SCRIPT = Path(__file__).parents[2] / "docs" / "figures" / "troubleshooting.py"
TILTS = TiltRange(-60.0, 60.0)
TILE = 24


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("troubleshooting_figures", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look for their annotations
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def matter() -> NDArray[np.float32]:
    """Texture that no direction is preferred by."""
    noise = np.random.default_rng(0).standard_normal((96, 96, 96), dtype=np.float32)
    return gaussian_filter(noise, 1, mode="wrap")


def measured(figures: ModuleType, volume: NDArray[np.float32]) -> Anisotropy:
    return anisotropy(volume, borders=figures.borders_of_tiles(volume.shape, TILE))


def test_matter_without_a_fault_has_none(figures: ModuleType, matter: NDArray[np.float32]) -> None:
    found = measured(figures, matter)
    assert found.wedge.inside == pytest.approx([1, 1], abs=0.3)
    assert found.wedge.rotated == pytest.approx([1, 1], abs=0.3)
    assert found.weave.axes.max() < 2
    assert found.steps["x"] == pytest.approx(1, abs=0.03)


def test_a_grid_is_a_weave(figures: ModuleType, matter: NDArray[np.float32]) -> None:
    found = measured(figures, figures.with_grid(matter))
    assert found.weave.axes.max() > 20
    assert found.steps["x"] < 1.03


def test_seams_are_steps_at_borders(figures: ModuleType, matter: NDArray[np.float32]) -> None:
    found = measured(figures, figures.with_seams(matter, TILE))
    assert min(found.steps.values()) > 1.1


def test_wedges_are_empty_about_their_own_axis(figures: ModuleType, matter: NDArray[np.float32]) -> None:
    empty = measured(figures, figures.with_empty_wedge(matter, TILTS)).wedge
    assert empty.inside.max() < 0.1 and empty.rotated.min() > 0.3
    fake = measured(figures, figures.with_fake_wedge(matter, TILTS)).wedge
    assert fake.rotated.max() < 0.1 and fake.inside.min() > 0.3


def test_a_specimen_without_structure_has_the_power_of_the_measured(
    figures: ModuleType, matter: NDArray[np.float32]
) -> None:
    rng = np.random.default_rng(1)
    halves = [matter + 0.1 * rng.standard_normal(matter.shape, dtype=np.float32) for _ in range(2)]
    nothing = figures.without_structure(*halves, TILTS)
    kept = figures.with_empty_wedge(matter, TILTS)
    assert nothing.std() == pytest.approx(kept.std(), rel=0.15)
    assert abs(np.corrcoef(nothing.ravel(), matter.ravel())[0, 1]) < 0.1
