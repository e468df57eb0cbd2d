"""The reader of napari: folders of runs, and the volumes that dewedge writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from dewedge.errors import InputError
from dewedge.io.formats import read_volume
from dewedge.io.volume_file import is_zarr
from dewedge.napari_plugin.layers import LayerData, tomogram_layers, volume_layer
from dewedge.runtime.folder import ResultFolder, tomograms_of

PathLike = str | Path
Reader = Callable[[PathLike | Sequence[PathLike]], list[LayerData]]


def get_reader(path: PathLike | Sequence[PathLike]) -> Reader | None:
    """Find what reads a path for napari; None for what dewedge has not written, and for a stack of paths."""
    if not isinstance(path, str | Path):
        return None
    path = Path(path)
    try:
        if path.is_dir() and not is_zarr(path):
            folders = run_tomograms(path)
            return lambda _: _run_layers(path, folders)
        if any(label.startswith("dewedge ") for label in read_volume(path).labels):
            return lambda _: [volume_layer(path)]
    except InputError:
        # Another reader may know what it is.
        return None
    return None


def run_tomograms(path: Path) -> list[ResultFolder]:
    """Folders of the tomograms of a run; of the folder of one tomogram among several, that alone.

    Raises
    ------
    InputError
        If it is neither.
    """
    try:
        return tomograms_of(path)
    except InputError:
        run = ResultFolder(path.absolute().parent)
        if not (run.config_file.is_file() and ResultFolder(path).full.is_file()):
            raise
        return [ResultFolder(path)]


def _run_layers(path: Path, folders: Sequence[ResultFolder]) -> list[LayerData]:
    if len(folders) > 1:
        raise InputError(
            f"{path}: {len(folders)} tomograms: open the folder of one, such as {folders[0].name}, or choose "
            "among them in the widget (Plugins, dewedge)"
        )
    return list(tomogram_layers(folders[0]).values())
