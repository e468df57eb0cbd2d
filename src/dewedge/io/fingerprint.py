"""Whether a file is what it was: its size, the time it was written, and a hash of parts of it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dewedge.io.files import StrPath, open_input

# A file of so many bytes is read as a whole, of a larger one so many blocks at equal distances, the
# first with the header: of a stack, some of every image.
_WHOLE_BYTES = 1 << 20
_BLOCKS = 512
_BLOCK_BYTES = 1 << 12


@dataclass(frozen=True)
class Fingerprint:
    """Size, time and hash that tell a file from a changed one.

    Parameters
    ----------
    n_bytes
        Its size.
    modified
        When it was last written, by ISO 8601 in UTC.
    sha256
        Hash of its beginning and of blocks of it; of a file of up to 1 MiB, of all.
    """

    n_bytes: int
    modified: str
    sha256: str

    def difference(self, now: Fingerprint) -> str | None:
        """Difference from what the file is now, in words; None if nothing but the time differs."""
        if self.n_bytes != now.n_bytes:
            return f"{self.n_bytes} bytes then, {now.n_bytes} now"
        if self.sha256 != now.sha256:
            return f"other contents, written {now.modified}"
        return None


def fingerprint(path: StrPath) -> Fingerprint:
    """The fingerprint of a file, or of all files of a folder; of a large one a few MB are read.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    if os.path.isdir(path):
        return _of_folder(Path(path))
    with open_input(path) as file:
        n_bytes = file.seek(0, 2)
        modified = datetime.fromtimestamp(_modified(file.fileno()), UTC)
        hashed = hashlib.sha256()
        for start, length in _parts(n_bytes):
            file.seek(start)
            hashed.update(file.read(length))
    return Fingerprint(n_bytes, modified.isoformat(), hashed.hexdigest())


def _of_folder(folder: Path) -> Fingerprint:
    """Sizes and names of all files, and of so many of them, at equal distances, the beginning; no links."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    looked_at = {files[len(files) * i // _BLOCKS] for i in range(_BLOCKS)} if files else set()
    n_bytes, modified, hashed = 0, 0.0, hashlib.sha256()
    for path in files:
        with open_input(path) as file:
            status = os.fstat(file.fileno())
            hashed.update(f"{path.relative_to(folder)!a} {status.st_size}\n".encode())
            hashed.update(file.read(_BLOCK_BYTES) if path in looked_at else b"")
        n_bytes, modified = n_bytes + status.st_size, max(modified, status.st_mtime)
    return Fingerprint(n_bytes, datetime.fromtimestamp(modified, UTC).isoformat(), hashed.hexdigest())


def _parts(n_bytes: int) -> list[tuple[int, int]]:
    """Beginnings and lengths of what is read."""
    if n_bytes <= _WHOLE_BYTES:
        return [(0, n_bytes)]
    last = n_bytes - _BLOCK_BYTES
    return [(last * i // (_BLOCKS - 1), _BLOCK_BYTES) for i in range(_BLOCKS)]


def _modified(descriptor: int) -> float:
    return os.fstat(descriptor).st_mtime
