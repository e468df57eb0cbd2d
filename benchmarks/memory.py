"""How much memory does each stage of the whole job take, and does the job keep within a limit?

    python benchmarks/memory.py [--input series] [--shape 464 928 928] [--limits-GB 0 4] [--json FILE]

A tomogram of 464 x 928 x 928 voxels, as half tomograms or as 61 images, tiled from the specimens
of `headline.py`. The fit is short, and refinement makes no half turns: neither's memory grows with its time.
While `dewedge run` works, its memory is read twenty times a second: what is its own (RssAnon), and pages of
mapped files (RssFile), which the system takes back when others need room. The log tells which stage it was.

A limit is that of a cgroup, as of a container or a job of SLURM: it counts both, takes pages of files back
where they are too many, and kills a run whose own memory does not fit. It needs root.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from comparison.machine import measured_on
from headline import SEEDS, SHAPE_ZYX, STRUCTURES, TILT_RANGE, simulate, tile

from dewedge.check.cgroups import own_cgroups
from dewedge.io.mrc import create_mrc, read_mrc

INTERVAL_S = 0.05
# What limits a cgroup: of version 1, and of version 2.
LIMIT_FILES = ("memory.limit_in_bytes", "memory.max")

# Seconds since the epoch; bytes of its own, and of mapped files; whether total variation was being made.
Sample = tuple[float, int, int, bool]


def tile_series(path: Path, stacks: Sequence[Path], shape_yx: tuple[int, int]) -> None:
    """Fill each image of a series with copies of that of the stacks in turn, cut at its ends."""
    sources = [read_mrc(stack, stack=True) for stack in stacks]
    count, height, width = sources[0].data.shape
    with create_mrc(path, (count, *shape_yx), sources[0].voxel_size_A, stack=True) as writer:
        corners = [(y, x) for y in range(0, shape_yx[0], height) for x in range(0, shape_yx[1], width)]
        for number, (y, x) in enumerate(corners):
            target = writer.data[:, y : y + height, x : x + width]
            target[...] = sources[number % len(sources)].data[:, : target.shape[1], : target.shape[2]]
    shutil.copy(stacks[0].with_suffix(".tlt"), path.with_suffix(".tlt"))


def inputs(folder: Path, kind: str, shape: tuple[int, int, int], molecules: list[Path]) -> list[str]:
    """Make the input of a run, and tell the flags that name it."""
    specimens = [simulate(folder, seed, molecules) for seed in SEEDS]
    if kind == "series":
        path = folder / "large.mrc"
        tile_series(path, [folder / f"s{seed}.mrc" for seed in SEEDS], shape[1:])
        return [str(path), "--thickness", str(shape[0])]
    flags = ["--tilt-range", *map(str, TILT_RANGE[:2])]
    for part in ("half0", "half1", "full"):
        path = folder / f"large_{part}.mrc"
        tile(path, [np.asarray(read_mrc(files[part]).data) for files in specimens], shape)
        flags += [f"--{part}", str(path)]
    return flags


@contextmanager
def within(limit: float | None) -> Iterator[list[str]]:
    """What to put before a command so that it runs in a cgroup of its own, of at most so many bytes."""
    if limit is None:
        yield []
        return
    group = next(own_cgroups("memory")) / "dewedge-benchmark"
    group.mkdir()
    try:
        file = next((group / name for name in LIMIT_FILES if (group / name).exists()), None)
        if file is None:
            raise SystemExit(f"{group}: no {' or '.join(LIMIT_FILES)}: memory cannot be limited here")
        file.write_text(str(int(limit)))
        yield ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs")]
    finally:
        group.rmdir()


def measured_run(flags: Sequence[str], output: Path, limit: float | None) -> tuple[float, list[Sample], int]:
    """Seconds and samples of a run, and its exit status."""
    command = [sys.executable, "-m", "dewedge", "run", *flags, "-o", str(output), "--overwrite"]
    for file in (path for flag in flags if (path := Path(flag)).is_file()):
        out_of_cache(file)
    with within(limit) as prefix:
        return watched([*prefix, *command], output)


def out_of_cache(file: Path) -> None:
    """Take a file's pages from memory: they count in the cgroup of whoever reads them first."""
    handle = os.open(file, os.O_RDONLY)
    os.fsync(handle)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


def watched(command: Sequence[str], output: Path) -> tuple[float, list[Sample], int]:
    """Seconds and samples of a command, and its exit status."""
    samples: list[Sample] = []
    begun = time.perf_counter()
    process = subprocess.Popen(command)
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
            own, mapped = (
                1024 * sum(int(n) for n in re.findall(rf"^(?:{names}):\s+(\d+)", status, re.MULTILINE))
                for names in ("RssAnon", "RssFile|RssShmem")
            )
        except (OSError, ValueError):
            break
        of_tv = (output / "planes.json").exists() and not (output / "tv.mrc").exists()
        samples.append((time.time(), own, mapped, of_tv))
        time.sleep(INTERVAL_S)
    return time.perf_counter() - begun, samples, process.wait()


