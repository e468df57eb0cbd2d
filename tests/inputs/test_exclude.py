"""Leaving images out: by their numbers, with everything that belongs to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dewedge.errors import InputError
from dewedge.inputs.read import read_inputs
from dewedge.io.angles import write_tilt_angles
from dewedge.io.image_numbers import image_numbers, numbers_text
from dewedge.io.mrc import write_mrc
from dewedge.settings.file import resolve_config

TILTS = np.arange(-40.0, 41, 8)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stack")
    images = np.random.default_rng(0).standard_normal((TILTS.size, 64, 64)).astype(np.float32)
    write_mrc(folder / "TS.mrc", images, 20.0, stack=True, what="test")
    write_tilt_angles(folder / "TS.tlt", TILTS)
    return folder / "TS.mrc"


def series(stack: Path, exclude: object, **ctf: object):
    given = {
        "paths": [stack],
        "series": {"exclude_tilts": exclude},
        "reconstruct": {"thickness": 48},
        "fit": {"cube_size": 16},
        "ctf": ctf,
    }
    [item], faults, _ = read_inputs(resolve_config(None, given))
    assert not faults
    return item


@pytest.mark.parametrize("exclude, kept", [("1,11", range(1, 10)), (["2-3", "7"], [0, 3, 4, 5, 7, 8, 9, 10])])
def test_the_other_images_stay_with_their_angles(stack: Path, exclude, kept):
    whole, item = series(stack, []), series(stack, exclude)
    geometry = item.series[0].geometry
    np.testing.assert_array_equal(geometry.tilt_deg, TILTS[list(kept)])
    np.testing.assert_array_equal(item.series[0].images, whole.series[0].images[list(kept)])
    assert item.tilt_range[:2] == (TILTS[list(kept)].min(), TILTS[list(kept)].max())
    assert any("left out as asked" in note for note in item.notes)


def test_a_defocus_file_still_has_a_row_for_every_image(stack: Path, tmp_path: Path):
    lines = [f"{i + 1} {20000 + 100 * i} {20000 + 100 * i} 0 0 0.9 8" for i in range(TILTS.size)]
    (tmp_path / "ctf.txt").write_text("# Columns: #1 micrograph number\n" + "\n".join(lines) + "\n")
    item = series(stack, "1-4", ctf="phase-flip", ctf_file=[tmp_path / "ctf.txt"], voltage_kV=300)
    np.testing.assert_allclose(item.series[0].geometry.ctf.defocus_um, 2 + 0.01 * np.arange(4, 11))


@pytest.mark.parametrize(
    "exclude, message",
    [("12", "image 12 of TS, which has 11"), ("1-7", "4 of 11 images of TS would be left")],
)
def test_what_cannot_be_left_out(stack: Path, exclude, message):
    with pytest.raises(InputError, match=message):
        series(stack, exclude)


def test_numbers():
    assert image_numbers(["1-3,7", "2", ""]) == [1, 2, 3, 7]
    assert numbers_text([7, 3, 1, 2]) == "1-3,7"
    assert image_numbers([numbers_text(range(1, 9))]) == list(range(1, 9))
    for wrong in ("0", "a", "3-1", "-2"):
        with pytest.raises(InputError, match="expected numbers from 1"):
            image_numbers([wrong])
