"""Tilt images that lie in one stack, in part of one, or in a file each; read one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dewedge.errors import InputError
from dewedge.io.files import StrPath
from dewedge.io.mrc import read_mrc
from dewedge.io.volume_file import VolumeFile


class ImageSource(NamedTuple):
    """An image: a file, and its section counted from 0."""

    path: Path
    section: int


class TiltImages:
    """The images of a tilt series where they lie: like an array ``(n, y, x)`` that is read image by image.

    Parameters
    ----------
    sources
        Where each image lies.

    Raises
    ------
    InputError
        If a file cannot be read, lacks a section, or images differ in shape.
    """

    def __init__(self, sources: Iterable[ImageSource]) -> None:
        self.sources = tuple(sources)
        if not self.sources:
            raise ValueError("expected at least one image")
        self.first = read_mrc(self.sources[0].path, stack=True)
        self._latest = self.first
        depths = {self.first.path: len(self.first.data)}
        for path, section in self.sources:
            if path not in depths:
                data = self._file(path).data
                depths[path] = len(data)
                if data.shape[1:] != self.first.data.shape[1:]:
                    raise InputError(
                        f"{path}: images of {data.shape[1:]} pixels (y, x): expected "
                        f"{self.first.data.shape[1:]}, those of {self.first.path.name}"
                    )
            if not 0 <= section < depths[path]:
                raise InputError(
                    f"{path}: no image {section + 1} (counted from 1): the file holds {depths[path]}"
                )
        self._is_whole_file = len(depths) == 1 and [s.section for s in self.sources] == [
            *range(depths[self.first.path])
        ]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of images, and their height and width: ``(n, y, x)``."""
        height, width = self.first.data.shape[1:]
        return len(self.sources), height, width

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels of the first file."""
        return self.first.data.dtype

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> NDArray[Any]:
        path, section = self.sources[index]
        image: NDArray[Any] = self._file(path).data[section]
        return image

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[i] for i in range(len(self)))

    def select(self, indices: ArrayLike) -> TiltImages:
        """Images at ``(m,)`` indices, in their order; errors as `TiltImages`."""
        return TiltImages(self.sources[int(i)] for i in np.asarray(indices))

    def as_array(self) -> NDArray[Any]:
        """The memory-mapped ``(n, y, x)`` file where these are all its images in order, else itself."""
        # What uses images needs shape, dtype, length and one image at a time, which both give.
        return self.first.data if self._is_whole_file else cast("NDArray[Any]", self)

    def _file(self, path: Path) -> VolumeFile:
        # One file is kept open: a series of a file per tilt would use up the open files a process may have.
        if self._latest.path != path:
            self._latest = read_mrc(path, stack=True)
        return self._latest


def stack_images(path: StrPath, sections: Sequence[int] | None = None) -> TiltImages:
    """Images of one stack: all, or those of ``sections`` counted from 0; errors as `TiltImages`."""
    path = Path(path)
    chosen = range(len(read_mrc(path, stack=True).data)) if sections is None else sections
    return TiltImages(ImageSource(path, int(section)) for section in chosen)
