"""How fast a fit is on a machine that it shares, by the command line's own settings of threads.

    python benchmarks/contention.py [--seconds 8] [--rounds 2] [--before FOLDER] [--json FILE]

Sub-tomograms a second of the default fit: alone, beside one and two processes that only count, with the same
priority and with the lowest, on one core (taskset), and, where a cgroup can be made, with a quota of half a
core. FOLDER is a checkout of an older commit, which is measured in turns with this one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from comparison.machine import commit, measured_on

ROOT = Path(__file__).resolve().parents[1]
CGROUPS = Path("/sys/fs/cgroup")
PERIOD_US = 100_000  # of a quota
WARM_UP = 3  # steps
# Other processes and their nice value; cores; quota of a core.
CASES: dict[str, tuple[int, int, int | None, float | None]] = {
    "alone": (0, 0, None, None),
    "beside one": (1, 0, None, None),
    "beside two": (2, 0, None, None),
    "beside one of nice 19": (1, 19, None, None),
    "beside two of nice 19": (2, 19, None, None),
    "on one core": (0, 0, 1, None),
    "a quota of half a core": (0, 0, None, 0.5),
}


def rate(seconds: float) -> float:
    """Sub-tomograms a second of the fit, in this process, by the clock."""
    import dewedge.cli

    # The command line calls it before torch is loaded; older commits have none.
    getattr(dewedge.cli, "wait_briefly", lambda: None)()
    from fit_speed import make_pair
    from lightning_fabric import Fabric

    from dewedge.learn import fit
    from dewedge.learn.network import PRESETS
    from dewedge.learn.options import FitOptions
    from dewedge.runtime import devices

    getattr(devices, "limit_threads", lambda processes: None)(1)
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    fabric.launch()
    options = FitOptions(epochs=1, held_out=0.0)
    steps = fit._Fit([make_pair()], PRESETS["default"], options, fabric, None, lambda told: None).steps
    begun, end, done = 0.0, float("inf"), 0
    for done, batch in enumerate(steps.batches(0, 10**6)):
        if done == WARM_UP:
            begun = time.monotonic()
            end = begun + seconds
        steps.step(batch, done, 0.0)
        if time.monotonic() > end:
            break
    return (done + 1 - WARM_UP) * options.batch_size / (time.monotonic() - begun)


@contextlib.contextmanager
def busy(count: int, nice: int) -> Iterator[None]:
    """Processes that only count."""
    command = ["nice", "-n", str(nice), sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def with_quota(quota_us: int) -> Path:
    """A cgroup of so much processor time for each period, by either version of cgroups."""
    is_first_version = (CGROUPS / "cpu").is_dir()
    group = (CGROUPS / "cpu" if is_first_version else CGROUPS) / "dewedge_contention"
    group.mkdir(exist_ok=True)
    if is_first_version:
        (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(quota_us))
    else:
        (group / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
    return group


def measured(case: str, source: Path, seconds: float) -> float | None:
    """The rate of the code in a checkout; None where this machine cannot tell."""
    others, nice, cores, quota = CASES[case]
    command = [sys.executable, str(Path(__file__).resolve()), "--rate", str(seconds)]
    if cores is not None:
        command = ["taskset", "-c", ",".join(map(str, range(cores))), *command]
    if quota is not None:
        try:
            group = with_quota(round(quota * PERIOD_US))
        except OSError:
            return None
        command = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *command]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
    paths = [source / "src", source / "benchmarks"]
    environment["PYTHONPATH"] = os.pathsep.join(map(str, paths))
    with busy(others, nice):
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=8, help="of a measurement")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--before", type=Path, help="checkout of an older commit")
    parser.add_argument("--json", type=Path, help="file of the rates")
    parser.add_argument("--rate", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rate is not None:
        print(rate(arguments.rate))
        return
    sources = {"now": ROOT} | ({"before": arguments.before} if arguments.before else {})
    rates: dict[str, dict[str, list[float]]] = {}
    print("| | " + " | ".join(sources) + " |\n|---|" + "---|" * len(sources))
    for case in CASES:
        found: dict[str, list[float]] = {name: [] for name in sources}
        for _ in range(arguments.rounds):
            for name, source in sources.items():
                value = measured(case, source, arguments.seconds)
                if value is not None:
                    found[name].append(round(value, 1))
        rates[case] = found
        cells = [", ".join(map(str, values)) or "not measured" for values in found.values()]
        print(f"| {case} | " + " | ".join(cells) + " |", flush=True)
    if arguments.json is not None:
        result = measured_on() | {"cores": os.cpu_count(), "rates": rates}
        if arguments.before:
            result["before"] = commit(checkout=arguments.before)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
