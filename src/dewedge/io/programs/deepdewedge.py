"""The configuration of DeepDeWedge's own program, in YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dewedge.errors import InputError, shown
from dewedge.geometry import TiltRange
from dewedge.io.entries import HalvesEntry
from dewedge.io.files import StrPath
from dewedge.io.half_names import is_half, pair_halves
from dewedge.io.nested import read_yaml
from dewedge.io.star import find_named
from dewedge.io.text_files import number, read_text


def read_deepdewedge(path: StrPath) -> list[HalvesEntry]:
    """Half tomograms of a configuration; the wedge of width ``mw_angle`` is symmetric about the beam.

    The lists pair files by their places. Where names tell halves too, they must tell the same.

    Raises
    ------
    InputError
        If the file cannot be read, is no such configuration, or names and places do not agree.
    """
    path = Path(path)
    document = _load(path)
    shared = _section(path, document, "shared")
    files = [_paths(path, shared, key) for key in ("tomo0_files", "tomo1_files")]
    if not files[0] or len(files[0]) != len(files[1]):
        raise InputError(
            f"{path}: {len(files[0])} tomo0_files and {len(files[1])} tomo1_files: expected one of each for "
            "every tomogram"
        )
    prepare = document.get("prepare_data")
    masks = _paths(path, prepare, "mask_files") if isinstance(prepare, dict) else []
    if masks and len(masks) != len(files[0]):
        raise InputError(
            f"{path}: {len(masks)} mask_files: expected one for each of {len(files[0])} tomograms"
        )
    given = shared.get("mw_angle")
    width = number(given) if isinstance(given, str) else None
    if width is None or not 0 < width < 180:
        raise InputError(
            f"{path}: mw_angle {shown(given)}: expected the width of the missing wedge in degrees"
        )
    tilt_range = TiltRange(-(90 - width / 2), 90 - width / 2)
    entries = []
    for i, (half0, half1) in enumerate(zip(*files, strict=True)):
        notes = [f"tilt range from mw_angle {width:g}"]
        if is_half(half0) and is_half(half1):
            name = _checked_pair(path, half0, half1)
        else:
            name = half0.stem
            notes.append(f"{half0.name} and {half1.name} : paired by place, for their names do not tell")
        entries.append(
            HalvesEntry(
                name=name,
                program="DeepDeWedge",
                path=path,
                half0=half0,
                half1=half1,
                mask=masks[i] if masks else None,
                tilt_range=tilt_range,
                notes=tuple(notes),
            )
        )
    return entries


def is_deepdewedge(path: StrPath) -> bool:
    """True if a file is such a configuration.

    Errors as `dewedge.io.text_files.read_text`.
    """
    return "tomo0_files" in read_text(path)


def _checked_pair(path: Path, half0: Path, half1: Path) -> str:
    try:
        return pair_halves([half0, half1])[0].name
    except InputError:
        raise InputError(
            f"{path}: {half0.name} and {half1.name} have the same place, but their names are not those of "
            "two halves of one tomogram: expected the lists in one order"
        ) from None


def _load(path: Path) -> dict[str, Any]:
    document = read_yaml(path)
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected a configuration of DeepDeWedge with a section shared")
    return document


def _section(path: Path, document: dict[str, Any], name: str) -> dict[str, Any]:
    section = document.get(name)
    if not isinstance(section, dict):
        raise InputError(f"{path}: no section {name}: expected a configuration of DeepDeWedge")
    return section


def _paths(path: Path, section: dict[str, Any], key: str) -> list[Path]:
    values = section.get(key) or []
    values = [values] if isinstance(values, str) else values
    values = [] if values in (["null"], ["~"]) else values
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise InputError(f"{path}: {key}: expected a list of names of files")
    # Absolute, so that halves are paired of which one exists and the other does not.
    return [find_named(value, path).absolute() for value in values]
