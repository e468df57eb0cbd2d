"""Projections of a band-limited volume by the Fourier slice theorem, without interpolation.

`dewedge.physics.projection` shares voxels between detector pixels in real space. Nothing of it is used
here, so that simulated images owe neither sharpness nor aliasing to the operator that reconstructs them.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

# Bytes of the rows' transforms that are held at once.
_BLOCK_BYTES = 2**27


def project_slices(
    volume: Tensor, tilt_deg: ArrayLike, image_shape_yx: tuple[int, int], z_weights: Tensor | None = None
) -> Tensor:
    """Project a ``(z, y, x)`` volume at each tilt, from the central slices of its Fourier transform.

    At a tilt of a, x_p = (x + z tan(a)) cos(a): the planes of the volume are sheared and added, then
    compressed by cos(a). The rows' transforms take the shear as a phase, exactly, and give the compressed
    rows at the pixels as a Fourier sum, cut at the images' Nyquist frequency. Voxels are samples of a
    band-limited density. Projections are sums of voxels along the ray, in units of voxels.

    Parameters
    ----------
    volume
        float32; its centre, index N // 2, is the images'. The volume is periodic along x: what lies within
        ``z tan(a)`` of its ends appears at the other one, so it has to be wider than what the images show.
    tilt_deg
        ``(n,)`` tilt angles in degrees.
    image_shape_yx
        Shape of the images; not higher than the volume.
    z_weights
        ``(m, z)`` weights of the planes in each of m sets of images; ones if not given.

    Returns
    -------
    Tensor
        ``(n, y, x)`` images, or ``(m, n, y, x)`` with ``z_weights``.

    Raises
    ------
    ValueError
        If the images are higher than the volume.

    Source: Bracewell 1956, Aust. J. Phys. 9, 198 (projection and central slice).
    """
    depth, rows, width = volume.shape
    height, image_width = image_shape_yx
    top = rows // 2 - height // 2
    if top < 0 or height > rows:
        raise ValueError(f"images of {height} rows from a volume of {rows}: expected no more than it has")
    angles = torch.from_numpy(np.radians(np.atleast_1d(np.asarray(tilt_deg, dtype=np.float64))))
    weights = torch.ones(1, depth, dtype=torch.float64) if z_weights is None else z_weights.double()
    frequency = torch.fft.rfftfreq(width, dtype=torch.float64)
    z = torch.arange(depth, dtype=torch.float64) - depth // 2
    # (kx, tilt, z), then one set of weights after the other.
    turn = -2 * torch.pi * frequency[:, None, None] * angles.tan()[:, None] * z
    shear = torch.polar(torch.ones_like(turn), turn)[:, None] * weights[:, None]
    shear = shear.reshape(frequency.numel(), -1, depth).to(torch.complex64)
    compress = [_compression(frequency, float(angle), width, image_width) for angle in angles]
    images = torch.empty(len(weights), angles.numel(), height, image_width)
    block = max(1, _BLOCK_BYTES // (8 * depth * frequency.numel()))
    for first in range(0, height, block):
        last = min(first + block, height)
        spectrum = torch.fft.rfft(volume[:, top + first : top + last], dim=-1).permute(2, 0, 1)
        sheared = (shear @ spectrum).reshape(-1, len(weights), angles.numel(), last - first)
        for i, (cosine, sine) in enumerate(compress):
            kept = sheared[: len(cosine), :, i].permute(1, 2, 0)
            images[:, i, first:last] = kept.real @ cosine + kept.imag @ sine
    return images[0] if z_weights is None else images


def _compression(frequency: Tensor, angle: float, width: int, image_width: int) -> tuple[Tensor, Tensor]:
    """``(kx, x_p)`` matrices that take real and imaginary parts of a sheared row to an image's pixels."""
    cos = float(np.cos(angle))
    kept = frequency[frequency < cos / 2]
    x_p = torch.arange(image_width, dtype=torch.float64) - image_width // 2
    # Index 0 of the row is the left end, its centre at width // 2.
    phase = 2 * torch.pi * kept[:, None] * (x_p / cos + width // 2)
    scale = torch.full((len(kept), 1), 2 / (width * cos), dtype=torch.float64)
    scale[0] /= 2
    return (scale * phase.cos()).float(), (-scale * phase.sin()).float()
