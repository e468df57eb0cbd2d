"""Filtered back-projection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import mrcfile
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dewedge.errors import InputError
from dewedge.geometry import TiltGeometry
from dewedge.physics import reconstruction
from dewedge.physics.alignment import align_images
from dewedge.physics.projection import back_project, interpolation_response, project
from dewedge.physics.reconstruction import FilterName, fbp, fbp_blocks, ramp_response, tilt_weights_rad


def geometry(tilts: np.ndarray, shape: tuple[int, int]) -> TiltGeometry:
    return TiltGeometry(tilt_deg=tilts, image_shape_yx=shape, pixel_size_A=10)


def ball(shape: tuple[int, int, int], offset: tuple[float, float, float], radius: float) -> Tensor:
    """Smooth-edged ball of density 1."""
    axes = [torch.arange(float(n)) - n // 2 - c for n, c in zip(shape, offset, strict=True)]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.sigmoid(radius - (z**2 + y**2 + x**2).sqrt())


@pytest.mark.parametrize("shape", [(48, 40, 64), (49, 41, 65)])
@pytest.mark.parametrize("filter", get_args(FilterName))
def test_a_complete_series_returns_the_density(shape: tuple[int, int, int], filter: FilterName) -> None:
    truth = ball(shape, (3, -2, 5), 10)
    tilts = np.arange(-89, 90, 2.0)
    images = project(truth, tilts, shape[1:])
    volume = fbp(images, geometry(tilts, shape[1:]), shape[0], filter)
    inside = truth > 0.99
    assert abs(volume[inside].mean() - 1) < 0.01
    assert abs(volume[truth < 0.01].mean()) < 0.01
    error = (volume - truth).norm() / truth.norm()
    assert error < (0.02 if filter == "ramp" else 0.04)


def test_uneven_tilts_return_the_density() -> None:
    shape = (40, 24, 48)
    truth = ball(shape, (-2, 1, 4), 8)
    tilts = np.concatenate([np.arange(-89, 0, 3.0), np.arange(0.5, 90, 1.0), [20.5, 20.5]])
    np.random.default_rng(0).shuffle(tilts)
    volume = fbp(project(truth, tilts, shape[1:]), geometry(tilts, shape[1:]), shape[0])
    assert abs(volume[truth > 0.99].mean() - 1) < 0.02


def test_halves_have_the_grey_scale_of_the_whole() -> None:
    shape = (32, 24, 48)
    truth = ball(shape, (1, 0, -3), 7)
    tilts = np.arange(-57, 64, 3.0)
    images = project(truth, tilts, shape[1:])
    whole = fbp(images, geometry(tilts, shape[1:]), shape[0])
    inside = truth > 0.5
    for start in (0, 1):
        half = fbp(images[start::2], geometry(tilts[start::2], shape[1:]), shape[0])
        slope = (half[inside] * whole[inside]).sum() / whole[inside].square().sum()
        assert slope == pytest.approx(1, abs=0.04)


def test_weights_are_the_angles_that_tilts_stand_for() -> None:
    np.testing.assert_allclose(np.degrees(tilt_weights_rad(np.arange(-60, 61, 3.0))), 3)
    np.testing.assert_allclose(np.degrees(tilt_weights_rad([10, -20, 0, 4])), [6, 20, 12, 5])
    # A tilt that was taken twice, at an end too, shares its weight.
    np.testing.assert_allclose(
        np.degrees(tilt_weights_rad([0, 10, 0, 20, 20.01])), [5, 10.0025, 5, 5.0025, 5.0025]
    )
    with pytest.raises(InputError, match="different"):
        tilt_weights_rad([5.0, 5.0])


@given(st.lists(st.floats(-85, 85), min_size=2, max_size=60))
def test_weights_are_never_negative_and_sum_to_the_range(tilts: list[float]) -> None:
    if max(tilts) - min(tilts) < 1:
        return
    weights = tilt_weights_rad(tilts)
    assert np.isfinite(weights).all() and (weights > 0).all()
    span = np.radians(max(tilts) - min(tilts))
    assert 0.9 * span < weights.sum() < 2 * span + 1e-9


def test_ramp_follows_k_and_passes_no_constant() -> None:
    n = 512
    k = torch.fft.rfftfreq(n, dtype=torch.float64)
    ramp = ramp_response(n, "ramp")
    assert (ramp - k).abs().max() < 1e-3
    assert ramp[0] > 0  # abs(k) itself would remove the mean of each row
    hamming = 0.54 + 0.46 * torch.cos(torch.pi * k / 0.5)
    torch.testing.assert_close(ramp_response(n, "hamming"), ramp * hamming)
    with pytest.raises(ValueError, match="filter"):
        ramp_response(n, "none")  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(40, 64), (41, 63)])
@pytest.mark.parametrize("tilt", [0.0, 0.4, 21.0, -48.0])
def test_interpolation_response_is_what_arrives_of_a_wave(tilt: float, shape: tuple[int, int]) -> None:
    k = torch.tensor([0.0, 0.1, 0.3, 0.45], dtype=torch.float64)
    expected = interpolation_response(tilt, shape, k)
    z, x = (torch.arange(n, dtype=torch.float64) - n // 2 for n in shape)
    position = z[:, None] * np.sin(np.radians(tilt)) + x * np.cos(np.radians(tilt))
    u = torch.arange(201, dtype=torch.float64) - 100
    for frequency, response in zip(k, expected, strict=True):
        wave = torch.exp(2j * torch.pi * frequency * u)
        parts = [
            back_project(w.expand(1, 1, -1), [tilt], (shape[0], 1, shape[1]))[:, 0] for w in wave_parts(wave)
        ]
        arrived = (torch.complex(*parts) * torch.exp(-2j * torch.pi * frequency * position)).mean().real
        assert arrived == pytest.approx(float(response), abs=2e-3)


def wave_parts(wave: Tensor) -> tuple[Tensor, Tensor]:
    return wave.real.contiguous(), wave.imag.contiguous()


def transfer(filter: FilterName, n: int = 48, points: int = 6) -> Tensor:
    """``(z, y, x)`` what a reconstruction from all around leaves of points at any places."""
    rng = np.random.default_rng(0)
    tilts = np.arange(-89, 90, 2.0)
    k = [frequency.double() for frequency in frequency_axes(n)]
    kx, total = torch.fft.rfftfreq(n, dtype=torch.float64), torch.zeros(n, n, n, dtype=torch.float64)
    for centre in rng.uniform(-n / 6, n / 6, (points, 3)):
        z, y, x = centre
        x_p = x * np.cos(np.radians(tilts)) + z * np.sin(np.radians(tilts))
        phases = [k[1][0] * (y + n // 2) + kx * (p + n // 2) for p in x_p]
        images = torch.stack([torch.fft.irfft2(torch.exp(-2j * torch.pi * p), s=(n, n)) for p in phases])
        volume = fbp(images.float(), geometry(tilts, (n, n)), n, filter)
        turn = torch.exp(2j * torch.pi * sum(axis * (c + n // 2) for axis, c in zip(k, centre, strict=True)))
        total += (torch.fft.fftn(volume) * turn).real / points
    return total


def frequency_axes(n: int) -> list[Tensor]:
    return [torch.fft.fftfreq(n).reshape([-1 if i == j else 1 for j in range(3)]) for i in range(3)]


@pytest.mark.parametrize(
    ("filter", "window"),
    [
        ("radial", lambda k: 0.54 + 0.46 * torch.cos(2 * torch.pi * k)),
        ("radial-cosine", lambda k: torch.cos(torch.pi * k)),
    ],
)
def test_radial_filters_have_one_window_in_all_directions(
    filter: FilterName, window: Callable[[Tensor], Tensor]
) -> None:
    passed = transfer(filter)
    kz, ky, kx = frequency_axes(48)
    k = (kz**2 + ky**2 + kx**2).sqrt()
    # On the axis itself the ramp is nearly zero, and the volume's ends show.
    near_axis = (ky.abs() > 0.8 * k) & ((kz**2 + kx**2).sqrt() > 2 / 48)
    across = (ky.abs() < 0.3 * k) & (kz.abs() > 0.02)
    for low in (0.15, 0.25, 0.35, 0.45):
        for direction in (near_axis, across):
            where = (k > low) & (k < low + 0.04) & direction
            assert passed[where].mean() == pytest.approx(float(window(k[where]).mean()), abs=0.015)
    assert passed[k > 0.52].abs().mean() < 0.01


def test_the_published_window_is_not_the_same_in_all_directions() -> None:
    passed = transfer("hamming", points=2)
    kz, ky, kx = frequency_axes(48)
    k = (kz**2 + ky**2 + kx**2).sqrt()
    shell = (k > 0.40) & (k < 0.44)
    assert passed[shell & (ky.abs() > 0.8 * k)].mean() > 4 * passed[shell & (ky.abs() < 0.3 * k)].mean()


def test_blocks_of_rows_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    tilts = np.array([-40.0, -10.0, 25.0])
    images = torch.randn(3, 11, 14, generator=torch.Generator().manual_seed(0))
    whole = fbp(images, geometry(tilts, (11, 14)), 6)
    monkeypatch.setattr(reconstruction, "_BLOCK_BYTES", 4 * 6 * 14 * 4)
    blocks = list(fbp_blocks(images, geometry(tilts, (11, 14)), 6))
    assert [(rows.start, rows.stop) for rows, _ in blocks] == [(0, 4), (4, 8), (8, 11)]
    torch.testing.assert_close(torch.cat([block for _, block in blocks], dim=1), whole)


@pytest.mark.parametrize("shape", [(8, 20), (16, 10), (11, 15), (7, 9)])
def test_other_volume_shapes_share_the_centre(shape: tuple[int, int]) -> None:
    tilts = np.array([-40.0, -10.0, 25.0])
    images = torch.randn(3, 11, 14, generator=torch.Generator().manual_seed(0))
    whole = fbp(images, geometry(tilts, (11, 14)), 6)
    other = fbp(images, geometry(tilts, (11, 14)), 6, volume_shape_yx=shape)
    assert other.shape == (6, *shape)
    for y in range(-3, 3):
        for x in range(-4, 4):
            torch.testing.assert_close(
                other[:, shape[0] // 2 + y, shape[1] // 2 + x], whole[:, 11 // 2 + y, 14 // 2 + x]
            )


def test_thickness_shares_the_centre() -> None:
    tilts = np.array([-40.0, -10.0, 25.0])
    images = torch.randn(3, 5, 14, generator=torch.Generator().manual_seed(0))
    thick = fbp(images, geometry(tilts, (5, 14)), 20)
    for thickness in (1, 6, 7):
        start = 10 - thickness // 2
        thin = fbp(images, geometry(tilts, (5, 14)), thickness)
        torch.testing.assert_close(thin, thick[start : start + thickness])


def test_no_rim_at_the_ends() -> None:
    # Rows that do not end at zero: thickness changes over the field, as in every lamella.
    tilts = np.arange(-60, 61, 3.0)
    x = torch.arange(128.0) - 64
    images = (x / 64).expand(41, 6, 128).contiguous()
    volume = fbp(images, geometry(tilts, (6, 128)), 40)
    # Filtered with zeros beyond its ends, it would reach 0.053, with steps of 0.028 from voxel to voxel.
    assert volume.abs().max() < 0.015
    assert volume.diff(dim=-1).abs().max() < 0.002


def test_wrong_input_is_refused() -> None:
    tilts = np.array([0.0, 3.0])
    with pytest.raises(InputError, match="thickness 0"):
        fbp(torch.zeros(2, 4, 5), geometry(tilts, (4, 5)), 0)
    with pytest.raises(ValueError, match="expected shape"):
        fbp(torch.zeros(3, 4, 5), geometry(tilts, (4, 5)), 3)


def test_gold_beads_of_a_real_series_come_to_a_focus(shared_data: Path) -> None:
    folder = shared_data / "empiar-10499-00254"
    xf = np.loadtxt(folder / "00254.xf")
    linear = xf[:, :4].reshape(-1, 2, 2)[:, ::-1, ::-1]
    with mrcfile.open(folder / "00254.mrc") as file:
        raw = file.data
        # The transforms are about (N - 1) / 2, half a pixel before N // 2.
        series = TiltGeometry(
            tilt_deg=np.loadtxt(folder / "00254.tlt"),
            image_shape_yx=raw.shape[1:],
            pixel_size_A=10,
            linear_yx=linear,
            shift_yx=linear @ [0.5, 0.5] + xf[:, [5, 4]],
        )
        images, aligned = align_images(raw, series, 4, "average")
    # (z, y, x) in raw pixels from the centre: one below and one above the cell; gold is dark.
    beads = [(-71, 270, -197), (50, -271, 157)]

    def contrast(aligned: TiltGeometry) -> list[float]:
        volume = fbp(images, aligned, 50)
        centres = [[n // 2 + round(c / 4) for n, c in zip(volume.shape, bead, strict=True)] for bead in beads]
        boxes = [volume[tuple(slice(c - 2, c + 3) for c in centre)] for centre in centres]
        return [float(-box.min() / volume.std()) for box in boxes]

    assert min(contrast(aligned)) > 8
    assert max(contrast(geometry(-aligned.tilt_deg, aligned.image_shape_yx))) < 5
