"""The wedge mask against its definition, its symmetries, and the projection it stands for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dewedge.geometry import TiltRange
from dewedge.physics.wedge import WedgeCut, wedge_in_place, wedge_mask

shapes = st.tuples(st.integers(1, 14), st.integers(1, 14), st.integers(1, 14))
angles = st.floats(-90, 90)
tilt_ranges = (
    st.tuples(angles, angles)
    .filter(lambda limits: abs(limits[0] - limits[1]) > 0.5)
    .map(lambda limits: TiltRange(min(limits), max(limits)))
)
rotations = st.integers(0, 10_000).map(lambda seed: random_rotations(1, seed)[0])


def random_rotations(n: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(Rotation.random(n, rng=np.random.default_rng(seed)).as_matrix())


def about_y(angle_deg: float) -> torch.Tensor:
    """Rotation of (z, y, x) vectors that takes the direction atan2(z, x) = a to a + angle_deg."""
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return torch.tensor([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])


def by_definition(
    shape: tuple[int, ...], tilt_range: TiltRange, rotation: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Mask by atan2 in 64 bits, and where rounding cannot decide it."""
    axes = [*map(np.fft.fftfreq, shape[:-1]), np.fft.rfftfreq(shape[-1])]
    k = np.stack(np.meshgrid(*axes, indexing="ij"))
    nyquist = np.stack(
        np.meshgrid(
            *[(np.arange(a.size) == n // 2) & (n % 2 == 0) for n, a in zip(shape, axes, strict=True)],
            indexing="ij",
        )
    )
    mask, decided = np.ones(k.shape[1:], bool), np.ones(k.shape[1:], bool)
    for samples in (k, np.where(nyquist, -k, k)):
        kz, _, kx = samples if rotation is None else np.einsum("ji,j...->i...", rotation, samples)
        angle = np.degrees(np.arctan2(kz, kx))
        folded = np.where(angle > 90, angle - 180, np.where(angle <= -90, angle + 180, angle))
        on_axis = np.hypot(kz, kx) < 1e-12
        mask &= (tilt_range.min_deg <= folded) & (folded <= tilt_range.max_deg) | on_axis
        for limit in tilt_range[:2]:
            distance = np.hypot(kz, kx) * np.abs(np.sin(np.radians(angle - limit)))
            decided &= (distance > 1e-5 * np.linalg.norm(samples, axis=0)) | on_axis & (rotation is None)
    return mask, decided


class TestDefinition:
    @given(shapes, tilt_ranges)
    @settings(max_examples=100, deadline=None)
    def test_is_the_angle_within_the_tilt_range(self, shape, tilt_range):
        mask = wedge_mask(shape, tilt_range)
        assert mask.shape == (*shape[:-1], shape[-1] // 2 + 1)
        assert mask.dtype == torch.float32
        expected, decided = by_definition(shape, tilt_range)
        np.testing.assert_array_equal(mask.numpy()[decided], expected[decided])

    @given(shapes, tilt_ranges, rotations)
    @settings(max_examples=100, deadline=None)
    def test_rotated_is_the_definition_at_the_frequencies_turned_back(self, shape, tilt_range, rotation):
        mask = wedge_mask(shape, tilt_range, rotation[None])[0]
        expected, decided = by_definition(shape, tilt_range, rotation.numpy())
        np.testing.assert_array_equal(mask.numpy()[decided], expected[decided])

    @pytest.mark.parametrize("shape", [(9, 6, 11), (8, 5, 12), (1, 1, 1), (2, 2, 2)])
    @pytest.mark.parametrize("tilt_range", [(-60, 60), (20, 50), (-70, -10)])
    def test_zero_frequency_and_tilt_axis_are_measured(self, shape, tilt_range):
        mask = wedge_mask(shape, TiltRange(*tilt_range), random_rotations(1, 0))
        assert mask[0, 0, 0, 0] == 1
        assert (wedge_mask(shape, TiltRange(*tilt_range))[0, :, 0] == 1).all()

    @pytest.mark.parametrize("z, x", [*itertools.product([1, 2, 3, 5], [1, 2, 3, 7])])
    def test_outermost_tilts_are_measured(self, z, x):
        """The planes at exactly the lowest and the highest angle, for any rounding of their sines."""
        limit = float(np.degrees(np.arctan2(z, x)))
        mask = wedge_mask((17, 3, 17), TiltRange(-limit, limit))
        assert (mask[z, :, x] == 1).all()
        assert (mask[-z, :, x] == 1).all()

    @pytest.mark.parametrize("shape", [(6, 6, 6), (7, 9, 8)])
    def test_all_tilts_measure_everything(self, shape):
        assert (wedge_mask(shape, TiltRange(-90, 90)) == 1).all()
        assert (wedge_mask(shape, TiltRange(-90, 90), random_rotations(4, 0)) == 1).all()

    @pytest.mark.parametrize("tilt_range", [(-60, 60), (-40, 65), (10, 30)])
    def test_measured_share_of_a_cylinder_is_that_of_the_half_circle(self, tilt_range):
        n = 101
        kz, kx = torch.fft.fftfreq(n)[:, None], torch.fft.rfftfreq(n)
        disc = (kz**2 + kx**2 < 0.25).double()
        disc[:, 1:] *= 2  # kx and -kx
        measured = wedge_mask((n, 1, n), TiltRange(*tilt_range))[:, 0]
        share = float((measured * disc).sum() / disc.sum())
        assert share == pytest.approx((tilt_range[1] - tilt_range[0]) / 180, abs=0.01)


class TestHermitian:
    @given(shapes, tilt_ranges, st.none() | rotations, st.integers(0, 99))
    @settings(max_examples=150, deadline=None)
    def test_masked_spectrum_is_that_of_a_real_volume(self, shape, tilt_range, rotation, seed):
        mask = wedge_mask(shape, tilt_range, rotation).double()
        volume = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        masked = mask * torch.fft.rfftn(volume)
        again = torch.fft.rfftn(torch.fft.irfftn(masked, s=shape))
        torch.testing.assert_close(again, masked, atol=1e-10, rtol=0)

    @pytest.mark.parametrize("n", [82, 94, 110, 122, 164, 188])
    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_where_nyquist_is_not_exactly_a_half(self, n, axis):
        """n // 2 times the 32-bit 1 / n is not 0.5 for these sizes."""
        shape = tuple(n if i == axis else 6 for i in range(3))
        mask = wedge_mask(shape, TiltRange(-50, 60), random_rotations(3, n))
        ends = [0, -1]
        flipped = mask[..., ends].flip(1, 2).roll((1, 1), (1, 2))
        torch.testing.assert_close(mask[..., ends], flipped, atol=0, rtol=0)

    @given(shapes, tilt_ranges, rotations)
    @settings(max_examples=60, deadline=None)
    def test_opposite_frequencies_have_one_value(self, shape, tilt_range, rotation):
        """m(-k) = m(k) in the two planes of the half-spectrum that hold both."""
        mask = wedge_mask(shape, tilt_range, rotation)
        planes = [0, -1] if shape[-1] % 2 == 0 else [0]
        flipped = mask[..., planes].flip(0, 1).roll((1, 1), (0, 1))
        torch.testing.assert_close(mask[..., planes], flipped, atol=0, rtol=0)

    def test_cutting_twice_is_cutting_once_and_keeps_the_rest_apart(self):
        shape = (12, 15, 10)
        mask = wedge_mask(shape, TiltRange(-50, 60)).double()
        volume = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

        def cut(v: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
            return torch.fft.irfftn(torch.fft.rfftn(v) * m, s=shape)

        torch.testing.assert_close(cut(cut(volume, mask), mask), cut(volume, mask))
        outside, inside = cut(volume, mask), cut(volume, 1 - mask)
        assert float((outside * inside).sum()) == pytest.approx(0, abs=1e-9)
        assert float((outside**2).sum() + (inside**2).sum()) == pytest.approx(float((volume**2).sum()))


class TestRotation:
    @given(st.floats(-40, 40))
    @settings(max_examples=30, deadline=None)
    def test_about_the_tilt_axis_shifts_the_range(self, angle):
        shape = (15, 4, 13)
        turned = wedge_mask(shape, TiltRange(-40, 30), about_y(angle)[None])[0]
        expected, decided = by_definition(shape, TiltRange(-40 + angle, 30 + angle))
        np.testing.assert_array_equal(turned.numpy()[decided], expected[decided])

    @pytest.mark.parametrize("n", [9, 11])
    def test_is_the_wedge_of_the_rotated_volume(self, n):
        """A cut volume, turned exactly by v(R^T r), has no signal outside the rotated mask."""
        tilt_range = TiltRange(-30, 55)
        volume = torch.randn(n, n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
        cut = torch.fft.irfftn(torch.fft.rfftn(volume) * wedge_mask((n, n, n), tilt_range), s=(n, n, n))
        centre = n // 2
        r = np.stack(np.meshgrid(*[np.arange(n) - centre] * 3, indexing="ij"))
        for rotation in Rotation.create_group("O").as_matrix().round():
            z, y, x = np.einsum("ji,j...->i...", rotation, r).astype(int) + centre
            spectrum = torch.fft.rfftn(cut[z, y, x]).abs()
            mask = wedge_mask((n, n, n), tilt_range, torch.from_numpy(rotation)[None])[0]
            assert float((spectrum * (1 - mask)).max()) < 1e-9
            assert float((spectrum * mask)[mask == 1].min()) > 0
            assert (spectrum[mask == 1] > 1e-9).all()

    def test_a_batch_is_its_members(self):
        shape = (9, 8, 10)
        turns = random_rotations(4, 1)
        ranges = torch.tensor([[-60.0, 60.0, 0], [-40, 65, 10], [-70, 20, 0], [5, 50, -3]])
        batch = wedge_mask(shape, ranges, turns)
        assert batch.shape == (4, 9, 8, 6)
        for i in range(4):
            limits = TiltRange(*ranges[i].tolist())
            torch.testing.assert_close(batch[i], wedge_mask(shape, limits, turns[i]))
            torch.testing.assert_close(wedge_mask(shape, ranges)[i], wedge_mask(shape, limits))
            torch.testing.assert_close(
                wedge_mask(shape, limits, turns)[i], wedge_mask(shape, limits, turns[i : i + 1])[0]
            )


@given(shapes, tilt_ranges, st.floats(-20, 20), rotations)
@settings(max_examples=60, deadline=None)
def test_a_tilt_about_x_turns_the_wedge(shape, tilt_range, x_tilt, rotation):
    """Programs project a point p with Ry(tilt) Rx(x tilt) p: the wedge is that of the points Rx p."""
    turn = Rotation.from_euler("x", x_tilt, degrees=True).as_matrix()[::-1, ::-1]  # on (z, y, x)
    given = tilt_range._replace(x_tilt_deg=x_tilt)
    for about_x, mask in (
        (turn, wedge_mask(shape, given)),
        (turn @ rotation.numpy().T, wedge_mask(shape, given, rotation)),
    ):
        expected, decided = by_definition(shape, tilt_range, about_x.T)
        np.testing.assert_array_equal(mask.numpy()[decided], expected[decided])


@pytest.mark.parametrize("x_tilt", [0, 4, -11])
def test_rows_are_cut_as_the_whole_is(x_tilt):
    """Exactly, if there is no tilt about x; else to within what rays and the ends of a band leave out."""
    shape = (24, 80, 20)
    volume = torch.from_numpy(np.random.default_rng(1).normal(size=shape)).float()
    tilt_range = TiltRange(-50, 40, x_tilt)
    spectrum = torch.fft.rfftn(volume) * wedge_mask(shape, tilt_range)
    expected = torch.fft.irfftn(spectrum, s=shape)
    cut = WedgeCut(shape, tilt_range, torch.device("cpu"))
    assert (cut.margin > 0) == (x_tilt != 0)
    rows = range(32, 48)
    band = volume[:, cut.needed(rows)]
    inside = band.clone()
    cut(band)
    cut(inside, inside=True)
    torch.testing.assert_close(band + inside, volume[:, cut.needed(rows)], atol=1e-5, rtol=0)
    error = (band[:, cut.margin : cut.margin + 16] - expected[:, 32:48]).square().mean()
    other = (volume - expected).square().mean()
    assert float(error) < (0.03 * float(other) if x_tilt else 1e-10)


def test_rows_beyond_the_ends_are_reflected():
    cut = WedgeCut((8, 40, 8), TiltRange(-60, 60, 10), torch.device("cpu"))
    rows = cut.needed(range(4))
    assert rows[: cut.margin].tolist() == list(range(cut.margin, 0, -1))
    assert cut.needed(range(38, 44)).tolist()[cut.margin : cut.margin + 6] == [38, 39, 38, 37, 36, 35]


@pytest.mark.parametrize("x_tilt", [0, 10])
def test_parts_of_a_band_are_alike_and_all_of_it(x_tilt):
    cut = WedgeCut((464, 928, 928), TiltRange(-60, 60, x_tilt), torch.device("cpu"))
    parts = list(cut.parts(range(96, 96 + 256)))
    assert [row for part in parts for row in part] == list(range(96, 96 + 256))
    assert len({len(part) for part in parts}) == 1
    assert all(len(part) > cut.margin for part in parts)


def test_the_own_wedge_has_one_ky_unless_it_is_turned():
    level, turned = (wedge_in_place((9, 6, 8), TiltRange(-60, 60, tilt)) for tilt in (0, 7))
    assert level.shape == (9, 1, 5) and turned.shape == (9, 6, 5)
    assert torch.equal(level.expand(9, 6, 5), wedge_mask((9, 6, 8), TiltRange(-60, 60)))
    assert torch.equal(turned, wedge_mask((9, 6, 8), TiltRange(-60, 60, 7)))


@pytest.mark.parametrize("kz, kx", [(3, 5), (-3, 5), (6, 2), (-7, 3), (0, 6)])
def test_lies_where_the_projection_measures(kz, kx):
    """Of all tilts, x_p = x cos a + z sin a sees a plane wave best at the angle at which the mask has it."""
    n = 64
    z, x = np.meshgrid(np.arange(n) - n // 2, np.arange(n) - n // 2, indexing="ij")
    wave = np.cos(2 * np.pi * (kz * z + kx * x) / n) * np.exp(-(z**2 + x**2) / (2 * (n / 6) ** 2))
    tilts = np.arange(-89, 90)
    energies = []
    for tilt in np.radians(tilts):
        x_p = np.round(x * np.cos(tilt) + z * np.sin(tilt)).astype(int) + n
        energies.append((np.bincount(x_p.ravel(), wave.ravel(), 2 * n) ** 2).sum())
    best = int(tilts[np.argmax(energies)])
    assert best == pytest.approx(np.degrees(np.arctan2(kz, kx)), abs=2)
    assert wedge_mask((n, 1, n), TiltRange(best - 3, best + 3))[kz, 0, kx] == 1
    assert wedge_mask((n, 1, n), TiltRange(-best - 3, -best + 3))[kz, 0, kx] == (1 if kz == 0 else 0)
