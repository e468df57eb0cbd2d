"""Leaving images out: by their numbers, with everything that belongs to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dewedge.errors import InputError
from dewedge.geometry import TiltGeometry
from dewedge.inputs.read import read_inputs, read_one_series
from dewedge.inputs.run_input import SeriesInput
from dewedge.io.angles import write_tilt_angles
from dewedge.io.image_numbers import image_numbers, numbers_text
from dewedge.io.mrc import read_mrc, write_mrc
from dewedge.io.tilt_images import ImageSource, TiltImages
from dewedge.io.tilt_series import TiltSeries
from dewedge.pipeline.validate.folder import ValidationSettings
from dewedge.pipeline.validate.validate import divide
from dewedge.settings.file import resolve_config

TILTS = np.arange(-40.0, 41, 8)
MORE_TILTS = np.arange(-60.0, 61, 6)


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


ETOMO = """$tilt -StandardInput
InputProjections TS.ali
OutputFile TS.rec
IMAGEBINNED 1
TILTFILE TS.tlt
THICKNESS 48
EXCLUDELIST 1,4
"""


@pytest.fixture
def etomo(tmp_path: Path) -> Path:
    """A project that leaves out the first image and the fourth."""
    images = np.random.default_rng(1).standard_normal((MORE_TILTS.size, 64, 64)).astype(np.float32)
    write_mrc(tmp_path / "TS.st", images, 20.0, stack=True, what="test")
    write_tilt_angles(tmp_path / "TS.tlt", MORE_TILTS)
    (tmp_path / "tilt.com").write_text(ETOMO)
    return tmp_path / "TS.st"


def test_numbers_are_those_of_the_stack_where_others_were_left_out_before(etomo: Path):
    whole, item = series(etomo, []), series(etomo, "2,6-7")
    assert whole.numbers.tolist() == [2, 3, *range(5, 22)]
    assert item.numbers.tolist() == [3, 5, *range(8, 22)]
    np.testing.assert_array_equal(item.series[0].geometry.tilt_deg, MORE_TILTS[item.numbers - 1])
    stored = read_mrc(etomo, stack=True).data
    for image, number in zip(item.series[0].images, item.numbers, strict=True):
        np.testing.assert_array_equal(image, stored[number - 1])
    with pytest.raises(InputError, match="image 4 of TS: expected some of 2-3,5-21"):
        series(etomo, "2,4")


@pytest.mark.parametrize("kind", ["outer", "side", "inner"])
def test_what_a_validation_keeps_back_can_be_left_out(etomo: Path, kind):
    config = resolve_config(None, {"paths": [etomo], "reconstruct": {"thickness": 48}})
    parts = divide(config, ValidationSettings(withhold=kind))
    given = config.series.model_copy(update={"exclude_tilts": [parts.exclude]})
    item = read_one_series(config.model_copy(update={"series": given}))
    np.testing.assert_array_equal(item.series[0].geometry.tilt_deg, parts.tilt_deg[~parts.withheld])


def test_images_of_a_file_each_are_counted_in_their_order(tmp_path: Path):
    images = np.arange(7 * 64, dtype=np.float32).reshape(7, 8, 8)
    for i, image in enumerate(images):
        write_mrc(tmp_path / f"{i}.mrc", image[None], 20.0, stack=True, what="test")
    lying = TiltImages(ImageSource(tmp_path / f"{i}.mrc", 0) for i in range(7)).as_array()
    geometry = TiltGeometry(tilt_deg=np.arange(7.0), image_shape_yx=(8, 8), pixel_size_A=20.0)
    of_files = TiltSeries("TS", tmp_path / "0.mrc", lying, geometry, (0, 0, 0), (), ())
    item = SeriesInput("TS", (of_files,)).select(np.array([0, 2, 3, 4, 6]), "without two")
    assert item.numbers.tolist() == [1, 3, 4, 5, 7]
    np.testing.assert_array_equal(list(item.series[0].images), images[[0, 2, 3, 4, 6]])


def test_a_defocus_file_still_has_a_row_for_every_image(stack: Path, tmp_path: Path):
    lines = [f"{i + 1} {20000 + 100 * i} {20000 + 100 * i} 0 0 0.9 8" for i in range(TILTS.size)]
    (tmp_path / "ctf.txt").write_text("# Columns: #1 micrograph number\n" + "\n".join(lines) + "\n")
    item = series(stack, "1-4", ctf="phase-flip", ctf_file=[tmp_path / "ctf.txt"], voltage_kV=300)
    np.testing.assert_allclose(item.series[0].geometry.ctf.defocus_um, 2 + 0.01 * np.arange(4, 11))


@pytest.mark.parametrize(
    "exclude, message",
    [("12", "image 12 of TS: expected some of 1-11"), ("1-7", "4 of 11 images of TS would be left")],
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
