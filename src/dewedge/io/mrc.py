"""MRC files: memory-mapped reading, and atomic writing of volumes and stacks."""

from __future__ import annotations

import mmap
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from mrcfile.dtypes import HEADER_DTYPE
from numpy.typing import ArrayLike, NDArray

import dewedge
from dewedge import limits
from dewedge.errors import InputError
from dewedge.io.files import StrPath, allocate, atomic_path, open_input, reserve
from dewedge.io.volume_file import VolumeFile, VolumeWriter

_ITEM_BYTES = {0: 1, 1: 2, 2: 4, 6: 2, 12: 2}
_COMPLEX_MODES = (3, 4)
_IMOD_STAMP = 1146047817
_MAX_LABELS = 10


class MappedData(np.memmap):
    """A memory-mapped array of a file that is asked for its size whenever a part is taken.

    To touch what a file has lost since it was mapped would kill the process by SIGBUS.

    Raises
    ------
    InputError
        If the file has become shorter.
    """

    _mmap: mmap.mmap | None

    def __getitem__(self, index: Any) -> Any:
        mapped = self._mmap
        if mapped is not None:
            start = self.offset - self.offset % mmap.ALLOCATIONGRANULARITY
            if mapped.size() < start + len(mapped):
                raise InputError(
                    f"{self.filename}: has become shorter since it was opened ({mapped.size()} bytes are "
                    "left): expected a file that does not change; restore it, and start or resume again"
                )
        return _plain_copy(super().__getitem__(index))

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        result = array.view(np.ndarray)
        return result[()] if return_scalar else result


def _plain_copy(part: Any) -> Any:
    """A part that is no view of the file, as what copies make, is an array like any other."""
    return part.view(np.ndarray) if isinstance(part, MappedData) and part._mmap is None else part


def read_mrc(path: StrPath, *, stack: bool = False) -> VolumeFile:
    """Open a volume, or a stack of images, of mode 0, 1, 2, 6 or 12 and either byte order.

    Mode 0 is unsigned where IMOD's stamp says so, else signed. Files without the "MAP" identifier are
    read if their size fits their header.

    Parameters
    ----------
    stack
        Take the file for a stack of images: the spacing along its first axis means nothing.

    Raises
    ------
    InputError
        If the file cannot be read, is not such an MRC file, is shorter than its header says, or its voxels
        are not cubic (of a stack: its pixels not square).
    """
    path = Path(path)
    with open_input(path) as file, warnings.catch_warnings():
        head = file.read(HEADER_DTYPE.itemsize)
        header = _checked_header(path, head, os.fstat(file.fileno()).st_size)
        voxel_size_A = _voxel_size_A(path, header, stack)
        warnings.simplefilter("ignore", RuntimeWarning)  # a missing stamp, trailing bytes
        with mrcfile.mmap(path, mode="r", permissive=True) as mrc:
            data = mrc.data
    if data is None:
        raise InputError(f"{path}: cannot be mapped into memory as an MRC file")
    if int(header["mode"]) == 0 and _is_unsigned(header):
        data = data.view(np.uint8)
    x, y, z = (float(header["origin"][axis]) for axis in "xyz")
    return VolumeFile(
        path=path,
        data=data.reshape(_shape(header)).view(MappedData),
        voxel_size_A=voxel_size_A,
        origin_xyz_A=(x, y, z) if np.isfinite([x, y, z]).all() else (0.0, 0.0, 0.0),
        labels=tuple(filter(None, (_printable(label) for label in header["label"].tolist()))),
    )


