"""Scores of a tomogram against the known truth, or of two half-set tomograms against each other."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from numpy.typing import ArrayLike

from dewedge.geometry import TiltRange
from dewedge.scores.coefficient import correlation, correlation_outside_inside
from dewedge.scores.fsc import (
    ParticleResolutions,
    ShellCorrelation,
    fourier_shell_correlation,
    particle_fsc,
    resolution_at,
)

__all__ = [
    "ParticleResolutions",
    "Scores",
    "ShellCorrelation",
    "correlation",
    "correlation_outside_inside",
    "evaluate",
    "fourier_shell_correlation",
    "particle_fsc",
    "resolution_at",
]


@dataclass(frozen=True)
class Scores:
    """Scores of an estimate; those of particles are None without particles.

    Parameters
    ----------
    cc, cc_outside, cc_inside
        Correlation coefficient, and those of the parts outside and inside the missing wedge.
    fsc_A, fsc_inside_A
        Mean over the particles of the 0.143-FSC resolution in Angstrom, and of that inside the wedge.
    n_particles, n_particles_left_out
        Number of particles in these means, and of those whose box does not fit into the volume.
    """

    cc: float
    cc_outside: float
    cc_inside: float
    fsc_A: float | None = None
    fsc_inside_A: float | None = None
    n_particles: int = 0
    n_particles_left_out: int = 0

    def as_dict(self) -> dict[str, float | int | None]:
        """Names and values, fit for JSON."""
        return asdict(self)


def evaluate(
    estimate: ArrayLike,
    truth: ArrayLike,
    tilt_range: TiltRange,
    voxel_size_A: float,
    centres_zyx: ArrayLike | None = None,
    box: int = 32,
) -> Scores:
    """All scores of ``estimate`` against ``truth``, both ``(z, y, x)`` and possibly memory-mapped.

    Source: Wiedemann and Heckel 2024, section 2.2 (metrics).

    Parameters
    ----------
    tilt_range
        Measured tilt angles; the rest is the missing wedge.
    voxel_size_A
        Voxel size of both volumes in Angstrom.
    centres_zyx
        ``(n, 3)`` centres of the particles in voxels (index 0 is the centre of the first voxel).
    box
        Edge of the particles' cubic boxes in voxels.

    Raises
    ------
    InputError
        If the shapes differ, a volume is constant or holds a value that is not finite, or no box fits.
    """
    cc = correlation(estimate, truth)
    outside, inside = correlation_outside_inside(estimate, truth, tilt_range)
    if centres_zyx is None:
        return Scores(cc, outside, inside)
    particles = particle_fsc(estimate, truth, centres_zyx, box, tilt_range, voxel_size_A)
    fsc_inside_A = float(particles.inside_A.mean())
    return Scores(
        cc,
        outside,
        inside,
        fsc_A=float(particles.all_A.mean()),
        fsc_inside_A=None if math.isnan(fsc_inside_A) else fsc_inside_A,
        n_particles=particles.all_A.size,
        n_particles_left_out=particles.n_left_out,
    )
