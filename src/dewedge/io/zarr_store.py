"""A Zarr store that is not trusted: what its files lead to and decode to is looked at before it is taken."""

from __future__ import annotations

import logging
import stat
import struct
import zlib
from pathlib import Path
from typing import Any

from zarr.abc.store import ByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import LocalStore

from dewedge import limits
from dewedge.errors import InputError, UnreadableError
from dewedge.io.files import require_inside

_METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup")
_ZSTD_BLOCK = 1 << 17
# What may follow the one compressed chunk of a file: a checksum, or a shard's index of one chunk.
_TRAILER_BYTES = 20

# What it would log of a broken store is raised.
logging.getLogger("zarr").setLevel(logging.CRITICAL)


class GuardedStore(LocalStore):
    """The folder of an array, read-only.

    Parameters
    ----------
    store
        Folder, itself or one above, that no link may lead out of.
    codec
        What compresses the chunks; None if nothing does.
    chunk_bytes
        Of a decoded chunk.

    Raises
    ------
    InputError
        When a file is read that lies outside, is none, or would be larger than a chunk when decoded.
    """

    def __init__(self, root: Path, *, store: Path, codec: str | None, chunk_bytes: int) -> None:
        super().__init__(root, read_only=True)
        self._store, self._codec, self._chunk_bytes = store, codec, chunk_bytes

    def with_read_only(self, read_only: bool = False) -> GuardedStore:
        """The store itself, which is read-only.

        Raises
        ------
        ValueError
            If one is asked for that can be written.
        """
        if not read_only:
            raise ValueError("expected a store to read")
        return self

    async def get(self, key: str, prototype: Any = None, byte_range: ByteRequest | None = None) -> Any:
        """The contents of a file, or a part of them; None if there is no such file."""
        if not self._may_read(key, byte_range):
            return None
        data = await super().get(key, prototype or default_buffer_prototype(), byte_range)
        return self._looked_at(key, byte_range, data)

    def get_sync(self, key: str, *, prototype: Any = None, byte_range: ByteRequest | None = None) -> Any:
        """Read as `get` does, in releases of zarr that read without waiting."""
        if not self._may_read(key, byte_range):
            return None
        data = super().get_sync(key, prototype=prototype, byte_range=byte_range)
        return self._looked_at(key, byte_range, data)

    async def get_partial_values(self, prototype: Any, key_ranges: Any) -> Any:
        """Read several files or parts, each as `get` does."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    def _may_read(self, key: str, byte_range: ByteRequest | None) -> bool:
        """False if there is no such file."""
        file = self.root / key
        try:
            status = file.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise UnreadableError(f"{file}: cannot be read: {error.strerror or error}") from None
        require_inside(file, self._store)
        if stat.S_ISDIR(status.st_mode):
            return False
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{file}: expected a file, this is none")
        n_bytes = status.st_size
        if isinstance(byte_range, RangeByteRequest):
            n_bytes = byte_range.end - byte_range.start
        elif isinstance(byte_range, SuffixByteRequest):
            n_bytes = byte_range.suffix
        if n_bytes > 2 * limits.CHUNK_BYTES:
            raise InputError(f"{file}: {n_bytes} bytes of a chunk: expected at most {2 * limits.CHUNK_BYTES}")
        return True

    def _looked_at(self, key: str, byte_range: ByteRequest | None, data: Any) -> Any:
        """What was read; refused if it is a chunk that would be larger than a chunk when decoded."""
        whole = byte_range is None and key.rpartition("/")[2] not in _METADATA
        if data is not None and (whole or isinstance(byte_range, RangeByteRequest)):
            n_bytes = decoded_bytes(self._codec, data.to_bytes(), self._chunk_bytes)
            if n_bytes is None or n_bytes > self._chunk_bytes:
                raise InputError(
                    f"{self.root / key}: a damaged chunk: expected {self._chunk_bytes} bytes when decoded"
                    + ("" if n_bytes is None else f", it would have {n_bytes} or more")
                )
        return data


def decoded_bytes(codec: str | None, data: bytes, most: int) -> int | None:
    """Number of bytes of a chunk when decoded, or any beyond ``most``; None if it is damaged."""
    if codec is None:
        return min(len(data), most)
    if codec == "blosc":
        if len(data) < 16:
            return None
        n_bytes, _, compressed = struct.unpack("<III", data[4:16])
        return int(n_bytes) if compressed <= len(data) else None
    if codec == "lz4":
        return int.from_bytes(data[:4], "little") if len(data) >= 4 else None
    if codec == "zstd":
        return _zstd_bytes(data)
    decoder = zlib.decompressobj(32 + zlib.MAX_WBITS)  # of gzip or zlib, as its header tells
    try:
        n_bytes = len(decoder.decompress(data, most + 1))
    except zlib.error:
        return None
    is_whole = decoder.eof and len(decoder.unused_data) <= _TRAILER_BYTES
    return n_bytes if is_whole or n_bytes > most else None


def _zstd_bytes(data: bytes) -> int | None:
    """Number of bytes as a frame tells; where it does not, half of what its blocks can hold (RFC 8878)."""
    if len(data) < 6 or data[:4] != b"\x28\xb5\x2f\xfd":
        return None
    descriptor = data[4]
    is_single = bool(descriptor & 0x20)
    place = 5 + (not is_single) + (0, 1, 2, 4)[descriptor & 3]
    width = (1 if is_single else 0, 2, 4, 8)[descriptor >> 6]
    if width:
        return int.from_bytes(data[place : place + width], "little") + (256 if width == 2 else 0)
    total, is_last = 0, False
    while not is_last:
        if len(data) < place + 3:
            return None
        header = int.from_bytes(data[place : place + 3], "little")
        is_last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
        # One block of one repeated byte; others hold what they decode to, or up to the largest block.
        total += _ZSTD_BLOCK if kind == 2 else size
        place += 3 + (1 if kind == 1 else size)
    return max(total - _ZSTD_BLOCK, 0) // 2