@contextmanager
def create_mrc(
    path: StrPath,
    shape: Sequence[int],
    voxel_size_A: float | None,
    *,
    stack: bool = False,
    origin_xyz_A: tuple[float, float, float] = (0.0, 0.0, 0.0),
    labels: Sequence[str] = (),
    what: str = "",
    half_precision: bool = False,
) -> Iterator[VolumeWriter]:
    """Write an MRC file of mode 2 piece by piece: assign to ``.data`` of the `VolumeWriter` it gives.

    At the end the header gets the data's statistics and the file its name; if the block raises, there is no
    new file and an old one of that name stays.

    Parameters
    ----------
    shape
        ``(z, y, x)``, or ``(n, y, x)`` of a stack of images.
    voxel_size_A
        Voxel or pixel size in Angstrom; None if not known.
    labels
        Labels of the files this one was made from. The last nine are kept.
    what
        What the file is, for the label that is added: ``dewedge VERSION WHAT DATE``.
    half_precision
        Write mode 12, float16: ``.data`` is of that type, and what it cannot hold is lost.

    Raises
    ------
    InputError
        If the file cannot be written or there is not enough space for it.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"expected a shape of three positive numbers, got {tuple(shape)}")
    sizes, mode = tuple(int(n) for n in shape), 12 if half_precision else 2
    with atomic_path(path) as temporary:
        reserve(Path(path), _ITEM_BYTES[mode] * int(np.prod(sizes)) + HEADER_DTYPE.itemsize)
        with mrcfile.new_mmap(temporary, sizes, mrc_mode=mode, overwrite=True) as mrc:
            with open(temporary, "rb+") as file:
                allocate(file.fileno())
            if stack:
                mrc.set_image_stack()
            mrc.voxel_size = voxel_size_A or 0.0
            for axis, value in zip("xyz", origin_xyz_A, strict=True):
                mrc.header.origin[axis] = value
            _set_labels(mrc.header, [*labels, own_label(what)])
            yield VolumeWriter(mrc.data)
            _set_statistics(mrc.header, mrc.data)


def write_mrc(
    path: StrPath,
    array: ArrayLike,
    voxel_size_A: float | None,
    *,
    stack: bool = False,
    origin_xyz_A: tuple[float, float, float] = (0.0, 0.0, 0.0),
    labels: Sequence[str] = (),
    what: str = "",
) -> None:
    """Write an array ``(z, y, x)`` or ``(n, y, x)`` as float32. Parameters and errors as `create_mrc`."""
    values = np.asarray(array)
    with create_mrc(
        path, values.shape, voxel_size_A, stack=stack, origin_xyz_A=origin_xyz_A, labels=labels, what=what
    ) as writer:
        writer.data[...] = values


def _checked_header(path: Path, head: bytes, size: int) -> np.void:
    """The header in its byte order; the data block it promises is there."""
    if head[:2] == b"\x1f\x8b" or head[:3] == b"BZh":
        raise InputError(f"{path}: compressed: expected a plain MRC file, so unpack it first")
    if len(head) < HEADER_DTYPE.itemsize:
        raise InputError(f"{path}: {size} bytes: too short for an MRC file, whose header alone has 1024")
    # The machine stamp first, then whichever order gives a known mode: the rule of mrcfile's permissive mode.
    orders = "><" if head[212:214] == b"\x11\x11" else "<>"
    headers = [np.frombuffer(head, HEADER_DTYPE.newbyteorder(order))[0] for order in orders]
    known = [header for header in headers if int(header["mode"]) in _ITEM_BYTES]
    header: np.void = known[0] if known else headers[0]
    has_map = header["map"][:3] == b"MAP"
    if not known:
        if not has_map:
            raise InputError(f"{path}: not an MRC file")
        mode = int(header["mode"])
        why = " (complex numbers, as of a Fourier transform)" if mode in _COMPLEX_MODES else ""
        raise InputError(
            f"{path}: MRC mode {mode}{why}: expected mode 0, 1, 2, 6 or 12: write it again as real numbers"
        )
    shape = _shape(header)
    extended = int(header["nsymbt"])
    if min(shape) < 1 or extended < 0:
        raise InputError(
            f"{path}: {'broken MRC header' if has_map else 'not an MRC file'}: size (z, y, x) = {shape}"
        )
    if 401 <= int(header["ispg"]) <= 630:
        raise InputError(f"{path}: a stack of volumes: expected one volume or one stack of images")
    if tuple(int(header[n]) for n in ("mapc", "mapr", "maps")) not in ((1, 2, 3), (0, 0, 0)):
        raise InputError(
            f"{path}: its axes are permuted (MAPC MAPR MAPS): expected x, y, z, so reorder them first"
        )
    expected = (
        HEADER_DTYPE.itemsize + extended + _ITEM_BYTES[int(header["mode"])] * shape[0] * shape[1] * shape[2]
    )
    if size < expected:
        raise InputError(
            f"{path}: truncated or not an MRC file: {size} bytes, but its header promises {expected} "
            f"(size (z, y, x) = {shape}, mode {header['mode']}): copy or write it again"
        )
    if max(shape) > limits.AXIS or extended > limits.EXTENDED_HEADER:
        raise InputError(
            f"{path}: size (z, y, x) = {shape}, with {extended} bytes of further header: expected at most "
            f"{limits.AXIS} voxels along an axis and {limits.EXTENDED_HEADER} bytes"
        )
    return header


def _shape(header: np.void) -> tuple[int, int, int]:
    return int(header["nz"]), int(header["ny"]), int(header["nx"])


def _voxel_size_A(path: Path, header: np.void, stack: bool) -> float | None:
    grid = [int(header[m]) for m in ("mx", "my", "mz")]
    cell = [float(header["cella"][axis]) for axis in "xyz"]
    sizes = [length / n if n > 0 else 0.0 for length, n in zip(cell, grid, strict=True)]
    # Image stacks by the MRC2014 rule have one section a cell.
    axes = 2 if stack or (int(header["ispg"]) == 0 and grid[2] == 1) else 3
    low, high = limits.LENGTH_A
    if not all(low <= size <= high for size in sizes[:axes]):
        return None
    if max(sizes[:axes]) > 1.01 * min(sizes[:axes]):
        text = " x ".join(f"{size:g}" for size in sizes[:axes])
        raise InputError(
            f"{path}: {'pixels' if axes == 2 else 'voxels'} of {text} A (x first): expected the same size "
            "along every axis; correct the header or resample"
        )
    return sizes[0]


def _is_unsigned(header: np.void) -> bool:
    """IMOD marks its files by a stamp; bit 0 of the flags beside it says that bytes are signed."""
    stamp, flags = np.frombuffer(header["extra2"].tobytes()[40:48], dtype=header.dtype["nx"])
    return int(stamp) == _IMOD_STAMP and not int(flags) & 1


def _printable(label: bytes) -> str:
    return "".join(c for c in label.decode("ascii", errors="ignore") if c.isprintable()).strip()


def own_label(what: str) -> str:
    """The label of a file that dewedge writes: ``dewedge VERSION WHAT DATE``."""
    date = datetime.now().strftime("%Y-%m-%d %H:%M:%S")
    version = dewedge.__version__.partition("+")[0]  # without the commit, for there is little room
    return f"{f'dewedge {version} {what}'.rstrip()[:60]} {date}"


def _set_labels(header: Any, labels: Sequence[str]) -> None:
    texts = [_printable(label.encode("ascii", errors="replace"))[:80] for label in labels]
    texts = [text for text in texts if text][-_MAX_LABELS:]
    header.label[:] = [text.encode("ascii") for text in texts] + [b""] * (_MAX_LABELS - len(texts))
    header.nlabl = len(texts)


def _set_statistics(header: Any, data: NDArray[np.float32]) -> None:
    """Minimum, maximum, mean and standard deviation, section by section to bound memory."""
    count, mean, square = 0, 0.0, 0.0
    low, high = np.inf, -np.inf
    for section in np.asarray(data):
        values = section.astype(np.float64)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        section_mean = float(values.mean())
        total = count + values.size
        square += float(((values - section_mean) ** 2).sum())
        square += (section_mean - mean) ** 2 * count * values.size / total
        mean += (section_mean - mean) * values.size / total
        count = total
    header.dmin, header.dmax, header.dmean = low, high, mean
    header.rms = np.sqrt(square / count)
