"""Kill a run at random moments, resume it, and hold what comes out against the unbroken run, to the bit.

    python benchmarks/kills.py [--kills 100] [--seed 0] [--json FILE]

A tiny simulated series is run once unbroken; then runs of it are killed, each after a time drawn between
nothing and that of the unbroken one, by SIGKILL, SIGTERM, SIGINT and SIGHUP in turn, and resumed until they
finish. Compared are the values of all volumes, all weights, the loss curve but for the seconds, and what the
tilts measured; nothing half-written may be left, nor a lock. A fit writes a checkpoint after every epoch.
The exit status is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from comparison.machine import measured_on
from safetensors.numpy import load_file

import dewedge.learn.fit
from dewedge.cli import main as dewedge_main
from dewedge.io.mrc import read_mrc
from dewedge.runtime.folder import ResultFolder

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SIZE = ("--shape", "32", "64", "64", "--voxel-size", "20")
SIMULATED = (*SIZE, "--particles", "12", "--membranes", "0", "--gold", "2", "--snr", "2")
NETWORK = ("--preset", "default", "--cube-size", "16", "--batch-size", "2", "--validation-crops", "2")
FIT = (*NETWORK, "--epochs", "3", "--epoch-samples", "24", "--precision", "32-true", "--device", "cpu")
FLAGS = ("--thickness", "32", "--mask", "auto", *FIT)


def started(arguments: list[str]) -> BaseProcess:
    """A process of the command line; forked, so that torch need not be imported a hundred times."""

    def command() -> None:
        dewedge.learn.fit.CHECKPOINT_INTERVAL_S = 0.0
        with open(os.devnull, "w") as sys.stderr:
            sys.exit(dewedge_main(arguments))

    process = multiprocessing.get_context("fork").Process(target=command)
    process.start()
    return process


def contents(folder: Path) -> dict[str, Any]:
    """What is to be the same of every file in a run's folder, by name."""
    found: dict[str, Any] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".mrc":
            found[path.name] = np.array(read_mrc(path).data)
        elif path.suffix == ".safetensors":
            found |= {f"{path.name}: {name}": value for name, value in load_file(path).items()}
        elif path.suffix == ".csv":
            with open(path) as file:
                rows = list(csv.DictReader(file))
            found[path.name] = [{key: row[key] for key in row if key != "seconds"} for row in rows]
        else:
            found[path.name] = path.read_bytes() if path.name == "planes.json" else None
    return found


def differences(expected: dict[str, Any], folder: Path) -> list[str]:
    """Names of what is missing, more, or other than expected."""
    found = contents(folder)
    names = sorted(expected.keys() ^ found.keys())
    for name in expected.keys() & found.keys():
        one, other = expected[name], found[name]
        arrays = isinstance(one, np.ndarray)
        if not (np.array_equal(one, other, equal_nan=one.dtype.kind == "f") if arrays else one == other):
            names.append(name)
    return names


def stage(output: Path) -> str:
    """The last result that is there."""
    folder = ResultFolder(output)
    results = [*folder.reconstructed, folder.checkpoint, folder.model, folder.refined, folder.slices]
    there = [path.name for path in results if path.exists()]
    return there[-1] if there else "nothing"


def trial(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Figures of so many kills."""
    series = folder / "series"
    process = started(["simulate", "-o", str(series), "--name", "TS", *SIMULATED])
    process.join()
    begin = ["run", str(series / "TS.mrc"), *FLAGS]
    unbroken = folder / "unbroken"
    clock = time.monotonic()
    process = started([*begin, "-o", str(unbroken)])
    process.join()
    if process.exitcode != 0:
        raise SystemExit(f"the unbroken run ended with status {process.exitcode}: {unbroken / 'dewedge.log'}")
    seconds = time.monotonic() - clock
    expected = contents(unbroken)
    rng = np.random.default_rng(seed)
    by_signal: Counter[str] = Counter()
    by_stage: Counter[str] = Counter()
    wrong: dict[str, list[str]] = {}
    done = runs = 0
    while done < kills:
        output = folder / f"run{runs}"
        runs += 1
        finished = False
        while not finished:
            resumed = (output / "config.toml").exists()
            process = started(
                ["run", "--resume", "-o", str(output)] if resumed else [*begin, "-o", str(output)]
            )
            process.join(rng.uniform(0, seconds) if done < kills else None)
            if process.exitcode is None:
                number = SIGNALS[done % len(SIGNALS)]
                by_stage[stage(output)] += 1
                os.kill(process.pid or 0, number)
                process.join()
                by_signal[number.name] += 1
                done += 1
                print(f"kill {done}: {number.name}, status {process.exitcode}", file=sys.stderr)
            elif process.exitcode == 0:
                finished = True
            else:
                wrong[output.name] = [f"status {process.exitcode}"]
                break
        if finished and (differing := differences(expected, output)):
            wrong[output.name] = differing
    return {
        "kills": done,
        "runs": runs,
        "unbroken_s": round(seconds, 1),
        "by_signal": dict(by_signal),
        "last_result_at_the_kill": dict(by_stage),
        "compared": len(expected),
        "differing": wrong,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = trial(Path(folder), arguments.kills, arguments.seed)
    text = json.dumps({**measured_on(), **figures}, indent=2)
    print(text)
    if arguments.json is not None:
        arguments.json.write_text(text + "\n")
    sys.exit(1 if figures["differing"] else 0)


if __name__ == "__main__":
    main()
