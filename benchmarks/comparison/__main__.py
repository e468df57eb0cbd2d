"""Compare the methods against known truth.

    python benchmarks/comparison run TABLE [--size small] [--jobs 2] [--hours 1] [--data FOLDER] [--json FILE]
                                           [--since COMMIT]
    python benchmarks/comparison run realistic --specimen cell --seed 1 --method fbp --method dewedge --jobs 1
    python benchmarks/comparison again NUMBER [--json FILE]
    python benchmarks/comparison report [--size small] [--data FOLDER] [--json FILE] [--docs FOLDER]

``run`` computes the rows of a table that the file lacks, or has of another machine, each in a process of its
own with one thread, ``--jobs`` at a time, and adds each to the file when it is done; a run can be stopped and
started again. Rows of code from before ``--since`` are computed anew.
``again`` computes row NUMBER of the file anew, with the code of its commit, and prints both. ``report``
writes tables and figures of all rows into comparison.md and ablation.md in docs/notebook, those of each
machine apart. TABLE is one of those in jobs.py; its rows can be restricted by --method, --change, --specimen
and the like. Tables of realistic and real specimens have sizes and a file of their own,
comparison_realistic.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

from jobs import OTHER_SIZES, REAL, SIZES, TABLES, Job, Row
from machine import commit, machine
from rows import add_row, job_of, read_rows, volume_file

ROOT = Path(__file__).resolve().parents[2]
STRUCTURES = ROOT.parent / "shared" / "data" / "structures-10A"
REAL_SERIES = ROOT.parent / "shared" / "data" / "empiar-10499-00254"


def run(arguments: argparse.Namespace) -> None:
    import torch

    here = machine()
    jobs_at_a_time = arguments.jobs or (1 if torch.cuda.is_available() else 2)
    here_before = [row for row in read_rows(arguments.json) if row["machine"] == here]
    recent = {code: is_since(arguments.since, code) for code in {row["commit"] for row in here_before}}
    done = {job_of(row) for row in here_before if recent[row["commit"]]}
    jobs = [job for job in TABLES[arguments.table](arguments.size) if wanted(job, arguments)]
    missing = [job for job in dict.fromkeys(jobs) if job not in done]
    print(f"{len(jobs)} rows, {len(missing)} to compute", file=sys.stderr)
    end = time.monotonic() + 3600 * arguments.hours

    failed: list[Job] = []

    def compute(job: Job) -> None:
        if time.monotonic() > end:
            return
        volume = volume_file(arguments.data, job, here)
        code = commit("src", "benchmarks/comparison")
        row = row_in_process(job, arguments, Path(__file__).parent, code, volume)
        if row is None:
            failed.append(job)
            print(f"failed: {job}", file=sys.stderr)
        else:
            add_row(arguments.json, row)
            score = row.get("cc", row.get("explained"))
            where = f"{job.specimen} seed {job.seed} snr {job.snr:.2f}"
            print(f"{job.method} {job.change} {where}: {score}", file=sys.stderr)

    with ThreadPoolExecutor(jobs_at_a_time) as pool:
        list(pool.map(compute, missing))
    if failed:
        raise SystemExit(f"{len(failed)} rows failed")


def wanted(job: Job, arguments: argparse.Namespace) -> bool:
    return (
        (not arguments.method or job.method in arguments.method)
        and (not arguments.change or job.change in arguments.change)
        and (not arguments.specimen or job.specimen in arguments.specimen)
        and (not arguments.seed or job.seed in arguments.seed)
        and (not arguments.snr or job.snr in arguments.snr)
        and (not arguments.budget or job.budget_s in arguments.budget)
        and (not job.method.startswith("topaz") or arguments.peers is not None)
    )


def again(arguments: argparse.Namespace) -> None:
    old = read_rows(arguments.json)[arguments.number]
    if old["commit"].endswith("-dirty"):
        raise SystemExit(f"row {arguments.number}: computed by code that was not committed ({old['commit']})")
    arguments.data /= old["commit"]  # simulated by that code, too
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", old["commit"]], cwd=ROOT, check=True, capture_output=True)
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        program = Path(folder) / "benchmarks" / "comparison"
        new = row_in_process(job_of(old), arguments, program, old["commit"])
    if new is None:
        raise SystemExit("the row could not be computed")
    print(json.dumps({"then": old, "now": new}, indent=2))


def row_in_process(
    job: Job, arguments: argparse.Namespace, program: Path, commit: str, volume: Path | None = None
) -> dict[str, Any] | None:
    """The row of a job, computed by another process with one thread; None if that fails.

    The package is that of the same checkout as ``program``, whichever is installed.
    """
    source = str(program.parents[1] / "src")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": source, "COMPARISON_COMMIT": commit}
    command = [sys.executable, str(program), "row", json.dumps(asdict(job)), "--data", str(arguments.data)]
    command += ["--structures", str(arguments.structures)]
    if job.specimen in REAL:
        command += ["--real", str(arguments.real)]
    if arguments.peers is not None:
        command += ["--peers", str(arguments.peers)]
    if volume is not None:
        command += ["--volume", str(volume)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def row(arguments: argparse.Namespace) -> None:
    """Compute one row in this process and print it."""
    import torch
    from judge import scores_of
    from methods import estimate
    from specimens import load, voxel_size_A

    torch.set_num_threads(1)
    job = Job(**json.loads(arguments.job))
    data = [
        load(job, job.seed + 100 * i, arguments.data, arguments.structures, arguments.real)
        for i in range(job.tomograms)
    ]
    start = time.perf_counter()
    result = estimate(job, data, arguments.peers)
    wall_s = time.perf_counter() - start
    done = Row(
        job=job,
        samples=result.samples,
        seconds=round(result.seconds, 1),
        wall_s=round(wall_s, 1),
        scores=scores_of(job, result.volume, data[0]),
        refine_s=round(result.refine_s, 1),
        commit=os.environ["COMPARISON_COMMIT"],
        torch=torch.__version__,
        machine=machine(),
        selected_by_truth=result.selected_by_truth,
    )
    if arguments.volume is not None:
        from dewedge.io.mrc import write_mrc

        write_mrc(arguments.volume, result.volume, voxel_size_A(job), what=job.method)
    print(json.dumps(done.as_dict()))


def report(arguments: argparse.Namespace) -> None:
    from report import write_pages

    write_pages(arguments.size, arguments.json, arguments.data, arguments.docs)


def is_since(since: str | None, commit: str) -> bool:
    """Whether a commit has ``since`` among its ancestors, or is that one; True for any if that is None."""
    if since is None:
        return True
    command = ["git", "merge-base", "--is-ancestor", since, commit.removesuffix("-dirty")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode > 1:
        raise SystemExit(f"--since {since}: {done.stderr.strip()}")
    return done.returncode == 0


def fraction(text: str) -> float:
    return float(Fraction(text))


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="comparison", description=(__doc__ or "").partition("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "dewedge_comparison")
    shared.add_argument("--structures", type=Path, default=STRUCTURES, help="density maps of the molecules")
    shared.add_argument("--real", type=Path, default=REAL_SERIES, help="folder of the real series")
    shared.add_argument("--peers", type=Path, help="Python of the environment of docs/notebook/peers.md")
    shared.add_argument("--size", default="small", choices=SIZES)
    shared.add_argument("--json", type=Path, help="file of the rows")
    verb = verbs.add_parser("run", parents=[shared], help="compute what a table lacks")
    verb.add_argument("table", choices=TABLES)
    verb.add_argument(
        "--jobs",
        type=int,
        help="processes at a time; 2, or 1 with a GPU, where the clock is the wall's",
    )
    verb.add_argument("--hours", type=float, default=1e6, help="start no row after so many")
    verb.add_argument("--method", action="append", help="only this one; repeat for more")
    verb.add_argument("--change", action="append", help="only this one of the ablation; repeat for more")
    verb.add_argument("--specimen", action="append", help="only this one; repeat for more")
    verb.add_argument("--seed", action="append", type=int, help="only this one; repeat for more")
    verb.add_argument(
        "--snr", action="append", type=fraction, help="only this one, such as 1/4; repeat for more"
    )
    verb.add_argument(
        "--budget", action="append", type=float, help="only this one, in seconds; repeat for more"
    )
    verb.add_argument("--since", metavar="COMMIT", help="rows of commits before it count as missing")
    verb.set_defaults(function=run)
    verb = verbs.add_parser("again", parents=[shared], help="compute a row anew, with the code of its commit")
    verb.add_argument("number", type=int)
    verb.set_defaults(function=again)
    verb = verbs.add_parser("row", parents=[shared], help="compute one row here (for run and again)")
    verb.add_argument("job")
    verb.add_argument("--volume", type=Path, help="file for the estimate")
    verb.set_defaults(function=row)
    verb = verbs.add_parser(
        "report", parents=[shared], help="write tables and figures into the pages of docs"
    )
    verb.add_argument("--docs", type=Path, default=ROOT / "docs" / "notebook", help="folder of the pages")
    verb.set_defaults(function=report)
    arguments = parser.parse_args(words)
    if arguments.json is None:
        of_realistic = getattr(arguments, "table", None) in OTHER_SIZES
        name = "realistic" if of_realistic else arguments.size
        arguments.json = ROOT / "benchmarks" / "results" / f"comparison_{name}.json"
    arguments.function(arguments)


if __name__ == "__main__":
    main()
