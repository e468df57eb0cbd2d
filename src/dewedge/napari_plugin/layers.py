"""Volumes of a run as layers of napari, which need not be installed for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dewedge.io.half_precision import read_result
from dewedge.report.figure import grey_limits
from dewedge.runtime.folder import ResultFolder, is_newer

# Of a layer: its data, the arguments it is made with, its type.
LayerData = tuple[Any, dict[str, Any], str]

# Of what is laid over a tomogram, which is seen through it where it is zero. Colours are R, G, B and opacity.
_SIGNED = {
    "name": "dewedge signed",
    "colors": np.array([[0.1, 0.5, 1, 1], [0.1, 0.5, 1, 0], [1, 0.3, 0.1, 0], [1, 0.3, 0.1, 1]]),
    "controls": [0, 0.5, 0.5, 1],
}
_UNSURE = {"name": "dewedge unsure", "colors": np.array([[1, 0.6, 0, 0], [1, 0.6, 0, 1]])}
_OPACITY = 0.7


def tomogram_layers(folder: ResultFolder) -> dict[str, LayerData]:
    """Layers of one tomogram of a run, by the stems of their files, the lowest first.

    They are the reconstruction, the result if it is there, and, not visible, what `dewedge trust` made of
    that result; of an earlier one they are left out.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    layers = {folder.full.stem: volume_layer(folder.full)}
    if folder.result.exists():
        layers[folder.result.stem] = volume_layer(folder.result)
        for path in map(folder.kept, folder.judged):
            if is_newer(path, folder.result):
                layers[path.stem] = volume_layer(path)
                layers[path.stem][1]["visible"] = False
    return layers


def volume_layer(path: Path) -> LayerData:
    """``(z, y, x)`` volume as a layer, in Angstrom where its voxel size is known.

    The data stay in the file: of MRC they are memory-mapped, of Zarr read by chunks. All that is read are the
    middle xy and xz sections, for the greys.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    volume = read_result(path)
    depth, height, _ = volume.data.shape
    middle = [volume.data[depth // 2], volume.data[:, height // 2]]
    options: dict[str, Any] = {
        "name": f"{path.absolute().parent.name}: {path.stem}",
        # Given, so that napari does not read all of it to find out.
        "multiscale": False,
        "rgb": False,
        "axis_labels": ("z", "y", "x"),
    }
    if volume.voxel_size_A is not None:
        options["scale"] = (volume.voxel_size_A,) * 3
        options["translate"] = volume.origin_xyz_A[::-1]
        options["units"] = ("angstrom",) * 3
    return volume.data, options | _colours(path, grey_limits(middle)), "image"


def _colours(path: Path, limits: tuple[float, float]) -> dict[str, Any]:
    """Colours of a volume: blue and red of what has a sign, orange where it is not sure, else grey."""
    folder = ResultFolder(path.parent)
    if path.with_suffix(".mrc") == folder.uncertainty:
        return {"colormap": _UNSURE, "contrast_limits": (0.0, limits[1]), "opacity": _OPACITY}
    if path.with_suffix(".mrc") in (folder.added, folder.fits_difference):
        most = max(map(abs, limits))
        return {"colormap": _SIGNED, "contrast_limits": (-most, most), "opacity": _OPACITY}
    return {"colormap": "gray", "contrast_limits": limits}
