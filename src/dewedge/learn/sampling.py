"""Random pairs of sub-tomograms, drawn anew at every step from both half-sets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dewedge.errors import InputError
from dewedge.learn.batch import Batch, Crop, Sources
from dewedge.learn.grey_scale import measure_grey_scale
from dewedge.learn.pairs import TomogramPair
from dewedge.physics.rotation import (
    Interpolation,
    Turns,
    cube_rotations,
    is_exact,
    random_rotation,
    rotate_cubes,
    source_extent,
    source_size,
)
from dewedge.physics.transfer import Transfer

SPECIMEN_FRACTION = 0.4  # least share of a crop inside the specimen mask: Wiedemann and Heckel 2024, Methods
TRIES = 2000
VALIDATION_SEED = 0x5EED
VALIDATED_CUBES = 3  # edge, in cubes, of the part of a large held-out region that is looked at


class Inputs(NamedTuple):
    """Half-set 0 of a box, ``(2, 3)`` begin and end in zyx, that inputs of the network are drawn from."""

    box: NDArray[np.int64]
    half0: NDArray[np.float32]


class CropSampler:
    """Draws crops that lie wholly within their tomogram, in any rotation that fits.

    Every crop is a function of (seed, index) alone, so a fit can be resumed, or divided over processes,
    without a state. A corner of each tomogram, all of z by about ``held_out`` of the area, is never seen
    by :meth:`draw` and only seen by :meth:`validation`. Where a tomogram is too thin for a rotation, an
    exact rotation of the cube takes its place.

    Parameters
    ----------
    pairs
        The tomograms; each is drawn from in proportion to its size.
    size
        Edge of the cubes in voxels.
    seed
        Of all draws.
    held_out
        Share of the (y, x) area kept for validation; at least one cube, 0 for none.
    exact_rotations
        Share of crops that take an exact rotation of the cube, which needs no interpolation.
    turns
        Which exact rotations are drawn; see :func:`~dewedge.physics.rotation.cube_rotations`.
    swap_halves
        Whether the half-sets change places in half of the crops, drawn at random.
    interpolation
        Of crops whose rotation is not exact.
    supervised
        Whether a truth stands in the place of half-set 1.
    clip
        Clip inputs and targets at so many standard deviations from the mean; None to leave them.
    transfers
        Whether batches tell what the tilts of half-set 1 measured, where all tomograms do; not with
        ``swap_halves``.

    Attributes
    ----------
    inputs
        Of each tomogram: the box that crops are drawn from, then that of the held-out crops if it is another
        one. At first the whole half-set 0. The targets always are of half-set 1, or, where both are one
        array, the inputs.
    validated
        Of each tomogram: ``(2, 3)`` begin and end of the part of the held-out region that is looked at.

    Raises
    ------
    InputError
        If a cube does not fit a tomogram, or not beside the held-out region, or as `measure_grey_scale`.
    """

    def __init__(
        self,
        pairs: Sequence[TomogramPair],
        size: int,
        *,
        seed: int = 0,
        held_out: float = 0.1,
        exact_rotations: float = 0.0,
        turns: Turns = "all",
        swap_halves: bool = False,
        interpolation: Interpolation = "linear",
        supervised: bool = False,
        clip: float | None = None,
        transfers: bool = False,
    ) -> None:
        self.pairs = list(pairs)
        self._transfers = _transfers(self.pairs, size) if transfers else []
        self.clip = clip
        self.turns: Turns = turns
        self.swap_halves = swap_halves
        self.interpolation = interpolation
        self.level = all(pair.tilt_range.is_level for pair in self.pairs)
        self.as_measured()
        self.size = size
        self.seed = seed
        self.exact_rotations = exact_rotations
        self.grey_scales = [measure_grey_scale(pair, supervised, clip) for pair in self.pairs]
        self.held_out = [self._held_out_box(pair, held_out) for pair in self.pairs]
        self.validated = [_middle(box, VALIDATED_CUBES * size) for box in self.held_out]
        voxels = np.array([float(np.prod(pair.shape_zyx)) for pair in self.pairs])
        self._share = voxels / voxels.sum()

    def draw(self, index: int) -> Crop:
        """Crop number ``index`` for fitting, outside the held-out region.

        Raises
        ------
        InputError
            If the mask leaves no room for cubes.
        """
        rng = np.random.default_rng([self.seed, index])
        tomogram = int(rng.choice(len(self.pairs), p=self._share))
        pair, box = self.pairs[tomogram], self.held_out[tomogram]
        # The box may lie beside the specimen, or in the held-out region; then crops come from anywhere.
        boxes = [self.inputs[tomogram][0].box, whole_box(pair.shape_zyx)]
        for attempt in range(2 * TRIES):
            around = boxes[attempt // TRIES]
            exact = rng.random() < self.exact_rotations
            rotation = self._exact(rng) if exact else random_rotation(rng)
            low, high = self._extent(rotation)
            if not exact and ((high - low) >= around[1] - around[0]).any():
                rotation = self._exact(rng)
                low, high = self._extent(rotation)
            centre = _random_centre(rng, around, low, high)
            if centre is None:
                continue
            beside = (centre + low >= box[1]) | (centre + high < box[0])
            if beside.any() and self._on_specimen(pair, centre):
                return Crop(tomogram, centre, rotation, self._swapped(rng))
        raise InputError(
            f"{pair.name}: found no place for cubes of {self.size} voxels; use a smaller cube or a wider mask"
        )

    def validation(self, count: int) -> list[Crop]:
        """``count`` crops of the held-out regions, exact rotations only, always the same ones.

        They lie on the specimen, unless there is none in a held-out region.
        """
        candidates = [i for i, box in enumerate(self.held_out) if np.prod(box[1] - box[0]) > 0]
        rng = np.random.default_rng([self.seed, 0, VALIDATION_SEED])
        return [
            crop
            for place, tomogram in enumerate(candidates)
            for crop in self._validation_of(tomogram, len(range(place, count, len(candidates))), rng)
        ]

    def _validation_of(self, tomogram: int, count: int, rng: np.random.Generator) -> list[Crop]:
        crops: list[Crop] = []
        for attempt in range(2 * TRIES):
            if len(crops) == count:
                break
            rotation = self._exact(rng)
            low, high = self._extent(rotation)
            centre = _random_centre(rng, self.validated[tomogram], low, high)
            anywhere = attempt >= TRIES
            if centre is not None and (anywhere or self._on_specimen(self.pairs[tomogram], centre)):
                crops.append(Crop(tomogram, centre, rotation, self._swapped(rng)))
        return crops

    def load(self, crops: Sequence[Crop], device: torch.device) -> Batch:
        """Read, standardise and rotate crops."""
        return self.rotate(self.read(crops, pin=device.type == "cuda"), device)

    def as_measured(self) -> None:
        """Take the measured half-set 0 for the inputs again."""
        self.inputs = [[_measured(pair)] for pair in self.pairs]

    def read(self, crops: Sequence[Crop], pin: bool = False) -> Sources:
        """Read and standardise, on the CPU, what crops are rotated from.

        Parameters
        ----------
        crops
            Of a batch.
        pin
            Put them in memory from which a GPU copies while it computes.
        """
        rotations = np.stack([crop.rotation for crop in crops])
        exact = is_exact(rotations)
        groups = []
        for places, edge in (
            (np.flatnonzero(exact), source_size(self.size, exact=True)),
            (np.flatnonzero(~exact), source_size(self.size)),
        ):
            if len(places) > 0:
                halves = self._read([crops[i] for i in places.tolist()], edge)
                groups.append((torch.from_numpy(places), halves.pin_memory() if pin else halves))
        ranges = torch.tensor([self.pairs[crop.tomogram].tilt_range for crop in crops])
        transfers = tuple(self._transfers[crop.tomogram] for crop in crops) if self._transfers else ()
        return Sources(groups, ranges, torch.from_numpy(rotations).float(), transfers)

    def rotate(self, sources: Sources, device: torch.device) -> Batch:
        """Rotate crops on ``device``, which does not wait for its copies of them."""
        rotations = sources.rotation
        rotated = torch.empty(len(rotations), 2, *3 * [self.size], device=device)
        for places, halves in sources.groups:
            rotated[places.to(device, non_blocking=True)] = rotate_cubes(
                halves.to(device, non_blocking=True), rotations[places], self.size, self.interpolation
            )
        ranges, turns = (tensor.to(device, non_blocking=True) for tensor in (sources.tilt_range, rotations))
        return Batch(rotated[:, 0], rotated[:, 1], ranges, turns, sources.transfers, self.level)

    def _read(self, crops: Sequence[Crop], edge: int) -> Tensor:
        """``(b, 2, s, s, s)`` standardised half-sets about the crops' centres, 0 where nothing is seen."""
        sources = np.zeros((len(crops), 2, edge, edge, edge), dtype=np.float32)
        for source, crop in zip(sources, crops, strict=True):
            pair, scale = self.pairs[crop.tomogram], self.grey_scales[crop.tomogram]
            inputs = self._inputs_of(crop)
            box = inputs.box
            # No more is read than the rotated cube sees; cubic splines see on, faintly.
            begin = crop.centre_zyx - edge // 2
            least, most = self._extent(crop.rotation) if self.interpolation == "linear" else (-edge, edge)
            low = np.maximum(np.maximum(begin, box[0]), crop.centre_zyx + least)
            high = np.minimum(np.minimum(begin + edge, box[1]), crop.centre_zyx + most + 1)
            inside = tuple(slice(a, b) for a, b in zip(low - begin, high - begin, strict=True))
            here = np.stack([low, high])
            half0 = inputs.half0[slices(here - box[0])]
            half1 = half0 if pair.half1 is pair.half0 else pair.half1[slices(here)]
            halves = (half1, half0) if crop.swapped else (half0, half1)
            for target, half in zip(source, halves, strict=True):
                # The mean leaves before the scale, so that a large offset costs no precision.
                target[inside] = (half - np.float32(scale.mean)) * np.float32(1 / scale.std_half)
        if self.clip is not None:
            np.clip(sources, -self.clip, self.clip, out=sources)
        return torch.from_numpy(sources)

    def _inputs_of(self, crop: Crop) -> Inputs:
        """Those of now; the measured ones where a crop lies beside their boxes."""
        low, high = self._extent(crop.rotation)
        for inputs in self.inputs[crop.tomogram]:
            first, end = inputs.box
            if (first <= crop.centre_zyx + low).all() and (crop.centre_zyx + high < end).all():
                return inputs
        return _measured(self.pairs[crop.tomogram])

    def _extent(self, rotation: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return source_extent(rotation, self.size)

    def _exact(self, rng: np.random.Generator) -> NDArray[np.float64]:
        rotations = cube_rotations(self.turns)
        rotation: NDArray[np.float64] = rotations[rng.integers(len(rotations))]
        return rotation

    def _swapped(self, rng: np.random.Generator) -> bool:
        return self.swap_halves and bool(rng.random() < 0.5)

    def _on_specimen(self, pair: TomogramPair, centre: NDArray[np.int64]) -> bool:
        if pair.mask is None:
            return True
        begin = np.maximum(centre - self.size // 2, 0)
        cube = tuple(slice(a, a + self.size) for a in begin)
        return bool(np.mean(pair.mask[cube]) >= SPECIMEN_FRACTION)

    def _held_out_box(self, pair: TomogramPair, share: float) -> NDArray[np.int64]:
        """``(2, 3)`` begin and end of the corner kept for validation; empty if ``share`` is 0."""
        depth, height, width = pair.shape_zyx
        side = held_out_side(pair.name, pair.shape_zyx, self.size, share)
        if share == 0:
            return np.zeros((2, 3), dtype=np.int64)
        corners = [
            np.array([[0, y, x], [depth, y + side[0], x + side[1]]])
            for y in (0, height - side[0])
            for x in (0, width - side[1])
        ]
        if pair.mask is None:
            return corners[-1]
        coverage = [np.mean(pair.mask[:, c[0, 1] : c[1, 1], c[0, 2] : c[1, 2]]) for c in corners]
        return corners[int(np.argmax(coverage))]


def _transfers(pairs: Sequence[TomogramPair], size: int) -> list[Transfer]:
    """What the tilts of half-set 1 of each pair measured; of none if not known of all."""
    known = [(pair.planes[1], pair.tilt_range.x_tilt_deg) for pair in pairs if pair.planes is not None]
    return (
        [Transfer(planes, size, tilt_deg) for planes, tilt_deg in known] if len(known) == len(pairs) else []
    )


def whole_box(shape_zyx: tuple[int, int, int]) -> NDArray[np.int64]:
    """``(2, 3)`` begin and end of a tomogram."""
    return np.array([(0, 0, 0), shape_zyx])


def slices(box: NDArray[np.int64]) -> tuple[slice, ...]:
    """Slices that cut a ``(2, 3)`` box, begin and end, out of a volume."""
    return tuple(slice(begin, end) for begin, end in box.T.tolist())


def _middle(box: NDArray[np.int64], largest: int) -> NDArray[np.int64]:
    """The middle of a box, its edges along y and x at most ``largest``."""
    excess = np.maximum(box[1] - box[0] - largest, 0) * (0, 1, 1)
    return np.stack([box[0] + excess // 2, box[1] - (excess - excess // 2)])


def _measured(pair: TomogramPair) -> Inputs:
    return Inputs(whole_box(pair.shape_zyx), pair.half0)


def held_out_side(name: str, shape_zyx: tuple[int, int, int], size: int, share: float) -> tuple[int, int]:
    """Edges (y, x) of the region held out of a tomogram, at least one cube; (0, 0) for a ``share`` of 0.

    ``size`` is the edge of the cubes in voxels, ``share`` that of the (y, x) area.

    Raises
    ------
    InputError
        If a cube does not fit the tomogram, or not beside that region.

    Examples
    --------
    >>> held_out_side("TS_01", (64, 200, 400), size=48, share=0.1)
    (63, 126)
    """
    side = _side_that_fits(shape_zyx, size, share)
    if side is not None:
        return side
    fitting = largest_cube(shape_zyx, size - 1, share)
    if min(shape_zyx) < size:
        wrong = f"cubes of {size} voxels do not fit a tomogram of {shape_zyx} (z, y, x)"
    else:
        wrong = f"no room for cubes of {size} voxels beside a held-out region in {shape_zyx} (z, y, x)"
    smaller = f"a cube size of at most {fitting}" if fitting else "a larger tomogram"
    raise InputError(f"{name}: {wrong}: expected {smaller}, less binning, or nothing held out")


def largest_cube(shape_zyx: tuple[int, int, int], most: int, share: float) -> int:
    """Edge, a multiple of 8 up to ``most``, of the largest cubes that fit; 0 if none do.

    Shape and share are those of `held_out_side`.

    Examples
    --------
    >>> largest_cube((60, 200, 400), most=96, share=0.1)
    56
    """
    sizes = (n for n in range(8, most + 1, 8) if _side_that_fits(shape_zyx, n, share) is not None)
    return max(sizes, default=0)


def _side_that_fits(shape_zyx: tuple[int, int, int], size: int, share: float) -> tuple[int, int] | None:
    """Edges (y, x) of the held-out region; None if no cube fits, or none beside it."""
    if min(shape_zyx) < size:
        return None
    if share == 0:
        return 0, 0
    # An even cube covers one voxel more under rotations that flip an axis.
    height, width = (max(size + 1, round(math.sqrt(share) * n)) for n in shape_zyx[1:])
    room = shape_zyx[1] - height, shape_zyx[2] - width
    return None if min(room) < 0 or max(room) < size else (height, width)


def _random_centre(
    rng: np.random.Generator, box: NDArray[np.int64], low: NDArray[np.int64], high: NDArray[np.int64]
) -> NDArray[np.int64] | None:
    """A centre whose offsets from ``low`` to ``high`` stay within ``box``; None if they do not fit."""
    first, last = box[0] - low, box[1] - 1 - high
    if (first > last).any():
        return None
    return rng.integers(first, last + 1)
