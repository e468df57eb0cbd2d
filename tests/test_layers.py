"""The layers of docs/contributing/architecture.md: who imports whom, who imports torch, and who is silent."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dewedge

ROOT = Path(dewedge.__file__).parent
LAYERS = {
    "_version": 0,
    "errors": 0,
    "limits": 0,
    "geometry": 0,
    "split": 0,
    "physics": 1,
    "io": 2,
    "simulate": 2,
    "scores": 2,
    "learn": 3,
    "check": 4,
    "settings": 4,
    "runtime": 5,
    "inputs": 6,
    "pipeline": 7,
    "report": 7,
    "api": 8,
    "cli": 8,
    "napari_plugin": 8,
    "__main__": 8,
}
RUNTIME = LAYERS["runtime"]
# That of the package itself, which hands out what is in it when it is asked for.
TOP = max(LAYERS.values())
# They print or draw on the terminal.
TERMINAL = {"rich", "cyclopts", "tqdm"}
# They pull torch in.
TORCH = {"torch", "lightning", "lightning_fabric", "safetensors.torch", "torch_ctf"}


def name_of(path: Path, root: Path) -> str:
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules(root: Path = ROOT) -> dict[str, ast.Module]:
    """Every module's name and syntax tree."""
    return {name_of(path, root): ast.parse(path.read_text()) for path in sorted(root.rglob("*.py"))}


def imports(name: str, tree: ast.Module, is_package: bool) -> set[str]:
    """Full names of all that a module imports, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = name.split(".")
                kept = parts[: len(parts) - node.level + is_package]
                base = ".".join([*kept, base] if base else kept)
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def layer_of(name: str) -> int | None:
    """Layer of a module's full name; None outside the package and for the package itself."""
    parts = name.split(".")
    if parts[0] != "dewedge" or len(parts) == 1:
        return None
    return LAYERS.get(parts[1])


def is_in(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def speaks(tree: ast.Module) -> list[int]:
    """Lines that print, write to a standard stream, or set up logging."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            lines.append(node.lineno)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            silent = {"sys": {"stdout", "stderr"}, "logging": {"basicConfig", "FileHandler", "StreamHandler"}}
            if node.attr in silent.get(node.value.id, ()):
                lines.append(node.lineno)
    return lines


def violations(root: Path) -> list[str]:
    """What breaks the rules of the layers in the package at ``root``, one line each."""
    found = []
    for name, tree in modules(root).items():
        layer = layer_of(name)
        if layer is None and name != "dewedge":
            found.append(f"{name}: not in a layer")
            continue
        own = TOP if layer is None else layer
        wanted = imports(name, tree, is_package=(root.parent / name.replace(".", "/")).is_dir())
        for target in sorted(wanted):
            if (layer_of(target) or 0) > own:
                found.append(f"{name} (layer {own}) imports {target}")
        if own == 0 or name.startswith("dewedge.io"):
            found += [f"{name} imports {target}" for target in sorted(wanted) if is_in(target, TORCH)]
            if name.startswith("dewedge.io") and any((layer_of(target) or 0) == 1 for target in wanted):
                found.append(f"{name} imports physics, and so torch")
        if own < RUNTIME:
            found += [f"{name} imports {target}" for target in sorted(wanted) if is_in(target, TERMINAL)]
            found += [f"{name}:{line} prints or logs" for line in speaks(tree)]
    return found


def test_no_module_breaks_the_layers():
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    "path, code, message",
    [
        ("physics/bad.py", "from dewedge.io import mrc", "layer 1) imports dewedge.io"),
        ("physics/bad.py", "from dewedge import learn", "layer 1) imports dewedge.learn"),
        ("physics/bad.py", "from ..learn.fit import fit", "layer 1) imports dewedge.learn.fit"),
        ("physics/__init__.py", "from ..cli import main", "layer 1) imports dewedge.cli"),
        ("learn/bad.py", "def f():\n    import dewedge.pipeline.run", "layer 3) imports dewedge.pipeline"),
        ("geometry.py", "import torch", "geometry imports torch"),
        ("io/bad.py", "from torch import Tensor", "io.bad imports torch"),
        ("io/bad.py", "def f():\n    import torch.nn", "io.bad imports torch.nn"),
        ("io/bad.py", "from dewedge.physics import wedge", "and so torch"),
        ("scores/bad.py", "def f():\n    print(1)", "scores.bad:2 prints"),
        ("learn/bad.py", "import sys\nsys.stderr.write('x')", "learn.bad:2 prints"),
        ("learn/bad.py", "from rich.progress import track", "learn.bad imports rich.progress"),
        ("helpers.py", "", "dewedge.helpers: not in a layer"),
    ],
)
def test_finds_what_breaks_them(tmp_path: Path, path: str, code: str, message: str):
    root = tmp_path / "dewedge"
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(code)
    assert any(message in line for line in violations(root)), violations(root)


def test_importing_dewedge_its_files_and_its_command_line_does_not_import_torch():
    wanted = ["dewedge", "dewedge.geometry", "dewedge.split", "dewedge.io.tilt_series"]
    wanted += ["dewedge.napari_plugin.reader", "dewedge.report.trust.judged"]
    wanted += [name for name in modules() if name.startswith("dewedge.io")]
    wanted += [name for name in modules() if name == "dewedge.cli" or name.startswith("dewedge.cli.")]
    check = "\n".join(
        [
            "import importlib, sys",
            *(
                f"importlib.import_module({name!r}); assert 'torch' not in sys.modules, {name!r}"
                for name in wanted
            ),
        ]
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_dewedge_imports_no_large_library():
    check = "import sys, dewedge; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    foreign = {*done.stdout.split()} & {"torch", "numpy", "scipy", "pydantic", "cyclopts", "rich", "mrcfile"}
    assert not foreign, foreign
