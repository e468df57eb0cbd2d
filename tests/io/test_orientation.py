"""One specimen, written in every program's convention, comes back in one orientation, hand included."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import foreign
import numpy as np
import pytest
import torch
from foreign import BRIGHTNESS, PLACES, Model, Series
from hypothesis import given, settings
from hypothesis import strategies as st

from dewedge.geometry import TiltGeometry
from dewedge.io.entries import SeriesEntry
from dewedge.io.find import find_series
from dewedge.io.programs.projection_model import from_geometry_arrays, to_geometry_arrays
from dewedge.physics.alignment import align_images
from dewedge.physics.reconstruction import fbp

DEPTH = 40
# Warp's angles are those of the others, negated: its z axis points the other way for the same numbers.
CASES: dict[str, tuple[Callable[[Path], Path], Model]] = {
    "IMOD": (foreign.write_imod, foreign.imod_xy),
    "AreTomo": (foreign.write_aretomo, foreign.aretomo_xy),
    "AreTomo2": (lambda folder: foreign.write_aretomo(folder, base=0), foreign.aretomo_xy),
    "AreTomo of an unsorted stack": (lambda f: foreign.write_aretomo(f, shuffled=True), foreign.aretomo_xy),
    "RELION": (foreign.write_relion, foreign.relion_xy),
    "RELION stack": (lambda folder: foreign.write_relion(folder, per_tilt_files=False), foreign.relion_xy),
    "Warp": (foreign.write_warp, foreign.warp_xy),
    "Warp with movement": (lambda folder: foreign.write_warp(folder, movement_A=12.5), foreign.warp_xy),
    "Warp averages": (lambda f: foreign.write_warp(f / "ts", averages=True), foreign.warp_xy),
}


def raw_xy(geometry: TiltGeometry, i: int, places: np.ndarray) -> np.ndarray:
    """Where our geometry says that places (z, y, x) lie in raw image i: index coordinates (x, y)."""
    z, y, x = places.T
    a = np.radians(geometry.tilt_deg[i])
    aligned_yx = np.stack([y, x * np.cos(a) + z * np.sin(a)], axis=1)
    raw_yx = np.linalg.solve(geometry.linear_yx[i], (aligned_yx - geometry.shift_yx[i]).T).T
    return (raw_yx + np.array(geometry.image_shape_yx) // 2)[:, ::-1]


def blob_places(volume: torch.Tensor) -> np.ndarray:
    """Centres of mass of the three brightest spots, brightest last, from index N // 2."""
    left, places = volume.clone(), []
    for _ in BRIGHTNESS:
        peak = np.unravel_index(int(left.argmax()), left.shape)
        box = tuple(slice(max(0, p - 2), p + 3) for p in peak)
        weights = left[box].clamp(min=0).double().numpy()
        grid = np.stack(
            np.meshgrid(
                *(np.arange(s.start, s.start + w) for s, w in zip(box, weights.shape, strict=True)),
                indexing="ij",
            )
        )
        places.append((grid * weights).sum(axis=(1, 2, 3)) / weights.sum() - np.array(left.shape) // 2)
        left[tuple(slice(max(0, p - 4), p + 5) for p in peak)] = -torch.inf
    return np.array(places[::-1])


def only(path: Path) -> SeriesEntry:
    (entry,) = find_series(path)
    assert isinstance(entry, SeriesEntry)
    return entry


@pytest.mark.parametrize("case", CASES)
def test_specimen_comes_back_in_our_frame(case: str, tmp_path: Path) -> None:
    write, _ = CASES[case]
    series = only(write(tmp_path)).open()
    images, geometry = align_images(series.images, series.geometry)
    volume = fbp(images, geometry, DEPTH)
    np.testing.assert_allclose(blob_places(volume), PLACES, atol=0.7)
    mirrored = PLACES * [-1, 1, 1]
    assert np.abs(blob_places(volume) - mirrored).max() > 5


@pytest.mark.parametrize("case", CASES)
def test_points_lie_where_the_program_says(case: str, tmp_path: Path) -> None:
    write, model = CASES[case]
    entry = only(write(tmp_path))
    series = Series(axis=-12.0) if "AreTomo" in case else Series()
    places = np.random.default_rng(0).uniform(-20, 20, (10, 3))
    # Where in the program's list each tilt of ours is: by its angle, in the program's sense.
    sign = -1 if "Warp" in case else 1
    for i, tilt in enumerate(entry.geometry.tilt_deg):
        j = int(np.argmin(np.abs(series.tilts - sign * tilt)))
        np.testing.assert_allclose(raw_xy(entry.geometry, i, places), model(series, j, places), atol=2e-3)


@settings(max_examples=30, deadline=None)
@given(
    st.floats(-179, 179),
    st.tuples(st.floats(-50, 50), st.floats(-50, 50)),
    st.tuples(st.integers(4, 41), st.integers(4, 41)),
    st.sampled_from(["N/2", "(N-1)/2"]),
)
def test_geometry_arrays_round_trip(axis, shift, shape, centre) -> None:  # type: ignore[no-untyped-def]
    arrays = to_geometry_arrays([axis], [shift], shape, centre)
    axes, shifts = from_geometry_arrays(*arrays, shape, centre)
    np.testing.assert_allclose(axes, [axis], atol=1e-9)
    np.testing.assert_allclose(shifts, [shift], atol=1e-9)


@pytest.mark.parametrize("shape", [(50, 54), (51, 55)])
@pytest.mark.parametrize("model", [foreign.relion_xy, foreign.aretomo_xy])
def test_centre_of_odd_and_even_images(shape: tuple[int, int], model: Model) -> None:
    series = Series(shape_yx=shape)
    centre = "N/2" if model is foreign.relion_xy else "(N-1)/2"
    linear, shift = to_geometry_arrays(series.axes, series.shifts, shape, centre)  # type: ignore[arg-type]
    geometry = TiltGeometry(
        tilt_deg=series.tilts, image_shape_yx=shape, pixel_size_A=1, linear_yx=linear, shift_yx=shift
    )
    for i in (0, 7, 20):
        np.testing.assert_allclose(raw_xy(geometry, i, PLACES), model(series, i, PLACES), atol=1e-9)
