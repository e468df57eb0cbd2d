"""Tilt images made ready for reconstruction: cleaned, normalised, aligned, without gold, corrected."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dewedge.errors import InputError
from dewedge.geometry import TiltGeometry
from dewedge.io.tilt_series import TiltSeries
from dewedge.physics.alignment import align_images
from dewedge.physics.fourier import fourier_crop
from dewedge.physics.gold import find_gold, find_more, join, left_over
from dewedge.physics.painting import Patch, paint_over
from dewedge.physics.raw_images import PreparedImages, outliers_of, survey
from dewedge.physics.transmission import transmission
from dewedge.settings.sections import ImagesSection, ReconstructSection

logger = logging.getLogger(__name__)

# Beads are looked for in pixels of at most this size, or the images' own.
_DETECTION_A = 10.0
# Correlation from which on even and odd frames are one image.
_COPY = 1 - 1e-6
# Rounds of looking for beads that others hid.
_ROUNDS = 2


@dataclass(frozen=True, eq=False)
class AlignedImages:
    """``(n, y, x)`` aligned and binned tilt images, their geometry, and ``(n,)`` variances of their noise.

    Variances are in any one unit for all images.
    """

    images: Tensor
    geometry: TiltGeometry
    noise: NDArray[np.float64]

    def select(self, indices: NDArray[np.int64]) -> AlignedImages:
        """The images at ``(m,)`` indices, with their geometry and noise."""
        chosen = self.images[torch.from_numpy(indices)]
        return AlignedImages(chosen, self.geometry.select(indices), self.noise[indices])


@dataclass(frozen=True, eq=False)
class Gold:
    """Beads that were painted over in a series, or in both of its frames, and what was taken.

    Parameters
    ----------
    centres_zyx
        ``(m, 3)`` pixels of the aligned images, from index N // 2 of each axis of the tomogram.
    reach
        Radius in pixels of what was painted over.
    removed
        For each image, what was taken from it, in all parts.
    n_parts
        2 for frames, whose mean is the image, else 1.
    """

    centres_zyx: NDArray[np.float64]
    reach: float
    removed: tuple[tuple[Patch, ...], ...]
    n_parts: int

    def images(self, shape: Sequence[int]) -> Tensor:
        """``(n, y, x)`` images of the gold alone: what painting took from the images."""
        images = torch.zeros(tuple(shape))
        for image, patches in zip(images.numpy(), self.removed, strict=True):
            for patch in patches:
                image[patch.rows, patch.columns] += patch.values / self.n_parts
        return images


def raw_images(
    series: Sequence[TiltSeries],
    section: ImagesSection,
    seed: int,
    name: str,
    on_image: Callable[[], None] = lambda: None,
) -> tuple[list[NDArray[Any]], list[NDArray[np.float64]] | None]:
    """Images of a series, or of its even and odd frames, cleaned and normalised as they are read.

    Returns
    -------
    list, list or None
        Like arrays ``(n, y, x)``, an image is made when it is asked for; the means ``(n,)`` that they were
        divided by, if they are counts.
    """
    replaces = section.xrays == "auto"
    if section.normalise == "none" and not replaces:
        return [each.images for each in series], None
    surveys = [survey(each.images, on_image) for each in series]
    values = [
        np.concatenate([getattr(s, key) for s in surveys]) for key in ("level", "std", "lowest", "noise")
    ]
    decided = transmission(*values)
    divisors: list[Any] = [None] * len(series)
    counts: list[NDArray[np.float64]] | None = None
    if section.normalise == "auto":
        logger.info("%s: %s", name, decided.note)
        if decided.divisors is not None:
            divisors = counts = np.split(decided.divisors, len(series))
    else:
        logger.info("%s: images not divided by their means, as asked", name)
    if replaces:
        pixels = sum(each.n_xray_pixels for each in surveys)
        hot = sum(each.hot_pixels.size for each in surveys)
        logger.info(
            "%s: %d pixels of X-rays in %d images, %d hot pixels: replaced by neighbours",
            name, pixels, sum(len(each.xrays) for each in surveys), hot,
        )  # fmt: skip
    prepared = [
        PreparedImages(each.images, outliers_of(found) if replaces else None, divisor, seed=2 * seed + i)
        for i, (each, found, divisor) in enumerate(zip(series, surveys, divisors, strict=True))
    ]
    # They give shape, length and one image at a time, all that alignment asks for.
    return list(prepared), counts  # type: ignore[arg-type]


def prepare(
    series: Sequence[TiltSeries],
    section: ReconstructSection,
    images_section: ImagesSection,
    seed: int,
    name: str,
    device: torch.device | None = None,
    on_image: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[AlignedImages], Gold | None]:
    """Clean, normalise, align and bin the images of a series, or of its frames, and paint over its gold.

    They are aligned on ``device``, or the CPU if not given, one at a time; the results are on the CPU.
    ``on_image`` is called with how many were read and will be: most often all of them twice.

    Returns
    -------
    list of AlignedImages
        One of each series.
    Gold or None
        None if there is no gold, or it is to be kept.

    Raises
    ------
    InputError
        If the series of even and odd frames are one and the same, but for scale.
    """
    if len(series) == 2:
        _refuse_copies(series, name)
    reads = 1 if images_section.normalise == "none" and images_section.xrays == "keep" else 2
    done, total = itertools.count(1), reads * sum(len(each.images) for each in series)

    def count() -> None:
        on_image(next(done), total)

    sources, counts = raw_images(series, images_section, seed, name, count)
    # Counts divided by their mean have a variance of one over it.
    noise = [1 / means for means in counts] if counts else [np.ones(len(source)) for source in sources]
    aligned = [
        AlignedImages(
            *align_images(source, each.geometry, section.bin, section.binning_method, device, count),
            variances,
        )
        for source, each, variances in zip(sources, series, noise, strict=True)
    ]
    gold = None
    if images_section.gold == "auto":
        gold = paint_gold(aligned, counts is not None, seed, name)
    return aligned, gold


def _refuse_copies(series: Sequence[TiltSeries], name: str) -> None:
    """Refuse frames that hold the same noise; painted over with noise of their own they would differ."""
    untilted = int(np.abs(series[0].geometry.tilt_deg).argmin())
    even, odd = (np.asarray(each.images[untilted]).astype(np.float64).ravel() for each in series)
    if min(even.std(), odd.std()) > 0 and abs(np.corrcoef(even, odd)[0, 1]) > _COPY:
        raise InputError(
            f"{name}: both half-sets are the same up to scale; they must hold independent noise, from even "
            "and odd frames"
        )


def paint_gold(aligned: Sequence[AlignedImages], counts: bool, seed: int, name: str) -> Gold | None:
    """Paint over the gold beads of aligned images, in place; those of frames with noise of their own.

    ``counts`` tells whether the images are counts divided by their mean. Beads are looked for once, in the
    mean of frames, in images of pixels of about 10 A.
    """
    geometry = aligned[0].geometry
    shape = geometry.image_shape_yx
    stacks = [each.images.numpy() for each in aligned]
    factor = max(1, int(_DETECTION_A / geometry.pixel_size_A))
    small = (shape[0] // factor, shape[1] // factor)

    def binned(i: int) -> NDArray[np.float32]:
        image = (
            aligned[0].images[i] if len(aligned) == 1 else (aligned[0].images[i] + aligned[1].images[i]) / 2
        )
        return fourier_crop(image, small).numpy() if factor > 1 else image.numpy()

    def all_binned() -> NDArray[np.float32]:
        return np.stack([binned(i) for i in range(geometry.n_tilts)])

    scale = np.array(shape) / small
    where = (geometry.tilt_deg, geometry.pixel_size_A * float(scale.mean()))
    beads = find_gold(all_binned(), *where, counts=counts)
    if beads is None:
        logger.info("%s: no gold beads found", name)
        return None
    reach = beads.reach * float(scale.mean())
    rngs = [
        [np.random.default_rng([seed, part, i]) for i in range(geometry.n_tilts)]
        for part in range(len(stacks))
    ]
    removed: list[list[Patch]] = [[] for _ in range(geometry.n_tilts)]

    def paint(places: Sequence[NDArray[np.float64]]) -> None:
        for i, at in enumerate(places):
            at = (at - np.array(small) // 2) * scale + np.array(shape) // 2
            for stack, rng in zip(stacks, rngs, strict=True):
                removed[i] += paint_over(stack[i], at, reach, rng[i])

    paint(beads.places)
    for _ in range(_ROUNDS):
        more = find_more(all_binned(), *where, beads)
        if more is None:
            break
        paint(more.places)
        beads = join(beads, more)
    rest = [left_over(binned(i), beads) for i in range(geometry.n_tilts)]
    paint(rest)
    logger.info(
        "%s: %d gold beads, %.0f nm wide at half depth, %s than their surroundings: painted over within "
        "%.0f nm of their middles; besides, %d discs like them in single images",
        name, len(beads), 0.2 * beads.radius * where[1], "darker" if beads.sign < 0 else "brighter",
        0.1 * beads.reach * where[1], sum(len(places) for places in rest),
    )  # fmt: skip
    centres = beads.centres_zyx * [scale.mean(), *scale]
    return Gold(centres, reach, tuple(map(tuple, removed)), len(stacks))
