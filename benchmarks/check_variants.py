"""What dewedge check finds in a real tilt series and in wrong variants of it, as a Markdown table.

python benchmarks/check_variants.py 00254.mrc
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dewedge.geometry import TiltRange
from dewedge.inputs.run_input import HalvesInput, RunInput, SeriesInput
from dewedge.io.tilt_series import TiltSeries, read_tilt_series
from dewedge.io.volume_file import VolumeFile
from dewedge.physics.alignment import align_images
from dewedge.physics.reconstruction import fbp
from dewedge.pipeline.check import check_one
from dewedge.settings.sections import Config
from dewedge.simulate.tilt_series import dose_symmetric_order

# As it is told where the axis is not put right.
CONFIG = Config.model_validate({
    "reconstruct": {"thickness": 200, "bin": 2, "refine_axis": "never"}, "fit": {"cube_size": 16}
})  # fmt: skip


def series_variants(series: TiltSeries) -> Iterator[tuple[str, RunInput]]:
    """The series as it is, and wrong."""
    images, geometry = series.images, series.geometry
    rng = np.random.default_rng(0)

    def variant(changed: Any = images, **values: Any) -> SeriesInput:
        new = replace(geometry, image_shape_yx=changed.shape[1:], **values)
        return SeriesInput("00254", (replace(series, images=changed, geometry=new),))

    def with_image(index: int, image: Any) -> Any:
        return np.concatenate([images[:index], np.asarray(image, images.dtype)[None], images[index + 1 :]])

    order = np.argsort(dose_symmetric_order(geometry.tilt_deg))
    yield "as published", variant()
    yield "without its alignment", variant(linear_yx=None, shift_yx=None)
    yield "angle file shifted by a line (last angle first)", variant(tilt_deg=np.roll(geometry.tilt_deg, 1))
    yield "angles shuffled", variant(tilt_deg=rng.permutation(geometry.tilt_deg))
    yield "stack in order of acquisition, angles sorted", variant(images[order])
    yield "all angles negated", variant(tilt_deg=-geometry.tilt_deg)
    yield "3 degrees added to all angles", variant(tilt_deg=geometry.tilt_deg + 3)
    yield "angles in radians", variant(tilt_deg=np.radians(geometry.tilt_deg))
    yield "one image black", variant(with_image(7, np.zeros_like(images[7])))
    yield "one image dark, with noise", variant(with_image(7, rng.normal(2, 1, images[7].shape)))
    yield "one image twice, in place of the next", variant(with_image(9, images[8]))
    yield "images transposed (axes swapped), same .xf", variant(images.transpose(0, 2, 1))
    yield "images mirrored, same .xf", variant(images[:, :, ::-1])
    yield "tilt-axis angle of the wrong sign", variant(linear_yx=geometry.linear_yx * [[1, -1], [-1, 1]])


def halves_variants(series: TiltSeries) -> Iterator[tuple[str, RunInput]]:
    """Half tomograms of even and odd tilts as they are, and wrong."""
    images, geometry = align_images(series.images, series.geometry, 4)

    def half(tilts: slice) -> Any:
        indices = np.arange(geometry.n_tilts)[tilts]
        return fbp(images[torch.from_numpy(indices)], geometry.select(indices), 64).numpy()

    even, odd, upper = half(slice(0, None, 2)), half(slice(1, None, 2)), half(slice(9, None, 2))
    upper_other = half(slice(8, None, 2))

    def variant(first: Any = even, second: Any = odd, low: float = -60, high: float = 60) -> HalvesInput:
        mrcs = [
            VolumeFile(Path(f"half{i}.mrc"), data, 40.0, (0, 0, 0), ())
            for i, data in enumerate((first, second))
        ]
        return HalvesInput("halves", mrcs[0], mrcs[1], None, TiltRange(low, high))

    yield "half-sets of even and odd tilts", variant()
    yield "range given as -50 to 50", variant(low=-50, high=50)
    yield "tilts -36 to 60, given as -60 to 36", variant(upper_other, upper, -60, 36)
    yield "tilts -36 to 60, given as such", variant(upper_other, upper, -36, 60)
    yield "y and x swapped (tilt axis along x)", variant(even.transpose(0, 2, 1), odd.transpose(0, 2, 1))
    yield (
        "axes (y, z, x), as IMOD's tilt writes them",
        variant(even.transpose(1, 0, 2), odd.transpose(1, 0, 2)),
    )
    yield "half-set 1 mirrored in z", variant(second=odd[::-1])
    yield "half-set 1 mirrored in x", variant(second=odd[:, :, ::-1])
    yield "half-set 1 shifted by 1 voxel in x", variant(second=np.roll(odd, 1, 2))
    yield "half-set 1 shifted by 12 voxels in y", variant(second=np.roll(odd, 12, 1))
    yield "identical half-sets", variant(second=even)
    yield "half-set 1 black", variant(second=np.zeros_like(odd))
    yield "half-set 1 with inverted contrast", variant(second=-odd)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    series = read_tilt_series(sys.argv[1])
    series = replace(series, images=np.array(series.images))
    print("| variant | found | seconds |\n|---|---|---|")
    for variants in (series_variants, halves_variants):
        for name, item in variants(series):
            started = time.perf_counter()
            findings = [f for f in check_one(item, CONFIG).findings if f.severity != "note"]
            seconds = time.perf_counter() - started
            lines = [f"**{f.severity}** {f.where}: {f.what}" for f in findings] or ["nothing"]
            print(f"| {name} | {'<br>'.join(lines)} | {seconds:.1f} |")


if __name__ == "__main__":
    main()
