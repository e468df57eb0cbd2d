"""A prediction held against single tilt images that it was not made from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from dewedge.errors import InputError
from dewedge.geometry import Floats
from dewedge.physics.projection import project
from dewedge.scores.spectra import (
    OFF_AXIS,
    ShellSums,
    checked_edges,
    listed,
    shell_sums,
    tapered_image_spectrum,
)
from dewedge.scores.withheld import EDGES

# Part of the width that a box casts on a tilt image, which is compared even where the box's corners cut rays.
_LEAST_WIDTH = 0.5


@dataclass(frozen=True, eq=False)
class TiltScores:
    """Fourier ring correlations with one withheld tilt image.

    Parameters
    ----------
    tilt_deg
        Its tilt angle.
    distance_deg
        Angle to the nearest given tilt.
    edges_per_voxel
        ``(s + 1,)`` edges of the rings in cycles per voxel.
    correlation
        ``(s,)`` of the reprojection of each tomogram with the image, by name.
    chance
        ``(s,)`` standard deviation of the correlation of independent noise.
    ceiling
        ``(s,)`` what the specimen itself would reach; None without images of even and odd frames.
    """

    tilt_deg: float
    distance_deg: float
    edges_per_voxel: tuple[float, ...]
    correlation: Mapping[str, Floats]
    chance: Floats
    ceiling: Floats | None = None

    def as_dict(self) -> dict[str, Any]:
        """Names and values, fit for JSON."""
        return {
            "tilt_deg": self.tilt_deg,
            "distance_deg": self.distance_deg,
            "edges_per_voxel": list(self.edges_per_voxel),
            "correlation": {name: listed(values) for name, values in self.correlation.items()},
            "chance": listed(self.chance),
            "ceiling": None if self.ceiling is None else listed(self.ceiling),
        }


def reprojection_scores(
    tomograms: Mapping[str, ArrayLike],
    images: ArrayLike,
    withheld_deg: ArrayLike,
    given_deg: ArrayLike,
    *,
    frames: Sequence[ArrayLike] | None = None,
    edges: Sequence[float] = EDGES,
) -> list[TiltScores]:
    """Reproject tomograms at withheld tilts, and correlate with the raw images there, ring by ring.

    Compared is the part of an image whose rays pass the whole thickness of the box (or, of a narrow box, the
    middle half of what it casts), tapered on all sides. Frequencies within 2 / thickness of the tilt axis are
    left out: there all tilts measured. An image between given tilts that are near holds little else.

    Parameters
    ----------
    tomograms
        ``(z, y, x)`` by name, of one shape: a prediction, and the reconstruction of the given tilts.
    images
        ``(n, y, x)`` aligned images of the withheld tilts, with the tomograms' rows along y.
    withheld_deg, given_deg
        ``(n,)`` their tilt angles, and those of the given tilts.
    frames
        The averages of even and of odd frames of the same images. With F their correlation, the specimen
        itself has sqrt(2 F / (1 + F)) with the image of all frames.
    edges
        Of the rings in cycles per voxel.

    Raises
    ------
    InputError
        If shapes do not fit, or a box is too thick for its width to be compared at all.

    Source: Rosenthal and Henderson 2003, J. Mol. Biol. 333, 721 (ceiling from halves).
    """
    bounds = checked_edges(edges)
    stack: Floats = np.asarray(images)
    tilts, given = np.asarray(withheld_deg, dtype=np.float64), np.asarray(given_deg, dtype=np.float64)
    volumes = {
        name: torch.from_numpy(np.asarray(volume).astype(np.float32)) for name, volume in tomograms.items()
    }
    for name, volume in volumes.items():
        if volume.ndim != 3 or len(stack) != tilts.size or volume.shape[1] != stack.shape[1]:
            raise InputError(
                f"{name}: shape {tuple(volume.shape)} (z, y, x) for images of {stack.shape} at {tilts.size} "
                "tilts: expected one image a tilt, with the rows of the tomogram"
            )
    shape = (stack.shape[1], stack.shape[2])
    scores = []
    for i, tilt in enumerate(tilts.tolist()):
        depth, _, width = next(iter(volumes.values())).shape
        columns = compared_columns(tilt, depth, width, shape[1])

        def sums(a: ArrayLike, b: ArrayLike, columns: slice = columns, depth: int = depth) -> ShellSums:
            spectra = [tapered_image_spectrum(np.asarray(image)[:, columns], bounds[-1]) for image in (a, b)]
            off_axis = spectra[0].frequency[2].abs() >= OFF_AXIS / depth
            return shell_sums(spectra[0], spectra[1], bounds, off_axis)

        found = {
            name: sums(project(volume, [tilt], shape)[0].numpy(), stack[i])
            for name, volume in volumes.items()
        }
        ceiling = None
        if frames is not None:
            halves = np.clip(sums(np.asarray(frames[0])[i], np.asarray(frames[1])[i]).correlation, 0, None)
            ceiling = np.sqrt(2 * halves / (1 + halves))
        scores.append(
            TiltScores(
                tilt_deg=tilt,
                distance_deg=float(np.abs((given - tilt + 90) % 180 - 90).min()),
                edges_per_voxel=bounds,
                correlation={name: one.correlation for name, one in found.items()},
                chance=next(iter(found.values())).chance,
                ceiling=ceiling,
            )
        )
    return scores


def mean_correlation(scores: Sequence[TiltScores]) -> dict[str, Floats]:
    """``(s,)`` mean over the tilts of the correlation of each tomogram, and of the ceiling if there is one.

    Rings that are empty in some image take the mean of the others; NaN if they are in all.
    """
    curves = {name: [score.correlation[name] for score in scores] for name in scores[0].correlation}
    ceilings = [score.ceiling for score in scores if score.ceiling is not None]
    if ceilings:
        curves["ceiling"] = ceilings
    means = {}
    for name, values in curves.items():
        table = np.array(values)
        count = np.isfinite(table).sum(axis=0)
        total = np.where(count > 0, np.nansum(table, axis=0), np.nan)
        means[name] = total / np.maximum(count, 1)
    return means


def compared_columns(tilt_deg: float, depth: int, width: int, image_width: int) -> slice:
    """Columns of an image at a tilt whose rays pass the whole thickness of a box, or the middle half.

    The box is ``depth`` voxels thick and ``width`` wide, the image ``image_width`` pixels.

    Raises
    ------
    InputError
        If fewer than 16 columns are left.

    Examples
    --------
    >>> compared_columns(0, 100, 300, 300), compared_columns(45, 100, 300, 300)
    (slice(1, 299, None), slice(80, 220, None))
    """
    cos, sin = math.cos(math.radians(tilt_deg)), abs(math.sin(math.radians(tilt_deg)))
    half = max(width / 2 * cos - depth / 2 * sin, _LEAST_WIDTH * width / 2 * cos)
    half = math.floor(min(half, image_width / 2 - 1))
    if half < 8:
        raise InputError(
            f"tilt {tilt_deg:g}: a box {depth} voxels thick and {width} wide casts {2 * half} pixels; "
            "expected at least 16 to compare"
        )
    return slice(image_width // 2 - half, image_width // 2 + half)
