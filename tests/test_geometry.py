"""The geometry of a tilt series: what it refuses, and what it derives."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dewedge.errors import InputError
from dewedge.geometry import CtfParameters, TiltGeometry, TiltRange


def geometry(**changes: Any) -> TiltGeometry:
    values: dict[str, Any] = {"tilt_deg": [-60, 0, 42.5], "image_shape_yx": (40, 60), "pixel_size_A": 5.0}
    return TiltGeometry(**(values | changes))


def turned(angle_deg: float, n: int = 3, scale: float = 1.0) -> np.ndarray:
    """IMOD's transform for a tilt axis at an angle from y, counter-clockwise: A12 = sin, A21 = -sin."""
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return np.broadcast_to(scale * np.array([[cos, -sin], [sin, cos]]), (n, 2, 2))


class TestTiltRange:
    @pytest.mark.parametrize("limits", [(-60, 60), (-90, 90), (-70, 20), (5, 6)])
    def test_valid(self, limits):
        assert TiltRange(*limits).validated()[:2] == limits

    @pytest.mark.parametrize(
        "limits", [(60, -60), (0, 0), (-91, 60), (-60, 90.5), (np.nan, 60), (-60, np.inf)]
    )
    def test_invalid(self, limits):
        with pytest.raises(InputError, match="tilt range"):
            TiltRange(*limits).validated()

    def test_of_a_geometry_is_measured_and_may_be_asymmetric(self):
        assert geometry().tilt_range == TiltRange(-60, 42.5)
        assert geometry(tilt_deg=[10, 50, -20]).tilt_range[:2] == (-20, 50)


class TestValidation:
    def test_defaults_are_an_aligned_series(self):
        g = geometry()
        assert g.n_tilts == 3
        assert g.is_aligned
        np.testing.assert_array_equal(g.linear_yx, np.broadcast_to(np.eye(2), (3, 2, 2)))
        np.testing.assert_array_equal(g.shift_yx, np.zeros((3, 2)))
        assert g.acquisition_order is None
        assert g.pre_exposure_e_per_A2 is None
        assert g.ctf is None
        assert not geometry(shift_yx=[[0, 0], [0, 0], [0.5, 0]]).is_aligned
        assert not geometry(linear_yx=turned(1)).is_aligned

    @pytest.mark.parametrize(
        "changes, message",
        [
            ({"tilt_deg": []}, "at least one angle"),
            ({"tilt_deg": 5.0}, "at least one angle"),
            ({"tilt_deg": [[0, 1, 2]]}, "at least one angle"),
            ({"tilt_deg": [0, np.nan, 2]}, "tilt_deg: holds a value that is not finite"),
            ({"tilt_deg": [0, 1, 90]}, "tilt angle 90"),
            ({"tilt_deg": [0, -123.4, 2]}, "tilt angle -123"),
            ({"pixel_size_A": 0}, "pixel size"),
            ({"pixel_size_A": -1.5}, "pixel size"),
            ({"pixel_size_A": np.nan}, "pixel size"),
            ({"linear_yx": turned(0, n=2)}, r"linear_yx: expected shape \(3, 2, 2\) for 3 tilts"),
            ({"linear_yx": np.zeros((3, 2, 2))}, "invertible"),
            ({"shift_yx": np.zeros(3)}, r"shift_yx: expected shape \(3, 2\)"),
            ({"shift_yx": np.full((3, 2), np.inf)}, "shift_yx: holds"),
            (
                {"ctf": CtfParameters(defocus_u_um=np.ones(2))},
                "defocus: expected 3 values for 3 tilts, got 2",
            ),
            ({"pre_exposure_e_per_A2": [0, 3, np.nan]}, "pre_exposure_e_per_A2"),
            ({"acquisition_order": [0, 1]}, "acquisition_order"),
            ({"acquisition_order": [0, 1, 1]}, "every rank from 0 to 2 once"),
            ({"acquisition_order": [1, 2, 3]}, "every rank from 0 to 2 once"),
        ],
    )
    def test_refuses(self, changes, message):
        with pytest.raises(InputError, match=message) as caught:
            geometry(**changes)
        assert "\n" not in str(caught.value)


class TestImmutability:
    def test_fields_cannot_be_set(self):
        with pytest.raises(FrozenInstanceError):
            geometry().pixel_size_A = 1.0

    @pytest.mark.parametrize("name", ["tilt_deg", "linear_yx", "shift_yx", "acquisition_order"])
    def test_arrays_cannot_be_written(self, name):
        g = geometry(acquisition_order=[2, 0, 1])
        with pytest.raises(ValueError, match="read-only"):
            getattr(g, name)[0] = 0

    def test_does_not_share_memory_with_its_source(self):
        tilts = np.array([-60.0, 0, 42.5])
        g = geometry(tilt_deg=tilts)
        tilts[0] = 7
        assert g.tilt_deg[0] == -60


class TestAxis:
    @given(st.floats(-179, 179), st.floats(0.9, 1.1))
    def test_angle_is_from_y_towards_minus_x(self, angle, scale):
        g = geometry(linear_yx=turned(angle, scale=scale))
        assert g.axis_angle_deg == pytest.approx(angle, abs=1e-6)
        # The raw direction of the axis, turned counter-clockwise from y (y upwards), becomes y.
        axis_yx = [np.cos(np.radians(angle)), -np.sin(np.radians(angle))]
        np.testing.assert_allclose(g.linear_yx[0] @ axis_yx, [scale, 0], atol=1e-9)

    def test_angle_is_the_mean_over_tilts(self):
        linear = np.concatenate([turned(179, 1), turned(-179, 1), turned(180, 1)])
        assert abs(geometry(linear_yx=linear).axis_angle_deg) == pytest.approx(180)

    @pytest.mark.parametrize(
        "angle, shape",
        [(0, (40, 60)), (30, (40, 60)), (-44, (40, 60)), (85.3, (60, 40)), (-94, (60, 40)), (178, (40, 60))],
    )
    def test_aligned_shape_is_swapped_where_the_axis_is_near_x(self, angle, shape):
        assert geometry(linear_yx=turned(angle)).aligned_shape_yx == shape


