"""The mask of measured frequencies of a tilt series, on the half-spectrum of a real volume."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dewedge.geometry import TiltRange
from dewedge.physics.fourier import frequencies

FFT_VOXELS = 2**20  # of whole (z, x) sections whose spectra are in memory at a time
GPU_FFT_VOXELS = 2**25
_RINGING = 8  # rows beyond the rays of a turned wedge, over which they fade
_BAND_OF_MARGINS = 4  # rows cut together, in margins: a third of what is read is margin


def wedge_mask(
    shape_zyx: Sequence[int],
    tilt_range: TiltRange | Tensor,
    rotation: Tensor | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Mask W of the frequencies that the tilt series measured, or W(R^T k) of a rotated volume.

    W(k) is 1 where the angle atan2(kz', kx), folded to (-90, 90], lies within the tilt range, and on the tilt
    axis kz' = kx = 0; kz' = kz unless there is a tilt about x (`TiltRange`). It is evaluated at the rotated
    frequencies, never interpolated. At the Nyquist frequencies of even axes, where +k and -k share one
    sample, both must be measured, so the mask is Hermitian: multiplied with the spectrum of a real volume, it
    gives that of a real volume.

    Parameters
    ----------
    shape_zyx
        Shape (d, h, w) of the real volume; cycles per voxel of each axis are those of that shape.
    tilt_range
        One range, or a ``(b, 3)`` tensor of (min, max, tilt about x) in degrees, one a volume.
    rotation
        ``(3, 3)`` or ``(b, 3, 3)`` rotations R that multiply (z, y, x) column vectors of the specimen from
        the left; the rotated volume is v(R^T r), its spectrum F(R^T k).
    device
        Of the mask; that of ``rotation`` or ``tilt_range`` if not given.

    Returns
    -------
    Tensor
        ``(d, h, w // 2 + 1)`` float32 of zeros and ones, zero frequency at index 0; with a leading b where
        ``tilt_range`` or ``rotation`` has one.

    Examples
    --------
    Along kz the wedge of tilts from -50 to 50 degrees is missing, along kx nothing is:

    >>> wedge_mask((5, 1, 5), TiltRange(-50, 50))[:, 0]
    tensor([[1., 1., 1.],
            [0., 1., 1.],
            [0., 0., 1.],
            [0., 0., 1.],
            [0., 1., 1.]])

    Source: Wiedemann and Heckel 2024, section 2.1 (missing-wedge mask).
    """
    if device is None:
        device = next((v.device for v in (rotation, tilt_range) if isinstance(v, Tensor)), None)
    ranges = torch.as_tensor(tilt_range, dtype=torch.float32, device=device)
    turn = torch.eye(3, device=device) if rotation is None else rotation.to(device, torch.float32)
    batched = ranges.ndim == 2 or turn.ndim == 3
    low, high, x_tilt = torch.deg2rad(ranges.reshape(-1, 3)).unbind(-1)
    turn = turn.reshape(-1, 3, 3)
    # Component i of R^T k is k times column i of R: those along the beam and across it.
    beam = torch.cos(x_tilt)[:, None] * turn[:, :, 0] + torch.sin(x_tilt)[:, None] * turn[:, :, 1]
    across = turn[:, :, 2]

    k = frequencies(shape_zyx, device)
    mask = _measured(k, low, high, beam, across)
    flipped = [axis.clone() for axis in k]
    for n, axis in zip(shape_zyx, flipped, strict=True):
        if n % 2 == 0:
            axis.view(-1)[n // 2].neg_()
    for i, n in enumerate(shape_zyx):
        if n % 2 == 0:
            plane = [axis.narrow(i, n // 2, 1) if i == j else axis for j, axis in enumerate(flipped)]
            mask.narrow(i + 1, n // 2, 1).logical_and_(_measured(plane, low, high, beam, across))
    return (mask if batched else mask[0]).float()


def _measured(k: Sequence[Tensor], low: Tensor, high: Tensor, beam: Tensor, across: Tensor) -> Tensor:
    """``(b, d, h, w // 2 + 1)`` where sin(a - low) sin(a - high) <= 0 at a = atan2(k beam, k across)."""

    def distance(angle: Tensor) -> Tensor:
        # |k| sin(a - angle), linear in k: one vector a volume.
        normal = torch.cos(angle)[:, None] * beam - torch.sin(angle)[:, None] * across
        z, y, x = normal.T[..., None, None, None].unbind()
        return z * k[0] + y * k[1] + x * k[2]

    to_low, to_high = distance(low), distance(high)
    # The planes of the two outermost tilts are measured, whichever way the last bit was rounded.
    rounding = 1e-6 * (k[0] ** 2 + k[1] ** 2 + k[2] ** 2).sqrt()
    return (to_low * to_high <= 0) | (torch.minimum(to_low.abs(), to_high.abs()) <= rounding)


def wedge_in_place(
    shape_zyx: Sequence[int], tilt_range: TiltRange, device: torch.device | None = None
) -> Tensor:
    """Mask of a tomogram's own wedge, as small as it can be: it broadcasts against the half-spectrum.

    ``(d, 1, w // 2 + 1)``; with a tilt about x it depends on ky, and is ``(d, h, w // 2 + 1)``.

    Examples
    --------
    >>> [tuple(wedge_in_place((8, 8, 8), TiltRange(-60, 60, tilt)).shape) for tilt in (0, 5)]
    [(8, 1, 5), (8, 8, 5)]
    """
    depth, height, width = shape_zyx
    return wedge_mask((depth, 1 if tilt_range.is_level else height, width), tilt_range, device=device)


class WedgeCut:
    """Cuts the wedge of a large tomogram from bands of its rows, or keeps nothing but it.

    Without a tilt about x, the mask does not depend on ky: a row along y is a (z, x) section that needs no
    other. With one, by t, the mask acts along rays that lie in (z, y) at this angle, so a row needs those
    within half the depth times tan t: a margin. What its ends lack is some 5 % of white noise.

    Parameters
    ----------
    shape_zyx
        Of the tomogram.
    tilt_range
        Its measured tilts.
    device
        Where bands are.
    """

    def __init__(self, shape_zyx: Sequence[int], tilt_range: TiltRange, device: torch.device) -> None:
        self.depth, self.height, self.width = shape_zyx
        self.device = device
        self._tilt_range = tilt_range
        self._mask = wedge_in_place((self.depth, 1, self.width), tilt_range, device)
        reach = self.depth / 2 * math.tan(math.radians(abs(tilt_range.x_tilt_deg)))
        self.margin = 0 if tilt_range.is_level else math.ceil(reach) + _RINGING

    @property
    def _rows_at_once(self) -> int:
        """Number of rows to be cut together: few without a margin, many with one."""
        voxels = FFT_VOXELS if self.device.type == "cpu" else GPU_FFT_VOXELS
        return max(1, voxels // (self.depth * self.width), _BAND_OF_MARGINS * self.margin)

    def parts(self, rows: range) -> Iterator[range]:
        """Parts of neighbouring rows to be cut one after the other, as alike in length as they can be.

        Then they have one mask.
        """
        size = math.ceil(len(rows) / math.ceil(len(rows) / self._rows_at_once))
        return (rows[begin : begin + size] for begin in range(0, len(rows), size))

    def needed(self, rows: range) -> NDArray[np.int64]:
        """Numbers of the rows that cutting these needs; beyond both ends they are reflected."""
        last = self.height - 1
        wide = np.arange(rows.start - self.margin, rows.stop + self.margin)
        return np.abs((wide + last) % max(2 * last, 1) - last)

    def __call__(self, band: Tensor, inside: bool = False) -> None:
        """Multiply, in place, the spectrum of ``(z, rows, x)`` with the mask, or with one minus it.

        The rows are those of `needed`, or all of the tomogram.
        """
        if not self.margin:
            mask = 1 - self._mask if inside else self._mask
            size = (self.depth, self.width)
            for rows in torch.split(band, self._rows_at_once, dim=1):
                rows.copy_(torch.fft.irfftn(torch.fft.rfftn(rows, dim=(0, 2)) * mask, s=size, dim=(0, 2)))
            return
        if self._mask.shape[1] != band.shape[1]:
            self._mask = wedge_mask(band.shape, self._tilt_range, device=self.device)
        mask = 1 - self._mask if inside else self._mask
        band.copy_(torch.fft.irfftn(torch.fft.rfftn(band) * mask, s=band.shape))
