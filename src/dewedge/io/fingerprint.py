"""Whether a file is what it was: its size, the time it was written, and a hash of parts of it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime

from dewedge.io.files import StrPath, open_input

# A file of so many bytes is read as a whole, of a larger one so many blocks at equal distances, the
# first with the header: of a stack, some of every image.
_WHOLE_BYTES = 1 << 20
_BLOCKS = 512
_BLOCK_BYTES = 1 << 12


@dataclass(frozen=True)
class Fingerprint:
    """What tells a file from a changed one.

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
        """What differs from what the file is now, in words; None if nothing but the time does."""
        if self.n_bytes != now.n_bytes:
            return f"{self.n_bytes} bytes then, {now.n_bytes} now"
        if self.sha256 != now.sha256:
            return f"other contents, written {now.modified}"
        return None


def fingerprint(path: StrPath) -> Fingerprint:
    """The fingerprint of a file; of a large one a few MB are read.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    with open_input(path) as file:
        n_bytes = file.seek(0, 2)
        modified = datetime.fromtimestamp(_modified(file.fileno()), UTC)
        hashed = hashlib.sha256()
        for start, length in _parts(n_bytes):
            file.seek(start)
            hashed.update(file.read(length))
    return Fingerprint(n_bytes, modified.isoformat(), hashed.hexdigest())


def _parts(n_bytes: int) -> list[tuple[int, int]]:
    """Beginnings and lengths of what is read."""
    if n_bytes <= _WHOLE_BYTES:
        return [(0, n_bytes)]
    last = n_bytes - _BLOCK_BYTES
    return [(last * i // (_BLOCKS - 1), _BLOCK_BYTES) for i in range(_BLOCKS)]


def _modified(descriptor: int) -> float:
    return os.fstat(descriptor).st_mtime
