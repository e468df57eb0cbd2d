"""Which files are the two halves of one thing, told by their names, never by their order."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from dewedge.errors import InputError, UnreadableError
from dewedge.io.files import files_and_folders

# Half-set 0 first. half1 is the second of half0 and half1, and the first of half1 and half2.
_KINDS = (("evn", "odd"), ("even", "odd"), ("half0", "half1"), ("half1", "half2"))
_WORD = re.compile(r"(?<![A-Za-z0-9])(evn|even|odd|half[- ]?[012])(?![A-Za-z0-9])", re.IGNORECASE)


class HalfPair(NamedTuple):
    """Two halves and the name they share, without what tells them apart."""

    name: str
    half0: Path
    half1: Path


class _Half(NamedTuple):
    key: str
    word: str
    name: str


class _Listing(NamedTuple):
    """Halves in a folder, by the name they share and their suffix, and folders of halves in it."""

    halves: dict[tuple[str, str], list[Path]]
    folders: list[Path]


class HalvesOfStacks:
    """Finds the two halves of one stack after the other; a folder is listed once, as it may hold many."""

    def __init__(self) -> None:
        self._listings: dict[Path, _Listing] = {}

    def of(self, stack: Path, root: str) -> tuple[Path, Path] | None:
        """The halves of a stack named ``root``: files beside it, or of its name in folders even and odd.

        Raises
        ------
        InputError
            If the folder cannot be listed, or one half is missing.
        """
        folder = stack.parent
        if folder not in self._listings:
            self._listings[folder] = _listing(folder)
        listing = self._listings[folder]
        candidates = listing.halves.get((root, stack.suffix), [])
        if not candidates:
            candidates = [p / stack.name for p in listing.folders if os.path.isfile(p / stack.name)]
        pairs = pair_halves(candidates)
        return (pairs[0].half0, pairs[0].half1) if pairs else None


def is_half(path: Path) -> bool:
    """True if the file's name, or else its folder's, has a word for a half: even, odd, EVN, half1 ...

    Examples
    --------
    >>> is_half(Path("even/TS_01.mrc")), is_half(Path("TS_01_ODD.mrc")), is_half(Path("evening.mrc"))
    (True, True, False)
    """
    return _half(path) is not None


def pair_halves(paths: Iterable[Path], faults: list[InputError] | None = None) -> list[HalfPair]:
    """Pair files whose names differ in nothing but the word for the half, in the file's or the folder's name.

    Words are EVN, even and odd, half0 and half1, half1 and half2, set off from the rest of the name.

    Parameters
    ----------
    faults
        If given, the error of a file without its other half is appended to it, and the others are paired.

    Raises
    ------
    InputError
        If a file has no such word or its other half is missing, or two files claim to be the same half.

    Examples
    --------
    >>> [pair] = pair_halves([Path("TS_01_half2.mrc"), Path("TS_01_half1.mrc")])
    >>> pair.name, pair.half0.name
    ('TS_01', 'TS_01_half1.mrc')
    """
    groups: dict[str, dict[str, Path]] = {}
    names: dict[str, str] = {}
    for path in paths:
        half = _half(path)
        if half is None:
            raise InputError(
                f"{path}: no word such as even, odd, half1 or half2 in its name: expected one that tells "
                "which half it is"
            )
        group = groups.setdefault(half.key, {})
        if half.word in group and group[half.word] != path:
            raise InputError(f"{path}: the same half as {group[half.word]}: expected one file for each half")
        group[half.word] = path
        names[half.key] = half.name
    pairs = []
    for key, group in sorted(groups.items()):
        kind = next((kind for kind in _KINDS if set(kind) == set(group)), None)
        if kind is None:
            known = ", ".join(str(path) for path in group.values())
            error = InputError(
                f"{known}: its other half is missing: expected two files, such as even and odd"
            )
            error.input_name = names[key]
            if faults is None:
                raise error
            faults.append(error)
            continue
        pairs.append(HalfPair(names[key], group[kind[0]], group[kind[1]]))
    return pairs


def other_half(path: Path) -> Path | None:
    """The existing other half of a file, beside it or in the neighbouring folder; None if there is none."""
    half = _half(path)
    if half is None:
        return None
    wanted = {b for kind in _KINDS for a, b in (kind, kind[::-1]) if a == half.word}
    folders = [path.parent]
    with suppress(UnreadableError):  # the neighbours
        folders += [p for p in files_and_folders(path.parent.parent)[1] if _WORD.search(p.name)]
    for folder in folders:
        for candidate in sorted(folder.glob(f"*{path.suffix}")):
            other = _half(candidate)
            if other is not None and other.key == half.key and other.word in wanted:
                return candidate
    return None


def without_half(stem: str) -> str:
    """A name without its word for the half.

    Examples
    --------
    >>> without_half("TS_01_EVN_Vol"), without_half("TS_01")
    ('TS_01_Vol', 'TS_01')
    """
    return _cut(stem, *_matches(stem)[-1:])


def _half(path: Path) -> _Half | None:
    """What is left of the path without the word for the half, and the word, in small letters."""
    in_name = _matches(path.stem)
    if in_name:
        name = _cut(path.stem, in_name[-1])
        return _Half(
            f"{path.parent}/{name}{path.suffix}", _plain(in_name[-1]), name or path.absolute().parent.name
        )
    in_folder = _matches(path.parent.name)
    if in_folder:
        folder = path.parent.parent / _cut(path.parent.name, in_folder[-1])
        return _Half(f"{folder}/{path.name}", _plain(in_folder[-1]), path.stem)
    return None


def _matches(text: str) -> list[re.Match[str]]:
    return list(_WORD.finditer(text.replace("_", " ")))


def _plain(match: re.Match[str]) -> str:
    return re.sub(r"[-_ ]", "", match[1]).lower()


def _cut(text: str, *matches: re.Match[str]) -> str:
    for match in matches:
        text = text[: match.start()].rstrip("_-. ") + text[match.end() :]
    return text.lstrip("_-. ")


def _listing(folder: Path) -> _Listing:
    files, folders = files_and_folders(folder)
    halves: dict[tuple[str, str], list[Path]] = {}
    for path in files:
        if _matches(path.stem):
            halves.setdefault((without_half(path.stem), path.suffix), []).append(path)
    return _Listing(halves, [path for path in folders if _WORD.fullmatch(path.name)])
