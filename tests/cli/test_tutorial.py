"""The commands of docs/tutorial.md, as they stand there, on a small simulated series."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tarfile
from pathlib import Path

import pytest

from dewedge.cli import main

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "tutorial.md").read_text()
SDIST = "warpylib-1.1.2"
IN_SDIST = {"mrc": "00254.stack.mrc", "tlt": "xf_import/00254.tlt", "xf": "xf_import/00254.xf"}


def commands(page: str) -> list[str]:
    """All lines of the page's shell blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.fixture(scope="module")
def with_pip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """PATH with a pip that brings a small series, named like the real one."""
    folder = tmp_path_factory.mktemp("pip")
    size = ["--shape", "100", "96", "96", "--voxel-size", "10", "--jitter", "20", "--axis-angle", "-4"]
    specimen = ["--particles", "30", "--membranes", "0", "--gold", "2", "--snr", "1"]
    assert main(["simulate", "-o", str(folder), "--name", "00254", *size, *specimen]) == 0
    with tarfile.open(folder / "sdist.tar.gz", "w:gz") as archive:
        for suffix, name in IN_SDIST.items():
            archive.add(folder / f"00254.{suffix}", f"{SDIST}/testdata/{name}")
    pip = folder / "pip"
    pip.write_text(
        '#!/usr/bin/env bash\nset -eu\ntest "$1" = download -a "${@: -1}" = warpylib==1.1.2\n'
        f"cp {folder}/sdist.tar.gz {SDIST}.tar.gz\n"
    )
    pip.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def first_failure(lines: list[str], tiny_fit: list[str], monkeypatch: pytest.MonkeyPatch) -> str | None:
    """Carry out the commands, fits being short ones; the first one that fails, if any.

    All of dewedge's run in this process, which has loaded torch already.
    """
    for line in lines:
        words = shlex.split(line)
        if words[:1] == ["dewedge"]:
            failed = main([*words[1:], *(tiny_fit if words[1] == "run" else [])]) != 0
        elif words[:1] == ["cd"]:
            monkeypatch.chdir(words[1])
            failed = False
        else:
            failed = subprocess.run(["bash", "-c", line], check=False).returncode != 0
        if failed:
            return line
    return None


def test_the_tutorial_can_be_followed(
    with_pip: str, tiny_fit: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", with_pip)
    assert first_failure(commands(PAGE), tiny_fit, monkeypatch) is None
    named = set(re.findall(r"`(result/[\w.]+)`", PAGE))
    assert len(named) > 4
    for name in named:
        assert (tmp_path / "tutorial" / name).is_file(), name


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("warpylib==1.1.2", "warpylib==1.1.1"), ("/00254.tlt", "/254.tlt"), ("--bin 2", "--bins 2")],
)
def test_a_wrong_command_is_noticed(
    right: str,
    wrong: str,
    with_pip: str,
    tiny_fit: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", with_pip)
    failed = first_failure(commands(PAGE.replace(right, wrong)), tiny_fit, monkeypatch)
    assert failed is not None and wrong in failed


def test_all_that_is_to_be_pasted_is_followed() -> None:
    """Blocks of another kind, which the tests above pass by, show what is printed."""
    lines = commands(PAGE)
    for verb in ("check", "run", "trust", "evaluate", "report"):
        assert any(line.startswith(f"dewedge {verb} ") for line in lines), verb
    assert set(re.findall(r"^```(\w*)$", PAGE, flags=re.MULTILINE)) == {"sh", "text", ""}


@pytest.mark.parametrize("name", ["tutorial.md", "guide/troubleshooting.md"])
def test_pictures_are_there_small_and_described(name: str) -> None:
    page = DOCS / name
    pictures = re.findall(r"!\[(.*?)\]\((.*?)\)", page.read_text())
    assert pictures
    for text, target in pictures:
        assert len(text.split()) > 5, target
        assert (page.parent / target).stat().st_size < 150_000, target
