"""Tilt images of a specimen each of whose voxels has the defocus at its own height."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from dewedge.geometry import TiltGeometry
from dewedge.physics.ctf import image_ctf
from dewedge.physics.projection import project


def project_with_ctf(volume: Tensor, geometry: TiltGeometry, slab: float) -> Tensor:
    """Project a ``(z, y, x)`` volume to aligned images, every voxel with its own defocus.

    At each tilt the specimen is cut across the beam into slabs that fade into each other and add up to it;
    the image is the sum of the slabs' projections, each with its CTF. `dewedge.physics.ctf.strips` has no
    part in it, so that one tests the other.

    Parameters
    ----------
    geometry
        Geometry of the images, aligned, with all CTF parameters and the defocus hand; a pixel is as wide as
        a voxel.
    slab
        Largest distance of neighbouring slabs' middles in voxels.

    Returns
    -------
    Tensor
        ``(n, y, x)`` images. They count as periodic: what the CTF displaces over an edge comes back at the
        other.

    Raises
    ------
    ValueError
        If the geometry is not aligned, or lacks CTF parameters or the defocus hand.
    """
    ctf = geometry.ctf
    if not geometry.is_aligned or ctf is None or ctf.defocus_hand is None:
        raise ValueError("expected an aligned geometry with CTF parameters and defocus hand")
    depth, _, width = volume.shape
    z, x = (torch.arange(depth) - depth // 2)[:, None, None], torch.arange(width) - width // 2
    shape = geometry.image_shape_yx
    images = volume.new_zeros((geometry.n_tilts, *shape))
    for i, angle in enumerate(np.radians(geometry.tilt_deg)):
        height = z * math.cos(angle) - x * math.sin(angle)
        low, high = float(height.min()), float(height.max())
        middles = torch.linspace(low, high, 2 + int((high - low) / slab))
        for middle in middles:
            share = (1 - (height - middle).abs() / (middles[1] - middles[0])).clamp(min=0)
            spectrum = torch.fft.rfft2(project(volume * share, geometry.tilt_deg[i : i + 1], shape)[0])
            offset_um = ctf.defocus_hand * middle * geometry.pixel_size_A * 1e-4
            images[i] += torch.fft.irfft2(
                spectrum * image_ctf(ctf, i, offset_um, shape, geometry.pixel_size_A), s=shape
            )
    return images
