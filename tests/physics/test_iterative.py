"""Iterative reconstruction: SIRT and total variation."""

from __future__ import annotations

import weakref
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dewedge.errors import InputError
from dewedge.geometry import TiltGeometry
from dewedge.physics import iterative, projection
from dewedge.physics.iterative import (
    coarse_tv,
    minimise_tv,
    noise_level,
    sirt,
    sirt_blocks,
    total_variation,
    tv,
    tv_bytes,
)
from dewedge.physics.projection import project
from dewedge.physics.reconstruction import fbp

TILTS = np.arange(-60, 61, 5.0)


def geometry(tilts: np.ndarray, shape: tuple[int, int]) -> TiltGeometry:
    return TiltGeometry(tilt_deg=tilts, image_shape_yx=shape, pixel_size_A=10)


def ball(shape: tuple[int, int, int], offset: tuple[float, float, float], radius: float) -> Tensor:
    """Smooth-edged ball of density 1."""
    axes = [torch.arange(float(n)) - n // 2 - c for n, c in zip(shape, offset, strict=True)]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.sigmoid(radius - (z**2 + y**2 + x**2).sqrt())


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


@pytest.mark.parametrize("shape", [(20, 6, 32), (21, 5, 33)])
def test_sirt_converges_to_the_density_where_tilts_are_all_around(shape: tuple[int, int, int]) -> None:
    truth = ball(shape, (1, 0, -2), 6)
    tilts = np.arange(-88, 90, 4.0)
    images = project(truth, tilts, shape[1:])
    errors = []
    for iterations in (5, 20, 60):
        volume = sirt(images, geometry(tilts, shape[1:]), shape[0], iterations)
        errors.append(float((volume - truth).norm() / truth.norm()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.05


def test_the_weighted_residual_of_sirt_falls_at_every_iteration() -> None:
    """On the slab, of which `sirt` returns the middle: a volume as wide as the slab gives the residual."""
    tilts = np.array([-44.0, -20, 0, 7, 33, 60])
    images = noise(6, 3, 21)
    width = iterative._slab_width(tilts, 21, 8)
    of_rays, of_voxels = iterative._sums(images, tilts, 8, width)
    assert of_rays.shape == (6, 1, 21) and of_voxels.shape == (8, 1, width)
    residuals = []
    for iterations in range(1, 15):
        slab = sirt_slab(images, tilts, 8, iterations)
        residual = images - project(slab, tilts, (3, 21))
        residuals.append(float((residual.square() / of_rays).sum()))
    assert all(later < earlier for earlier, later in pairwise(residuals))


def sirt_slab(images: Tensor, tilts: np.ndarray, thickness: int, iterations: int) -> Tensor:
    """The whole slab of `sirt`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(iterative, "_cut", lambda slab, width: slab)
        ((_, slab),) = sirt_blocks(images, geometry(tilts, tuple(images.shape[1:])), thickness, iterations)
    return slab


def test_rays_and_voxels_are_weighted_by_their_sums() -> None:
    """One iteration by hand, from the dense matrix of the projector."""
    tilts, shape = np.array([-30.0, 0, 45]), (3, 1, 5)
    width = iterative._slab_width(tilts, 5, 3)
    units = torch.eye(3 * width).reshape(-1, 3, 1, width)
    matrix = torch.stack([project(unit, tilts, (1, 5)).flatten() for unit in units], dim=1)
    images = noise(3, 1, 5)
    x = torch.zeros(3 * width)
    for _ in range(3):
        back = matrix.T @ ((images.flatten() - matrix @ x) / matrix.sum(1))
        x += back / matrix.sum(0).clamp(min=1e-6)
    torch.testing.assert_close(sirt_slab(images, tilts, 3, 3).flatten(), x)
    volume = sirt(images, geometry(tilts, (1, 5)), 3, 3)
    assert volume.shape == shape
    torch.testing.assert_close(volume, x.reshape(3, 1, width)[..., width // 2 - 2 : width // 2 + 3])


def test_blocks_of_rows_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    images = noise(len(TILTS), 11, 14)
    whole = sirt(images, geometry(TILTS, (11, 14)), 6, 4)
    monkeypatch.setattr(iterative, "_BLOCK_BYTES", 4 * 6 * iterative._slab_width(TILTS, 14, 6) * 4)
    blocks = list(sirt_blocks(images, geometry(TILTS, (11, 14)), 6, 4))
    assert [(rows.start, rows.stop) for rows, _ in blocks] == [(0, 4), (4, 8), (8, 11)]
    torch.testing.assert_close(torch.cat([block for _, block in blocks], dim=1), whole)


def test_nothing_gives_nothing() -> None:
    images = torch.zeros(len(TILTS), 5, 12)
    assert not sirt(images, geometry(TILTS, (5, 12)), 6, 3).any()
    assert not tv(images, geometry(TILTS, (5, 12)), 6, iterations=3).any()


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 7),
    st.integers(2, 7),
    st.integers(2, 12),
    st.lists(st.floats(-80, 80), min_size=1, max_size=5),
    st.sampled_from([1e-4, -3.0, 1e5]),
)
def test_the_volume_scales_with_the_images(
    thickness: int, height: int, width: int, tilts: list[float], scale: float
) -> None:
    images = noise(len(tilts), height, width)
    of = geometry(np.array(tilts), (height, width))
    for volume, scaled in (
        (sirt(images, of, thickness, 3), sirt(scale * images, of, thickness, 3)),
        (tv(images, of, thickness, iterations=5), tv(scale * images, of, thickness, iterations=5)),
    ):
        assert volume.shape == (thickness, height, width)
        assert torch.isfinite(volume).all()
        error = (scaled / scale - volume).abs().max()
        assert error < 1e-4 * volume.abs().max()


@pytest.mark.parametrize("tilts", [np.arange(-60, 61, 3.0), np.arange(-44, 61, 3.0)])
def test_both_have_the_grey_scale_of_fbp_and_less_noise(tilts: np.ndarray) -> None:
    shape = (28, 24, 48)
    truth = ball(shape, (1, 0, -3), 7)
    images = project(truth, tilts, shape[1:]) + 4 * noise(len(tilts), *shape[1:])
    of = geometry(tilts, shape[1:])
    by_fbp = correlation(fbp(images, of, shape[0]), truth)
    volumes = {"sirt": sirt(images, of, shape[0]), "tv": tv(images, of, shape[0])}
    for volume in volumes.values():
        assert correlation(volume, truth) > by_fbp + 0.3
    assert correlation(volumes["tv"], truth) > 0.95
    assert volumes["tv"][truth > 0.9].mean() == pytest.approx(0.9, abs=0.1)


def test_half_of_the_tilts_gives_the_grey_scale_of_the_whole() -> None:
    shape = (24, 12, 40)
    truth = ball(shape, (1, 0, -3), 6)
    tilts = np.arange(-60, 61, 3.0)
    images = project(truth, tilts, shape[1:]) + 2 * noise(len(tilts), *shape[1:])
    whole = tv(images, geometry(tilts, shape[1:]), shape[0])
    for start in (0, 1):
        half = tv(images[start::2], geometry(tilts[start::2], shape[1:]), shape[0])
        slope = (half * whole).sum() / whole.square().sum()
        assert slope == pytest.approx(1, abs=0.05)


def test_no_rim_at_the_ends() -> None:
    """A slab of ice that goes on beyond the images, seen at a density of 1 everywhere."""
    tilts = np.arange(-60, 61, 3.0)
    images = project(torch.ones(10, 3, 300), tilts, (3, 40))
    of = geometry(tilts, (3, 40))
    assert (sirt(images, of, 10, 40) - 1).abs().max() < 1e-4
    # A slab as wide as the images has to hold what lies beyond it.
    narrow = minimise_tv(images, tilts, 10, 40, tv_weight=0, iterations=100)
    assert (narrow - 1).abs().max() > 0.5
    # Uniform ice spreads above and below, where total variation has room.
    made = tv(images, of, 10, iterations=100)
    assert (made / made.mean() - 1).abs().max() < 0.1
    assert made.mean() == pytest.approx(10 / 14, abs=0.05)


def objective(volume: Tensor, images: Tensor, tilts: np.ndarray, weight: float) -> float:
    residual = project(volume, tilts, tuple(images.shape[1:])) - images
    return float(residual.square().sum() / 2) + weight * total_variation(volume)


@pytest.mark.parametrize("shape, weight", [((4, 5, 6), 0.5), ((3, 4, 7), 3.0)])
def test_total_variation_reaches_the_optimum(shape: tuple[int, int, int], weight: float) -> None:
    """Against L-BFGS on a smooth bound from above, higher by at most ``weight * epsilon`` a voxel."""
    tilts, width, epsilon = np.array([-50.0, -21, 4, 30, 61]), 8, 1e-4
    truth = torch.zeros(shape, dtype=torch.float64)
    truth[1:3, 1:3, 1:4] = 2
    images = project(truth, tilts, (shape[1], width)) + 0.3 * noise(5, shape[1], width).double()

    def smooth(values: np.ndarray) -> tuple[float, np.ndarray]:
        x = torch.from_numpy(values).reshape(shape).requires_grad_()
        residual = torch.stack([matrix @ x[:, y].flatten() for y in range(shape[1])], dim=1)
        squares = torch.full(shape, epsilon**2, dtype=torch.float64)
        for axis in range(3):
            pad = torch.zeros_like(x.narrow(axis, 0, 1))
            squares = squares + torch.cat([x.diff(dim=axis), pad], dim=axis).square()
        value = (residual - target).square().sum() / 2 + weight * squares.sqrt().sum()
        (gradient,) = torch.autograd.grad(value, x)
        return value.item(), gradient.numpy().ravel()

    units = torch.eye(shape[0] * shape[2], dtype=torch.float64).reshape(-1, shape[0], 1, shape[2])
    matrix = torch.stack([project(unit, tilts, (1, width)).flatten() for unit in units], dim=1)
    target = images.transpose(1, 2).reshape(-1, shape[1])
    bound = minimize(
        smooth,
        np.zeros(truth.numel()),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 20000, "maxfun": 40000, "ftol": 1e-15, "gtol": 1e-9},
    ).fun

    values = []
    for iterations in (1, 10, 100, 1000):
        slab = minimise_tv(images, tilts, shape[0], shape[2], weight, iterations)
        values.append(objective(slab, images, tilts, weight))
    assert values[0] > values[1] > values[2] > values[3]
    slack = 1e-5 * bound
    assert bound - weight * epsilon * truth.numel() - slack <= values[3] <= bound + slack


def test_differences_and_their_adjoint() -> None:
    volume, flow = noise(4, 5, 6).double(), noise(3, 4, 5, 6).double()
    differences = torch.zeros_like(flow)
    iterative._add_differences(differences, volume, 1.0)
    transposed = torch.zeros_like(volume)
    iterative._add_transposed_differences(transposed, flow)
    assert float((differences * flow).sum()) == pytest.approx(float((volume * transposed).sum()))
    step = torch.zeros(4, 5, 6)
    step[2:] = 3
    assert total_variation(step) == pytest.approx(3 * 5 * 6)


def test_more_weight_is_smoother() -> None:
    images = noise(len(TILTS), 8, 16)
    variations = [
        total_variation(tv(images, geometry(TILTS, (8, 16)), 8, weight)) for weight in (0.0, 0.3, 1.0, 10.0)
    ]
    assert variations == sorted(variations, reverse=True)
    assert variations[-1] < 1e-3 * variations[0]


@pytest.mark.parametrize("shape", [(5, 64, 64), (7, 63, 41)])
def test_noise_level_is_that_of_white_noise(shape: tuple[int, int, int]) -> None:
    specimen = project(ball((32, *shape[1:]), (0, 2, -3), 9), np.arange(shape[0]) * 10.0, shape[1:])
    assert noise_level(specimen + 5 * noise(*shape)) == pytest.approx(5, rel=0.05)
    assert noise_level(specimen) < 0.05


def test_wrong_input_is_refused() -> None:
    of, images = geometry(np.array([0.0, 3.0]), (4, 5)), torch.zeros(2, 4, 5)
    for method in (sirt, tv):
        with pytest.raises(InputError, match="thickness 0"):
            method(images, of, 0)
        with pytest.raises(InputError, match="iterations 0"):
            method(images, of, 3, iterations=0)
        with pytest.raises(ValueError, match="expected shape"):
            method(torch.zeros(3, 4, 5), of, 3)
    for weight in (-1.0, float("nan")):
        with pytest.raises(InputError, match="weight of the total variation"):
            tv(images, of, 3, weight)


def test_coarse_tv_is_half_as_large_and_on_the_grey_scale_and_place_of_the_images():
    """A ball off the centre, in images of odd size."""
    shape = (24, 41, 51)
    z, y, x = (np.arange(n) - n // 2 for n in shape)
    at = (3, -6, 8)
    distance = np.sqrt((z[:, None, None] - at[0]) ** 2 + (y[:, None] - at[1]) ** 2 + (x - at[2]) ** 2)
    ball = torch.from_numpy((distance < 5).astype(np.float32))
    images = project(ball, TILTS, shape[1:])
    images += 0.1 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    coarse = coarse_tv(images, geometry(TILTS, shape[1:]), shape[0]).numpy()
    assert coarse.shape == (12, 20, 25)
    weights = np.clip(coarse - 0.3, 0, None)
    for n, axis, place in zip(coarse.shape, range(3), at, strict=True):
        others = tuple(i for i in range(3) if i != axis)
        centre = (weights.sum(axis=others) * (np.arange(n) - n // 2)).sum() / weights.sum()
        assert 2 * centre == pytest.approx(place, abs=0.6)
    middle = coarse[12 // 2 + 1 : 12 // 2 + 3, 20 // 2 - 4 : 20 // 2 - 2, 25 // 2 + 3 : 25 // 2 + 5]
    assert middle.mean() == pytest.approx(1, abs=0.25)


def test_specimen_above_and_below_is_not_forced_into_the_volume_of_total_variation() -> None:
    """Bars just above the volume, which a slab no thicker would show within it."""
    tilts = np.arange(-60, 61, 3.0)
    above, thickness, width = 3, 18, 40
    specimen = torch.zeros(thickness + 2 * above, 3, width)
    specimen[:above, :, 8:14] = specimen[:above, :, 24:30] = 1.0
    images = project(specimen, tilts, (3, width))
    made = tv(images, geometry(tilts, (3, width)), thickness)
    forced = minimise_tv(images, tilts, thickness, 2 * width, tv_weight=0.01, iterations=100)
    assert made.std() < 0.5 * forced[:, :, width // 2 : -width // 2].std()


def test_total_variation_in_blocks_of_rows_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch):
    rows, thickness = 90, 6
    images = torch.randn((5, rows, 16), generator=torch.Generator().manual_seed(1))
    of = geometry(np.linspace(-40, 40, 5), (rows, 16))
    whole = tv(images, of, thickness, iterations=30)
    monkeypatch.setattr(iterative, "_TV_BLOCK_VOXELS", 1)
    torch.testing.assert_close(
        tv(images, of, thickness, iterations=30), whole, atol=1e-3 * float(whole.std()), rtol=0
    )


class Allocated(TorchDispatchMode):
    """Most bytes of tensors that there are at a time of those made within."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors: list[weakref.ref[Tensor]] = []
        self.most = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        self.tensors = [each for each in self.tensors if each() is not None]
        self.tensors += [weakref.ref(each) for each in tree_leaves(result) if isinstance(each, Tensor)]
        there = [each.untyped_storage() for reference in self.tensors if (each := reference()) is not None]
        self.most = max(self.most, sum({each.data_ptr(): each.nbytes() for each in there}.values()))
        return result


def test_total_variation_holds_its_slab_five_times(monkeypatch: pytest.MonkeyPatch):
    # Few at a time, as they are beside a large slab.
    monkeypatch.setattr(iterative, "_LIMITED_VOXELS", 2**11)
    monkeypatch.setattr(projection, "_TABLE_PAIRS", 2**8)
    monkeypatch.setattr(projection, "_ROWS", 8)
    shape, tilts = (24, 128, 64), np.array([-20.0, 0.0, 20.0])
    images = torch.zeros(3, 128, 48)
    with Allocated() as allocated:
        minimise_tv(images, tilts, shape[0], shape[2], 1.0, 2)
    slab = 4 * np.prod(shape)
    # The slab, the point ahead, differences along three axes; images, and what projections need.
    assert 5 * slab <= allocated.most < 5.5 * slab


@pytest.mark.parametrize("coarse", [False, True])
def test_memory_of_total_variation_is_foretold(coarse: bool, monkeypatch: pytest.MonkeyPatch):
    for module, name, value in (
        (iterative, "_TV_BLOCK_VOXELS", 2**16),
        (iterative, "_LIMITED_VOXELS", 2**11),
        (iterative, "COARSE_TV_ITERATIONS", 2),
        (projection, "_TABLE_PAIRS", 2**10),
        (projection, "_ROWS", 16),
    ):
        monkeypatch.setattr(module, name, value)
    shape, tilts = (24, 192, 48), np.array([-20.0, 0.0, 20.0])
    images = torch.randn(3, 192, 48, generator=torch.Generator().manual_seed(0))
    with Allocated() as allocated:
        if coarse:
            coarse_tv(images, geometry(tilts, (192, 48)), shape[0])
        else:
            tv(images, geometry(tilts, (192, 48)), shape[0], iterations=2)
    assert 0.8 < tv_bytes(tilts, shape, coarse=coarse) / allocated.most < 1.2
