"""Movies of single tilts, read frame by frame: MRC stacks, TIFF (LZW and others), EER."""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dewedge import limits
from dewedge.errors import InputError, reason
from dewedge.io.files import StrPath, open_input
from dewedge.io.mrc import read_mrc

_MRC = (".mrc", ".mrcs", ".st")
_TIFF = (".tif", ".tiff")
_EER = (".eer",)
_EER_COMPRESSIONS = (65000, 65001, 65002)
MOVIE_SUFFIXES = (*_MRC, *_TIFF, *_EER)


@dataclass(frozen=True)
class Movie:
    """Values of a movie's headers.

    Parameters
    ----------
    n_frames, shape_yx
        Number and shape of its frames.
    pixel_size_A
        Pixel size in Angstrom; None if the file does not tell. That of a TIFF is not read.
    """

    path: Path
    n_frames: int
    shape_yx: tuple[int, int]
    pixel_size_A: float | None = None


def read_movie(path: StrPath) -> Movie:
    """Read the headers of a movie of at least two frames and check the file's size against them.

    Raises
    ------
    InputError
        If the file cannot be read, is no movie by its name or contents, is truncated, or has one frame only.
    """
    path = Path(path)
    if path.suffix.lower() in _MRC:
        mrc = read_mrc(path, stack=True)
        n, height, width = mrc.data.shape
        movie = Movie(path, n, (height, width), mrc.voxel_size_A)
    elif path.suffix.lower() in (*_TIFF, *_EER):
        with _tiff_pages(path) as pages:
            movie = Movie(path, len(pages), pages[0].shape)
    else:
        raise InputError(f"{path}: expected a movie: {' '.join(MOVIE_SUFFIXES)}")
    if movie.n_frames < 2:
        raise InputError(f"{path}: one frame: expected a movie of two or more, for even and odd ones")
    return movie


def movie_frames(movie: Movie) -> Iterator[NDArray[Any]]:
    """Frames ``(y, x)``, one at a time, rows from the bottom up as in an MRC file.

    The rows of a TIFF are reversed, for its first one is the top, as IMOD, SerialEM and MotionCor3 do too;
    those of an EER file are not, as in RELION.

    Raises
    ------
    InputError
        If a frame cannot be decoded.
    """
    if movie.path.suffix.lower() in _MRC:
        yield from read_mrc(movie.path, stack=True).data
        return
    step = 1 if is_eer(movie.path) else -1
    with _tiff_pages(movie.path) as pages:
        for i, page in enumerate(pages):
            yield _decoded(movie.path, i, page)[::step]


def is_eer(path: Path) -> bool:
    """True if the file is an EER movie by its name."""
    return path.suffix.lower() in _EER


def read_gain(path: StrPath) -> NDArray[np.float32]:
    """Gain reference ``(y, x)`` from an MRC or TIFF file; frames are to be multiplied by it.

    Raises
    ------
    InputError
        If the file cannot be read or does not hold one image of numbers up to `dewedge.limits.GAIN`, not all
        zero.
    """
    path = Path(path)
    if path.suffix.lower() in _MRC:
        images = read_mrc(path, stack=True).data
        count, gain = len(images), np.array(images[0], dtype=np.float32)
    elif path.suffix.lower() in _TIFF:
        with _tiff_pages(path) as pages:
            count, gain = len(pages), np.array(_decoded(path, 0, pages[0])[::-1], dtype=np.float32)
    else:
        raise InputError(f"{path}: expected a gain reference in MRC or TIFF format")
    if count != 1 or not np.abs(gain).max() <= limits.GAIN or not gain.any():  # NaN is not, either
        raise InputError(
            f"{path}: expected a gain reference: one image of numbers up to {limits.GAIN:g}, not all zero"
        )
    return gain


