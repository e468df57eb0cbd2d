"""The weights that a fit starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

import dewedge
from dewedge.errors import InputError
from dewedge.learn.checkpoint import load_model
from dewedge.pipeline.given_model import require_model_voxel
from dewedge.settings.fit import FitSection

SIMULATED_WEIGHTS = Path(dewedge.__file__).parent / "weights" / "simulated.safetensors"


def initial_path(section: FitSection) -> Path | None:
    """Path of the model whose weights the fit starts from; None for random ones."""
    if section.init == "random":
        return None
    return SIMULATED_WEIGHTS if section.init == "simulated" else Path(section.init)


def initial_files(section: FitSection) -> list[Path]:
    """The file that the fit starts from, if any."""
    path = initial_path(section)
    return [] if path is None else [path]


def initial_weights(section: FitSection) -> dict[str, Tensor] | None:
    """Read the weights that the fit starts from, by name; None for random ones.

    Raises
    ------
    InputError
        If the file cannot be read or holds the weights of another network than the one to be fitted.
    """
    path = initial_path(section)
    if path is None:
        return None
    model = load_model(path)
    there = asdict(model.network)
    for name, value in asdict(section.network()).items():
        if not name.startswith("dropout") and there[name] != value:
            raise InputError(
                f"{path}: its network has {name} = {there[name]}, the one to be fitted {value}; fit the same "
                "network (--preset, --channels), or give --init random"
            )
    return model.weights


def require_initial_voxel(section: FitSection, sizes_A: Mapping[str, float | None]) -> None:
    """Refuse weights to start from that `require_model_voxel` refuses, with the same parameters."""
    require_model_voxel(initial_path(section), sizes_A)
