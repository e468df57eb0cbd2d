"""One way in: files named one by one become the entries that finding them gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.inputs.entries import entries_of
from dewedge.inputs.read import open_inputs
from dewedge.inputs.run_input import SeriesInput
from dewedge.io.angles import write_tilt_angles
from dewedge.io.entries import SeriesEntry
from dewedge.io.mrc import write_mrc
from dewedge.io.xf import write_xf
from dewedge.runtime.faults import Faults
from dewedge.settings.file import resolve_config
from dewedge.settings.sections import Config

TILTS = np.arange(-40.0, 41, 8)


def write_stack(folder: Path, name: str, shift: float = 0.0) -> Path:
    """A stack with angles and alignment of its own."""
    images = np.random.default_rng(len(name)).normal(size=(TILTS.size, 32, 32)).astype(np.float32)
    write_mrc(folder / f"{name}.mrc", images, 20.0, stack=True, what="test")
    write_tilt_angles(folder / f"{name}.tlt", TILTS)
    matrices = np.tile(np.eye(2), (TILTS.size, 1, 1))
    write_xf(folder / f"{name}.xf", matrices, np.full((TILTS.size, 2), shift))
    return folder / f"{name}.mrc"


def settings(paths: list[Path], **series: Any) -> Config:
    return resolve_config(None, {"paths": paths, "series": series})


def opened(config: Config) -> SeriesInput:
    faults = Faults()
    [item] = open_inputs(config, faults)
    assert isinstance(item, SeriesInput) and not faults
    return item


def test_a_named_stack_is_the_found_one(tmp_path: Path):
    stack = write_stack(tmp_path, "TS", 1.5)
    found, named = opened(settings([stack])), opened(settings([stack], angles=[tmp_path / "TS.tlt"]))
    assert (found.name, found.files) == (named.name, named.files)
    np.testing.assert_array_equal(found.series[0].images, named.series[0].images)
    for key in ("tilt_deg", "linear_yx", "shift_yx"):
        a, b = (getattr(item.series[0].geometry, key) for item in (found, named))
        np.testing.assert_array_equal(a, b)
    assert any("tilt angles from TS.tlt" in note for note in named.notes)


def test_named_frames_are_one_entry(tmp_path: Path):
    even, odd = (write_stack(tmp_path, f"TS_{half}", 1.5) for half in ("even", "odd"))
    config = settings([], even=[even], odd=[odd])
    [entry] = entries_of(config, Faults())
    assert isinstance(entry, SeriesEntry) and entry.name == "TS" and entry.has_frames
    assert [series.path for series in opened(config).series] == [even, odd]


def test_frames_of_two_alignments_are_a_fault(tmp_path: Path):
    even, odd = write_stack(tmp_path, "TS_even"), write_stack(tmp_path, "TS_odd", 1.5)
    faults = Faults()
    assert entries_of(settings([], even=[even], odd=[odd]), faults) == []
    assert "TS_odd.mrc: its alignment is not that of" in str(faults[0])


def test_what_is_given_by_place_needs_all_places(tmp_path: Path):
    stacks = [write_stack(tmp_path, name) for name in ("A", "B")]
    (tmp_path / "A.tlt").write_text("0\n")
    faults = Faults()
    [entry] = entries_of(settings(stacks), faults)
    assert entry.name == "B" and len(faults) == 1
    config = settings(stacks)
    config = config.model_copy(update={"fit": config.fit.model_copy(update={"mask": ["none", "auto"]})})
    with pytest.raises(InputError, match=r"A\.tlt: 1 angles"):
        entries_of(config, Faults())


def halves_settings(folder: Path, count: int, **tomograms: Any) -> Config:
    named: dict[str, list[Path]] = {"half0": [], "half1": []}
    for i in range(count):
        for half, paths in named.items():
            paths.append(folder / f"{i}_{half}.mrc")
            write_mrc(paths[-1], np.random.default_rng(i).normal(size=(8, 8, 8)).astype(np.float32), 10.0)
    return resolve_config(None, {"tomograms": {**named, "tilt_range": [-60, 60], **tomograms}})


@pytest.mark.parametrize(("given", "expected"), [([], [0, 0]), ([4], [4, 4]), ([4, -2.5], [4, -2.5])])
def test_a_tilt_about_x_is_given_for_all_or_for_each(tmp_path: Path, given: Any, expected: list[float]):
    items = open_inputs(halves_settings(tmp_path, 2, x_tilt=given), Faults())
    assert [item.tilt_range for item in items] == [(-60, 60, tilt) for tilt in expected]
    assert [("turned by" in item.notes[0]) for item in items] == [tilt != 0 for tilt in expected]


@pytest.mark.parametrize(
    ("given", "message"), [([1, 2, 3], "for each of 2 tomograms, got 3"), ([50], "between -45 and 45")]
)
def test_a_wrong_tilt_about_x_is_an_error(tmp_path: Path, given: list[float], message: str):
    with pytest.raises(InputError, match=message):
        open_inputs(halves_settings(tmp_path, 2, x_tilt=given), Faults())


def test_two_angles_leave_the_tilt_about_x_as_it_is():
    told = TiltRange(-60, 60, 4)
    assert told.with_angles((-50, 55)) == (-50, 55, 4) and told.with_angles((-50, 55, 0)) == (-50, 55, 0)


def test_a_tilt_about_x_is_for_half_tomograms(tmp_path: Path):
    config = resolve_config(None, {"paths": [write_stack(tmp_path, "TS")], "tomograms": {"x_tilt": [3]}})
    with pytest.raises(InputError, match="x_tilt"):
        open_inputs(config, Faults())
