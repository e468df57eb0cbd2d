"""Fourier shell correlation (FSC) of two volumes, and the resolution of particles by it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.physics.fourier import frequencies, multiplicity
from dewedge.physics.wedge import wedge_in_place
from dewedge.scores.volumes import centred, checked_pair, correlation_of_sums, finite, mean_of, products


@dataclass(frozen=True)
class ShellCorrelation:
    """Correlation in shells of spatial frequency.

    Parameters
    ----------
    frequency_per_voxel
        ``(s,)`` centres of the shells in cycles per voxel: 1 / n, 2 / n ... up to 1/2 at most, with n the
        shortest edge of the volume.
    correlation
        ``(s,)`` between -1 and 1; 0 where a volume has no signal, NaN where a mask left no frequency.
    count
        ``(s,)`` number of frequencies of the whole spectrum, k and -k both counted.
    """

    frequency_per_voxel: NDArray[np.float64]
    correlation: NDArray[np.float64]
    count: NDArray[np.int64]


@dataclass(frozen=True)
class ParticleResolutions:
    """0.143-FSC resolutions in Angstrom of the ``n`` particles whose boxes lie inside the volume.

    Parameters
    ----------
    all_A
        ``(n,)`` from all frequencies.
    inside_A
        ``(n,)`` from the frequencies in the missing wedge; NaN if the tilt range leaves none.
    n_left_out
        Number of further particles, whose boxes do not fit into the volume.
    """

    all_A: NDArray[np.float64]
    inside_A: NDArray[np.float64]
    n_left_out: int


def fourier_shell_correlation(a: ArrayLike, b: ArrayLike, mask: Tensor | None = None) -> ShellCorrelation:
    """FSC of two ``(z, y, x)`` volumes of any shape, whose spectra are both held in memory.

    A frequency k in cycles per voxel belongs to shell round(n |k|), with n the shortest edge. Shell 0 and the
    corners beyond Nyquist are left out. For data without a truth, give the two half-set tomograms.

    Parameters
    ----------
    mask
        Not zero at the frequencies to use, of a shape that broadcasts to the half-spectrum
        ``(z, y, x // 2 + 1)``: ``wedge_in_place(shape, tilt_range)`` keeps what was measured.

    Raises
    ------
    InputError
        If the shapes differ, or a volume is constant or holds a value that is not finite.

    Examples
    --------
    >>> volume = np.random.default_rng(0).normal(size=(8, 10, 12))
    >>> fsc = fourier_shell_correlation(volume, 3 * volume + 1)
    >>> fsc.frequency_per_voxel
    array([0.125, 0.25 , 0.375, 0.5  ])
    >>> fsc.correlation.round(3)
    array([1., 1., 1., 1.])
    """
    names = ("first volume", "second volume")
    spectra = [
        torch.fft.rfftn(centred(volume, mean_of(volume, name)))
        for volume, name in zip(checked_pair(a, b, names), names, strict=True)
    ]
    shells = _Shells(np.shape(a))
    return shells.correlate(spectra[0], spectra[1], None if mask is None else mask != 0)


def resolution_at(fsc: ShellCorrelation, voxel_size_A: float, threshold: float = 0.143) -> float:
    """Resolution in Angstrom at which an FSC first falls below ``threshold``.

    The frequency is interpolated linearly between the last shell above and the first one below. An FSC that
    never falls below has the resolution of Nyquist, two voxels; one that is below in its first shell has that
    shell's, the edge of the box. Shells without a frequency are skipped; NaN if all are.

    Examples
    --------
    >>> frequency, correlation = np.array([0.125, 0.25, 0.375]), np.array([0.9, 0.243, 0.043])
    >>> fsc = ShellCorrelation(frequency, correlation, count=np.array([8, 20, 60]))
    >>> resolution_at(fsc, voxel_size_A=10.0)  # half way between the last two shells
    32.0
    """
    filled = fsc.count > 0
    frequency, values = fsc.frequency_per_voxel[filled], fsc.correlation[filled]
    if values.size == 0:
        return math.nan
    below = np.flatnonzero(values < threshold)
    if below.size == 0:
        return 2 * voxel_size_A
    i = int(below[0])
    if i == 0:
        return float(voxel_size_A / frequency[0])
    share = (values[i - 1] - threshold) / (values[i - 1] - values[i])
    return float(voxel_size_A / (frequency[i - 1] + share * (frequency[i] - frequency[i - 1])))


def particle_fsc(
    estimate: ArrayLike,
    truth: ArrayLike,
    centres_zyx: ArrayLike,
    box: int,
    tilt_range: TiltRange,
    voxel_size_A: float,
) -> ParticleResolutions:
    """0.143-FSC resolution of every particle, in a cubic box of ``box`` voxels cut from both volumes.

    Index ``box // 2`` of the box lies at the centre, rounded to a voxel. The box is not masked.

    Parameters
    ----------
    centres_zyx
        ``(n, 3)`` centres in voxels. Particles whose box does not fit into the volume are left out.

    Raises
    ------
    InputError
        If no box fits, or a value in one is not finite.
    """
    volumes = checked_pair(estimate, truth)
    shape = volumes[0].shape
    centres = np.asarray(centres_zyx, dtype=np.float64)
    if centres.ndim != 2 or centres.shape[1] != 3 or not np.isfinite(centres).all():
        raise InputError(f"particle centres: expected finite rows of (z, y, x), got shape {centres.shape}")
    if box < 4:
        raise InputError(f"particle box of {box} voxels: expected at least 4")
    corners = np.floor(centres + 0.5).astype(np.int64) - box // 2
    fits = ((corners >= 0) & (corners + box <= shape)).all(axis=1)
    if not fits.any():
        raise InputError(
            f"particle boxes of {box} voxels: none of {len(centres)} lies inside the volume {shape}; "
            "give centres in voxels as (z, y, x), or a smaller box"
        )
    shells = _Shells((box, box, box))
    missing = wedge_in_place((box,) * 3, tilt_range.validated()) == 0
    resolutions = []
    for z, y, x in corners[fits]:
        cut = np.s_[z : z + box, y : y + box, x : x + box]
        boxes = [finite(v[cut], name) for v, name in zip(volumes, ("estimate", "truth"), strict=True)]
        spectra = [torch.fft.rfftn(centred(v, float(v.mean(dtype=np.float64)))) for v in boxes]
        curves = [shells.correlate(spectra[0], spectra[1], mask) for mask in (None, missing)]
        resolutions.append([resolution_at(curve, voxel_size_A) for curve in curves])
    all_A, inside_A = np.array(resolutions).T
    return ParticleResolutions(all_A, inside_A, int((~fits).sum()))


class _Shells:
    """The shells of the half-spectrum of a volume of one shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.edge = min(shape)
        kz, ky, kx = frequencies(shape)
        self.index = torch.round((kz**2 + ky**2 + kx**2).sqrt() * self.edge).to(torch.int16)
        self.multiplicity = multiplicity(shape[-1]).double()

    def correlate(self, a: Tensor, b: Tensor, mask: Tensor | None) -> ShellCorrelation:
        """FSC of two half-spectra at the frequencies where ``mask`` is True."""
        last = self.edge // 2
        sums = torch.zeros(4, last + 1, dtype=torch.float64)
        energy = torch.zeros(2, dtype=torch.float64)
        # Plane by plane, so that only the spectra are of the volume's size.
        for z, index in enumerate(self.index):
            terms = torch.stack([*products(a[z], b[z]), torch.ones(index.shape)]) * self.multiplicity
            energy += terms[:2].sum(dim=(1, 2))
            used = index <= last
            if mask is not None:
                used = used & mask.expand(a.shape)[z]
            sums.index_add_(1, index[used].long(), terms[:, used])
        values = correlation_of_sums(sums[:3].T, energy)
        count = sums[3].long()
        values[count == 0] = math.nan
        return ShellCorrelation(np.arange(1, last + 1) / self.edge, values[1:].numpy(), count[1:].numpy())
