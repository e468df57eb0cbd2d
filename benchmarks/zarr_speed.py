"""Time and size of OME-Zarr, both versions, beside MRC: writing, sections, random boxes, bands of rows.

    python benchmarks/zarr_speed.py [--shape Z Y X] [--rounds N] [--json FILE]

A volume of smooth structure in noise is written in each format and read as the program reads it:

- ``sections``: all of them in turn, as grey scales and copies are made;
- ``boxes``: of 83 cubed voxels, what cubes of 48 are rotated from, 200 at random places, as in a fit;
- ``few kept``: the same, with one layer of chunks kept, as of a volume far larger than what is;
- ``bands``: 128 rows of all sections, as in a refinement.

Formats take turns, and each has its best round, by the processor's time; files are in the system's memory. A
store is opened anew for each, so that nothing is decoded yet. The memory is what a process has at the end
above that before it opened the file, without pages of mapped files.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from comparison.machine import measured_on
from scipy.ndimage import gaussian_filter

from dewedge.io.formats import read_volume, write_volume
from dewedge.io.volume_file import ZarrVersion

BOX = 83
BOXES = 200
BAND = 128
FORMATS: dict[str, tuple[str, ZarrVersion]] = {
    "MRC": ("a.mrc", "0.5"),
    "OME-Zarr 0.5": ("a5.zarr", "0.5"),
    "OME-Zarr 0.4": ("a4.zarr", "0.4"),
}


def specimen(shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(shape, dtype=np.float32)
    smooth: np.ndarray = gaussian_filter(noise, 2, output=np.float32)
    smooth *= 0.5 / smooth.std()
    return smooth + rng.standard_normal(shape, dtype=np.float32)


def sections(data: Any) -> None:
    for section in data:
        np.asarray(section, dtype=np.float64).sum()


def boxes(data: Any) -> None:
    rng = np.random.default_rng(1)
    for _ in range(BOXES):
        corner = [int(rng.integers(0, max(n - BOX, 0) + 1)) for n in data.shape]
        np.array(data[tuple(slice(start, start + BOX) for start in corner)])


def bands(data: Any) -> None:
    for first in range(0, data.shape[1], BAND):
        for section in data:
            np.array(section[first : first + BAND])


ACCESSES: dict[str, Callable[[Any], None]] = {
    "sections": sections,
    "boxes": boxes,
    "few kept": boxes,
    "bands": bands,
}


def read_once(path: Path, access: str, answer: Any) -> None:
    """Seconds and bytes of a reading, in a process of its own."""
    import dewedge.io.zarr_array
    import dewedge.io.zarr_store

    if access == "few kept":
        dewedge.io.zarr_array.CACHE_BYTES = 0
    before = anonymous_bytes()
    started = time.process_time()
    data = read_volume(path).data
    ACCESSES[access](data)
    answer.put((time.process_time() - started, anonymous_bytes() - before))


def anonymous_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def size_of(path: Path) -> tuple[int, int]:
    """Bytes and number of files."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files), len(files)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", type=int, nargs=3, default=(200, 928, 928))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures: dict[str, dict[str, float]] = {name: {} for name in FORMATS}
    context = multiprocessing.get_context("spawn")

    def keep(name: str, key: str, value: float) -> None:
        figures[name][key] = min(value, figures[name].get(key, np.inf))

    with tempfile.TemporaryDirectory() as folder:
        volume = specimen(tuple(arguments.shape))
        for file, version in FORMATS.values():
            write_volume(Path(folder) / file, volume[:8, :8, :8], 10.0, zarr_version=version)
        for _ in range(arguments.rounds):
            for name, (file, version) in FORMATS.items():
                started = time.process_time()
                write_volume(Path(folder) / file, volume, 10.0, zarr_version=version)
                keep(name, "write", time.process_time() - started)
        for name, (file, _) in FORMATS.items():
            n_bytes, n_files = size_of(Path(folder) / file)
            figures[name] |= {"MB": n_bytes / 1e6, "files": n_files}
        for _ in range(arguments.rounds):
            for access in ACCESSES:
                for name, (file, _) in FORMATS.items():
                    answer = context.Queue()
                    process = context.Process(target=read_once, args=(Path(folder) / file, access, answer))
                    process.start()
                    seconds, n_bytes = answer.get()
                    process.join()
                    keep(name, access, seconds)
                    keep(name, f"{access} MB", n_bytes / 1e6)
    keys = list(figures["MRC"])
    print("| format | " + " | ".join(keys) + " |\n|" + (len(keys) + 1) * "---|")
    for name, row in figures.items():
        print(f"| {name} | " + " | ".join(f"{row[key]:.3g}" for key in keys) + " |")
    if arguments.json is not None:
        values = {**measured_on(), "shape": list(arguments.shape), "formats": figures}
        arguments.json.write_text(json.dumps(values, indent=2) + "\n")


if __name__ == "__main__":
    main()
