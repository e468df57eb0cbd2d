"""Watch a folder in which many small tomograms arrive, and see that neither memory nor time grows.

    python benchmarks/live.py [--tomograms 500] [--json FILE]

Pairs of half tomograms of 16 x 32 x 32 voxels arrive, a few at a time; one in fifty is damaged. Measured, of
the process that watches: resident memory and open files whenever a tomogram is done, the time from one to the
next, and in the end how long a look takes, how large the status page is, and how long a restart takes that
finds all done.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from comparison.machine import measured_on

from dewedge.cli import main as dewedge_main
from dewedge.inputs.arrivals import Arrivals
from dewedge.io.mrc import write_mrc
from dewedge.settings.file import resolve_config

SHAPE, VOXEL_A = (16, 32, 32), 20.0
# So many wait at most, as in a folder that is filled about as fast as it is emptied.
AHEAD = 10
DAMAGED_ONE_IN = 50
FIT = ("--cube-size", "16", "--channels", "2", "--epochs", "1", "--epoch-samples", "4", "--batch-size", "2")
FLAGS = (*FIT, "--held-out", "0", "--average-rotations", "1", "--device", "cpu", "--tilt-range", "-60", "60")
WATCH = ("--fit-first", "5", "--settle", "0.5s", "--look-every", "0.2s", "--no-check")


def add(folder: Path, number: int) -> None:
    """Half tomograms of common structure and noise of their own; or, of some, a damaged half."""
    random = np.random.default_rng(number)
    structure = random.normal(size=SHAPE)
    for half in ("EVN", "ODD"):
        path = folder / f"TS_{number:04d}_{half}.mrc"
        write_mrc(path, (structure + random.normal(size=SHAPE)).astype(np.float32), VOXEL_A)
    if number % DAMAGED_ONE_IN == DAMAGED_ONE_IN - 1:
        path.write_bytes(b"damaged")


def states(output: Path) -> list[str]:
    """State of each tomogram that was begun."""
    return [json.loads(path.read_text())["state"] for path in output.glob("*/status.json")]


def resident_MB(pid: int) -> float:
    """Resident memory that is the process's own, without files that are mapped."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return float(fields["RssAnon"].split()[0]) / 1024


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def ended(output: Path) -> int:
    return sum(state in ("done", "failed") for state in states(output))


def watched(folder: Path, output: Path, count: int) -> dict[str, Any]:
    """Figures of a watch of so many."""

    def command() -> None:
        with open(os.devnull, "w") as sys.stderr:
            sys.exit(dewedge_main(["run", "--live", str(folder), "-o", str(output), *FLAGS, *WATCH]))

    process = multiprocessing.get_context("fork").Process(target=command)
    process.start()
    begun, added, rows = time.monotonic(), 0, []
    while (done := ended(output)) < count:
        while added < min(done + AHEAD, count):
            add(folder, added)
            added += 1
        if process.pid is None or not process.is_alive():
            raise RuntimeError("the watch has ended")
        if not rows or done > rows[-1]["done"]:
            at = round(time.monotonic() - begun, 2)
            rows.append(
                {"done": done, "s": at, "MB": resident_MB(process.pid), "files": open_files(process.pid)}
            )
        time.sleep(0.1)
    (output / "STOP").touch()
    process.join()
    return {"rows": rows, "status": process.exitcode}


def around(rows: list[dict[str, float]], done: int, of: int = 25) -> dict[str, float]:
    """Means over the tomograms around one."""
    near = [row for row in rows if abs(row["done"] - done) <= of]
    seconds = (near[-1]["s"] - near[0]["s"]) / (near[-1]["done"] - near[0]["done"])
    return {
        "done": done,
        "MB": round(float(np.mean([row["MB"] for row in near])), 1),
        "open_files": max(row["files"] for row in near),
        "s_each": round(seconds, 2),
    }


def look_s(folder: Path) -> float:
    """Time of a look that finds nothing new."""
    arrivals = Arrivals(resolve_config(None, {"paths": [folder], "tomograms": {"tilt_range": [-60, 60]}}))
    arrivals.look()
    begun = time.monotonic()
    arrivals.look()
    return time.monotonic() - begun


def restart_s(output: Path) -> float:
    """Time of a restart that finds all done, until it ends."""
    (output / "STOP").touch()
    begun = time.monotonic()
    with open(os.devnull, "w") as sink:
        before, sys.stderr = sys.stderr, sink
        dewedge_main(["run", "--resume", "-o", str(output)])
        sys.stderr = before
    return time.monotonic() - begun


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tomograms", type=int, default=500)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    count = given.tomograms
    with tempfile.TemporaryDirectory() as temporary:
        folder, output = Path(temporary) / "arriving", Path(temporary) / "OUT"
        folder.mkdir()
        found = watched(folder, output, count)
        ends = states(output)
        result = {
            **measured_on(),
            "tomograms": count,
            "done": ends.count("done"),
            "failed": ends.count("failed"),
            "exit_status": found["status"],
            "at": [
                around(found["rows"], place) for place in np.linspace(50, count - 25, 6).astype(int).tolist()
            ],
            "look_s": round(look_s(folder), 3),
            "restart_s": round(restart_s(output), 1),
            "status_page_MB": round((output / "report.html").stat().st_size / 1e6, 2),
        }
    print(json.dumps(result, indent=2))
    if given.json is not None:
        given.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
