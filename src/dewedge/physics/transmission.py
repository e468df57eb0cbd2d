"""Transmission: the share of the electrons that a tilted specimen lets through, and images divided by it.

At 60 degrees the specimen is twice as thick as untilted and half of the electrons are lost. What a structure
takes away is a share of what comes through, so in counts the same structure is half as strong there, and the
planes of Fourier space near the missing wedge arrive too weak. Division by the image's own mean undoes that
and keeps the sign of the contrast. The other way, -log(counts / mean), differs from it at second order only
(for a molecule of 5 %, by a tenth of a percent of the mean), turns the contrast round, and has no value
for pixels without an electron; so it is not used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dewedge.geometry import Floats

# Blocks along the longer side, whose means' median is the level.
_BLOCKS = 48
# A mean below this share of the standard deviation is zero.
_ZERO = 0.2
# No image is multiplied by more than the inverse of this, relative to the brightest one.
_LEAST = 0.1
# An offset is told by the noise where it explains this share of the level, and correlates with it so well.
_OFFSET_SHARE = 0.7
_OFFSET_CORRELATION = 0.9
_OFFSET_RANGE = 1.2
# No pixel lies further below an offset than so much of the noise.
_BELOW_OFFSET = 2.0


@dataclass(frozen=True, eq=False)
class Transmission:
    """Divisors of the images of a series, and the reason.

    Parameters
    ----------
    divisors
        ``(n,)`` of each image, in the images' own unit; None if they stay as they are.
    note
        What was decided, and why, in one line.
    """

    divisors: Floats | None
    note: str


def robust_mean(image: NDArray[np.float32]) -> float:
    """Median of the means of blocks of a ``(y, x)`` image.

    Unlike the mean it hardly moves for beads, a grid bar or an empty border, and unlike the median of the
    pixels it is not a whole number for counts.
    """
    size = max(1, max(image.shape) // _BLOCKS)
    height, width = (n // size * size for n in image.shape)
    blocks = image[:height, :width].reshape(height // size, size, width // size, size)
    return float(np.median(blocks.mean(axis=(1, 3), dtype=np.float64)))


def transmission(level: ArrayLike, std: ArrayLike, lowest: ArrayLike, noise: ArrayLike) -> Transmission:
    """Decide whether pixel values are counts, which can be divided by their mean.

    They are taken for counts if no value is negative, or if every mean exceeds the standard deviation. Means
    of zero (within a fifth of the standard deviation) tell of images that were normalised before. All else
    has an offset, of which the means tell nothing; so have positive values whose noise falls with tilt as
    that of counts would, while the mean hardly does.

    Parameters
    ----------
    level
        ``(n,)`` `robust_mean` of each image.
    std
        ``(n,)`` standard deviation of each image.
    lowest
        ``(n,)`` lowest value of each image.
    noise
        ``(n,)`` standard deviation of the noise of each image, whatever its definition.
    """
    level, std = np.asarray(level, dtype=np.float64), np.asarray(std, dtype=np.float64)
    lowest, noise = np.asarray(lowest, dtype=np.float64), np.asarray(noise, dtype=np.float64)
    span = f"means {level.min():.4g} to {level.max():.4g}"
    if np.median(np.abs(level) / std) < _ZERO and lowest.min() < 0:
        return Transmission(None, f"images have zero mean ({span}): taken as normalised already")
    if not (lowest.min() >= 0 and level.min() > 0) and not (level > std).all():
        return Transmission(None, f"images hold an offset ({span}): not divided by their means")
    offset = _offset(level, lowest, noise)
    if offset is not None:
        return Transmission(
            None,
            f"images seem to hold an offset of about {offset:.4g}, for their noise changes more than their "
            f"means ({span}): not divided by their means",
        )
    divisors = np.maximum(level, _LEAST * level.max())
    dark = int((level < divisors).sum())
    darker = f"; {dark} dark ones by a tenth of the highest" if dark else ""
    least = level.min() / level.max()
    return Transmission(divisors, f"images divided by their means ({span}, 1 to {least:.2f}){darker}")


def _offset(level: Floats, lowest: Floats, noise: Floats) -> float | None:
    """An offset of counts, if their noise tells of a large one: its variance is proportional to counts.

    What is fine in a crowded specimen looks like noise whose variance falls with the square of the counts,
    and so like an offset; then there are pixels below it. Zeros may be pixels without a value.
    """
    variance = noise**2
    if level.size < 5 or variance.max() < _OFFSET_RANGE * variance.min() or np.ptp(level) == 0:
        return None
    if np.corrcoef(level, variance)[0, 1] < _OFFSET_CORRELATION:
        return None
    slope, intercept = np.polyfit(level, variance, 1)
    offset = -intercept / slope
    if (
        offset <= _OFFSET_SHARE * level.min()
        or (lowest[lowest > 0] < offset - _BELOW_OFFSET * noise[lowest > 0]).any()
    ):
        return None
    return float(offset)