def stages(log: Path) -> list[tuple[float, float, str]]:
    """Begin and end, in seconds since the epoch, and name of each step of a log."""
    found, begun = [], {}
    for line in log.read_text().splitlines():
        match = re.match(r"(\S+ \S+),(\d+) \w+ +(?:\S+: )?([\w ]+)(?:( \.\.\.)|: .*, peak memory .*)$", line)
        if match is not None:
            when = datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S").timestamp() + int(match[2]) / 1000
            if match[4]:
                begun[match[3]] = when
            elif match[3] in begun:
                found.append((begun.pop(match[3]), when, match[3]))
    return found


def peaks(samples: Sequence[Sample], steps: Sequence[tuple[float, float, str]]) -> list[dict[str, Any]]:
    """Peaks of each stage, in GB; what is between two belongs to the next one."""
    table: dict[str, list[Sample]] = {}
    for sample in samples:
        name = next((name for _, end, name in steps if sample[0] <= end), "end")
        if steps and sample[0] < steps[0][0]:
            name = "start and checks"
        if name == "reconstruct" and sample[3]:
            name = "total variation"
        table.setdefault(name, []).append(sample)
    return [
        {
            "stage": name,
            "seconds": round(len(here) * (samples[-1][0] - samples[0][0]) / len(samples), 1),
            "own_GB": round(max(own for _, own, _, _ in here) / 1e9, 2),
            "mapped_GB": round(max(mapped for _, _, mapped, _ in here) / 1e9, 2),
            "both_GB": round(max(own + mapped for _, own, mapped, _ in here) / 1e9, 2),
        }
        for name, here in table.items()
    ]


def forecast_GB(flags: Sequence[str], output: Path) -> float:
    """The memory that the dry run of a run forecasts."""
    command = [sys.executable, "-m", "dewedge", "run", *flags, "-o", str(output), "--dry-run"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    match = re.search(r"memory ([\d.]+) GB", told)
    if match is None:
        raise SystemExit(f"no forecast of memory in:\n{told}")
    return float(match[1])


def row(flags: Sequence[str], output: Path, limit_GB: float | None) -> dict[str, Any]:
    """What is told of a run."""
    predicted = forecast_GB(flags, output)
    seconds, samples, status = measured_run(flags, output, None if limit_GB is None else 1e9 * limit_GB)
    return {
        "limit_GB": limit_GB,
        "forecast_GB": predicted,
        "done": status == 0,
        "seconds": round(seconds, 1),
        "stages": peaks(samples, stages(output / "dewedge.log")),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shape", type=int, nargs=3, default=SHAPE_ZYX, help="z y x of the tomogram")
    parser.add_argument("--input", choices=("halves", "series"), default="halves")
    parser.add_argument("--budget", default="20s", help="of the fit; 20s if not given")
    parser.add_argument("--limits-GB", type=float, nargs="+", default=[0], help="of a run each; 0: none")
    parser.add_argument("--structures", type=Path, default=STRUCTURES, help="density maps of the molecules")
    parser.add_argument("--folder", type=Path, help="where the volumes go; 13 GB")
    parser.add_argument("--json", type=Path, help="file for the figures, to whose rows this one is added")
    arguments = parser.parse_args()
    depth, height, width = arguments.shape
    shape = (depth, height, width)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        molecules = sorted(arguments.structures.glob("*.mrc"))
        flags = inputs(folder, arguments.input, shape, molecules)
        flags += ["--budget", arguments.budget, "--average-rotations", "1"]
        for number, limit in enumerate(arguments.limits_GB):
            found = {
                **measured_on(),
                "input": arguments.input,
                "shape_zyx": shape,
                "budget": arguments.budget,
                "cores": os.cpu_count(),
                **row(flags, folder / f"run_{number}", limit or None),
            }
            print(json.dumps(found, indent=2))
            if arguments.json:
                add(found, arguments.json)


def add(found: dict[str, Any], path: Path) -> None:
    """Add a row to those of a file, in the place of one of the same input, shape and limit."""
    keys = ("input", "shape_zyx", "limit_GB")
    there = json.loads(path.read_text()) if path.exists() else []
    found = json.loads(json.dumps(found))
    others = [old for old in there if any(old[key] != found[key] for key in keys)]
    path.write_text(json.dumps([*others, found], indent=2) + "\n")


if __name__ == "__main__":
    main()
