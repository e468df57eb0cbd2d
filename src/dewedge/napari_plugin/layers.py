"""Volumes of a run as layers of napari, which need not be installed for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dewedge.io.formats import read_volume
from dewedge.report.figure import grey_limits
from dewedge.runtime.folder import ResultFolder, is_newer

# Of a layer: its data, the arguments it is made with, its type.
LayerData = tuple[Any, dict[str, Any], str]

# From blue to red, R, G, B and opacity: one sees through it where the volume is zero.
_SIGNED = {
    "name": "dewedge signed",
    "colors": np.array([[0.1, 0.5, 1, 1], [0.1, 0.5, 1, 0], [1, 0.3, 0.1, 0], [1, 0.3, 0.1, 1]]),
    "controls": [0, 0.5, 0.5, 1],
}


def tomogram_layers(folder: ResultFolder) -> dict[Path, LayerData]:
    """Layers of one tomogram of a run, by their files, the lowest first.

    They are the reconstruction, the result if it is there, and, not visible, what `dewedge trust` made of
    that result; of an earlier one they are left out.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    shown = [folder.full, *filter(Path.exists, [folder.result])]
    hidden = [path for path in _trusted(folder) if folder.result.exists() and is_newer(path, folder.result)]
    layers = {path: volume_layer(path) for path in [*shown, *hidden]}
    for path in hidden:
        layers[path][1]["visible"] = False
    return layers


def volume_layer(path: Path) -> LayerData:
    """A ``(z, y, x)`` volume as a layer, in Angstrom where its voxel size is known.

    The data stay in the file: of MRC they are memory-mapped, of Zarr read by chunks. All that is read are the
    middle xy and xz sections, for the greys.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    volume = read_volume(path)
    depth, height, _ = volume.data.shape
    middle = [volume.data[depth // 2], volume.data[:, height // 2]]
    options: dict[str, Any] = {
        "name": f"{path.absolute().parent.name}: {path.stem}",
        # Else napari reads all of it to find out.
        "contrast_limits": grey_limits(middle),
        "multiscale": False,
        "rgb": False,
    }
    if volume.voxel_size_A is not None:
        options["scale"] = (volume.voxel_size_A,) * 3
        options["translate"] = volume.origin_xyz_A[::-1]
        options["units"] = ("angstrom",) * 3
    return volume.data, options | _colours(path, options["contrast_limits"]), "image"


def _trusted(folder: ResultFolder) -> list[Path]:
    """Volumes that `dewedge trust` writes."""
    return [folder.measured, folder.added, folder.fits_difference, folder.uncertainty]


def _colours(path: Path, limits: tuple[float, float]) -> dict[str, Any]:
    """Colours of what is laid over a tomogram; others are grey."""
    folder = ResultFolder(path.parent)
    if path == folder.uncertainty:
        return {"colormap": "magma", "blending": "additive", "contrast_limits": (0.0, limits[1])}
    if path in (folder.added, folder.fits_difference):
        most = max(map(abs, limits))
        return {"colormap": _SIGNED, "contrast_limits": (-most, most)}
    return {"colormap": "gray"}
