"""What one file stands for: the tilt series or half tomograms that it describes, with the files beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dewedge.errors import InputError, of_input
from dewedge.geometry import TiltRange
from dewedge.io.entries import Entry, HalvesEntry, SeriesEntry
from dewedge.io.files import is_file
from dewedge.io.half_names import HalvesOfStacks, is_half, other_half, pair_halves, without_half
from dewedge.io.mdoc import read_mdoc
from dewedge.io.programs.aretomo import read_aretomo_halves, read_aretomo_series
from dewedge.io.programs.deepdewedge import read_deepdewedge
from dewedge.io.programs.imod import STACK_SUFFIXES, has_sidecars, read_imod_series
from dewedge.io.programs.isonet import is_isonet, read_isonet
from dewedge.io.programs.relion import is_relion, is_set, read_relion
from dewedge.io.programs.warp import read_warp_series
from dewedge.io.programs.warp_project import (
    read_warp_entry,
    read_warp_halves,
    read_warp_project,
    xml_of_half,
)
from dewedge.io.star import read_star

VOLUME_SUFFIXES = (*STACK_SUFFIXES, ".rec", ".map")
_SIDECAR_SUFFIXES = (".tlt", ".rawtlt", ".xf", ".xtilt", ".edf", ".defocus")
_TABLE_SUFFIXES = (".star", ".aln", ".settings", ".xml", ".tomostar", ".yaml", ".yml")
# Of all files that anything is read of in a folder.
SUFFIXES = frozenset((*VOLUME_SUFFIXES, *_SIDECAR_SUFFIXES, *_TABLE_SUFFIXES, ".mdoc", ".com", ".txt"))


@dataclass(frozen=True)
class Overrides:
    """Values the user gives against, or besides, the files; and what is kept while all are looked for."""

    pixel_size_A: float | None = None
    axis_angle_deg: float | None = None
    tilt_range: TiltRange | None = None
    faults: list[InputError] | None = None
    notes: list[str] | None = None
    halves: HalvesOfStacks = field(default_factory=HalvesOfStacks)


def entries_of_file(path: Path, overrides: Overrides) -> list[Entry]:
    """What a file stands for, by its suffix: itself, the stack or the other half beside it, or a whole set.

    Raises
    ------
    InputError
        If it is of no known kind or broken, or what it describes is not there.
    """
    suffix = path.suffix.lower()
    if suffix == ".star":
        return _from_star(path, overrides)
    if suffix == ".aln":
        return [aretomo_entry(path, overrides)]
    if suffix == ".settings":
        return read_warp_project(path, overrides.pixel_size_A, overrides.faults, overrides.notes)
    if suffix in (".xml", ".tomostar"):
        with of_input(path.stem):
            return [read_warp_series(path, overrides.pixel_size_A)]
    if suffix in (".yaml", ".yml"):
        return [*read_deepdewedge(path)]
    if suffix == ".mdoc":
        return [_of_mdoc(path, overrides)]
    if suffix in _SIDECAR_SUFFIXES:
        stacks = [p for s in STACK_SUFFIXES if (p := path.with_suffix(s)).is_file()]
        if not stacks:
            raise InputError(f"{path}: no stack {path.stem}.mrc or {path.stem}.st beside it: give the stack")
        return [imod_entry(stacks[0], overrides)]
    if suffix in VOLUME_SUFFIXES:
        return [_from_mrc(path, overrides)]
    raise InputError(
        f"{path}: expected a stack or tomogram (.mrc .st .ali .rec), .mdoc, .tlt, .xf, .aln, .star, .xml, "
        ".tomostar, .settings or .yaml, or a folder of them"
    )


def _from_star(path: Path, overrides: Overrides) -> list[Entry]:
    blocks = read_star(path)
    if is_isonet(blocks) and not any("dewedgeProgram" in table for table in blocks.values()):
        return [*read_isonet(path)]
    if is_relion(blocks):
        return read_relion(path, overrides.pixel_size_A, overrides.faults)
    raise InputError(f"{path}: expected a STAR file of RELION 5's tomograms or tilt series, or of IsoNet2")


def entries_of_set(path: Path, overrides: Overrides) -> list[Entry]:
    """What a STAR file found in a folder holds; nothing if it is of particles, of one tilt series ..."""
    blocks = read_star(path)
    return _from_star(path, overrides) if any(map(is_set, blocks.values())) or is_isonet(blocks) else []


def _from_mrc(path: Path, overrides: Overrides) -> Entry:
    aln = _aln_of(path)
    if is_half(path) and not has_sidecars(path) and not is_stack_of_halves(path):
        other = other_half(path)
        if other is None:
            raise InputError(f"{path}: its other half is missing: expected two files, such as even and odd")
        pair = pair_halves([path, other])[0]
        return halves_entry(pair.name, pair.half0, pair.half1, full_beside(pair.half0, pair.name))
    if aln is not None:
        return aretomo_entry(aln, overrides)
    return imod_entry(path, overrides)


def is_stack_of_halves(path: Path) -> bool:
    """True if angles or an alignment lie beside a half, by the name both halves share."""
    root = without_half(path.stem)
    shared = path.with_name(f"{root}{path.suffix}")
    return (has_sidecars(shared) or path.with_name(f"{root}.aln").is_file()) and not root.endswith("Vol")


def imod_entry(stack: Path, overrides: Overrides) -> SeriesEntry:
    """A stack, or a half of one, with its files beside it."""
    root, whole = stack.stem.removesuffix("_ali"), stack
    if is_half(stack) and not has_sidecars(stack) and is_stack_of_halves(stack):
        root = without_half(stack.stem)
        whole = stack.with_name(f"{root}{stack.suffix}")
    with of_input(root):
        return read_imod_series(
            whole if whole.is_file() else None,
            overrides.halves.of(whole, root),
            root=root,
            axis_angle_deg=overrides.axis_angle_deg,
            pixel_size_A=overrides.pixel_size_A,
        )


def _of_mdoc(path: Path, overrides: Overrides) -> SeriesEntry:
    document = read_mdoc(path)
    names = [path.stem, *([document.image_file] if document.image_file else []), f"{path.stem}.mrc"]
    stacks = [stack for name in names if is_file(stack := path.with_name(name)) and stack != path]
    if not stacks:
        raise InputError(
            f"{path}: no stack {document.image_file or path.stem} beside it: expected the stack; of "
            "movies make the averages first, with motion correction"
        )
    return imod_entry(stacks[0], overrides)


def _aln_of(path: Path) -> Path | None:
    """The alignment X.aln of X.mrc, X_EVN.mrc, X_Vol.mrc or X_EVN_Vol.mrc."""
    root = without_half(path.stem)
    names = (path.stem, root, root.removesuffix("_Vol"))
    return next((aln for name in names if (aln := path.with_name(f"{name}.aln")).is_file()), None)


def aretomo_entry(path: Path, overrides: Overrides) -> Entry:
    """What an .aln is of: the raw stack or its halves, else half tomograms."""
    with of_input(path.stem):
        return _of_aln(path, path.stem, overrides)


def _of_aln(path: Path, root: str, overrides: Overrides) -> Entry:
    stack = next((p for s in STACK_SUFFIXES if (p := path.with_name(f"{root}{s}")).is_file()), None)
    halves = overrides.halves.of(stack or path.with_name(f"{root}.mrc"), root)
    if stack is None and halves is None:
        evn, odd = (path.with_name(f"{root}_{half}_Vol.mrc") for half in ("EVN", "ODD"))
        for half, other in ((evn, odd), (odd, evn)):
            if half.is_file() and not other.is_file():
                raise InputError(f"{half}: its other half {other.name} is missing")
        if evn.is_file():
            full = path.with_name(f"{root}_Vol.mrc")
            return read_aretomo_halves(path, evn, odd, full if full.is_file() else None)
    return read_aretomo_series(path, stack, halves, pixel_size_A=overrides.pixel_size_A)


def warp_entry(path: Path, overrides: Overrides) -> Entry:
    """What an .xml or .tomostar that lies in a folder is of."""
    with of_input(path.stem):
        return read_warp_entry(path, overrides.pixel_size_A)


def halves_entry(name: str, half0: Path, half1: Path, full: Path | None) -> HalvesEntry:
    """Two half tomograms, with what an .aln or Warp's .xml of their series tells of them."""
    aln, xml = _aln_of(half0), xml_of_half(half0)
    if aln is not None:
        return read_aretomo_halves(aln, half0, half1, full, aln.stem)
    if xml is not None:
        return read_warp_halves(xml, half0, half1)
    return HalvesEntry(
        name=name,
        program="names",
        path=half0,
        half0=half0,
        half1=half1,
        full=full,
        notes=("paired by name",),
    )


def full_beside(half0: Path, name: str) -> Path | None:
    """The full tomogram beside a half, if there is one: the name without the half."""
    full = half0.with_name(f"{name}{half0.suffix}")
    return full if full.is_file() and full != half0 else None
