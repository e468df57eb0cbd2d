"""What has arrived, whole, in folders that other programs fill: found by looking again and again.

A look asks for names, sizes and times of files alone, as works on NFS, where nothing tells of changes. Only
files that are new, and those that share a name with them, are read.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dewedge.errors import InputError, reason
from dewedge.geometry import CtfParameters, Microscope, TiltGeometry
from dewedge.inputs.entries import entries_among, tell_unused
from dewedge.io.entries import Entry, HalvesEntry
from dewedge.io.file_entries import SUFFIXES, VOLUME_SUFFIXES
from dewedge.io.find import DEPTH
from dewedge.io.half_names import without_half
from dewedge.io.tilt_images import TiltImages
from dewedge.runtime.faults import Faults
from dewedge.settings.sections import Config

logger = logging.getLogger(__name__)

# Size, and time of the last change.
Stamp = tuple[int, int]
# Of the time, at most, for reading what may have arrived.
SHARE = 0.05
# Files that have a row for each of several series.
TABLES = (".star", ".settings")
INCOMPLETE = "not complete: tilt angles, an alignment or the other half are not there"
WRITTEN = "files are still being written"


@dataclass(frozen=True, eq=False)
class Arrival:
    """A tilt series, or half tomograms, all files of which are there and do not change any more.

    Parameters
    ----------
    name
        Of its results.
    files
        Those that it is found among.
    is_changed
        Whether it has arrived before, and was written anew since then.
    """

    name: str
    files: tuple[Path, ...]
    is_changed: bool = False


@dataclass(frozen=True)
class _Seen:
    stamp: Stamp
    since_s: float
    words: tuple[str, ...]


class Arrivals:
    """Looks into the paths of a configuration for what has arrived.

    Parameters
    ----------
    config
        Its paths are folders, or metadata files, which may grow.
    known
        Names of what has arrived before: they are not told again unless their files change.
    clock
        In seconds. Times of files are not compared with it: other machines' clocks write them.
    """

    def __init__(
        self, config: Config, known: Iterable[str] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.config, self.clock = config, clock
        self.settle_s = config.watch.settle.total_seconds()
        # Why each, by name, has not arrived.
        self.waiting: dict[str, str] = {}
        # What keeps the paths from being looked into; empty if nothing does.
        self.trouble = ""
        self._known = set(known)
        self._seen: dict[Path, _Seen] = {}
        # Files that tables name and that lie in none of the folders.
        self._elsewhere: dict[Path, _Seen] = {}
        # Files among which nothing was looked for since they changed.
        self._fresh: set[Path] = set()
        self._stamps: dict[str, int] = {}
        self._next_s = 0.0

    def look(self) -> list[Arrival]:
        """Look for what has arrived, or was written anew, since the last time."""
        begun = self.clock()
        self._list(begun)
        due = {path for path in self._fresh if self._is_settled(path)}
        if not due or begun < self._next_s:
            return []
        entries, faults = self._found(due)
        self._fresh -= due
        arrivals = [arrival for entry in entries if (arrival := self._arrival(entry)) is not None]
        self._tell_waiting(due, entries, faults)
        self._next_s = self.clock() + (self.clock() - begun) / SHARE
        return arrivals

    def open(self, arrival: Arrival) -> Entry:
        """Read what has arrived.

        Raises
        ------
        InputError
            If it cannot be read any more.
        """
        faults = Faults()
        for entry in entries_among([path for path in arrival.files if path.is_file()], self.config, faults):
            if entry.name == arrival.name:
                tell_unused([entry], self.config)
                return entry
        raise faults[0] if faults else InputError(f"{arrival.files[0]}: not complete any more")

    def _list(self, now: float) -> None:
        """Take down which files there are, and which of them have changed."""
        try:
            listed = dict(_listed(self.config.paths))
        except OSError as error:
            # A file server that is away for a while: what was there is taken to be there still.
            self.trouble = f"{error.filename}: cannot be read: {error.strerror}"
            return
        self.trouble = ""
        for path, stamp in listed.items():
            seen = self._seen.get(path)
            if seen is None or seen.stamp != stamp:
                self._seen[path] = _Seen(stamp, now, _words(path))
                if seen is not None or _root(path) not in self._known:
                    self._fresh.add(path)
        # Settings do not change when the folders that they name fill.
        self._fresh |= {
            path for path in self.config.paths if path.suffix.lower() == ".settings"
        } & listed.keys()
        for path in self._seen.keys() - listed.keys():
            del self._seen[path]
            self._fresh.discard(path)
            self.waiting.pop(_root(path), None)

    def _is_settled(self, path: Path) -> bool:
        """True if a file is there and has not changed for long enough."""
        now, seen = self.clock(), self._seen.get(path) or self._elsewhere.get(path)
        if path not in self._seen:
            try:
                stamp = _stamp(path.stat())
            except OSError:
                return False
            if seen is None or seen.stamp != stamp:
                seen = self._elsewhere[path] = _Seen(stamp, now, ())
        return seen is not None and now - seen.since_s >= self.settle_s

    def _found(self, due: set[Path]) -> tuple[list[Entry], list[InputError]]:
        """What is found among files, and all that share a name with them."""
        try:
            return self._read(due)
        except Exception:
            logger.debug("traceback", exc_info=True)
        # One of them is more than a reader can bear: the others are read without it.
        entries: list[Entry] = []
        faults: list[InputError] = []
        for root in sorted({_root(path) for path in due}):
            own = {path for path in due if _root(path) == root}
            try:
                found, wrong = self._read(own)
            except Exception as error:
                found, wrong = [], [InputError(f"{min(own)}: {type(error).__name__}: {reason(error)}")]
            entries += found
            faults += wrong
        return entries, faults

    def _read(self, due: set[Path]) -> tuple[list[Entry], list[InputError]]:
        faults = Faults()
        words = {_words(path) for path in due}
        files = [
            path
            for path, seen in self._seen.items()
            if path in due or any(_is_related(seen.words, one) for one in words)
        ]
        return entries_among(files, self.config, faults), faults

    def _arrival(self, entry: Entry) -> Arrival | None:
        """What an entry is, if all its files have settled and are not those that were told of before."""
        files = self._files_of(entry)
        # Of all, for those that lie elsewhere are known from when they are first asked for.
        if not all([self._is_settled(path) for path in files]):
            if entry.path in self._seen:
                self._fresh.add(entry.path)
            self.waiting[entry.name] = WRITTEN
            return None
        name = _split(entry.name)
        self.waiting = {root: why for root, why in self.waiting.items() if not _is_part(_split(root), name)}
        stamps = [(path, (self._seen.get(path) or self._elsewhere[path]).stamp) for path in files]
        if entry.path.suffix.lower() in TABLES:
            # It grows by rows of others: of this one counts what it says.
            stamps = [(path, stamp) for path, stamp in stamps if path != entry.path]
        stamp = hash((*stamps, _told(entry)))
        if self._stamps.get(entry.name) == stamp:
            return None
        is_changed = entry.name in self._stamps
        self._stamps[entry.name] = stamp
        is_told = not is_changed and entry.name in self._known
        self._known.add(entry.name)
        return None if is_told else Arrival(entry.name, files, is_changed)

    def _files_of(self, entry: Entry) -> tuple[Path, ...]:
        """Files that an entry names, and those beside it that are named after it."""
        name = _split(entry.name)
        beside = {path for path, seen in self._seen.items() if _is_part(seen.words, name)}
        return tuple(sorted({entry.path, *_named(entry), *beside}))

    def _tell_waiting(self, due: set[Path], entries: Sequence[Entry], faults: Sequence[InputError]) -> None:
        """Take down why what lies there has not arrived."""
        names = [_split(name) for name in {*(entry.name for entry in entries), *self._known}]
        named = {path for entry in entries for path in _named(entry)}
        written = {_root(path) for path in self._fresh}
        # What a table names may come without a change of the table.
        tables = {path for path in due if path.suffix.lower() in TABLES}
        self._fresh |= tables if faults else set()
        for path in tables:
            if not any(path.name in str(fault) for fault in faults) and _root(path) not in written:
                self.waiting.pop(_root(path), None)
        for path in due - named:
            fault = next((str(fault) for fault in faults if path.name in str(fault)), None)
            if fault is None and path.suffix.lower() not in (*VOLUME_SUFFIXES, ".mdoc", ".aln"):
                continue
            if fault is not None or not any(_is_part(_words(path), name) for name in names):
                root = _root(path)
                self.waiting[root] = WRITTEN if root in written else fault or INCOMPLETE


def _listed(paths: Sequence[Path]) -> Iterator[tuple[Path, Stamp]]:
    """Files of folders and of those in them, and files, that may be read, with their stamps.

    Raises
    ------
    OSError
        If one of ``paths`` cannot be looked into.
    """
    for path in paths:
        if path.is_file():
            yield path, _stamp(path.stat())
        else:
            yield from _listed_in(str(path), 0)


def _listed_in(folder: str, depth: int) -> Iterator[tuple[Path, Stamp]]:
    below: list[str] = []
    with os.scandir(folder) as found:
        for item in found:
            if item.name.startswith("."):
                continue
            try:
                if item.is_dir():
                    below.append(item.path)
                elif os.path.splitext(item.name)[1].lower() in SUFFIXES and item.is_file():
                    yield Path(item.path), _stamp(item.stat())
            except OSError:  # it has just gone, or a link leads round
                continue
    for inner in below if depth < DEPTH else ():
        try:
            yield from _listed_in(inner, depth + 1)
        except OSError:  # closed to this user, as some may be
            continue


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_size, status.st_mtime_ns


def _named(entry: Entry) -> set[Path]:
    """Files of images or volumes of an entry."""
    if isinstance(entry, HalvesEntry):
        volumes = (entry.half0, entry.half1, entry.full, entry.mask)
        return {path for path in volumes if path is not None}
    stacks: list[TiltImages | None] = [entry.images, entry.even, entry.odd]
    return {source.path for images in stacks if images is not None for source in images.sources}


def _told(entry: Entry) -> tuple[object, ...]:
    """What metadata say of an entry, as far as results depend on it."""
    if isinstance(entry, HalvesEntry):
        return entry.tilt_range, entry.layout
    return entry.thickness, *_values(entry.geometry)


def _values(metadata: TiltGeometry | CtfParameters | Microscope) -> Iterator[object]:
    """All that they hold, which can be hashed."""
    for value in vars(metadata).values():
        if isinstance(value, CtfParameters | Microscope):
            yield from _values(value)
        else:
            yield value.tobytes() if isinstance(value, np.ndarray) else value


def _root(path: Path) -> str:
    """The name that a file shares with the others of its series: TS_1 of TS_1_EVN.mrc and TS_1.mrc.mdoc."""
    # Command files are named after programs, their folder after the series.
    name = path.parent.name if path.suffix.lower() == ".com" else path.name.partition(".")[0]
    return without_half(name) or path.parent.name


def _words(path: Path) -> tuple[str, ...]:
    return _split(_root(path))


def _split(name: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[^\W_]+", name))


def _is_related(one: Sequence[str], other: Sequence[str]) -> bool:
    """True if one name holds the other, word by word: TS_1 and rec_TS_1, not TS_1 and TS_10."""
    shorter, longer = sorted((f" {' '.join(one)} ", f" {' '.join(other)} "), key=len)
    return shorter in longer


def _is_part(words: Sequence[str], name: Sequence[str]) -> bool:
    """True for TS_1_CTF of TS_1; not for TS_1_2, which is a series of its own."""
    n = len(name)
    return tuple(words[:n]) == tuple(name) and (len(words) == n or not words[n].isdigit())
