"""Tilt images one by one: values that are not numbers, constant, dark, saturated and duplicated images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dewedge.check.binning import binned_image
from dewedge.check.finding import Finding, listed
from dewedge.geometry import Floats

# Edge in pixels of the patches, at full resolution, by which duplicates are found.
_PATCH = 128
# Images on either side of one whose grey scale it is held against.
_NEIGHBOURS = 3
_DARK_IN_STD = 3.0
_SATURATED_SHARE = 0.01
_DUPLICATE = 0.9999


@dataclass(frozen=True, eq=False)
class ImageSummary:
    """Summary of ``(n, y, x)`` images from one pass over them.

    Parameters
    ----------
    binned
        ``(n, y', x')`` block averages. Values that are not finite count as the image's mean.
    factor
        Width of a block in pixels.
    patches
        ``(n, p, p)`` middles of the images at full resolution.
    mean, std, low, high
        ``(n,)`` of the finite values of each image.
    share_at_high
        ``(n,)`` share of the pixels that have the image's highest value.
    share_not_finite
        ``(n,)`` share of NaN and infinite values.
    """

    binned: NDArray[np.float32]
    factor: int
    patches: NDArray[np.float32]
    mean: Floats
    std: Floats
    low: Floats
    high: Floats
    share_at_high: Floats
    share_not_finite: Floats

    @property
    def usable(self) -> NDArray[np.bool_]:
        """``(n,)`` True for images that are neither constant nor hold values that are not finite."""
        return (self.low < self.high) & (self.share_not_finite == 0)


def summarise_images(images: NDArray[Any], binned_side: int = 128) -> ImageSummary:
    """Read each of ``(n, y, x)`` images once, in memory or memory-mapped.

    The longer side is binned to about ``binned_side`` pixels.
    """
    factor = max(1, round(max(images.shape[1:]) / binned_side))
    binned, patches, rows = [], [], []
    for stored in images:
        image = np.asarray(stored).astype(np.float32)
        finite = np.isfinite(image)
        share_not_finite = 1 - float(finite.mean())
        if share_not_finite:
            image[~finite] = image[finite].mean(dtype=np.float64) if finite.any() else 0
        high = image.max()
        row = (image.mean(dtype=np.float64), image.std(dtype=np.float64), image.min(), high)
        rows.append((*row, (image == high).mean(), share_not_finite))
        binned.append(binned_image(image, factor))
        patches.append(_middle(image))
    columns = np.array(rows, dtype=np.float64).T
    return ImageSummary(np.stack(binned), factor, np.stack(patches), *columns)


def check_images(series: str, summary: ImageSummary, tilt_deg: Floats) -> list[Finding]:
    """Findings on single images of a series, given their tilt angles."""
    findings: list[Finding] = []

    def add(severity: Any, indices: Any, what: str, why: str, do: str) -> None:
        numbers = [int(i) + 1 for i in indices]
        where = f"image {listed(numbers)}" + (
            f" at {tilt_deg[indices[0]]:g} degrees" if len(numbers) == 1 else ""
        )
        findings.append(Finding(severity, series, what, where, why, do))

    broken = np.flatnonzero(summary.share_not_finite > 0)
    if broken.size:
        share = 100 * summary.share_not_finite[broken].max()
        add(
            "error",
            broken,
            f"NaN or infinite values, up to {share:.2g} % of the pixels",
            "One such pixel spreads over the whole tomogram",
            "Leave these tilts out, or export the stack again",
        )
    constant = np.flatnonzero((summary.low == summary.high) & (summary.share_not_finite < 1))
    if constant.size:
        add(
            "error",
            constant,
            f"every pixel is {summary.low[constant[0]]:g}",
            "An empty image adds streaks and no information",
            "Leave these tilts out",
        )

    good = np.flatnonzero(summary.usable)
    saturated = good[summary.share_at_high[good] > _SATURATED_SHARE]
    if saturated.size:
        share = 100 * summary.share_at_high[saturated].max()
        add(
            "warning",
            saturated,
            f"saturated: up to {share:.1f} % of the pixels have the highest value",
            "Clipped pixels break the sum over the specimen that a projection is",
            "Export the images with a wider range of grey values, or leave these tilts out",
        )
    for i, expected in _odd_means(summary, tilt_deg, good):
        add(
            "warning",
            [i],
            f"{'dark' if summary.mean[i] < expected else 'bright'}: mean {summary.mean[i]:.3g}, where its "
            f"neighbours in angle have {expected:.3g} (standard deviation {_typical_std(summary):.3g})",
            "The beam was blocked, or the specimen has moved away or charged",
            "Look at it, and leave this tilt out if so",
        )
    for i, expected in _odd_spreads(summary, tilt_deg, good):
        add(
            "warning",
            [i],
            f"standard deviation {summary.std[i]:.3g}, where its neighbours in angle have {expected:.3g}",
            "It counts far too much or too little in the reconstruction",
            "Bring all images to one grey scale, or leave this tilt out",
        )
    for i, j in _duplicates(summary, good):
        add(
            "error",
            [i, j],
            "two images are the same",
            "One tilt is missing and another one counts twice, at a wrong angle; half-sets share its noise",
            "Make the stack again, or leave one of them out",
        )
    return findings


def _typical_std(summary: ImageSummary) -> float:
    return float(np.median(summary.std[summary.usable]))


def _odd_means(summary: ImageSummary, tilt_deg: Floats, good: NDArray[np.intp]) -> list[tuple[int, float]]:
    """Images whose mean is far from their neighbours', and the neighbours' mean."""
    found = []
    for i, expected in _expected(summary.mean, tilt_deg, good):
        if abs(summary.mean[i] - expected) > _DARK_IN_STD * _typical_std(summary):
            found.append((i, expected))
    return found


def _odd_spreads(summary: ImageSummary, tilt_deg: Floats, good: NDArray[np.intp]) -> list[tuple[int, float]]:
    """Images whose standard deviation is a third of their neighbours', or three times it."""
    expected = _expected(summary.std, tilt_deg, good)
    return [(i, value) for i, value in expected if not value / 3 < summary.std[i] < value * 3]


def _expected(values: Floats, tilt_deg: Floats, good: NDArray[np.intp]) -> list[tuple[int, float]]:
    """Each good image, and the median of its neighbours' values in angle."""
    order = good[np.argsort(tilt_deg[good], kind="stable")]
    found = []
    for rank, i in enumerate(order):
        first = min(max(0, rank - _NEIGHBOURS), max(0, len(order) - 2 * _NEIGHBOURS - 1))
        others = [j for j in order[first : first + 2 * _NEIGHBOURS + 1] if j != i]
        if len(others) >= 2:
            found.append((int(i), float(np.median(values[others]))))
    return found


def _duplicates(summary: ImageSummary, good: NDArray[np.intp]) -> list[tuple[int, int]]:
    flat = summary.patches[good].reshape(len(good), -1).astype(np.float64)
    flat -= flat.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(flat, axis=1)
    good, flat, norms = good[norms > 0], flat[norms > 0], norms[norms > 0]
    correlation = (flat @ flat.T) / np.outer(norms, norms)
    pairs = np.argwhere(np.triu(correlation > _DUPLICATE, k=1))
    return [(int(good[i]), int(good[j])) for i, j in pairs]


def _middle(image: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = image.shape
    top, left = max(0, (height - _PATCH) // 2), max(0, (width - _PATCH) // 2)
    return image[top : top + _PATCH, left : left + _PATCH].copy()
