"""The real series with a check of it, and half-sets reconstructed from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dewedge.check.finding import Finding
from dewedge.inputs.run_input import SeriesInput
from dewedge.io.tilt_series import TiltSeries, read_tilt_series
from dewedge.physics.alignment import align_images
from dewedge.physics.reconstruction import fbp
from dewedge.pipeline.check import check_one
from dewedge.settings.sections import Config

CheckSeries = Callable[..., list[Finding]]


@pytest.fixture(scope="session")
def real(shared_data: Path) -> TiltSeries:
    """41 tilts of a cell, in memory."""
    series = read_tilt_series(shared_data / "empiar-10499-00254" / "00254.mrc")
    return replace(series, images=np.array(series.images))


@pytest.fixture(scope="session")
def findings_of() -> CheckSeries:
    """What a check finds in a series of which some arrays are replaced; notes are left out.

    The position of its axis, whose measurement takes longer than the rest, is only looked at if asked for.
    """

    def check(
        series: TiltSeries, images: Any = None, axis_position: bool = False, **geometry: Any
    ) -> list[Finding]:
        images = series.images if images is None else images
        changed = replace(series.geometry, image_shape_yx=images.shape[1:], **geometry)
        item = SeriesInput("TS", (replace(series, images=images, geometry=changed),))
        config = Config.model_validate(
            {
                "reconstruct": {
                    "thickness": 200,
                    "bin": 2,
                    "refine_axis": "never" if axis_position else "always",
                },
                "fit": {"cube_size": 16},
            }
        )
        return [finding for finding in check_one(item, config).findings if finding.severity != "note"]

    return check


class Halves:
    """Even and odd half-sets of the real series, of 64 x 157 x 163 voxels, and others of its tilts."""

    def __init__(self, series: TiltSeries) -> None:
        self.images, self.geometry = align_images(series.images, series.geometry, 4)
        self.even, self.odd = self.of(slice(0, None, 2)), self.of(slice(1, None, 2))

    def of(self, tilts: slice) -> np.ndarray:
        """The reconstruction of some of the tilts."""
        indices = np.arange(self.geometry.n_tilts)[tilts]
        return fbp(self.images[torch.from_numpy(indices)], self.geometry.select(indices), 64).numpy()


@pytest.fixture(scope="session")
def halves(real: TiltSeries) -> Halves:
    return Halves(real)
