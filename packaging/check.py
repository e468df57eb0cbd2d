"""Build sdist and wheel into dist/, and check them as those meet them who install them.

    make package

The wheel is built from the sdist, so that this is complete, too. It is installed into an environment of its
own, which finds the dependencies where they are already.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
# Beside the package, in the sdist.
IN_SDIST = {
    *("README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff"),
    *("pyproject.toml", ".gitignore", "PKG-INFO"),
}


def output_of(*command: str | Path, folder: Path = ROOT) -> str:
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def require_same(what: str, found: set[str], wanted: set[str]) -> None:
    """End with the names that are missing and those that are too many."""
    if found != wanted:
        sys.exit(f"{what}: missing {sorted(wanted - found)}, too many {sorted(found - wanted)}")


def check_contents(sdist: Path, wheel: Path) -> None:
    """Sdist and wheel hold the package, its version, and nothing else."""
    package = {f"src/dewedge/{name}" for name in ("_version.py", *sources())}
    with tarfile.open(sdist) as files:
        require_same(sdist.name, {name.partition("/")[2] for name in files.getnames()}, package | IN_SDIST)
    with zipfile.ZipFile(wheel) as files:
        names = {f"src/{name}" for name in files.namelist() if ".dist-info/" not in name}
        require_same(wheel.name, names, package)


def sources() -> list[str]:
    """Files of the package without its version, relative to it."""
    package = ROOT / "src" / "dewedge"
    files = (path.relative_to(package) for path in package.rglob("*") if path.is_file())
    return [str(file) for file in files if file.suffix != ".pyc" and file.name != "_version.py"]


def check_installed(wheel: Path, folder: Path) -> None:
    """The wheel's commands run in a new environment, and tell the version of its name."""
    output_of(sys.executable, "-m", "venv", "--without-pip", folder)
    python, version = folder / "bin" / "python", wheel.name.split("-")[1]
    output_of(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
    # Searched after the environment's own packages.
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    (packages / "dependencies.pth").write_text("\n".join(sys.path[1:]))
    told = {
        "dewedge": output_of(folder / "bin" / "dewedge", "--version", folder=folder),
        "dewedge-relion": output_of(folder / "bin" / "dewedge-relion", "--version", folder=folder),
        "dewedge.__version__": output_of(
            python, "-c", "import dewedge; print(dewedge.__version__)", folder=folder
        ),
    }
    require_same("versions", set(told.values()), {version})
    place = output_of(python, "-c", "import dewedge.api.model; print(dewedge.__file__)", folder=folder)
    require_same("place of the package", {place}, {str(packages / "dewedge" / "__init__.py")})


def main() -> None:
    shutil.rmtree(DIST, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "build", "--outdir", DIST, ROOT], check=True)
    (sdist,), (wheel,) = DIST.glob("*.tar.gz"), DIST.glob("*.whl")
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", sdist, wheel], check=True)
    check_contents(sdist, wheel)
    with tempfile.TemporaryDirectory() as folder:
        check_installed(wheel, Path(folder).resolve())
    print(f"{wheel.name} holds {len(sources())} files and its version, and runs where it is installed")


if __name__ == "__main__":
    main()
