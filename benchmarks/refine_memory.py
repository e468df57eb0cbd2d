"""Peak resident memory and time of refining a volume from and to memory-mapped MRC files.

    python benchmarks/refine_memory.py [--quick] [--json FILE]

A 256 x 512 x 512 float32 volume (``--quick``: 64 x 128 x 128) of noise is refined by the default network,
with random weights, in this process. Reported is the highest resident memory above that after the import of
torch and dewedge. Pages of the mapped files count where they are in memory.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from dewedge.geometry import TiltRange
from dewedge.io.mrc import create_mrc, read_mrc
from dewedge.learn.network import PRESETS, UNet
from dewedge.learn.precision import preferred_precision
from dewedge.learn.refine import refine

SHAPE_ZYX = (256, 512, 512)
QUICK_SHAPE_ZYX = (64, 128, 128)


def peak_resident_bytes() -> int:
    """Highest resident memory of this process so far, mapped files included (Linux)."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def main() -> None:
    imported = peak_resident_bytes()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small volume")
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    shape = QUICK_SHAPE_ZYX if arguments.quick else SHAPE_ZYX
    precision = preferred_precision(torch.device("cpu"))
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        source_path, output_path = Path(folder) / "full.mrc", Path(folder) / "refined.mrc"
        with create_mrc(source_path, shape, voxel_size_A=10) as source:
            for section in source.data:
                section[...] = rng.standard_normal(shape[1:], dtype=np.float32)
        start = time.perf_counter()
        with create_mrc(output_path, shape, voxel_size_A=10) as output:
            refine(
                [read_mrc(source_path).data],
                output.data,
                UNet(PRESETS["default"]),
                TiltRange(-60, 60),
                input_std=1.0,
                precision=precision,
            )
        seconds = time.perf_counter() - start
    figures = {
        "shape_zyx": shape,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "seconds": round(seconds, 1),
        "voxels_per_second": round(np.prod(shape) / seconds),
        "imported_bytes": imported,
        "peak_above_import_bytes": peak_resident_bytes() - imported,
    }
    print(json.dumps(figures, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
