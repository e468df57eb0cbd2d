"""Names that come from files and become names of files and folders of ours: only plain ones.

Every name of a tilt series or tomogram passes `plain_name` when its entry is made, whatever program wrote it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from dewedge.errors import InputError
from dewedge.io.files import StrPath

# Endings such as _rec_half0.mrc come behind it; most file systems take 255.
LONGEST_BYTES = 200
# Files that lie beside the folders named after tomograms.
OWN = frozenset(
    [
        "beads.mrc", "checkpoint.safetensors", "compare.html", "compare.json", "compare.png",
        "compare.toml", "compare_fsc.png", "compare_loss.png", "config.toml", "controls", "dewedge.log",
        "fits", "full.mrc", "half0.mrc", "half1.mrc", "independent", "inputs.json", "left_out.txt",
        "loss.csv", "loss.png", "mask.mrc", "model.safetensors", "planes.json", "refined.mrc",
        "refined.zarr", "refined_added.mrc", "refined_added.zarr", "refined_difference.mrc",
        "refined_difference.zarr", "refined_half0.mrc", "refined_half1.mrc", "refined_measured.mrc",
        "refined_measured.zarr", "refined_uncertainty.mrc", "refined_uncertainty.zarr", "report.html",
        "slices.png", "status.json", "trust.html", "trust.json", "tv.mrc", "validate.json",
        "validate.md", "validate.png", "validate.toml", "withheld", "withheld_inner",
    ]
)  # fmt: skip


def plain_name(name: str, source: StrPath) -> str:
    """Return ``name``, if a file or folder in an output folder can be named so.

    Parameters
    ----------
    source
        The file that it was read from, for the message.

    Raises
    ------
    InputError
        If it is empty, is longer than 200 bytes or no UTF-8, holds a separator of folders or a control
        character, begins with a drive's letter or a dot, or is the name of a file of ours.

    Examples
    --------
    >>> plain_name("TS_01", "TS_01.mdoc")
    'TS_01'
    >>> plain_name("../TS_01", "TS_01.mdoc")
    Traceback (most recent call last):
    dewedge.errors.InputError: TS_01.mdoc: the name '../TS_01' holds a separator of folders: ...
    """
    fault = _fault(name)
    if fault is not None:
        raise InputError(
            f"{source}: the name {_shown(name)} {fault}: expected a plain name, since files are named after "
            "it: rename it"
        )
    return name


def require_distinct(named: Iterable[tuple[str, StrPath]]) -> None:
    """Refuse names of which two are one file on some disk, for each gets files of its own.

    Those of macOS and Windows do not tell capital letters from small ones.

    Parameters
    ----------
    named
        Names, and the file that each comes from.

    Raises
    ------
    InputError
        If a name occurs twice.
    """
    first: dict[str, tuple[str, StrPath]] = {}
    for name, source in named:
        key = unicodedata.normalize("NFC", name.casefold())
        if key in first:
            known, before = first[key]
            files = " and ".join(dict.fromkeys(map(str, (before, source))))
            both = name if name == known else f"{known} and {name}, alike on many disks"
            raise InputError(f"{files}: two inputs are named {both}: expected different names")
        first[key] = name, source


def names_apart(paths: Sequence[Path]) -> list[str]:
    """The names of files, each with as many of its folders as tell all of them apart.

    Those of a file that is named twice are the same.
    """
    deepest = max((len(path.parts) for path in paths), default=0)
    for depth in range(1, deepest + 1):
        names = [str(Path(*path.parts[-depth:])) for path in paths]
        if len(set(names)) == len(set(paths)):
            return names
    return [str(path) for path in paths]


def require_utf8(path: StrPath) -> None:
    """Refuse a path that files of ours, which are UTF-8, cannot hold.

    Raises
    ------
    InputError
        If it holds other bytes.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{str(path)!a}: a path that is not UTF-8: rename the file or folder") from None


def _fault(name: str) -> str | None:
    if not name.strip():
        return "is empty"
    if any(unicodedata.category(c) == "Cs" for c in name):
        return "is not UTF-8"
    if any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") for c in name):
        return "holds a control character"
    if "/" in name or "\\" in name:
        return "holds a separator of folders"
    if re.match("[A-Za-z]:", name):
        return "begins with a drive's letter"
    # So do . and .. and our temporary files.
    if name.startswith("."):
        return "begins with a dot"
    if len(name.encode()) > LONGEST_BYTES:
        return f"is longer than {LONGEST_BYTES} bytes"
    if name.casefold() in OWN:
        return "is that of a file of dewedge's own"
    return None


def _shown(name: str) -> str:
    """The name on one line of a terminal, cut."""
    return repr(name if len(name) <= 60 else f"{name[:60]}...")
