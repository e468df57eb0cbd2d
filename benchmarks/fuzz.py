"""Ten thousand hostile files for every reader: no crash, no hang, no more memory, no file written.

    python benchmarks/fuzz.py --inputs 10000

Every reader has a process of its own, so that its memory is its own. The inputs are those of
tests/io/fuzzing.py, drawn anew each time, also of sizes beyond any text that is believed; what fails is
printed as hypothesis has shrunk it. The table counts how many were read, and how many refused in one line.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "io"))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=10_000, help="of each reader")
    parser.add_argument("--readers", nargs="*", help="their names in tests/io/fuzzing.py; all if not given")
    parser.add_argument("--here", metavar="READER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        try_reader(arguments.here, arguments.inputs)
        return 0
    from fuzzing import READERS

    print("| reader | inputs | read | refused | time |\n|---|---|---|---|---|", flush=True)
    failed = 0
    for name in arguments.readers or READERS:
        command = [sys.executable, __file__, "--inputs", str(arguments.inputs), "--here", name]
        failed += subprocess.run(command, check=False).returncode != 0
    return 1 if failed else 0


def try_reader(name: str, inputs: int) -> None:
    """Try one reader and print its row of the table."""
    from fuzzing import LARGEST, LARGEST_OF_ALL, READERS, prepare, read_changed
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    warnings.simplefilter("error")
    reader, count, started = READERS[name], [0, 0], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        good = prepare(reader, Path(folder))

        @settings(max_examples=inputs, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(st.data())
        def try_one(data: st.DataObject) -> None:
            largest = LARGEST_OF_ALL if data.draw(st.integers(0, 99)) == 0 else LARGEST
            count[read_changed(reader, good, data, largest)] += 1

        try_one()
    refused, was_read = count
    seconds = time.monotonic() - started
    print(f"| {name} | {sum(count)} | {was_read} | {refused} | {seconds:.0f} s |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