class TestDerived:
    def test_select_takes_every_field_and_renumbers_the_order(self):
        g = geometry(
            tilt_deg=[-20, -10, 0, 10, 20],
            acquisition_order=[3, 2, 0, 1, 4],
            pre_exposure_e_per_A2=[9, 6, 0, 3, 12],
            ctf=CtfParameters(
                defocus_u_um=np.array([1.1, 1.2, 1.3, 1.4, 1.5]),
                voltage_kV=300,
                astigmatism_deg=np.arange(5.0),
            ),
            linear_yx=np.stack([turned(a, 1)[0] for a in range(5)]),
            shift_yx=np.arange(10).reshape(5, 2),
        )
        half = g.select([4, 1, 3])
        np.testing.assert_array_equal(half.tilt_deg, [20, -10, 10])
        np.testing.assert_array_equal(half.acquisition_order, [2, 1, 0])
        np.testing.assert_array_equal(half.pre_exposure_e_per_A2, [12, 6, 3])
        np.testing.assert_array_equal(half.ctf.defocus_um, [1.5, 1.2, 1.4])
        np.testing.assert_array_equal(half.ctf.astigmatism_deg, [4, 1, 3])
        assert half.ctf.voltage_kV == 300
        np.testing.assert_array_equal(half.linear_yx, g.linear_yx[[4, 1, 3]])
        np.testing.assert_array_equal(half.shift_yx, [[8, 9], [2, 3], [6, 7]])
        assert (half.image_shape_yx, half.pixel_size_A) == (g.image_shape_yx, g.pixel_size_A)

    @given(st.permutations(range(6)), st.sets(st.integers(0, 5), min_size=1))
    def test_select_keeps_the_sequence_in_time(self, order, chosen):
        g = geometry(tilt_deg=np.arange(6), acquisition_order=order)
        part = g.select(sorted(chosen))
        in_time = [t for t in np.array(g.tilt_deg)[np.argsort(order)] if t in chosen]
        np.testing.assert_array_equal(part.tilt_deg[np.argsort(part.acquisition_order)], in_time)

    def test_select_by_mask_and_without_an_order(self):
        part = geometry().select(np.array([True, False, True]))
        np.testing.assert_array_equal(part.tilt_deg, [-60, 42.5])
        assert part.acquisition_order is None

    def test_select_of_nothing_is_refused(self):
        with pytest.raises(InputError, match="at least one angle"):
            geometry().select(np.array([], dtype=int))

    def test_aligned_drops_the_transforms_and_scales_the_pixels(self):
        g = geometry(
            linear_yx=turned(85),
            shift_yx=np.ones((3, 2)),
            acquisition_order=[1, 0, 2],
            ctf=CtfParameters(defocus_u_um=np.arange(1.0, 4), astigmatism_deg=np.array([90.0, 85, -5])),
        )
        done = g.aligned(2, (30, 20))
        assert done.is_aligned
        assert done.image_shape_yx == done.aligned_shape_yx == (30, 20)
        assert done.pixel_size_A == 10
        np.testing.assert_array_equal(done.tilt_deg, g.tilt_deg)
        np.testing.assert_array_equal(done.acquisition_order, g.acquisition_order)
        np.testing.assert_array_equal(done.ctf.defocus_um, g.ctf.defocus_um)
        # The images turn by -85 degrees, and the direction of the astigmatism with them.
        np.testing.assert_allclose(done.ctf.astigmatism_deg, [5, 0, -90], atol=1e-9)
        raw_yx = [np.sin(np.radians(g.ctf.astigmatism_deg[1])), np.cos(np.radians(g.ctf.astigmatism_deg[1]))]
        np.testing.assert_allclose(g.linear_yx[1] @ raw_yx, [0, 1], atol=1e-9)
        assert not g.is_aligned


class TestCtfParameters:
    def test_defaults_are_without_astigmatism(self):
        ctf = CtfParameters(defocus_u_um=np.array([2.0, -3]))
        np.testing.assert_array_equal(ctf.defocus_v_um, [2, -3])
        np.testing.assert_array_equal(ctf.defocus_um, [2, -3])
        np.testing.assert_array_equal(ctf.phase_shift_deg, [0, 0])
        with pytest.raises(ValueError, match="read-only"):
            ctf.defocus_u_um[0] = 0

    @pytest.mark.parametrize(
        "changes, message",
        [
            ({"defocus_u_um": 2.0}, "one value for each"),
            ({"defocus_u_um": [20000.0, 3]}, "expected micrometres"),
            ({"defocus_v_um": [1.0]}, "defocus_v_um: expected shape"),
            ({"phase_shift_deg": [0, np.nan]}, "phase_shift_deg: holds"),
            ({"voltage_kV": 300000}, "voltage_kV"),
            ({"spherical_aberration_mm": -1}, "spherical_aberration_mm"),
            ({"amplitude_contrast": 7}, "amplitude_contrast"),
            ({"defocus_hand": 0}, "defocus hand"),
        ],
    )
    def test_refuses(self, changes, message):
        with pytest.raises(InputError, match=message):
            CtfParameters(**({"defocus_u_um": [1.0, 2]} | changes))
