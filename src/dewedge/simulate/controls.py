"""Half-sets of specimens without structure: of the noise of measured ones, or of all of their spectrum.

What two half-sets do not share is noise; its spectrum, with the wedge and the planes of the tilts in it, is
that of their difference. What they share is signal. With random phases in place of the measured ones both
keep their power at every frequency, and nothing of any object is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dewedge.geometry import TiltRange
from dewedge.physics.fourier import frequencies, multiplicity
from dewedge.physics.wedge import wedge_mask
from dewedge.scores.spectra import wedge_angle_deg

ControlName = Literal["ice", "randomised"]
Halves = tuple[NDArray[np.float32], NDArray[np.float32]]

# Power is averaged over bins: shells so many cycles per voxel wide, each of so many sectors about the tilt
# axis more than the last one, so that all are about as wide.
SHELL_PER_VOXEL = 0.02
SECTORS = 8
LEAST = torch.finfo(torch.float64).tiny


def control_halves(
    half0: NDArray[Any], half1: NDArray[Any], tilt_range: TiltRange, seed: int = 0
) -> Iterator[tuple[ControlName, Halves]]:
    """Half-sets of pure noise, then of the same noise and a signal without objects that both share.

    With H the spectra of the half-sets and means over bins of shells and of angles about the tilt axis,
    signal C = Re <H0 H1*> and noise N = <abs(H)^2> - C of each half. A coefficient of noise is
    abs(H0 - H1) sqrt(N / (N0 + N1)), one of the signal abs((H0 + H1) / 2) sqrt(C / <abs((H0 + H1) / 2)^2>),
    each with a phase of its own. Noise is as strong everywhere, as that of back-projection nearly is. In the
    wedge nothing is left.

    Parameters
    ----------
    half0, half1
        ``(z, y, x)`` half-sets, in memory or memory-mapped. Five of their spectra are in memory at once.
    tilt_range
        Of the series.
    seed
        Of the phases.

    Yields
    ------
    tuple
        Name, and both half-sets, of mean zero and in the grey scale of the given ones.

    Source: Theiler et al. 1992, Physica D 58, 77 (surrogates of random phases).
    """
    shape = half0.shape
    rng = np.random.default_rng(seed)
    measured = wedge_mask(shape, tilt_range)
    spectra = [_spectrum(half) * measured for half in (half0, half1)]
    bins, times = _bins(shape, tilt_range)

    def mean(power: Tensor) -> Tensor:
        """In each bin."""
        return torch.bincount(bins.flatten(), (power * times).flatten().double()) / count

    count = torch.bincount(bins.flatten(), times.expand(bins.shape).flatten().double()).clamp(min=1)
    powers = [mean(spectrum.abs().square()) for spectrum in spectra]
    signal = mean((spectra[0] * spectra[1].conj()).real).clamp(min=0)
    noises = [(power - signal).clamp(min=0) for power in powers]
    total = (noises[0] + noises[1]).clamp(min=LEAST)
    difference, middle = (spectra[0] - spectra[1]).abs(), (spectra[0] + spectra[1]).abs() / 2
    del spectra
    ice0, ice1 = (
        _volume(difference * (noise / total).sqrt().float()[bins] * _phases(shape, rng), shape)
        for noise in noises
    )
    del difference
    yield "ice", (ice0, ice1)
    share = (signal / mean(middle.square()).clamp(min=LEAST)).sqrt()
    common = _volume(middle * share.float()[bins] * _phases(shape, rng), shape)
    yield "randomised", (ice0 + common, ice1 + common)


def _spectrum(half: NDArray[Any]) -> Tensor:
    values = torch.from_numpy(np.array(half, dtype=np.float32))
    return torch.fft.rfftn(values - values.mean(), norm="ortho")


def _bins(shape: tuple[int, ...], tilt_range: TiltRange) -> tuple[Tensor, Tensor]:
    """``(d, h, w // 2 + 1)`` number of the bin of each frequency, and how often it counts."""
    kz, ky, kx = k = frequencies(shape)
    shell = ((kz.square() + ky.square() + kx.square()).sqrt() / SHELL_PER_VOXEL).long()
    sectors = SECTORS * (shell + 1)
    # Middles of sectors lie at multiples of their width: zero tilt is at no edge.
    sector = ((wedge_angle_deg(k, tilt_range) + 90) / 180 * sectors).round().long() % sectors
    return SECTORS * shell * (shell + 1) // 2 + sector, multiplicity(shape[-1])


def _phases(shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    """Random phases of a real volume's half-spectrum: those of white noise."""
    noise = torch.fft.rfftn(torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)))
    return noise / noise.abs()


def _volume(spectrum: Tensor, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return torch.fft.irfftn(spectrum, s=shape, norm="ortho").numpy()
