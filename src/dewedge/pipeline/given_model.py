"""A model of an earlier fit that a run applies, instead of fitting one."""

from __future__ import annotations

import filecmp
import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dewedge.check.volumes import check_model_voxel, require_sound
from dewedge.errors import InputError
from dewedge.io.files import atomic_path
from dewedge.learn.checkpoint import load_model
from dewedge.learn.network import PRESETS
from dewedge.settings.sections import Config

logger = logging.getLogger(__name__)


def with_model(config: Config) -> Config:
    """The configuration with network and cubes of the model that is applied, if one is, nothing held out.

    Raises
    ------
    InputError
        If there is no such model, or the configuration asks for a fit, too.
    """
    if config.model is None:
        return config
    if config.fit_on or config.fit_each:
        raise InputError("--model: no network is fitted: expected neither --fit-on nor --fit-each")
    model = load_model(config.model)
    update: dict[str, object] = {"cube_size": model.cube_size, "held_out": 0.0}
    network = model.network
    own: dict[str, Any] = {name: getattr(network, name) for name in ("channels", "dropout", "dropout_of")}
    preset = next((name for name, preset in PRESETS.items() if replace(preset, **own) == network), None)
    # Of none of these, such as an older network, memory and time are forecast as of the default.
    if preset is not None:
        update |= {"preset": preset, **own}
    return config.model_copy(update={"fit": config.fit.model_copy(update=update)})


def require_model_voxel(path: Path | None, sizes_A: Mapping[str, float | None]) -> None:
    """Refuse a model that was fitted to tomograms of another voxel size.

    Parameters
    ----------
    path
        Of the model; None for no model.
    sizes_A
        Edges in Angstrom of the voxels of the tomograms it is applied to, by their names.

    Raises
    ------
    InputError
        If one differs; what is not known fits.
    """
    if path is None:
        return
    fitted_A = load_model(path).voxel_size_A
    require_sound([found for item in sizes_A.items() for found in check_model_voxel(*item, fitted_A)])


def copy_model(source: Path, path: Path) -> None:
    """Put the model where a run keeps its own; the same one stays, as what it refined does.

    Errors as `dewedge.io.files.atomic_path`.
    """
    logger.info("no network is fitted: that of %s is applied", source)
    if not path.exists() or not filecmp.cmp(source, path, shallow=False):
        with atomic_path(path) as temporary:
            shutil.copyfile(source, temporary)
