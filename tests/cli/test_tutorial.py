"""The commands of docs/tutorial.md, as they stand there, on a small simulated series."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from dewedge.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text()
SDIST = "warpylib-1.1.2"
IN_SDIST = {"mrc": "00254.stack.mrc", "tlt": "xf_import/00254.tlt", "xf": "xf_import/00254.xf"}


def commands(page: str) -> str:
    """All shell blocks, as one script that ends at the first failure."""
    return "\n".join(["set -eu", *re.findall(r"^```sh\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)])


@pytest.fixture(scope="module")
def stand_ins(tiny_fit: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a pip that brings a small series named like the real one, and a dewedge of short fits."""
    folder = tmp_path_factory.mktemp("stand_ins")
    size = ["--shape", "100", "96", "96", "--voxel-size", "10", "--jitter", "20", "--axis-angle", "-4"]
    specimen = ["--particles", "30", "--membranes", "0", "--gold", "2", "--snr", "1"]
    assert main(["simulate", "-o", str(folder), "--name", "00254", *size, *specimen]) == 0
    with tarfile.open(folder / "sdist.tar.gz", "w:gz") as archive:
        for suffix, name in IN_SDIST.items():
            archive.add(folder / f"00254.{suffix}", f"{SDIST}/testdata/{name}")
    programs = folder / "bin"
    programs.mkdir()
    scripts = {
        "pip": 'test "$1" = download -a "${@: -1}" = warpylib==1.1.2\n'
        f"cp {folder}/sdist.tar.gz {SDIST}.tar.gz",
        "dewedge": f'if [ "$1" = run ]; then set -- "$@" {shlex.join(tiny_fit)}; fi\n'
        f'exec {sys.executable} -m dewedge "$@"',
    }
    for name, script in scripts.items():
        (programs / name).write_text(f"#!/usr/bin/env bash\nset -eu\n{script}\n")
        (programs / name).chmod(0o755)
    return programs


def follow(page: str, stand_ins: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Paste the page's commands into a shell."""
    return subprocess.run(
        ["bash", "-c", commands(page)],
        cwd=folder,
        env={**os.environ, "PATH": f"{stand_ins}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_tutorial_can_be_followed(stand_ins: Path, tmp_path: Path) -> None:
    done = follow(PAGE, stand_ins, tmp_path)
    assert done.returncode == 0, done.stderr
    named = set(re.findall(r"`(result/[\w.]+)`", PAGE))
    assert len(named) > 4
    for name in named:
        assert (tmp_path / "tutorial" / name).is_file(), name


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("warpylib==1.1.2", "warpylib==1.1.1"), ("/00254.tlt", "/254.tlt"), ("--bin 2", "--bins 2")],
)
def test_a_wrong_command_is_noticed(right: str, wrong: str, stand_ins: Path, tmp_path: Path) -> None:
    assert right in commands(PAGE)
    assert follow(PAGE.replace(right, wrong), stand_ins, tmp_path).returncode != 0


def test_each_command_has_a_block_that_is_run() -> None:
    """What is shown to be pasted is not in a block of another kind, which the tests above would pass by."""
    run = commands(PAGE)
    for verb in ("check", "run", "trust", "evaluate", "report"):
        assert f"\ndewedge {verb} " in run
    assert set(re.findall(r"^```(\w*)$", PAGE, flags=re.MULTILINE)) == {"sh", "text", ""}
