"""Files that are not what they are taken for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dewedge.check.volumes import check_model_voxel, check_tomogram, check_voxel_sizes, require_sound
from dewedge.errors import InputError
from dewedge.io.mrc import read_mrc, write_mrc


@pytest.mark.parametrize(
    "name, beside, n_angles, is_stack",
    [
        ("TS.mrc", "", 0, False),
        ("TS.st", "", 0, True),
        ("TS_ali.ali", "", 0, True),
        ("TS.mrc", "TS.mrc.mdoc", 0, True),
        ("TS.mrc", "TS.mdoc", 0, False),
        ("TS.mrc", "TS.tlt", 8, True),
        ("TS.mrc", "TS.rawtlt", 8, True),
        ("TS.mrc", "TS.tlt", 7, False),
        ("TS.rec", "TS.tlt", 8, False),
    ],
)
def test_a_stack_is_told_by_its_name_and_what_lies_beside(
    tmp_path: Path, name: str, beside: str, n_angles: int, is_stack: bool
):
    write_mrc(tmp_path / name, np.zeros((8, 4, 4), np.float32), 10.0)
    if beside:
        (tmp_path / beside).write_text("\n".join(f"{10.0 * i}" for i in range(n_angles)))
    found = check_tomogram("TS", "half-set 0", read_mrc(tmp_path / name))
    assert [finding.severity for finding in found] == (["error"] if is_stack else [])
    assert all("rather a stack of tilt images" in str(finding) for finding in found)


@pytest.mark.parametrize(
    "sizes, differ",
    [
        ((10.0, 10.0), False),
        ((10.0, 10.05), False),
        ((10.0, 12.0), True),
        ((None, 12.0), False),
        ((10.0, None, 12.0), True),
        ((), False),
    ],
)
def test_voxel_sizes(sizes: tuple[float | None, ...], differ: bool):
    found = check_voxel_sizes("TS", {f"part {i}": size for i, size in enumerate(sizes)})
    assert bool(found) == differ
    if found:
        with pytest.raises(InputError, match=r"of 12 A, part 0 of 10 A.*--no-check"):
            require_sound(found)


@pytest.mark.parametrize(
    "size, fitted, differ",
    [(10.0, 10.4, False), (10.0, 12.0, True), (None, 12.0, False), (10.0, None, False)],
)
def test_voxel_size_of_a_model(size: float | None, fitted: float | None, differ: bool):
    assert bool(check_model_voxel("TS", size, fitted)) == differ
