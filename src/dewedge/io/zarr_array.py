"""A three-dimensional Zarr array in a folder, of format 2 or 3.

It is looked through before it is opened, read by chunks, and never outside its store.
"""

from __future__ import annotations

import math
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dewedge import limits
from dewedge.errors import InputError, reason, shown
from dewedge.io.files import require_inside
from dewedge.io.nested import parse_json
from dewedge.io.text_files import read_text

if TYPE_CHECKING:
    import zarr

Chunk = tuple[int, int, int]

# Decoded chunks that are kept, or one layer of them along y and x if that is more: sections are read in turn.
CACHE_BYTES = 1 << 28
_TYPES = {f"{kind}{8 * n}": f"{kind[0]}{n}" for kind in ("int", "uint") for n in (1, 2, 4)}
_TYPES |= {"float16": "f2", "float32": "f4", "float64": "f8"}
# Of numbers alone: others hold objects, whose decoding can run code.
_COMPRESSORS = ("blosc", "zstd", "gzip", "zlib", "lz4")


class ArrayLayout(NamedTuple):
    """Layout of an array, known before any of its chunks is read.

    ``chunks`` are what is compressed as one; ``codec`` compresses them, None if nothing does.
    """

    zarr_format: int
    shape: Chunk
    chunks: Chunk
    dtype: np.dtype[Any]
    codec: str | None

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a decoded chunk."""
        return math.prod(self.chunks) * self.dtype.itemsize


class ZarrArray:
    """``(z, y, x)`` array in a Zarr store, of which parts are read when they are asked for.

    Integers and slices take a part, a numpy array of its own; so `numpy.asarray` takes all. Chunks that were
    decoded are kept, up to `CACHE_BYTES`; one that is missing in the store has the array's fill value.

    Parameters
    ----------
    path
        Folder of the array.
    store
        Folder that nothing outside of is read, itself or one above.

    Raises
    ------
    InputError
        If it is no such array, is larger than what is believed, holds other values than real numbers, or
        leads out of the store; and of a part, if it cannot be read.
    """

    def __init__(self, path: Path, store: Path) -> None:
        self.filename = str(path)
        layout = read_layout(path, store)
        self.shape, self.dtype, self.ndim = layout.shape, layout.dtype, 3
        self._chunks = layout.chunks
        self._array = _opened(path, store, layout)
        self._cache: OrderedDict[Chunk, NDArray[Any]] = OrderedDict()
        layer = min(layout.chunks[0], layout.shape[0]) * layout.shape[1] * layout.shape[2]
        self._room = max(CACHE_BYTES, layer * layout.dtype.itemsize)
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Number of its voxels."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[z] for z in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("what is read of a Zarr array is a copy")
        return self[:].astype(dtype or self.dtype, copy=False)

    def __getitem__(self, index: Any) -> Any:
        given = index if isinstance(index, tuple) else (index,)
        given = (*given, *[slice(None)] * (self.ndim - len(given)))
        taken = [range(n)[i] for n, i in zip(self.shape, given, strict=True)]
        # Of one section the range, to be taken out again in the end.
        ranges = [one if isinstance(one, range) else range(one, one + 1) for one in taken]
        back = tuple(slice(None, None, -1 if wanted.step < 0 else 1) for wanted in ranges)
        rising = [wanted[::-1] if wanted.step < 0 else wanted for wanted in ranges]
        part = np.empty([len(wanted) for wanted in rising], self.dtype)
        pieces = [list(_pieces(wanted, n)) for wanted, n in zip(rising, self._chunks, strict=True)]
        for z, y, x in product(*pieces):
            part[z.target, y.target, x.target] = self._chunk((z.chunk, y.chunk, x.chunk))[
                z.source, y.source, x.source
            ]
        return part[back][tuple(slice(None) if isinstance(one, range) else 0 for one in taken)]

    def _chunk(self, number: Chunk) -> NDArray[Any]:
        with self._lock:
            if number in self._cache:
                self._cache.move_to_end(number)
                return self._cache[number]
        chunk = self._decoded(number)
        with self._lock:
            self._cache[number] = chunk
            while sum(kept.nbytes for kept in self._cache.values()) > self._room:
                self._cache.popitem(last=False)
        return chunk

    def _decoded(self, number: Chunk) -> NDArray[Any]:
        box = tuple(
            slice(i * n, min((i + 1) * n, size))
            for i, n, size in zip(number, self._chunks, self.shape, strict=True)
        )
        try:
            chunk = np.asarray(self._array[box])
        except InputError:
            raise
        except Exception as error:  # each codec raises its own kind
            where = "/".join(map(str, number))
            raise InputError(
                f"{self.filename}: chunk {where} cannot be read: {reason(error)}: expected a whole store, so "
                "copy or write it again"
            ) from None
        return chunk.astype(self.dtype, copy=False)


class _Piece(NamedTuple):
    """What a range takes of one chunk along an axis, and where in the part it goes."""

    chunk: int
    source: slice
    target: slice


def _pieces(wanted: range, edge: int) -> Iterator[_Piece]:
    """The chunks of this edge that a rising range takes something of."""
    done = 0
    while done < len(wanted):
        chunk = wanted[done] // edge
        first = wanted[done] - chunk * edge
        count = min(math.ceil((edge - first) / wanted.step), len(wanted) - done)
        last = first + (count - 1) * wanted.step
        yield _Piece(chunk, slice(first, last + 1, wanted.step), slice(done, done + count))
        done += count


def read_layout(path: Path, store: Path) -> ArrayLayout:
    """Read what the metadata of an array say, none of it believed.

    Raises
    ------
    InputError
        As `ZarrArray`.
    """
    for name, parse in (("zarr.json", _layout_3), (".zarray", _layout_2)):
        file = path / name
        if file.is_file():
            require_inside(file, store)
            values = parse_json(file, read_text(file))
            layout = parse(file, values if isinstance(values, dict) else {})
            if layout.chunk_bytes > limits.CHUNK_BYTES:
                raise InputError(
                    f"{file}: chunks of {layout.chunks} (z, y, x), {layout.chunk_bytes / 1e6:,.0f} MB each: "
                    f"expected at most {limits.CHUNK_BYTES / 1e6:,.0f} MB"
                )
            return layout
    raise InputError(f"{path}: no Zarr array there: expected its zarr.json or .zarray")


def _layout_3(file: Path, values: Mapping[str, Any]) -> ArrayLayout:
    if values.get("zarr_format") != 3 or values.get("node_type") != "array":
        raise InputError(f"{file}: not of a Zarr array")
    name = values.get("data_type")
    dtype = np.dtype(_TYPES[name]) if isinstance(name, str) and name in _TYPES else _no_number(file, name)
    grid = _configured(file, values.get("chunk_grid"))
    if grid[0] != "regular":
        raise InputError(f"{file}: chunk grid {shown(grid[0])}: expected a regular one")
    shape, chunks = (
        _three(file, "shape", values.get("shape")),
        _three(file, "chunks", grid[1].get("chunk_shape")),
    )
    if values.get("storage_transformers"):
        raise InputError(f"{file}: storage transformers: expected none")
    encoding = _configured(file, values.get("chunk_key_encoding"))
    if encoding[0] not in ("default", "v2") or encoding[1].get("separator", "/") not in ("/", "."):
        raise InputError(f"{file}: chunk keys {shown(encoding)}: expected default or v2, with / or .")
    codecs = _codecs(file, values.get("codecs"))
    if "sharding_indexed" in codecs:
        sharding = codecs["sharding_indexed"]
        if len(codecs) > 1 or sharding.get("index_location", "end") != "end":
            raise InputError(
                f"{file}: codecs {shown(list(codecs))}: expected sharding alone, its index at the end"
            )
        inner = _three(file, "chunks of a shard", sharding.get("chunk_shape"))
        per_shard = math.prod(math.ceil(n / m) for n, m in zip(chunks, inner, strict=True))
        if any(n % m for n, m in zip(chunks, inner, strict=True)) or per_shard > limits.SHARD_CHUNKS:
            raise InputError(
                f"{file}: shards of {chunks} in chunks of {inner} (z, y, x): expected whole numbers of them, "
                f"at most {limits.SHARD_CHUNKS} in one"
            )
        if set(_codecs(file, sharding.get("index_codecs"))) - {"bytes", "crc32c"}:
            raise InputError(f"{file}: index of a shard: expected codecs bytes and crc32c")
        chunks, codecs = inner, _codecs(file, sharding.get("codecs"))
    compressors = [name for name in codecs if name in _COMPRESSORS]
    others = set(codecs) - {"bytes", "transpose", "crc32c", *compressors}
    if "bytes" not in codecs or others or len(compressors) > 1:
        raise InputError(f"{file}: codecs {shown(list(codecs))}: expected bytes and {_expected_codecs()}")
    return ArrayLayout(3, shape, chunks, dtype, compressors[0] if compressors else None)


def _layout_2(file: Path, values: Mapping[str, Any]) -> ArrayLayout:
    if values.get("zarr_format") != 2:
        raise InputError(f"{file}: not of a Zarr array")
    name = values.get("dtype")
    known = isinstance(name, str) and re.fullmatch(r"[<>|]?([iu][124]|f[248])", name)
    dtype = np.dtype(name).newbyteorder("=") if known else _no_number(file, name)
    compressor = values.get("compressor")
    codec = compressor.get("id") if isinstance(compressor, dict) else compressor
    if values.get("filters") or codec not in (None, *_COMPRESSORS):
        text = f"filters {shown(values.get('filters'))}, compressor {shown(codec)}"
        raise InputError(f"{file}: {text}: expected no filters, and {_expected_codecs()}")
    if values.get("dimension_separator", ".") not in ("/", "."):
        raise InputError(f"{file}: dimension separator: expected / or .")
    shape, chunks = (_three(file, key, values.get(key)) for key in ("shape", "chunks"))
    return ArrayLayout(2, shape, chunks, dtype, codec)


def _no_number(file: Path, name: object) -> np.dtype[Any]:
    raise InputError(f"{file}: values of type {shown(name)}: expected integers of up to 32 bits, or floats")


def _expected_codecs() -> str:
    return f"one of {', '.join(_COMPRESSORS)}, or none"


def _three(file: Path, what: str, value: object) -> Chunk:
    numbers: list[Any] = value if isinstance(value, list) else []
    if len(numbers) != 3 or not all(type(n) is int and 1 <= n <= limits.AXIS for n in numbers):
        raise InputError(
            f"{file}: {what} {shown(value)}: expected three axes (z, y, x) of 1 to {limits.AXIS} voxels"
        )
    return numbers[0], numbers[1], numbers[2]


def _configured(file: Path, value: object) -> tuple[str, Mapping[str, Any]]:
    """Name and configuration of an extension point, which may be its name alone."""
    if isinstance(value, str):
        return value, {}
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise InputError(f"{file}: {shown(value)}: expected a name and a configuration")
    configuration = value.get("configuration", {})
    return value["name"], configuration if isinstance(configuration, dict) else {}


def _codecs(file: Path, values: object) -> dict[str, Mapping[str, Any]]:
    """Codecs by name, none twice."""
    if not isinstance(values, list) or len(values) > len(_COMPRESSORS):
        raise InputError(f"{file}: codecs {shown(values)}: expected a short list")
    return dict(_configured(file, value) for value in values)


def _opened(path: Path, store: Path, layout: ArrayLayout) -> zarr.Array[Any]:
    with zarr_at_hand(path):
        import zarr

        from dewedge.io.zarr_store import GuardedStore
    guarded = GuardedStore(path, store=store, codec=layout.codec, chunk_bytes=layout.chunk_bytes)
    try:
        return zarr.open_array(guarded, mode="r", zarr_format=3 if layout.zarr_format == 3 else 2)
    except InputError:
        raise
    except Exception as error:  # it raises of every kind
        raise InputError(f"{path}: not a Zarr array: {reason(error)}") from None


@contextmanager
def zarr_at_hand(path: Path) -> Iterator[None]:
    """Tell what to install for a Zarr store, where an import within the block fails.

    Raises
    ------
    InputError
        If one does.
    """
    try:
        yield
    except ImportError:
        raise InputError(f"{path}: for Zarr, install zarr and yaozarrs: dewedge[zarr]") from None
