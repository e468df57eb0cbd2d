"""Many tilt series through `dewedge run --fit-each`, by several processes, and through one joint fit.

    python benchmarks/many.py turns [--series 24] [--size 128] [--processes 1 2 4] [--repeats 1] [--json FILE]
    python benchmarks/many.py memory [--series 100] [--size 128] [--joint] [--json FILE]

The series are one stack of noise with a little structure under many names (hard links), 41 tilts, thickness a
quarter of the width; the fit is one of a few sub-tomograms, so that what every series costs besides is seen.
`turns`: seconds of all, with so many gloo processes of one thread each started by torchrun, in alternation;
the efficiency is that of the cores there are: of four processes on two cores, that of two. The time from the
start of the command to the first series is told apart.
`memory`: of one process, resident memory, open files and mapped files while series after series is done, or
while a network is fitted to all.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from comparison.machine import measured_on

from dewedge.io.mrc import write_mrc

TILTS_DEG = np.linspace(-60, 60, 41)
VOXEL_A = 10.0
FIT = ("--channels", "4", "--epochs", "1", "--epoch-samples", "16", "--batch-size", "2")
FLAGS = (*FIT, "--average-rotations", "1", "--device", "cpu", "--precision", "32-true")
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def write_series(folder: Path, count: int, size: int) -> None:
    """One stack of ``(41, size, size)`` images under many names."""
    random = np.random.default_rng(0)
    structure = np.cumsum(np.cumsum(random.normal(size=(size, size)), 0), 1)
    images = structure / structure.std() + random.normal(size=(len(TILTS_DEG), size, size)) + 20
    write_mrc(folder / "TS_000.mrc", images.astype(np.float32), VOXEL_A, stack=True)
    np.savetxt(folder / "TS_000.rawtlt", TILTS_DEG, fmt="%.1f")
    for number in range(1, count):
        for suffix in ("mrc", "rawtlt"):
            os.link(folder / f"TS_000.{suffix}", folder / f"TS_{number:03d}.{suffix}")


def command(folder: Path, output: Path, size: int, *more: str) -> list[str]:
    """A run on all series, whose cubes are as large as the thickness, and of 32 voxels at most."""
    lengths = ("--thickness", str(size // 4), "--cube-size", str(min(size // 4, 32)))
    return [sys.executable, "-m", "dewedge", "run", str(folder), *FLAGS, *lengths, *more, "-o", str(output)]


def by_processes(folder: Path, output: Path, size: int, processes: int) -> dict[str, float]:
    """Seconds of a run by so many processes: until the first series is taken, and from then on."""
    words = command(folder, output, size, "--fit-each")
    if processes > 1:
        launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
        words = [words[0], "-m", *launcher, *words[2:]]
    begun = time.monotonic()
    first_s = None
    with subprocess.Popen(words, env=os.environ | ONE_THREAD, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            if first_s is None and any(output.glob("*/dewedge.log")):
                first_s = time.monotonic() - begun
            time.sleep(0.02)
    all_s = time.monotonic() - begun
    done = len(list(output.glob("*/refined.mrc")))
    if process.returncode or first_s is None:
        raise RuntimeError(f"{' '.join(words)}: exit status {process.returncode}")
    return {"done": done, "start_s": first_s, "series_s": all_s - first_s}


def turns(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Rows of each number of processes: medians, series per hour, efficiency relative to one."""
    found: dict[int, list[dict[str, float]]] = {processes: [] for processes in given.processes}
    for _ in range(given.repeats):
        for processes in given.processes:
            with tempfile.TemporaryDirectory() as temporary:
                found[processes].append(by_processes(folder, Path(temporary) / "OUT", given.size, processes))
            print(processes, found[processes][-1], flush=True)
    cores = len(os.sched_getaffinity(0))
    rows = []
    for processes, runs in found.items():
        each_s = statistics.median(run["series_s"] for run in runs) / given.series
        rows.append(
            {
                "processes": processes,
                "start_s": round(statistics.median(run["start_s"] for run in runs), 2),
                "s_per_series": round(each_s, 3),
                "series_per_hour": round(3600 / each_s),
                "efficiency": round(rows[0]["s_per_series"] / each_s / min(processes, cores), 3)
                if rows
                else 1.0,
            }
        )
    return {
        "series": given.series,
        "size": given.size,
        "cores": cores,
        "repeats": given.repeats,
        "rows": rows,
    }


def memory(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What one process holds, whenever a series more is done, or once a second of a joint fit."""
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary) / "OUT"
        words = command(folder, output, given.size, *(() if given.joint else ("--fit-each",)))
        rows: list[dict[str, float]] = []
        begun = time.monotonic()
        with subprocess.Popen(words, env=os.environ | ONE_THREAD, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None:
                time.sleep(0.2)
                done = len(list(output.glob("*/full.mrc" if given.joint else "*/report.html")))
                refined = len(list(output.glob("*/refined.mrc")))
                try:
                    now = held(process.pid)
                except (OSError, KeyError):
                    break  # it has just ended
                rows.append({"done": done, "refined": refined, "s": time.monotonic() - begun, **now})
        seconds = time.monotonic() - begun
        if process.returncode:
            raise RuntimeError(f"exit status {process.returncode}")
    steps = np.linspace(0, given.series, 6).astype(int)
    at = [max((r for r in rows if r["done"] + r["refined"] * given.joint <= n), key=time_of) for n in steps]
    peak = {key: max(row[key] for row in rows) for key in ("MB", "open_files", "mapped_files")}
    result = {"series": given.series, "size": given.size, "joint": given.joint, "s": round(seconds, 1)}
    return result | {"peak": peak, "at": [rounded(row) for row in at], "end": rounded(rows[-2])}


def time_of(row: dict[str, float]) -> float:
    return row["s"]


def rounded(row: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 1) for key, value in row.items()}


def held(pid: int) -> dict[str, float]:
    """Resident memory of its own in MB, without files that are mapped; open files, and volumes mapped."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {
        "MB": round(float(fields["RssAnon"].split()[0]) / 1024, 1),
        "open_files": len(os.listdir(f"/proc/{pid}/fd")),
        "mapped_files": sum(line.endswith(".mrc") for line in maps),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("turns", "memory"))
    parser.add_argument("--series", type=int, default=24)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--joint", action="store_true")
    parser.add_argument("--json", type=Path, help="the result is added to those that are there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        write_series(Path(temporary), given.series, given.size)
        result = {"turns": turns, "memory": memory}[given.what](given, Path(temporary))
    print(json.dumps(result, indent=2))
    if given.json is not None:
        before = json.loads(given.json.read_text()) if given.json.exists() else []
        given.json.write_text(
            json.dumps([*before, {"what": given.what, **measured_on(), **result}], indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
