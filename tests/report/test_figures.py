"""Figures: the right sections, in the right place, with the right greys and scale."""

from __future__ import annotations

import logging
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.patches import Rectangle

from dewedge.learn.loss_curve import EpochRow
from dewedge.report.comparison import comparison_figure
from dewedge.report.figure import grey_limits, round_length, write_figure
from dewedge.report.loss import loss_figure
from dewedge.report.slices import slices_figure


@given(st.floats(1e-3, 1e7))
def test_scale_bar_is_a_round_length_of_at_least_four_tenths(length: float):
    rounded = round_length(length)
    assert 0.399 * length < rounded <= length * (1 + 1e-9)
    assert f"{rounded:.0e}"[0] in "125"


def volume(shape: tuple[int, int, int] = (20, 30, 50)) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_slices_are_the_central_sections_in_true_proportions():
    v = volume()
    figure = slices_figure({"FBP": v, "refined": 1e-6 * v + 1e5}, 10.0, "TS")
    xy, yz, xz = (axes.images[0] for axes in figure.axes[:3])
    np.testing.assert_array_equal(xy.get_array(), v[10])
    np.testing.assert_array_equal(xz.get_array(), v[:, 15])
    np.testing.assert_array_equal(yz.get_array(), v[:, :, 25].T)
    boxes = [axes.get_position() for axes in figure.axes[:3]]
    inches = figure.get_size_inches()
    scales = [
        (box.width * inches[0] / nx, box.height * inches[1] / ny)
        for box, (ny, nx) in zip(boxes, [(30, 50), (30, 20), (20, 50)], strict=True)
    ]
    np.testing.assert_allclose(scales, scales[0][0])
    # yz beside xy, xz below it.
    assert boxes[1].x0 > boxes[0].x1 and boxes[1].y0 == pytest.approx(boxes[0].y0)
    assert boxes[2].y1 < boxes[0].y0 and boxes[2].x0 == pytest.approx(boxes[0].x0)


def test_each_volume_has_greys_of_its_own_shared_by_its_sections():
    v = volume()
    figure = slices_figure({"FBP": v, "refined": 100 * v + 7}, 10.0)
    limits = [axes.images[0].get_clim() for axes in figure.axes]
    assert len(set(limits[:3])) == 1 and len(set(limits[3:])) == 1
    np.testing.assert_allclose(limits[3], [100 * limit + 7 for limit in limits[0]], rtol=1e-4)


def test_scale_bar_has_its_length_in_voxels():
    figure = slices_figure({"FBP": volume()}, 10.0)
    bars = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    # A quarter of 500 A is 125 A: the round length below is 100 A, 10 voxels.
    assert [bar.get_width() for bar in bars] == [10]
    assert "10 nm" in [text.get_text() for text in figure.axes[0].texts]
    assert not slices_figure({"FBP": volume()}, None).axes[0].patches


def test_constant_sections_have_limits():
    assert grey_limits([np.ones((4, 4))]) == (1, 2)


def test_comparison_shows_xy_above_xz():
    v = volume()
    figure = comparison_figure({"truth": v, "FBP": -v, "refined": v + 1}, 10.0, ["", "CC 0.3", "CC 0.8"])
    assert len(figure.axes) == 6
    np.testing.assert_array_equal(figure.axes[2].images[0].get_array(), -v[10])
    np.testing.assert_array_equal(figure.axes[3].images[0].get_array(), -v[:, 15])
    assert [axes.get_title() for axes in figure.axes[::2]] == ["truth", "FBP\nCC 0.3", "refined\nCC 0.8"]


def rows(held_out: bool) -> list[EpochRow]:
    return [
        EpochRow(i, 10 * i, 40 * i, 100.0 * i, 1e-3, 1 / i, abs(i - 3) + 1.0 if held_out else None)
        for i in range(1, 6)
    ]


def test_loss_curves_stand_above_each_other_for_their_scales_differ():
    above, below = loss_figure(rows(held_out=True)).axes
    (fit,), (held_out,) = above.lines, below.lines
    np.testing.assert_allclose(fit.get_xdata(), np.arange(1, 6) * 100 / 60)
    np.testing.assert_allclose(fit.get_ydata(), 1 / np.arange(1, 6))
    np.testing.assert_allclose(held_out.get_ydata(), [3, 2, 1, 2, 3])
    assert below.get_xlabel() == "minutes"


def test_loss_curve_without_held_out_region():
    (axes,) = loss_figure(rows(held_out=False)).axes
    assert len(axes.lines) == 1 and axes.get_xlabel() == "minutes"


def test_figures_are_written_whole(tmp_path: Path):
    write_figure(tmp_path / "slices.png", lambda: slices_figure({"FBP": volume()}, 10.0, "TS"))
    assert [path.name for path in tmp_path.iterdir()] == ["slices.png"]
    assert (tmp_path / "slices.png").read_bytes().startswith(b"\x89PNG")


def test_no_matplotlibrc_matters(tmp_path: Path):
    """With usetex, matplotlib would start latex and fail where there is none."""
    write_figure(tmp_path / "own.png", lambda: loss_figure(rows(held_out=True)))
    with matplotlib.rc_context({"text.usetex": True, "savefig.dpi": 10, "figure.facecolor": "red"}):
        write_figure(tmp_path / "other.png", lambda: loss_figure(rows(held_out=True)))
    assert (tmp_path / "other.png").read_bytes() == (tmp_path / "own.png").read_bytes()


def test_a_figure_that_cannot_be_made_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "folder.png").mkdir()
    with caplog.at_level(logging.WARNING, "dewedge"):
        write_figure(tmp_path / "a.png", lambda: loss_figure([]))
        write_figure(tmp_path / "folder.png", lambda: loss_figure(rows(held_out=True)))
    assert len(caplog.records) == 2 and "a.png: not made: IndexError" in caplog.messages[0]
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]


def test_an_interrupt_is_no_figure_that_cannot_be_made(tmp_path: Path):
    """Whatever a library makes of it on its way."""

    def interrupted():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as interrupt:
            raise ImportError("initialization failed") from interrupt

    with pytest.raises(KeyboardInterrupt):
        write_figure(tmp_path / "figure.png", interrupted)
    assert not list(tmp_path.iterdir())
