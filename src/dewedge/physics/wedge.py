"""The mask of measured frequencies of a tilt series, on the half-spectrum of a real volume."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dewedge.geometry import TiltRange
from dewedge.physics.fourier import frequencies

FFT_VOXELS = 2**20  # of whole (z, x) sections whose spectra are in memory at a time
GPU_FFT_VOXELS = 2**25


def wedge_mask(
    shape_zyx: Sequence[int],
    tilt_range: TiltRange | Tensor,
    rotation: Tensor | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Mask W of the frequencies that the tilt series measured, or W(R^T k) of a rotated volume.

    W(k) is 1 where the angle atan2(kz, kx), folded to (-90, 90], lies within the tilt range, and on the tilt
    axis kz = kx = 0. It is evaluated at the rotated frequencies, never interpolated. At the Nyquist
    frequencies of even axes, where +k and -k share one sample, both must be measured, so the mask is
    Hermitian: multiplied with the spectrum of a real volume, it gives that of a real volume.

    Parameters
    ----------
    shape_zyx
        Shape (d, h, w) of the real volume; cycles per voxel of each axis are those of that shape.
    tilt_range
        One range, or a ``(b, 2)`` tensor of (min, max) degrees, one a volume.
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
    low, high = torch.deg2rad(ranges.reshape(-1, 2)).unbind(-1)
    turn = turn.reshape(-1, 3, 3)

    k = frequencies(shape_zyx, device)
    mask = _measured(k, low, high, turn)
    flipped = [axis.clone() for axis in k]
    for n, axis in zip(shape_zyx, flipped, strict=True):
        if n % 2 == 0:
            axis.view(-1)[n // 2].neg_()
    for i, n in enumerate(shape_zyx):
        if n % 2 == 0:
            plane = [axis.narrow(i, n // 2, 1) if i == j else axis for j, axis in enumerate(flipped)]
            mask.narrow(i + 1, n // 2, 1).logical_and_(_measured(plane, low, high, turn))
    return (mask if batched else mask[0]).float()


def _measured(k: Sequence[Tensor], low: Tensor, high: Tensor, turn: Tensor) -> Tensor:
    """``(b, d, h, w // 2 + 1)`` True where sin(a - low) sin(a - high) <= 0 for the angle a of R^T k."""

    def distance(angle: Tensor) -> Tensor:
        # |k| sin(a - angle), linear in k. Component i of R^T k is k times column i of R: one vector a volume.
        normal = torch.cos(angle)[:, None] * turn[:, :, 0] - torch.sin(angle)[:, None] * turn[:, :, 2]
        z, y, x = normal.T[..., None, None, None].unbind()
        return z * k[0] + y * k[1] + x * k[2]

    to_low, to_high = distance(low), distance(high)
    # The planes of the two outermost tilts are measured, whichever way the last bit was rounded.
    rounding = 1e-6 * (k[0] ** 2 + k[1] ** 2 + k[2] ** 2).sqrt()
    return (to_low * to_high <= 0) | (torch.minimum(to_low.abs(), to_high.abs()) <= rounding)


def cut_wedge_from_rows(volume: Tensor, mask: Tensor) -> None:
    """Multiply, in place, the (z, x) spectrum of every row of ``(z, y, x)`` with ``(z, 1, x // 2 + 1)``.

    The mask does not depend on ky, so that no spectrum of the whole volume is needed.
    """
    size = (volume.shape[0], volume.shape[2])
    for rows in torch.split(volume, rows_at_once(volume.shape, volume.device), dim=1):
        rows.copy_(torch.fft.irfftn(torch.fft.rfftn(rows, dim=(0, 2)) * mask, s=size, dim=(0, 2)))


def rows_at_once(shape_zyx: Sequence[int], device: torch.device) -> int:
    """Number of rows along y whose spectra a device has in memory at a time."""
    voxels = FFT_VOXELS if device.type == "cpu" else GPU_FFT_VOXELS
    return max(1, voxels // (shape_zyx[0] * shape_zyx[2]))
