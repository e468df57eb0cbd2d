"""Two half-sets against each other: black, identical, mirrored, shifted, dependent or unrelated ones."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dewedge.check.binning import binned_volume
from dewedge.check.finding import Finding, Severity
from dewedge.scores.fsc import ShellCorrelation, fourier_shell_correlation

Volume = NDArray[np.float32]

_BINNED_SIDE = 96
# Edge in voxels of the middle that is compared at full resolution.
_MIDDLE = 128
_SIGNIFICANT_IN_STD = 8.0
_LEAST_CORRELATION = 0.15
_IN_COMMON_IN_STD = 4.0
# How much better half-sets must agree when moved: coarsely, and at full resolution by few voxels.
_TIMES_BETTER = (1.5, 1.1)
_IDENTICAL = 1 - 1e-6
# Half-sets with independent noise never agree so well at every frequency.
_DEPENDENT = 0.95


class Match(NamedTuple):
    """The position in which half-set 1 fits half-set 0 best.

    Parameters
    ----------
    flipped
        Axes along which it must be reversed.
    shift
        Voxels by which it must be moved along each axis then.
    correlation
        Correlation of both, band-passed, in that position.
    in_place
        The same without reversing and moving.
    noise
        Standard deviation of the correlation over all positions.
    """

    flipped: tuple[int, ...]
    shift: tuple[int, ...]
    correlation: float
    in_place: float
    noise: float

    def is_better(self, times: float) -> bool:
        """True if this position is significantly, and ``times``, better than the present one."""
        moved = bool(self.flipped) or any(self.shift)
        clear = self.correlation - max(self.in_place, 0) > _SIGNIFICANT_IN_STD * self.noise
        return moved and clear and self.correlation > max(times * self.in_place, _LEAST_CORRELATION)


class HalfSet(NamedTuple):
    """Parts of a half-set that are compared: a binned copy, its factors along the axes, and the middle."""

    binned: Volume
    factors: tuple[int, int, int]
    middle: Volume


def half_set(volume: NDArray[Any]) -> HalfSet:
    """Read what is compared of a ``(z, y, x)`` half-set, in memory or memory-mapped."""
    factor = max(1, min(round(max(volume.shape) / _BINNED_SIDE), min(volume.shape) // 8))
    box = tuple(slice(max(0, (n - _MIDDLE) // 2), max(0, (n - _MIDDLE) // 2) + _MIDDLE) for n in volume.shape)
    middle = np.asarray(volume[box]).astype(np.float32)
    return HalfSet(binned_volume(volume, factor), (factor,) * 3, middle)


def best_match(half0: Volume, half1: Volume, smoothed: Sequence[int], flips: bool = True) -> Match:
    """Compare two ``(z, y, x)`` volumes of one shape in all positions.

    With ``flips`` axes are reversed, too; ``smoothed`` are those along which they are band-passed.
    """
    first, second = _band_passed(half0, smoothed), _band_passed(half1, smoothed)
    spectrum, axes = np.fft.rfftn(first), tuple(range(first.ndim))
    combinations = [c for n in range(len(axes) + 1) for c in itertools.combinations(axes, n)]
    matches = []
    for flipped in combinations if flips else [()]:
        other = np.flip(second, flipped)
        correlation = np.fft.irfftn(spectrum * np.fft.rfftn(other).conj(), s=first.shape, axes=axes)
        peak = np.unravel_index(int(correlation.argmax()), correlation.shape)
        shift = tuple((int(p) + n // 2) % n - n // 2 for p, n in zip(peak, first.shape, strict=True))
        matches.append((float(correlation[peak]), flipped, shift, float(correlation.std())))
    best, flipped, shift, noise = max(matches)
    return Match(flipped, shift, best, float((first * second).sum()), noise)


def correlation_by_frequency(half0: HalfSet, half1: HalfSet) -> ShellCorrelation:
    """Fourier shell correlation of the middles of both, at full resolution.

    Errors as `dewedge.scores.fsc.fourier_shell_correlation`.
    """
    return fourier_shell_correlation(_windowed(half0.middle), _windowed(half1.middle))


def check_halves(
    series: str, half0: HalfSet, half1: HalfSet, axes: tuple[str, str, str] = ("z", "y", "x")
) -> list[Finding]:
    """Findings on the half-sets of a tomogram or, with other names of the axes, of a stack of images.

    Errors as `correlation_by_frequency`.
    """

    def finding(
        severity: Severity, what: str, why: str, do: str, where: str = "half-sets 0 and 1"
    ) -> Finding:
        return Finding(severity, series, what, where, why, do)

    for i, half in enumerate((half0, half1)):
        broken = _broken(half)
        if broken is not None:
            why, do = "There is nothing to learn from it", "Make this half-set again"
            return [finding("error", broken, why, do, f"half-set {i}")]
    flat0, flat1 = (half.binned.astype(np.float64).ravel() for half in (half0, half1))
    correlation = float(np.corrcoef(flat0, flat1)[0, 1])
    if abs(correlation) > _IDENTICAL and _same(half0.middle, half1.middle):
        return [
            finding(
                "error",
                "both are the same up to grey scale",
                "The network would learn to copy its input, noise and all",
                "Give half-sets from different tilts or movie frames",
            )
        ]
    smoothed = (0, 1, 2) if axes[0] == "z" else (1, 2)
    match = best_match(half0.binned, half1.binned, smoothed)
    if match.in_place < -_SIGNIFICANT_IN_STD * match.noise and match.in_place < -_LEAST_CORRELATION:
        return [
            finding(
                "error",
                f"one has the contrast of the other inverted (correlation {match.in_place:.2f})",
                "The network would learn to invert",
                "Multiply one by -1",
            )
        ]
    fine = best_match(half0.middle, half1.middle, smoothed, flips=False)
    if not match.flipped and fine.is_better(_TIMES_BETTER[1]):
        return [_moved(series, fine, (1, 1, 1), axes)]
    if match.is_better(_TIMES_BETTER[0]):
        return [_moved(series, match, half0.factors, axes)]
    shells = correlation_by_frequency(half0, half1).correlation
    if np.nanmin(shells) > _DEPENDENT:
        return [
            finding(
                "warning",
                f"they agree to {np.nanmin(shells):.2f} or better at every frequency up to Nyquist",
                "Their noise is hardly independent, and what they share is kept as if it were specimen",
                "Make half-sets before any filtering or denoising, from different tilts or frames",
            )
        ]
    low = float(np.nanmean(shells[: max(1, len(shells) // 4)]))
    if match.in_place < _IN_COMMON_IN_STD * match.noise and low < 0.05:
        return [
            finding(
                "warning",
                f"they have nothing in common (correlation {low:.2f} up to a quarter of Nyquist)",
                "They may be of different specimens, or hold noise alone",
                "Look at both",
            )
        ]
    return []


def _moved(series: str, match: Match, factors: tuple[int, int, int], axes: tuple[str, str, str]) -> Finding:
    """The finding on a half-set that is mirrored, shifted or both."""
    parts = [f"mirrored along {' and '.join(axes[i] for i in match.flipped)}"] if match.flipped else []
    # Reversing axes of even length moves the centre by one voxel: too little to tell at this binning.
    shift = {
        axes[i]: -n * factors[i]
        for i, n in enumerate(match.shift)
        if abs(n) > (1 if i in match.flipped else 0)
    }
    if shift:
        parts.append("shifted by " + ", ".join(f"{n} in {axis}" for axis, n in shift.items()) + " voxels")
    return Finding(
        "error",
        series,
        f"{' and '.join(parts)} against half-set 0: moved back they agree to {match.correlation:.2f}, as "
        f"they are to {match.in_place:.2f}",
        "half-set 1",
        "Both must show the same specimen at the same place",
        "Make both with one program and the same geometry",
    )


def _broken(half: HalfSet) -> str | None:
    if not np.isfinite(half.binned).all():
        return "holds NaN or infinite values"
    low, high = float(half.binned.min()), float(half.binned.max())
    return f"black: every voxel is {low:g}" if low == high else None


def _same(middle0: Volume, middle1: Volume) -> bool:
    flat0, flat1 = (middle.astype(np.float64).ravel() for middle in (middle0, middle1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return bool(abs(np.corrcoef(flat0, flat1)[0, 1]) > _IDENTICAL)


def _band_passed(volume: Volume, axes: Sequence[int]) -> Volume:
    """Of mean 0 and norm 1, fading to zero at its faces."""
    fine, coarse = ([sigma if i in axes else 0.0 for i in range(volume.ndim)] for sigma in (0.7, 4.0))
    volume = volume - volume.mean(dtype=np.float64)
    passed = ndimage.gaussian_filter(volume, fine) - ndimage.gaussian_filter(volume, coarse)
    passed = _windowed(passed.astype(np.float32))
    passed -= passed.mean()
    passed /= max(float(np.linalg.norm(passed)), 1e-30)
    return passed


def _windowed(volume: Volume) -> Volume:
    volume = volume - volume.mean(dtype=np.float64).astype(np.float32)
    for axis, n in enumerate(volume.shape):
        window = np.hanning(n + 2)[1:-1].astype(np.float32)
        volume = volume * window.reshape([-1 if i == axis else 1 for i in range(volume.ndim)])
    return volume
