"""The automatic specimen mask."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from dewedge.physics import specimen_mask as module
from dewedge.physics.specimen_mask import specimen_mask


def slab(shape: tuple[int, int, int], sign: float = -1) -> np.ndarray:
    """Textured specimen in the middle half of z, in noise."""
    generator = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(generator.normal(size=shape), 2)
    texture = sign * np.abs(texture / texture.std())
    texture[: shape[0] // 4] = texture[3 * shape[0] // 4 :] = 0
    return (texture + 0.3 * generator.normal(size=shape)).astype(np.float32)


@pytest.mark.parametrize("sign", [-1, 1])
def test_mask_covers_a_slab_and_not_the_empty_ends(sign: float) -> None:
    mask = specimen_mask(slab((64, 61, 70), sign))
    assert mask.shape == (64, 61, 70) and mask.dtype == bool
    assert mask[22:42].mean() > 0.75
    assert mask[:8].mean() < 0.02 and mask[-8:].mean() < 0.02


def test_grey_scale_does_not_matter() -> None:
    volume = slab((32, 40, 44))
    mask = specimen_mask(volume)
    assert (specimen_mask(volume * 1e-6) != mask).mean() < 1e-3
    assert (specimen_mask(volume + 1e3) != mask).mean() < 1e-2


def test_percentages_and_crop() -> None:
    volume = slab((40, 40, 40))
    assert specimen_mask(volume, 100, 100, z_crop=0).all()
    cropped = specimen_mask(volume, 100, 100, z_crop=0.2)
    assert cropped[8:32].all() and not cropped[:8].any() and not cropped[32:].any()
    assert specimen_mask(volume, 30, 100, z_crop=0).mean() == pytest.approx(0.3, abs=0.02)
    assert specimen_mask(volume, 100, 30, z_crop=0).mean() == pytest.approx(0.3, abs=0.02)


def test_large_volumes_are_averaged_first(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = slab((50, 51, 53))
    exact = specimen_mask(volume)
    monkeypatch.setattr(module, "_MAX_VOXELS", 20_000)
    coarse = specimen_mask(volume)
    assert coarse.shape == volume.shape
    assert (coarse != exact).mean() < 0.12


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="density_percent"):
        specimen_mask(np.zeros((4, 4, 4)), density_percent=0)
    with pytest.raises(ValueError, match="z_crop"):
        specimen_mask(np.zeros((4, 4, 4)), z_crop=0.5)
