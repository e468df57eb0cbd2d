"""Built-in molecules: made-up asymmetric, chiral shapes of realistic size, for specimens without any file.

Each shape is a union of balls, filled at random with pseudo-residues: Gaussians of the volume that
1.1 kilodalton of protein takes, so that at 10 A the inside is as uneven as that of real proteins.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from dewedge.geometry import Floats
from dewedge.simulate.molecules import Molecule

RESIDUE_VOLUME_A3 = 1360.0
# A Gaussian of that volume with peak 1.
RESIDUE_SIGMA_A = float((RESIDUE_VOLUME_A3 / (2 * np.pi) ** 1.5) ** (1 / 3))

# Chosen so that the densest tenth of the mass comes to that of atomic models.
PACKING = 0.75
JITTER_A = 2.0


def builtin_molecules(voxel_size_A: float) -> list[Molecule]:
    """All built-in molecules, from about 120 kDa (110 A) to 2.9 MDa (260 A); always the same ones."""
    return [
        _molecule(name, shape(), voxel_size_A, seed)
        for seed, (name, shape) in enumerate(sorted(SHAPES.items()))
    ]


def _molecule(name: str, balls: Floats, voxel_size_A: float, seed: int) -> Molecule:
    """Fill ``(n, 4)`` balls (z, y, x, radius in A) with pseudo-residues and draw these."""
    rng = np.random.default_rng(seed)
    residues = _fill(balls, rng)
    residues -= residues.mean(axis=0)
    radius_A = np.linalg.norm(residues, axis=1).max() + 2 * RESIDUE_SIGMA_A
    half = int(np.ceil(radius_A / voxel_size_A + 1))
    grid = np.arange(-half, half + 1) * voxel_size_A
    # As for maps, a voxel holds the density smoothed by a Gaussian of half its size.
    variance = RESIDUE_SIGMA_A**2 + voxel_size_A**2 / 4
    z, y, x = (np.exp(-((grid - residues[:, axis, None]) ** 2) / (2 * variance)) for axis in range(3))
    planes = (y[:, :, None] * x[:, None, :]).reshape(len(residues), -1)
    density = (z.T @ planes).reshape((grid.size,) * 3) * (RESIDUE_VOLUME_A3 / (2 * np.pi * variance) ** 1.5)
    return Molecule(name, density.astype(np.float32), voxel_size_A)


def _fill(balls: Floats, rng: np.random.Generator) -> Floats:
    """``(m, 3)`` points in the union of the balls: a jittered lattice with vacancies, as dense as protein."""
    centres, radii = balls[:, :3], balls[:, 3]
    low, high = (centres - radii[:, None]).min(axis=0), (centres + radii[:, None]).max(axis=0)
    spacing = RESIDUE_VOLUME_A3 ** (1 / 3)
    axes = [np.arange(a, b, spacing) for a, b in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    points += rng.normal(scale=JITTER_A, size=points.shape)
    distance = np.linalg.norm(points[:, None] - centres, axis=-1)
    kept = (distance < radii).any(axis=1) & (rng.random(len(points)) < PACKING)
    return np.asarray(points[kept])


def _chain(*nodes: tuple[float, float, float, float]) -> Floats:
    """Balls along straight lines between nodes (z, y, x, radius)."""
    steps = np.linspace(0, 1, 12)[:, None]
    ends = np.array(nodes, dtype=np.float64)
    return np.concatenate([a + steps * (b - a) for a, b in pairwise(ends)] + [ends[-1:]])


def _helix(
    radius: float, turns: float, rise: float, thick: tuple[float, float], start: float = 0.0
) -> Floats:
    """Balls along a right-handed helix about z, of height ``rise``; ``thick`` are the radii at its ends."""
    t = np.linspace(0, 1, 60)
    angle = start + 2 * np.pi * turns * t
    # Seen as (x, y, z) right-handed axes.
    centre = [rise * (t - 0.5), radius * np.sin(angle), radius * np.cos(angle)]
    return np.stack([*centre, thick[0] + (thick[1] - thick[0]) * t], axis=1)


def _ring_with_arms() -> Floats:
    """Six-fold ring whose subunits reach up by different lengths, each twisted."""
    angles = np.arange(6) * np.pi / 3
    parts = [_helix(42, 1, 0, (17, 17))]
    for i, a in enumerate(angles):
        out, top = 56.0, 12.0 + 9 * i
        foot = (0.0, 46 * np.sin(a), 46 * np.cos(a), 17.0)
        tip = (top, out * np.sin(a + 0.5), out * np.cos(a + 0.5), 12.0)
        parts.append(_chain(foot, tip))
    return np.concatenate(parts)


def _barrel_with_cap() -> Floats:
    """Hollow barrel of four rings, a lid beside its axis and a side arm."""
    rings = [_helix(36, 1, 0, (17, 17)) + np.array([z, 0, 0, 0]) for z in (-54, -18, 18, 54)]
    lid = _chain((82, -12, 10, 22), (100, 8, 34, 20), (92, 40, 30, 15))
    arm = _chain((-60, 50, 0, 15), (-74, 72, -26, 13))
    return np.concatenate([*rings, lid, arm])


def _two_lobes() -> Floats:
    """A large and a small lobe with a bent bridge."""
    large = _chain((-28, -6, 0, 27), (-18, 12, 8, 24))
    small = _chain((38, 8, -18, 20), (46, -8, -10, 16))
    bridge = _chain((0, 8, 0, 11), (18, 18, -14, 10), (36, 12, -18, 11))
    return np.concatenate([large, small, bridge, _chain((-34, -20, 22, 12), (-22, -36, 28, 11))])


def _rod_with_knob() -> Floats:
    """A coiled rod of 200 A, thicker at one end, with a knob on its side."""
    rod = _helix(9, 1.2, 180, (12, 17))
    return np.concatenate(
        [rod, _chain((60, 0, 10, 14), (64, 6, 36, 22)), _chain((-40, 9, 0, 10), (-52, 30, 6, 12))]
    )


def _two_subunits() -> Floats:
    """Ribosome-like: a round large subunit with stalks, a flat small one with head and beak."""
    large = _chain((-38, -30, -22, 58), (-36, 24, 24, 62), (-52, 10, -34, 54))
    stalks = np.concatenate(
        [
            _chain((-20, 60, 50, 20), (-4, 88, 72, 14)),
            _chain((-20, -66, -44, 22), (-2, -96, -52, 17)),
            _chain((0, 40, -62, 20), (10, 50, -86, 15)),
        ]
    )
    small = _chain((58, -44, 20, 34), (62, 0, 4, 36), (58, 44, -12, 32))
    head = _chain((78, 66, -6, 30), (88, 72, 26, 20), (84, 66, 52, 13))
    foot = _chain((56, -66, 24, 22), (48, -94, 40, 16))
    bridges = np.concatenate(
        [_chain((10, 0, 0, 16), (40, 0, 0, 16)), _chain((10, 30, 30, 13), (44, 34, 4, 13))]
    )
    return 1.08 * np.concatenate([large, stalks, small, head, foot, bridges])


def _spiral() -> Floats:
    """An open right-handed helix of one and a half turns that gets thinner."""
    return np.concatenate([_helix(38, 1.5, 105, (22, 13)), _chain((-52, 0, 38, 22), (-66, -12, 20, 18))])


def _clamp() -> Floats:
    """An open clamp of two unequal arms on a base."""
    base = _chain((-38, -14, -20, 24), (-38, 14, 22, 26))
    long = _chain((-30, 18, 40, 20), (8, 24, 56, 18), (44, 10, 44, 17), (62, -8, 22, 14))
    short = _chain((-30, -16, -38, 20), (4, -28, -46, 17), (28, -40, -34, 18))
    return np.concatenate([base, long, short])


def _three_arms() -> Floats:
    """Three arms of different length and thickness, out of one plane."""
    return np.concatenate(
        [
            _chain((0, 0, 0, 20), (14, 34, 6, 15), (20, 62, 14, 22)),
            _chain((0, 0, 0, 18), (-22, -18, 32, 13), (-30, -28, 58, 17), (-12, -32, 76, 12)),
            _chain((0, 0, 0, 16), (18, -28, -32, 11), (40, -40, -44, 13)),
        ]
    )


SHAPES: dict[str, Callable[[], Floats]] = {
    "barrel_with_cap": _barrel_with_cap,
    "clamp": _clamp,
    "ring_with_arms": _ring_with_arms,
    "rod_with_knob": _rod_with_knob,
    "spiral": _spiral,
    "three_arms": _three_arms,
    "two_lobes": _two_lobes,
    "two_subunits": _two_subunits,
}
