"""The folder of a run: names of its files, and what may be done in one that is not empty."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dewedge.errors import InputError
from dewedge.io.files import unwritable
from dewedge.settings.file import resolve_config
from dewedge.settings.sections import Config

CONFIG = "config.toml"
LOG = "dewedge.log"
MODEL = "model.safetensors"
CHECKPOINT = "checkpoint.safetensors"
LOSS_TABLE = "loss.csv"
LOSS_FIGURE = "loss.png"
HALF0 = "half0.mrc"
HALF1 = "half1.mrc"
FULL = "full.mrc"
BEADS = "beads.mrc"
MASK = "mask.mrc"
REFINED = "refined.mrc"
# Of a comparison: each half-set alone.
REFINED_HALF0 = "refined_half0.mrc"
REFINED_HALF1 = "refined_half1.mrc"
SLICES = "slices.png"

# From the first that is written to the last.
OF_FIT = (CHECKPOINT, LOSS_TABLE, LOSS_FIGURE, MODEL)
OF_TOMOGRAM = (HALF0, HALF1, BEADS, FULL, MASK, *OF_FIT, REFINED, REFINED_HALF0, REFINED_HALF1, SLICES)

# Keys that a resumed run may change: where the results lie, where it is computed, when the fit ends.
FREE_KEYS = {"output", "compute", "no_check", "fit.epochs", "fit.budget", "fit.patience"}


def tomogram_folders(output: Path, names: list[str], several: bool) -> list[Path]:
    """Where the results of each tomogram go: a folder each in ``output`` if ``several``, else itself."""
    return [output / name for name in names] if several else [output]


def check_output(
    output: Path,
    folders: list[Path],
    config: Config,
    resume: bool,
    overwrite: bool,
    sources: Sequence[Path] = (),
) -> None:
    """Refuse a folder that holds another run, or an input under the name of a result; change nothing.

    Raises
    ------
    InputError
        If the folder holds a run and neither ``resume`` nor ``overwrite`` is given, or ``resume`` is and that
        run had another configuration, or there is nothing to resume.
    """
    if resume and overwrite:
        raise InputError("expected --resume or --overwrite, got both")
    refuse_sources(_all_files(output, folders), sources)
    found = [path for path in _all_files(output, folders) if path.exists()]
    if resume:
        if not (output / CONFIG).is_file():
            raise InputError(f"{output}: nothing to resume: expected a {CONFIG} of an earlier run")
        difference = first_difference(resolve_config(output / CONFIG, {}), config)
        if difference is not None:
            raise InputError(
                f"{output / CONFIG}: {difference}; resume with the same configuration, or give --overwrite"
            )
    elif found and not overwrite:
        raise InputError(
            f"{output}: already holds a run ({found[0].relative_to(output)}): give --resume to continue it, "
            "--overwrite to replace it, or another folder"
        )


def clear_output(output: Path, folders: list[Path], keep: bool) -> None:
    """Remove what a killed run left half-written and, unless ``keep``, all results of an earlier run."""
    try:
        for path in _all_files(output, folders):
            for temporary in path.parent.glob(f".{path.stem}.*{path.suffix}"):
                temporary.unlink()
            if not keep:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(error.filename or output, error) from None


def _all_files(output: Path, folders: list[Path]) -> list[Path]:
    files = [output / name for name in (CONFIG, *OF_FIT)]
    return files + [folder / name for folder in folders for name in OF_TOMOGRAM]


def first_difference(then: Config, now: Config) -> str | None:
    """The first key, if any, in which a configuration differs that a resumed run may not change."""
    old, new = (_flat(config.model_dump(mode="json")) for config in (then, now))
    for key in new:
        free = key in FREE_KEYS or key.partition(".")[0] in FREE_KEYS
        if not free and old[key] != new[key]:
            return f"the run there has {key} = {old[key]!r}, not {new[key]!r}"
    return None


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{name}": item for name, item in value.items()}
        else:
            flat[key] = value
    return flat


def refuse_sources(results: Sequence[Path], sources: Sequence[Path]) -> None:
    """Refuse results that would replace an input."""
    # Path.resolve raises where links lead round; then writing tells.
    inputs = {os.path.realpath(path) for path in sources}
    for path in results:
        if os.path.realpath(path) in inputs:
            raise InputError(f"{path}: is an input that a result would replace: give another output")


def check_new(paths: Sequence[Path], overwrite: bool) -> None:
    """Refuse files that exist, unless they may be overwritten."""
    for path in paths:
        if path.exists() and not overwrite:
            raise InputError(f"{path}: exists already: give --overwrite to replace it, or another output")
