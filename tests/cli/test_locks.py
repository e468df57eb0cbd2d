"""Every verb that writes takes its lock: the second comer gets one line, and changes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from dewedge.cli import main
from dewedge.cli.app import VERBS
from dewedge.io.mrc import write_mrc
from dewedge.runtime.lock import locked_file, locked_folder


class Case(NamedTuple):
    """Arguments of a verb that writes into a folder, from what the fixtures made, and the lock it takes."""

    arguments: Callable[[Path, Path, Path, list[str]], list[str]]
    lock: Callable[[Path], AbstractContextManager[None]]
    name: str = ""


def movies(folder: Path) -> list[str]:
    for i in range(5):
        write_mrc(folder / f"m{i}.mrc", np.ones((3, 8, 8), np.float32), 1.5, stack=True)
    (folder / "TS.rawtlt").write_text("-20\n-10\n0\n10\n20\n")
    return [*(str(folder / f"m{i}.mrc") for i in range(5)), "--angles", str(folder / "TS.rawtlt")]


def halves(finished: Path) -> list[str]:
    given = ["--half0", str(finished / "half0.mrc"), "--half1", str(finished / "half1.mrc")]
    return [*given, "--tilt-range", "-60", "60"]


CASES = {
    "run": Case(lambda s, f, o, tiny: ["run", str(s / "TS.mrc"), *tiny, "-o", str(o)], locked_folder),
    "fit": Case(lambda s, f, o, tiny: ["fit", *halves(f), *tiny[2:], "-o", str(o)], locked_folder),
    "compare": Case(
        lambda s, f, o, tiny: ["compare", str(s / "TS.mrc"), "--methods", "fbp", *tiny[:2], "-o", str(o)],
        locked_folder,
    ),
    "validate": Case(
        lambda s, f, o, tiny: ["validate", str(s / "TS.mrc"), *tiny, "-o", str(o)], locked_folder
    ),
    "demo": Case(lambda s, f, o, tiny: ["demo", "-o", str(o)], locked_folder),
    "evaluate": Case(lambda s, f, o, tiny: ["evaluate", str(shutil.copytree(f, o))], locked_folder),
    "evaluate --json": Case(
        lambda s, f, o, tiny: ["evaluate", str(f / "full.mrc"), "--json", str(o / "scores.json")],
        locked_file,
        "scores.json",
    ),
    "check": Case(
        lambda s, f, o, tiny: ["check", str(s / "TS.mrc"), *tiny, "--json", str(o / "check.json")],
        locked_file,
        "check.json",
    ),
    "trust": Case(lambda s, f, o, tiny: ["trust", str(shutil.copytree(f, o))], locked_folder),
    "report": Case(lambda s, f, o, tiny: ["report", str(shutil.copytree(f, o))], locked_folder),
    "reconstruct": Case(
        lambda s, f, o, tiny: ["reconstruct", str(s / "TS.mrc"), *tiny[:2], "-o", str(o / "rec.mrc")],
        locked_file,
        "rec.mrc",
    ),
    "split": Case(
        lambda s, f, o, tiny: ["split", str(s / "TS.mrc"), "-o", str(o)], locked_file, "TS_half0.mrc"
    ),
    "frames": Case(
        lambda s, f, o, tiny: ["frames", *movies(o.parent), "-o", str(o)], locked_file, "TS_EVN.mrc"
    ),
    "simulate": Case(
        lambda s, f, o, tiny: ["simulate", "--shape", "16", "32", "32", "-o", str(o)],
        locked_file,
        "simulated.mrc",
    ),
    "import": Case(
        lambda s, f, o, tiny: ["import", str(s / "TS.mrc"), "-o", str(o / "set.star")],
        locked_file,
        "set.star",
    ),
    "refine": Case(
        lambda s, f, o, tiny: [
            *("refine", str(f / "model.safetensors"), str(f / "full.mrc"), "-o", str(o / "new.mrc"))
        ],
        locked_file,
        "new.mrc",
    ),
}


def test_all_verbs_are_here():
    assert {name.partition(" ")[0] for name in CASES} == set(VERBS)


@pytest.mark.parametrize("verb", CASES)
def test_the_second_comer_gets_one_line_and_changes_nothing(
    verb: str,
    series: Path,
    finished: Path,
    tiny: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    output = tmp_path / "OUT"
    arguments = CASES[verb].arguments(series, finished, output, tiny)
    with CASES[verb].lock(output / CASES[verb].name):
        before = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.suffix != ".lock"}
        capsys.readouterr()
        assert main(arguments) == 2
        printed = capsys.readouterr().err.splitlines()
        assert {
            path: path.stat().st_mtime_ns for path in output.rglob("*") if path.suffix != ".lock"
        } == before
    *_, last = printed
    assert last.startswith(
        f"dewedge: error: {output / CASES[verb].name}: another dewedge works there (process "
    )
    assert sum("error" in line for line in printed) == 1
