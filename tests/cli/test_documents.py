"""The documents name only flags that there are."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from dewedge.cli import main, relion
from dewedge.cli.app import VERBS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Pages that name flags of benchmarks, launchers and clusters, too.
OF_OTHERS = {
    "baselines.md",
    "comparison.md",
    "gpu.md",
    "install.md",
    "paper.md",
    "realistic.md",
    "scale_out.md",
}
FLAG = r"--[a-z0-9][a-z0-9-]*"


@cache
def flags_of(verb: str, capture: pytest.CaptureFixture[str]) -> set[str]:
    capture.readouterr()
    main([verb, "--help"])
    return set(re.findall(FLAG, capture.readouterr().out))


def test_commands_have_the_flags_they_are_shown_with(capsys: pytest.CaptureFixture[str]) -> None:
    shown = 0
    for page in PAGES:
        for verb, rest in re.findall(r"^ {4}dewedge ([a-z]+) (.*)$", page.read_text(), flags=re.MULTILINE):
            known = flags_of(verb, capsys) if verb in VERBS else set()
            for flag in re.findall(FLAG, rest.partition("#")[0]):
                shown += 1
                assert flag in known, f"{page.name}: dewedge {verb} {flag}"
    assert shown > 20


def test_fields_of_relions_window_exist(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    relion.main(["--help"])
    known = capsys.readouterr().out
    page = (ROOT / "docs" / "relion.md").read_text()
    labels = re.findall(r"^\| `([a-z_]+)` \|", page, flags=re.MULTILINE)
    assert len(labels) > 5
    commands = re.findall(r"^ {4}dewedge-relion (.*)$", page, flags=re.MULTILINE)
    for name in [*labels, *re.findall(r"--([a-z_]+)", " ".join(commands))]:
        assert f"--{name.replace('_', '-')} " in known, name


def test_flags_named_in_the_text_exist(capsys: pytest.CaptureFixture[str]) -> None:
    known = set().union(*(flags_of(verb, capsys) for verb in VERBS))
    for page in PAGES:
        if page.name not in OF_OTHERS:
            named = set(re.findall(rf"`({FLAG})", page.read_text()))
            assert named <= known, f"{page.name}: {sorted(named - known)}"
