"""Gold beads in aligned tilt images: found by what they cast in all of them.

A bead is a compact disc in every image, far beyond noise and specimen, and all beads of a series have one
size. Each image is filtered by the Laplacian of a Gaussian of the bead's size and divided by the spread of
the result (Lindeberg 1998, Int. J. Comput. Vis. 30, 79: it answers most to discs of that size); the filtered
images are averaged in space, along the rays that meet in each point. There a bead keeps its height, while
noise, and things that merely overlap, average out. Beads are what stands above all else by a clear gap, which
molecules do not leave, for they come in all heights. In counts, gold is told by its depth, too: a 10 nm bead
takes away 0.4 of the electrons, a ribosome 0.05.

Lengths are in pixels; places of an image count from index 0, centres from index N // 2 of the tomogram.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from dewedge.geometry import Floats
from dewedge.physics.projection import back_project

Images = NDArray[np.float32]

# Radii in A of beads of 5, 7.5 and 10 nm; of 15 and 20 nm only where depth tells gold from large molecules.
_RADII_A = (25.0, 37.5, 50.0)
_RADII_OF_COUNTS_A = (75.0, 100.0)
_LARGEST_WITHOUT_DEPTH_A = 48.0
# A bead that the filter of its size finds is no wider at half of its depth than this factor of the filter.
_LARGEST_OVER_FILTER = 1.1
# Smaller discs than this, in pixels, are not told from noise.
_LEAST_RADIUS = 1.4
# Points of the volume are this share of the radius apart.
_STEP = 1 / 1.5
# A filtered image that shows a bead reaches so many of its standard deviations; noise reaches 6.
_LEAST_IN_IMAGE = 8.0
# Gold covers no more of an image than this; where more stands out so far, it does not stand out from noise.
_LARGEST_COVER = 0.04
# Once there is gold, what else counts as a bead in one image.
_LEAST_LEFT_OVER = 6.0
# What one image counts for at most.
_HIGHEST = 40.0
# Least mean over the images, and least factor between beads and all else: with depth known, and without.
_LEAST_STRENGTH = {True: 4.0, False: 6.0}
_LEAST_GAP = {True: 2.0, False: 2.75}
# All else is at least so strong: what is weaker does not show in most images.
_NOTHING = 2.5
# Least depth of a bead, as a share of the mean, for each A of its radius.
_LEAST_DEPTH_PER_A = 0.08 / 50
# A bead shows in this share of the images that have it in view, by so many standard deviations.
_SHARE_SEEN = 0.6
_SEEN = 3.0
# A point must be in view of this share of the images, and of so many.
_SHARE_IN_VIEW = 0.2
_LEAST_IMAGES = 5
# Beads may lie above and below the specimen, and beside what the untilted image shows.
_DEPTH_A = 2500.0
_WIDER = 1.3
_MOST_BEADS = 500
# What is left of a bead's depth where its disc ends.
_END_OF_DISC = 0.04


@dataclass(frozen=True, eq=False)
class Beads:
    """Gold beads of a tilt series.

    Parameters
    ----------
    centres_zyx
        ``(m, 3)`` pixels from index N // 2 of each axis of the tomogram.
    strength
        ``(m,)`` mean over the images of the filtered image at the bead, in its standard deviations.
    least_strength
        What is weaker is no bead.
    sign
        -1 for beads darker than their surroundings, 1 for brighter ones.
    filter_radius
        Radius of the filter that found them.
    radius
        Where a bead has half of its depth.
    reach
        Radius of the disc in an image that a bead changes, fringes included.
    depth
        Depth of the middle of a bead, positive, in the images' unit.
    places
        For each image, ``(k, 2)`` middles (y, x) of the beads in view: where they are found, or must be.
    """

    centres_zyx: Floats
    strength: Floats
    least_strength: float
    sign: int
    filter_radius: float
    radius: float
    reach: float
    depth: float
    places: tuple[Floats, ...]

    def __len__(self) -> int:
        return len(self.centres_zyx)


def filtered(image: Images, radius: float, sign: int = -1) -> Images:
    """Laplacian of a Gaussian of a ``(y, x)`` image in robust standard deviations of itself.

    It is largest in the middle of discs of ``radius`` pixels that are dark (``sign`` -1) or bright (1).
    """
    response = ndimage.gaussian_laplace(image, radius / np.sqrt(2), output=np.float32)
    spread = 1.4826 * float(np.median(np.abs(response - np.median(response))))
    return response * np.float32(-sign / spread) if spread > 0 else np.zeros_like(response)


def find_gold(images: Images, tilt_deg: ArrayLike, pixel_size_A: float, *, counts: bool) -> Beads | None:
    """Find the gold beads of a tilt series, dark or bright.

    Parameters
    ----------
    images
        ``(n, y, x)`` aligned images, tilt axis y.
    tilt_deg
        ``(n,)`` tilt angles.
    pixel_size_A
        Pixel size of the images.
    counts
        True if the images are counts divided by their mean: then beads must be as deep as gold is.

    Returns
    -------
    Beads or None
        None if there are none.
    """
    tilts = np.asarray(tilt_deg, dtype=np.float64)
    low = np.argsort(np.abs(tilts), kind="stable")[:9]
    radii_A = (*_RADII_A, *_RADII_OF_COUNTS_A) if counts else _RADII_A
    likely = []
    for radius_A in radii_A:
        radius = radius_A / pixel_size_A
        if radius < _LEAST_RADIUS or 4 * radius > min(images.shape[1:]):
            continue
        for sign in (-1, 1):
            responses = [filtered(images[i], radius, sign) for i in low]
            highest = float(np.median([response.max() for response in responses]))
            cover = np.median([(response > _LEAST_IN_IMAGE).mean() for response in responses])
            if highest > _LEAST_IN_IMAGE and cover < _LARGEST_COVER:
                likely.append((highest, radius, sign))
    # Discs answer most to the filter of their own size.
    for _, radius, sign in sorted(likely, reverse=True):
        beads = _beads_of_size(images, tilts, pixel_size_A, radius, sign, counts)
        if beads is not None:
            # A ball of radius r has half of its depth at 0.87 r. What is no ball does not pass again.
            own = max(beads.radius / 0.87, _LEAST_RADIUS)
            beads = _beads_of_size(images, tilts, pixel_size_A, own, sign, counts)
        if beads is not None:
            return beads
    return None


def find_more(images: Images, tilt_deg: ArrayLike, pixel_size_A: float, beads: Beads) -> Beads | None:
    """Beads that others hid, in images whose ``beads`` are painted over; None if there are none.

    ``images`` and ``tilt_deg`` are as of `find_gold`.
    """
    tilts = np.asarray(tilt_deg, dtype=np.float64)
    responses = _responses(images, beads.filter_radius, beads.sign)
    centres, strength = _maxima(responses, tilts, pixel_size_A, beads.filter_radius)
    strong = strength > beads.least_strength
    centres, strength, places = _confirmed(
        centres[strong], strength[strong], responses, tilts, beads.filter_radius
    )
    if len(centres) == 0:
        return None
    return replace(beads, centres_zyx=centres, strength=strength, places=_in_view(places))


def left_over(image: Images, beads: Beads) -> Floats:
    """``(k, 2)`` middles of what else looks like half a bead in a ``(y, x)`` image, painted already.

    Such are beads that few images show, and mirror images of beads beyond the edge of a raw image.
    """
    response = filtered(image, beads.filter_radius, beads.sign)
    peaks = ndimage.maximum_filter(response, size=2 * round(beads.filter_radius) + 1) == response
    least = max(_LEAST_LEFT_OVER, 0.5 * float(np.median(beads.strength)))
    return np.argwhere(peaks & (response > least)).astype(np.float64)


def join(first: Beads, second: Beads) -> Beads:
    """Beads of both, found in the same images, with the size of the first."""
    return replace(
        first,
        centres_zyx=np.concatenate([first.centres_zyx, second.centres_zyx]),
        strength=np.concatenate([first.strength, second.strength]),
        places=tuple(np.concatenate(pair) for pair in zip(first.places, second.places, strict=True)),
    )


def _beads_of_size(
    images: Images, tilts: Floats, pixel_size_A: float, radius: float, sign: int, counts: bool
) -> Beads | None:
    responses = _responses(images, radius, sign)
    centres, strength = _maxima(responses, tilts, pixel_size_A, radius)
    centres, strength, places = _confirmed(centres, strength, responses, tilts, radius)
    threshold = _threshold(strength, _LEAST_STRENGTH[counts], _LEAST_GAP[counts])
    if threshold is None:
        return None
    strong = strength > threshold
    centres, strength = centres[strong], strength[strong]
    places = tuple(place[strong] for place in places)
    profile = _profile(images, places, tilts, round(4 * radius), sign)
    depth = float(profile[: max(1, round(radius / 2))].mean())
    if depth <= 0:
        return None
    at_half = _where_falls(profile, depth / 2)
    if at_half > _LARGEST_OVER_FILTER * radius:
        return None
    if not counts and at_half * pixel_size_A > _LARGEST_WITHOUT_DEPTH_A:
        return None
    if counts and depth < _LEAST_DEPTH_PER_A * radius * pixel_size_A:
        return None
    reach = _reach(profile, depth, at_half)
    return Beads(centres, strength, threshold, sign, radius, at_half, reach, depth, _in_view(places))


def _in_view(places: Sequence[Floats]) -> tuple[Floats, ...]:
    return tuple(place[np.isfinite(place).all(axis=1)] for place in places)


def _responses(images: Images, radius: float, sign: int) -> Images:
    return np.stack([np.minimum(filtered(image, radius, sign), _HIGHEST) for image in images])


def _maxima(responses: Images, tilts: Floats, pixel_size_A: float, radius: float) -> tuple[Floats, Floats]:
    """Centres and heights of the local maxima of the mean of the responses in space, highest first."""
    n, height, width = responses.shape
    step = max(1, round(_STEP * radius))
    # Every step-th pixel, one of them at index N // 2, which stays there.
    rows, columns = (np.arange(size // 2 % step, size, step) for size in (height, width))
    sparse = torch.from_numpy(np.ascontiguousarray(responses[:, rows][:, :, columns]))
    before = [2 * (size // 2 // step) - len(axis) for size, axis in ((height, rows), (width, columns))]
    sparse = torch.nn.functional.pad(sparse, (0, max(0, before[1]), 0, max(0, before[0])))
    depth = int(_DEPTH_A / pixel_size_A / step) | 1
    shape = (depth, sparse.shape[1], int(_WIDER * sparse.shape[2]))
    inside = torch.zeros(n, 1, sparse.shape[2])
    inside[:, :, : len(columns)] = 1
    count = back_project(inside, tilts, (depth, 1, shape[2])).numpy()
    least = max(_LEAST_IMAGES, _SHARE_IN_VIEW * n)
    mean = back_project(sparse, tilts, shape).numpy()
    mean /= np.maximum(count, least)
    peaks = np.argwhere((ndimage.maximum_filter(mean, size=3) == mean) & (mean > 1) & (count >= least))
    value = mean[tuple(peaks.T)].astype(np.float64)
    order = np.argsort(-value, kind="stable")[: 2 * _MOST_BEADS]
    centres = (peaks[order] - np.array(shape) // 2) * float(step)
    return centres, value[order]


def _confirmed(
    centres: Floats, strength: Floats, responses: Images, tilts: Floats, radius: float
) -> tuple[Floats, Floats, tuple[Floats, ...]]:
    """Maxima that most images show, with centres and places measured in these; one for each bead.

    Returns
    -------
    centres, strength
        Of those that remain.
    places
        For each image, ``(m, 2)`` middles of all of them; NaN where one is out of view.
    """
    if len(centres) == 0:
        return centres, strength, tuple(np.empty((0, 2)) for _ in responses)
    places, seen = _measured(centres, responses, tilts, radius)
    for _ in range(2):
        centres = _centres(centres, places, seen, tilts, responses.shape)
        places, seen = _measured(centres, responses, tilts, radius)
    in_view = np.isfinite(places).all(axis=2)
    needed = np.maximum(_SHARE_SEEN * in_view.sum(axis=1), 3)
    kept: list[int] = []
    for i in np.flatnonzero((in_view.sum(axis=1) >= _LEAST_IMAGES) & (seen.sum(axis=1) >= needed)):
        # What a stronger bead shows does not count: the mean falls off slowly along its rays.
        distance = np.linalg.norm(places[kept] - places[i], axis=2)
        own = seen[i] & ~(distance < radius).any(axis=0)
        if own.sum() >= needed[i]:
            kept.append(int(i))
        if len(kept) == _MOST_BEADS:
            break
    return centres[kept], strength[kept], tuple(places[kept].swapaxes(0, 1))


def projected(centre_zyx: ArrayLike, tilts: Floats, shape_yx: Sequence[int]) -> Floats:
    """``(n, 2)`` places (y, x) of a point in the images at ``(n,)`` tilt angles.

    Examples
    --------
    >>> projected((10, 5, 0), np.array([0.0, 90.0]), (64, 64)).round()  # 10 above the axis, 5 along it
    array([[37., 32.],
           [37., 42.]])
    """
    z, y, x = np.asarray(centre_zyx, dtype=np.float64)
    angle = np.radians(tilts)
    along_x = x * np.cos(angle) + z * np.sin(angle)
    return np.stack([np.full_like(along_x, y) + shape_yx[0] // 2, along_x + shape_yx[1] // 2], axis=1)


def _measured(
    centres: Floats, responses: Images, tilts: Floats, radius: float
) -> tuple[Floats, NDArray[np.bool_]]:
    """Places of points in the images, and whether they show there.

    Returns
    -------
    places
        ``(m, n, 2)`` of the highest response nearby where the point shows, else as projected; NaN where it is
        out of view.
    seen
        ``(m, n)`` True where it shows.
    """
    _, height, width = responses.shape
    places = np.stack([projected(centre, tilts, (height, width)) for centre in centres])
    in_view = np.all((places > -radius) & (places < np.array([height, width]) + radius), axis=2)
    seen = np.zeros(in_view.shape, dtype=bool)
    margin = max(1, round(0.8 * radius))
    offset = np.arange(-margin, margin + 1)
    for i, response in enumerate(responses):
        rows = np.clip(places[:, i, 0].round().astype(int)[:, None] + offset, 0, height - 1)
        columns = np.clip(places[:, i, 1].round().astype(int)[:, None] + offset, 0, width - 1)
        near = response[rows[:, :, None], columns[:, None, :]].reshape(len(centres), -1)
        seen[:, i] = in_view[:, i] & (near.max(axis=1) > _SEEN)
        row, column = np.unravel_index(near.argmax(axis=1), (offset.size, offset.size))
        every = np.arange(len(centres))
        highest = np.stack([rows[every, row], columns[every, column]], axis=1)
        places[:, i] = np.where(seen[:, i, None], highest, places[:, i])
    places[~in_view] = np.nan
    return places, seen


def _centres(
    centres: Floats, places: Floats, seen: NDArray[np.bool_], tilts: Floats, shape: Sequence[int]
) -> Floats:
    """Centres (z, y, x) whose projections are nearest to the places where they show, if three images do."""
    angle = np.radians(tilts)
    rows = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    result = centres.copy()
    for i in np.flatnonzero(seen.sum(axis=1) >= 3):
        along_x = places[i, seen[i], 1] - shape[2] // 2
        (z, x), *_ = np.linalg.lstsq(rows[seen[i]], along_x, rcond=None)
        result[i] = z, np.median(places[i, seen[i], 0]) - shape[1] // 2, x
    return result


def _threshold(strength: Floats, least: float, least_gap: float) -> float | None:
    """Height between beads and all else, at the first gap in the sorted heights; None if there is none."""
    heights = np.sort(strength)[::-1]
    for k in range(1, len(heights) + 1):
        if heights[k - 1] < least:
            break
        # A few in between are beads that few images show, or that are hidden by others.
        after = k - 1 + max(3, k // 4)
        next_height = max(float(heights[after]) if after < len(heights) else 0.0, _NOTHING)
        if heights[k - 1] >= least_gap * next_height:
            return float(np.sqrt(heights[k - 1] * next_height))
    return None


def _profile(images: Images, places: Sequence[Floats], tilts: Floats, radius: int, sign: int) -> Floats:
    """``(radius,)`` mean depth of all beads at whole distances from their middle; 0 at the end."""
    distance = np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1]).round().astype(int)
    index = np.arange(radius + 1)
    profiles = []
    for i in np.argsort(np.abs(tilts), kind="stable")[: max(5, len(tilts) * 2 // 3)]:
        height, width = images[i].shape
        for place in places[i]:
            if not np.isfinite(place).all():
                continue
            y, x = (round(value) for value in place)
            if radius <= y < height - radius and radius <= x < width - radius:
                patch = images[i, y - radius : y + radius + 1, x - radius : x + radius + 1]
                profiles.append(ndimage.mean(patch, distance, index))
    if not profiles:
        return np.zeros(radius)
    # The median: other beads lie beside some.
    profile: Floats = sign * np.median(profiles, axis=0)
    return (profile - profile[3 * radius // 4 :].mean())[:radius]


def _where_falls(profile: Floats, depth: float) -> float:
    """Distance at which a profile first falls below a depth, between two of its points."""
    beyond = max(1, int(np.argmax(profile < depth)))
    above, below = float(profile[beyond - 1]), float(profile[beyond])
    return beyond - 1 + float(np.clip((above - depth) / max(above - below, 1e-12), 0, 1))


def _reach(profile: Floats, depth: float, radius: float) -> float:
    """Radius where the mean profile has come to rest, between 1.3 radii and 2.5, and a pixel for misfit."""
    restless = np.flatnonzero(np.abs(profile) > _END_OF_DISC * depth)
    end = float(restless.max()) + 1 if restless.size else radius
    return float(np.clip(end, 1.3 * radius, 2.5 * radius)) + 1
