"""Sections of volumes along their three axes, as pictures of a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dewedge.report.figure import grey_limits

View = Literal["xy", "xz", "yz"]
# The axis across which the sections of a view lie.
ACROSS: Mapping[View, int] = {"xy": 0, "xz": 1, "yz": 2}

LONGEST = 512  # pixels of an edge of a picture
# Of all pictures of a page: 9 MB, as text, if all are white noise.
PIXELS = 14_000_000
# Their shares.
SHARE: Mapping[View, float] = {"xy": 0.6, "xz": 0.2, "yz": 0.2}
QUALITY = 75
THUMBNAIL = 160  # pixels of its longer edge


@dataclass(frozen=True, eq=False)
class Sections:
    """Sections of a volume, spread evenly over it.

    Parameters
    ----------
    shape_zyx
        Of the volume.
    places
        Indices of the sections of each view, rising.
    images
        ``(n, up, right)`` float32 of each view: y and x of xy, z and x of xz, y and z of yz.
    """

    shape_zyx: tuple[int, int, int]
    places: Mapping[View, NDArray[np.int64]]
    images: Mapping[View, NDArray[np.float32]]

    @property
    def middle(self) -> dict[View, int]:
        """Number, among those of a view, of the section nearest to the volume's middle."""
        return {
            view: int(np.abs(places - self.shape_zyx[ACROSS[view]] // 2).argmin())
            for view, places in self.places.items()
        }

    def limits(self) -> tuple[float, float]:
        """Black and white, those of the middle sections."""
        return grey_limits([self.images[view][i] for view, i in self.middle.items()])


def places_of(
    shape_zyx: tuple[int, int, int], volumes: int, room: float = 1.0
) -> dict[View, NDArray[np.int64]]:
    """``(n,)`` indices of the sections of each view that are shown of so many volumes, rising.

    There are as many as fill that much of a page, 1 for all of it.
    """
    scale = scale_of(shape_zyx)
    places: dict[View, NDArray[np.int64]] = {}
    for view, axis in ACROSS.items():
        n = shape_zyx[axis]
        pixels = np.prod(np.delete(shape_zyx, axis)) * scale**2 * volumes
        # An odd number has one in the middle.
        most = max(int(SHARE[view] * room * PIXELS / pixels), 1)
        count = min(n, (most - 1) // 2 * 2 + 1)
        places[view] = ((np.arange(count) + 0.5) * n / count).astype(np.int64)
    return places


def scale_of(shape_zyx: tuple[int, int, int]) -> float:
    """Pixels of a picture a voxel."""
    return min(1.0, LONGEST / max(shape_zyx[1:]))


def read_sections(volume: NDArray[Any], places: Mapping[View, NDArray[np.int64]]) -> Sections:
    """Read sections of a ``(z, y, x)`` volume, which may be memory-mapped, in one pass along z."""
    depth, height, width = volume.shape
    scale = scale_of((depth, height, width))
    size = max(round(height * scale), 1), max(round(width * scale), 1)
    xy = np.empty((len(places["xy"]), *size), np.float32)
    xz = np.empty((len(places["xz"]), depth, width), np.float32)
    yz = np.empty((len(places["yz"]), height, depth), np.float32)
    numbers = {place: i for i, place in enumerate(places["xy"].tolist())}
    for z, section in enumerate(volume):
        xz[:, z] = section[places["xz"]]
        yz[:, :, z] = section[:, places["yz"]].T
        if z in numbers:
            xy[numbers[z]] = resized(np.asarray(section, np.float32), size)
    return Sections((depth, height, width), places, {"xy": xy, "xz": xz, "yz": yz})


def resized(section: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """``(up, right)`` section of ``size`` pixels, each the mean of the voxels below it."""
    if section.shape == size:
        return section
    return np.asarray(Image.fromarray(section).resize(size[::-1], Image.Resampling.BOX))


def jpeg(section: NDArray[np.float32], limits: tuple[float, float], scale: float = 1.0) -> str:
    """``(up, right)`` section as an address that holds it.

    ``limits`` are its black and white, ``scale`` the pixels of the picture a voxel.
    """
    size = max(round(section.shape[0] * scale), 1), max(round(section.shape[1] * scale), 1)
    low, high = limits
    greys = np.clip((resized(section, size) - low) / (high - low), 0, 1) * 255
    picture = io.BytesIO()
    Image.fromarray(np.flipud(np.nan_to_num(greys)).round().astype(np.uint8)).save(
        picture, format="JPEG", quality=QUALITY
    )
    return "data:image/jpeg;base64," + base64.b64encode(picture.getvalue()).decode("ascii")


def pictures(sections: Sections) -> dict[View, list[str]]:
    """Addresses that hold all sections of each view, in greys of the volume's own."""
    limits, scale = sections.limits(), scale_of(sections.shape_zyx)
    # Those of xy have been made smaller when they were read.
    scales: dict[View, float] = {"xy": 1.0, "xz": scale, "yz": scale}
    return {
        view: [jpeg(section, limits, scales[view]) for section in images]
        for view, images in sections.images.items()
    }


def thumbnail(section: NDArray[Any]) -> str:
    """``(up, right)`` section as the address of a small picture, in greys of its own."""
    values = np.asarray(section, np.float32)
    return jpeg(values, grey_limits([values]), min(1.0, THUMBNAIL / max(values.shape)))


def middle_section(volume: NDArray[Any]) -> NDArray[Any]:
    """``(y, x)`` section in the middle of a ``(z, y, x)`` volume."""
    return volume[volume.shape[0] // 2]


def shares(places: Sequence[int] | NDArray[np.int64], n: int) -> list[float]:
    """Shares of an axis of ``n`` voxels at which the middles of sections lie."""
    return [round((float(place) + 0.5) / n, 5) for place in places]
