"""An electron-counting camera: counts with Poisson noise, a gain pattern, hot pixels and X-rays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Settings of the camera that counts the electrons.

    Parameters
    ----------
    poisson
        Counts have Poisson noise; else Gaussian noise of one variance, that of the untilted image.
    efficiency
        Share of the electrons that are counted. A counting camera has some 0.85 at low frequency (McMullan et
        al. 2014, Ultramicroscopy 147, 156).
    gain_sigma
        Standard deviation of what remains of the gain pattern in pixels of 10 A, white; the same in all
        images. Pairs of raw images of 10499 share a pattern of 0.6 %, at 10 A per pixel.
    hot_pixels
        Number of pixels of the camera that count 50 to 150 electrons too many in all images. Chosen: the
        images of 10499 show none.
    xrays_per_image
        Mean number of X-rays in an image; each adds 50 to 200 electrons to a pixel and its neighbour. In the
        41 images of 10499 some six pixels stand out by up to 100.
    """

    poisson: bool = True
    efficiency: float = 0.85
    gain_sigma: float = 0.006
    hot_pixels: int = 3
    xrays_per_image: float = 0.2


def record(
    expected: Images, pixel_size_A: float, camera: Camera, rng: np.random.Generator
) -> tuple[Images, Images]:
    """Record images twice, each with half of the electrons: averages of the even and of the odd frames.

    Parameters
    ----------
    expected
        ``(n, y, x)`` electrons expected in each pixel, raw images of one camera.

    Returns
    -------
    even, odd
        ``(n, y, x)`` images on the grey scale of ``expected``; their mean is the image of all frames.
        Hot pixels and the gain pattern are in both, an X-ray in one of them.
    """
    height, width = expected.shape[1:]
    faults_rng, noise_rng = rng.spawn(2)
    sigma = camera.gain_sigma * 10 / pixel_size_A
    gain = (1 + sigma * faults_rng.standard_normal((height, width))).astype(np.float32)
    hot = faults_rng.integers((height, width), size=(camera.hot_pixels, 2))
    heat = faults_rng.uniform(50, 150, camera.hot_pixels).astype(np.float32)
    noise = np.float32(np.sqrt(2 * float(expected.mean(axis=(1, 2)).max())))
    halves = np.empty((2, *expected.shape), dtype=np.float32)
    for i, image in enumerate(expected):
        for half in halves:
            if camera.poisson:
                half[i] = 2 * noise_rng.poisson(image / 2)
            else:
                half[i] = image + noise * noise_rng.standard_normal(image.shape, dtype=np.float32)
        halves[:, i] *= gain
        halves[:, i, hot[:, 0], hot[:, 1]] += heat
        for _ in range(faults_rng.poisson(camera.xrays_per_image)):
            y, x = faults_rng.integers((height, width))
            # In one half of the frames, on whose grey scale an electron counts twice.
            part, strength = faults_rng.integers(2), 2 * faults_rng.uniform(50, 200)
            halves[part, i, y, x] += strength
            halves[part, i, y, (x + 1) % width] += faults_rng.uniform(0, 0.5) * strength
    return halves[0], halves[1]
