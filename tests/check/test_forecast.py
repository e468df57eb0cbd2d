"""Forecast of memory, disk and time."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dewedge.check.forecast import Forecast, check_forecast, forecast, network_speed
from dewedge.check.memory import free_memory_GB
from dewedge.io.ome_zarr import pyramid_shapes
from dewedge.learn.network import PRESETS
from dewedge.learn.options import FitOptions
from dewedge.settings.sections import FilesSection


def predict(shapes, options: FitOptions, folder: Path, **changes) -> Forecast:
    values = {"voxels_per_s": 1e6, "precision": "32-true", "tile": 96, "overlap": 24, "predictions": 1}
    values |= {"fits": 1, "output_format": "mrc", "files": FilesSection()}
    values |= changes
    return forecast(shapes, 0, PRESETS["default"], options, folder=folder, **values)


class TestForecast:
    def test_the_nearer_limit_ends_the_fit(self, tmp_path: Path):
        both = FitOptions(epochs=10, budget_s=60, epoch_samples=100, batch_size=4, cube_size=32)
        short = predict([(64, 128, 128)], both, tmp_path)
        assert short.fit_s == 60
        assert predict([(64, 128, 128)] * 2, both, tmp_path, fits=2).fit_s == 120
        fast = predict([(64, 128, 128)], both, tmp_path, voxels_per_s=1e9)
        assert fast.fit_s < 60 and fast.fit_samples == 1000

    def test_results_of_all_tomograms_take_space(self, tmp_path: Path):
        options = FitOptions(budget_s=60)
        one = predict([(64, 128, 128)], options, tmp_path)
        two = predict([(64, 128, 128)] * 2, options, tmp_path / "not" / "there")
        assert two.disk_GB == pytest.approx(2 * one.disk_GB) and two.refine_s == pytest.approx(
            2 * one.refine_s
        )
        filled = 2 * 4 * 64 * 128 * 128  # both halves of the second
        assert two.memory_GB == pytest.approx(one.memory_GB + filled / 1e9)

    def test_a_copy_as_ome_zarr_takes_space(self, tmp_path: Path):
        shape = (64, 128, 128)
        of = {
            kind: predict([shape], FitOptions(budget_s=60), tmp_path, output_format=kind).disk_GB
            for kind in ("mrc", "zarr", "both")
        }
        volume = 4 * math.prod(shape) / 1e9
        levels = 4 * sum(math.prod(each) for each in pyramid_shapes(shape)) / 1e9
        # The other one, and what it is written from; where there is no MRC, in its place.
        assert of["both"] - of["mrc"] == pytest.approx(2 * levels, rel=0.02)
        assert of["both"] - of["zarr"] == pytest.approx(volume)

    def test_what_is_kept_takes_space(self, tmp_path: Path):
        shape, options = (64, 128, 128), FitOptions(budget_s=60)
        volume = 4 * math.prod(shape) / 1e9
        whole = predict([shape], options, tmp_path)
        dropped = predict([shape], options, tmp_path, files=FilesSection(half_sets="drop"))
        assert whole.left_GB == whole.disk_GB == dropped.disk_GB
        assert whole.left_GB - dropped.left_GB == pytest.approx(2 * volume)
        # Of tomograms taken by turns, with a network each or a given one, one has half-sets at a time.
        for fits in (3, 0):
            each = predict([shape] * 3, options, tmp_path, files=FilesSection(half_sets="drop"), fits=fits)
            assert 3 * whole.disk_GB - each.disk_GB == pytest.approx(4 * volume)
        half = predict([shape] * 3, options, tmp_path, files=FilesSection(output_dtype="float16"))
        assert half.left_GB == pytest.approx(3 * whole.left_GB / 2)
        # While a tomogram is made its files are float32.
        assert half.disk_GB - half.left_GB == pytest.approx(5.125 / 2 * volume)

    def test_overlap_takes_time(self, tmp_path: Path):
        options = FitOptions(budget_s=60)
        whole = predict([(96, 96, 96)], options, tmp_path)
        assert whole.refine_s == pytest.approx(96**3 / 1e6)
        assert predict([(96, 168, 96)], options, tmp_path).refine_s == pytest.approx(2 * whole.refine_s)

    def test_every_prediction_takes_time(self, tmp_path: Path):
        one, four = (
            predict([(64, 128, 128)], FitOptions(budget_s=60), tmp_path, predictions=n) for n in (1, 4)
        )
        assert four.refine_s == pytest.approx(4 * one.refine_s)

    def test_memory_does_not_grow_with_the_section(self, tmp_path: Path):
        shapes = [(512, 512, 512), (512, 1024, 1024), (512, 1024, 4096)]
        needed = [predict([shape], FitOptions(budget_s=60), tmp_path).memory_GB for shape in shapes]
        assert needed[0] == needed[1] == needed[2]

    def test_what_is_short_is_found(self, tmp_path: Path):
        enough = replace(predict([(64, 128, 128)], FitOptions(budget_s=60), tmp_path), free_memory_GB=None)
        assert check_forecast("run", enough, 48, 4) == []
        [disk] = check_forecast("run", replace(enough, free_disk_GB=0.0), 48, 4)
        [memory] = check_forecast("run", replace(enough, free_memory_GB=0.5), 48, 4)
        assert (disk.severity, memory.severity) == ("error", "warning")

    def test_measuring_leaves_the_random_generator_alone(self):
        torch.manual_seed(0)
        expected = torch.rand(1)
        torch.manual_seed(0)
        speed = network_speed(PRESETS["default"], torch.device("cpu"), "32-true")
        assert speed > 1e4 and torch.rand(1) == expected
        memory = free_memory_GB()
        assert memory is None or 0.01 < memory < 1e5
