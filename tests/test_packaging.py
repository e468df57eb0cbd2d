"""Recipe and containers ask for what pyproject.toml asks for; a release is refused where it is not ready."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGING = ROOT / "packaging"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# Packages that conda-forge calls otherwise.
CONDA = {
    "lightning-fabric": "pytorch-lightning",
    "matplotlib": "matplotlib-base",
    "PyYAML": "pyyaml",
    "docstring-parser": "docstring_parser",
    "torch": "pytorch",
}
CONTAINERS = [PACKAGING / "containers" / "Dockerfile", PACKAGING / "containers" / "dewedge.def"]


def conda_names(requirements: list[str]) -> list[str]:
    """``name >=1``, by conda-forge's name, of ``name>=1``."""
    pairs = [re.fullmatch(r"([\w-]+)(.*)", text).groups() for text in requirements]
    return [f"{CONDA.get(name, name)} {versions}" for name, versions in pairs]


def test_recipe_asks_for_what_the_package_does():
    recipe = yaml.safe_load((PACKAGING / "conda" / "recipe.yaml").read_text())
    project, needed = PROJECT["project"], recipe["requirements"]
    assert sorted(needed["run"][1:]) == sorted(conda_names(project["dependencies"]))
    assert needed["host"][2:] == conda_names(PROJECT["build-system"]["requires"])
    scripts = [f"{name} = {target}" for name, target in project["scripts"].items()]
    assert recipe["build"]["python"]["entry_points"] == scripts
    about = recipe["about"]
    assert (about["summary"], about["license"]) == (project["description"], project["license"])
    (lowest,) = yaml.safe_load((PACKAGING / "conda" / "variants.yaml").read_text())["python_min"]
    assert project["requires-python"] == f">={lowest}"


@pytest.mark.parametrize("path", CONTAINERS, ids=lambda path: path.name)
def test_containers_ask_for_what_there_is(path: Path):
    text, project = path.read_text(), PROJECT["project"]
    python = re.search(r"python:(\d\.\d+)-slim$", text, flags=re.MULTILINE)
    assert f"Programming Language :: Python :: {python[1]}" in project["classifiers"]
    extras = re.search(r"\[([a-z]+(?:,[a-z]+)*)\]\"$", text, flags=re.MULTILINE)
    assert set(extras[1].split(",")) <= set(project["optional-dependencies"])
    assert re.search(r'"(torch[^"]*)"$', text, flags=re.MULTILINE)[1] in project["dependencies"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository that is ready for 1.2.3, with a CI that always passes."""
    for name in ("packaging", ".ci"):
        (tmp_path / name).mkdir()
    shutil.copy(PACKAGING / "release", tmp_path / "packaging")
    (tmp_path / ".ci" / "run").write_text("#!/bin/sh\n")
    (tmp_path / ".ci" / "run").chmod(0o755)
    (tmp_path / "CHANGELOG.md").write_text("# Changes\n\n## 1.2.3, 2026-01-31\n- All.\n")
    (tmp_path / "CITATION.cff").write_text("version: 1.2.3\n")
    files = "dist/dewedge-1.2.3.tar.gz dist/dewedge-1.2.3-py3-none-any.whl"
    (tmp_path / "Makefile").write_text(f"package:\n\tmkdir -p dist && touch {files}\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "config", "user.name", "Somebody")
    git(tmp_path, "config", "user.email", "somebody@example.org")
    commit(tmp_path)
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "All")


def release(folder: Path, version: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [folder / "packaging" / "release", version], capture_output=True, text=True, check=False
    )


def test_release_tags_and_tells_how_to_upload(checkout: Path):
    done = release(checkout, "1.2.3")
    assert done.returncode == 0, done.stderr
    assert git(checkout, "tag").split() == ["v1.2.3"]
    assert "twine upload dist/dewedge-1.2.3.tar.gz" in done.stdout


@pytest.mark.parametrize(
    "version, name, text, message",
    [
        ("", None, "", "which version"),
        ("1.2.3rc1", None, "", "which version"),
        ("1.2.4", None, "", "CHANGELOG.md"),
        ("1.2.3", "CHANGELOG.md", "## 1.2.3, unreleased\n", "CHANGELOG.md"),
        ("1.2.3", "CITATION.cff", "version: 1.2.2\n", "CITATION.cff"),
        ("1.2.3", ".ci/run", "#!/bin/sh\nexit 1\n", ""),
    ],
)
def test_release_is_refused(checkout: Path, version: str, name: str | None, text: str, message: str):
    if name:
        (checkout / name).write_text(text)
        commit(checkout)
    done = release(checkout, version)
    assert done.returncode == 1
    assert message in done.stderr
    assert git(checkout, "tag") == ""


def test_release_of_uncommitted_changes_is_refused(checkout: Path):
    (checkout / "CITATION.cff").write_text("version: 1.2.3\ntitle: x\n")
    assert "has changes" in release(checkout, "1.2.3").stderr


def test_a_package_of_another_version_leaves_no_tag(checkout: Path):
    (checkout / "Makefile").write_text("package:\n\tmkdir -p dist && touch dist/dewedge-1.2.4.tar.gz\n")
    commit(checkout)
    assert release(checkout, "1.2.3").returncode != 0
    assert git(checkout, "tag") == ""
