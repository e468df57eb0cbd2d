"""IsoNet2's STAR file: half tomograms with tilt range, defocus and mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dewedge.errors import InputError
from dewedge.geometry import CtfParameters, TiltRange
from dewedge.io.entries import HalvesEntry
from dewedge.io.files import StrPath
from dewedge.io.star import Table, find_named, number, read_star, require_few_rows, words

NAME, HALF1, HALF2 = "rlnTomoName", "rlnTomoReconstructedTomogramHalf1", "rlnTomoReconstructedTomogramHalf2"
_MARKS = ("rlnTiltMin", "rlnNumberSubtomo", "rlnMaskDensityPercentage", "rlnDeconvTomoName")


def is_isonet(blocks: dict[str, Table]) -> bool:
    """True if these are the blocks of a STAR file of IsoNet or IsoNet2."""
    return any(mark in table for table in blocks.values() for mark in _MARKS)


def read_isonet(path: StrPath) -> list[HalvesEntry]:
    """Half tomograms of every row; ``rlnTomoName`` is the full tomogram's file.

    Raises
    ------
    InputError
        If the file cannot be read or a row has no half tomograms.
    """
    path = Path(path)
    table = next((t for t in read_star(path).values() if any(mark in t for mark in _MARKS)), None)
    if table is None:
        raise InputError(f"{path}: expected a STAR file of IsoNet2")
    require_few_rows(path, table)
    entries = []
    for row in range(len(next(iter(table.values())))):
        half1, half2 = words(table, HALF1, row), words(table, HALF2, row)
        if half1 is None or half2 is None:
            raise InputError(
                f"{path}, row {row + 1}: no half tomograms in {HALF1} and {HALF2}: expected both, for a "
                "whole tomogram alone has no independent noise to learn from"
            )
        full, mask = words(table, NAME, row), words(table, "rlnMaskName", row)
        low, high = number(path, table, "rlnTiltMin", row), number(path, table, "rlnTiltMax", row)
        notes = []
        if low is not None and high is not None and abs(low + high) > 2:
            notes.append(
                f"{path.name}: tilt range {low:g} to {high:g}: IsoNet does not define its sign: if the wedge "
                "is on the wrong side, give the range with both signs changed"
            )
        entries.append(
            HalvesEntry(
                name=Path(full or half1).stem,
                program="IsoNet",
                path=path,
                half0=find_named(half1, path),
                half1=find_named(half2, path),
                full=find_named(full, path) if full else None,
                mask=find_named(mask, path) if mask else None,
                tilt_range=None if low is None or high is None else TiltRange(low, high).validated(),
                ctf=_ctf(path, table, row),
                notes=tuple(notes),
            )
        )
    return entries


def _ctf(path: Path, table: Table, row: int) -> CtfParameters | None:
    defocus_A = number(path, table, "rlnDefocus", row)
    if not defocus_A:
        return None
    return CtfParameters(
        defocus_u_um=np.array([defocus_A * 1e-4]),
        voltage_kV=number(path, table, "rlnVoltage", row),
        spherical_aberration_mm=number(path, table, "rlnSphericalAberration", row),
        amplitude_contrast=number(path, table, "rlnAmplitudeContrast", row),
    )
