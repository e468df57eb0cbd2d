"""Scores of a method by two half-sets, where there is no truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dewedge.geometry import TiltRange
from dewedge.physics.wedge import wedge_in_place
from dewedge.scores.coefficient import correlation_outside_inside
from dewedge.scores.fsc import ShellCorrelation, fourier_shell_correlation


@dataclass(frozen=True)
class HalfSetScores:
    """Scores of a method from both half-sets, all of them outside the missing wedge.

    Parameters
    ----------
    half_sets
        FSC of the estimate from half-set 0 with that from half-set 1.
    against_raw
        FSC of the estimate from one half-set with the raw tomogram of the other, mean of both ways.
    cc_signal
        Estimated correlation coefficient of the estimate from one half-set with what both half-sets have in
        common; NaN where the raw half-sets have nothing in common.
    """

    half_sets: ShellCorrelation
    against_raw: ShellCorrelation
    cc_signal: float


def half_set_scores(
    estimates: Sequence[ArrayLike], raw: Sequence[ArrayLike], tilt_range: TiltRange
) -> HalfSetScores:
    """Score a method by the tomograms it makes of each half-set alone, at the measured frequencies.

    The usual half-set FSC asks whether two estimates agree. It measures noise only if they were made
    independently. Those of one network, fitted to both half-sets, were not; and whatever a method adds to any
    input (a smooth background, the network's taste) agrees with itself. So it is too high for all but plain
    reconstructions.

    Agreement with data that the estimate was not made from cannot be had so cheaply: the raw tomogram v1 of
    the other half-set is the signal s plus noise that is independent of f(v0). In the mean
    ``<f(v0), v1> = <f(v0), s>`` and ``<v0, v1> = <s, s>``, hence the correlation coefficient with the unknown
    signal, ``cc(f(v0), s) = cc(f(v0), v1) / sqrt(cc(v0, v1))``, for half-sets of equal noise; it is the mean
    of both ways. No estimate, however good, has an FSC with the raw half-set above ``sqrt(FSC(v0, v1))``.

    The independence is strict for reconstructions. The weights of a network have seen v1, as the target of
    the fit; the figures of one that has learnt that noise by heart are too high. Neither figure sees the
    missing wedge, where there is nothing to compare with. Both are of estimates from half of the data.

    Parameters
    ----------
    estimates, raw
        ``(z, y, x)`` tomograms of half-set 0 and of half-set 1: the method's, and those it was given.
    tilt_range
        Measured tilt angles.

    Raises
    ------
    InputError
        If shapes differ, or a volume is constant or holds a value that is not finite.

    Sources: Rosenthal and Henderson 2003, J. Mol. Biol. 333, 721 (correlation of a map with the signal, from
    half-sets); Buchholz et al. 2019, ISBI, 502 (FSC of denoised half-sets).
    """
    measured = wedge_in_place(np.shape(raw[0]), tilt_range.validated())
    agreement = correlation_outside_inside(raw[0], raw[1], tilt_range)[0]
    crossed = list(zip(estimates, reversed(raw), strict=True))
    cc = [correlation_outside_inside(estimate, other, tilt_range)[0] for estimate, other in crossed]
    curves = [fourier_shell_correlation(estimate, other, measured) for estimate, other in crossed]
    against_raw = ShellCorrelation(
        curves[0].frequency_per_voxel,
        (curves[0].correlation + curves[1].correlation) / 2,
        curves[0].count,
    )
    return HalfSetScores(
        half_sets=fourier_shell_correlation(estimates[0], estimates[1], measured),
        against_raw=against_raw,
        cc_signal=sum(cc) / 2 / math.sqrt(agreement) if agreement > 0 else math.nan,
    )


def highest_against_raw(half_sets: ShellCorrelation) -> NDArray[np.float64]:
    """``(s,)`` FSC with a raw half-set that the signal itself would have, from the raw half-sets' FSC."""
    highest: NDArray[np.float64] = np.sqrt(np.clip(half_sets.correlation, 0, None))
    return highest