def even_odd_averages(
    movie: Movie, gain: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Averages ``(y, x)`` of frames 0, 2, 4 ... and of frames 1, 3, 5 ..., times the gain reference.

    Raises
    ------
    InputError
        If a frame cannot be decoded, or an average holds values beyond `dewedge.limits.PIXEL`.
    """
    sums = np.zeros((2, *movie.shape_yx), dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for i, frame in enumerate(movie_frames(movie)):
            sums[i % 2] += frame
        sums[0] /= (movie.n_frames + 1) // 2
        sums[1] /= movie.n_frames // 2
        if gain is not None:
            sums *= gain
    if not np.abs(sums).max() <= limits.PIXEL:
        raise InputError(
            f"{movie.path}: holds values that are not finite or beyond {limits.PIXEL:g}, or that are when "
            "multiplied by the gain"
        )
    return sums[0], sums[1]


@contextmanager
def _tiff_pages(path: Path) -> Iterator[list[Any]]:
    """The pages of a TIFF or EER file, all there, all of one shape."""
    try:
        import imagecodecs  # noqa: F401
        import tifffile
    except ImportError:
        raise InputError(f"{path}: to read it, install tifffile and imagecodecs: dewedge[movies]") from None

    # What it would log of a broken file is raised here.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    with open_input(path) as file:
        try:
            tiff = tifffile.TiffFile(file)
            pages = list(tiff.pages)
            end = _next_directory(file, tiff.tiff, pages[-1].offset)
        except Exception as error:  # its parser raises of every kind
            raise InputError(f"{path}: truncated or not a TIFF file: {reason(error)}") from None
        size = file.seek(0, 2)
        if end != 0:
            raise InputError(f"{path}: truncated: frames are missing after the first {len(pages)}")
        if is_eer(path):  # some programs put the sum of the frames first
            pages = [page for page in pages if page.compression in _EER_COMPRESSIONS] or pages
        for i, page in enumerate(pages):
            shape = page.shape
            if not _is_image(shape):
                raise InputError(f"{path}: frame {i} of shape {shape}: expected a grey-scale image (y, x)")
            if shape != pages[0].shape:
                raise InputError(f"{path}: frame {i} of shape {shape}: expected {pages[0].shape}, as frame 0")
            if not _has_its_data(page, size):
                raise InputError(f"{path}: truncated: the data of frame {i} are not all in the file")
        yield pages


def _is_image(shape: tuple[Any, ...]) -> bool:
    """True of two axes, not too long; a tag of a nonsensical type makes them of any type."""
    numbers = all(isinstance(n, int) and n >= 1 for n in shape)
    return numbers and len(shape) == 2 and math.prod(shape) <= limits.FRAME_PIXELS


def _has_its_data(page: Any, size: int) -> bool:
    """True if all chunks of a page lie within the ``size`` bytes of its file."""
    try:
        chunks = list(zip(page.dataoffsets, page.databytecounts, strict=False))
        return len(chunks) == math.prod(page.chunked) and all(o > 0 < n and o + n <= size for o, n in chunks)
    except (ZeroDivisionError, ValueError, TypeError):  # of nonsensical tags
        return False


def _next_directory(file: Any, layout: Any, offset: int) -> int:
    """Offset at which a page says that the next one is, 0 after the last one."""
    file.seek(offset)
    (count,) = struct.unpack(layout.tagnoformat, file.read(layout.tagnosize))
    file.seek(offset + layout.tagnosize + count * layout.tagsize)
    (following,) = struct.unpack(layout.offsetformat, file.read(layout.offsetsize))
    return int(following)


def _decoded(path: Path, i: int, page: Any) -> NDArray[Any]:
    try:
        frame: NDArray[Any] = page.asarray(maxworkers=1)
    except Exception as error:  # each codec raises its own kind
        raise InputError(f"{path}: frame {i} cannot be decoded: {reason(error)}") from None
    if frame.shape != page.shape or frame.dtype.kind not in "buif":
        raise InputError(f"{path}: frame {i} has values of type {frame.dtype}: expected real numbers")
    return frame
