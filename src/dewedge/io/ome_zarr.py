"""Volumes as OME-Zarr 0.4 (Zarr 2) and 0.5 (Zarr 3), with a pyramid of coarser levels."""

from __future__ import annotations

import math
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dewedge
from dewedge import limits
from dewedge.errors import InputError, UnwritableError, printable, reason, shown
from dewedge.io.files import (
    StrPath,
    allocate,
    atomic_folder,
    require_inside,
    require_store,
    reserve,
    unwritable,
)
from dewedge.io.mrc import own_label
from dewedge.io.nested import parse_json
from dewedge.io.text_files import read_text
from dewedge.io.volume_file import VolumeFile, VolumeWriter, ZarrVersion, file_of
from dewedge.io.zarr_array import ZarrArray, zarr_at_hand

_A_PER_UNIT = {"angstrom": 1.0, "nanometer": 10.0, "micrometer": 1e4, "picometer": 0.01}
_MOST_LABELS = 10
# Largest edge of what is compressed as one, and how many of it along an axis are one file: one in Zarr 2.
_CHUNKS: dict[ZarrVersion, tuple[int, int]] = {"0.4": (128, 1), "0.5": (64, 4)}
# The coarsest level fits a cube of this edge.
_SMALLEST = 64
_LEVEL = 3  # of compression


def read_zarr(path: StrPath) -> VolumeFile:
    """Open an OME-Zarr image, of which voxels are read when they are asked for.

    Parameters
    ----------
    path
        The store, ``X.zarr``, of whose levels the finest is taken; or one of its levels, ``X.zarr/1``.

    Raises
    ------
    InputError
        If it is no OME-Zarr image 0.4 or 0.5, has other axes than z, y, x of space or voxels that are not
        cubic, or an array that is not to be trusted (`dewedge.io.zarr_array`).
    """
    path = Path(path)
    store = file_of(path)
    if not store.is_dir():
        raise InputError(
            f"{store}: no such Zarr store" if not store.exists() else f"{store}: expected a folder"
        )
    image, group, level, attributes = _image(path, store)
    multiscale = image.multiscales[0]
    names = [(axis.name, axis.type) for axis in multiscale.axes]
    if names != [(name, "space") for name in "zyx"]:
        raise InputError(
            f"{group}: axes {shown([name for name, _ in names])}: expected z, y, x, all of space"
        )
    levels = {dataset.path: dataset for dataset in multiscale.datasets}
    if level is not None and level not in levels:
        raise InputError(f"{path}: no level of {group}: expected one of {shown(list(levels))}")
    chosen = levels[level] if level is not None else multiscale.datasets[0]
    inner = PurePosixPath(chosen.path)
    if inner.is_absolute() or ".." in inner.parts or "\\" in chosen.path or "\0" in chosen.path:
        raise InputError(f"{group}: level {shown(chosen.path)}: expected a folder in it")
    voxel_size_A, origin_xyz_A = _placed(group, multiscale, chosen)
    data: Any = ZarrArray(group / inner, store)
    return VolumeFile(path, data, voxel_size_A, origin_xyz_A, _labels(attributes))


@contextmanager
def create_zarr(
    path: StrPath,
    shape: Sequence[int],
    voxel_size_A: float | None,
    *,
    origin_xyz_A: tuple[float, float, float] = (0.0, 0.0, 0.0),
    labels: Sequence[str] = (),
    what: str = "",
    version: ZarrVersion = "0.5",
) -> Iterator[VolumeWriter]:
    """Write an OME-Zarr image of float32 piece by piece, as `dewedge.io.mrc.create_mrc` writes an MRC file.

    What is assigned waits in a nameless file of the same folder until the block ends, for pieces need not be
    chunks and may be assigned twice. Parameters and errors as `dewedge.io.mrc.create_mrc`; ``version`` as of
    `write_zarr`.
    """
    path = Path(path)
    if file_of(path) != path:
        raise UnwritableError(f"{path}: cannot be written: expected the name of a store, not of a level")
    with zarr_at_hand(path):
        import yaozarrs  # noqa: F401
        import zarr  # noqa: F401
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from None
    require_store(path)
    with _scratch(path, shape) as data:
        yield VolumeWriter(data)
        write_zarr(
            path, data, voxel_size_A, origin_xyz_A=origin_xyz_A, labels=labels, what=what, version=version
        )


def write_zarr(
    path: StrPath,
    array: NDArray[Any],
    voxel_size_A: float | None,
    *,
    origin_xyz_A: tuple[float, float, float] = (0.0, 0.0, 0.0),
    labels: Sequence[str] = (),
    what: str = "",
    version: ZarrVersion = "0.5",
) -> None:
    """Write a ``(z, y, x)`` array as OME-Zarr of float32, file by file.

    Version 0.5 has shards, files of several chunks; 0.4 is what programs with zarr 2 read, copick among them.
    Levels halve, each voxel the mean of 2 x 2 x 2, until no axis has more than 64; of an odd number of voxels
    the last one is left out. The store gets its name when it is complete. Parameters and errors as
    `dewedge.io.mrc.create_mrc`.
    """
    path = Path(path)
    with zarr_at_hand(path):
        import zarr
    shapes = pyramid_shapes(array.shape)
    image = _described(path.stem, shapes, voxel_size_A, origin_xyz_A, version)
    attributes = {"dewedge": {"labels": [*labels, own_label(what)][-_MOST_LABELS:]}}
    attributes |= image if version == "0.4" else {"ome": image}
    with atomic_folder(path) as temporary, ExitStack() as levels:
        reserve(path, 4 * math.prod(array.shape))
        zarr.create_group(temporary, attributes=attributes, zarr_format=2 if version == "0.4" else 3)
        source = array
        for level, shape in enumerate(shapes):
            if level > 0:
                coarser = levels.enter_context(_scratch(path, shape))
                _halve(source, coarser)
                source = coarser
            target = _created(temporary / str(level), shape, version)
            # A file at a time: a smaller piece would have it read, decoded and written again.
            edges = target.shards or target.chunks
            for corner in product(*(range(0, n, edge) for n, edge in zip(shape, edges, strict=True))):
                box = tuple(slice(start, start + edge) for start, edge in zip(corner, edges, strict=True))
                target[box] = np.asarray(source[box], dtype=np.float32)


def _created(path: Path, shape: Sequence[int], version: ZarrVersion) -> Any:
    import zarr
    from zarr.codecs import BloscCodec

    largest, per_file = _CHUNKS[version]
    chunks = tuple(min(largest, n) for n in shape)
    shards = tuple(per_file * n for n in chunks)
    options: dict[str, Any] = {"zarr_format": 3, "shards": shards, "dimension_names": ("z", "y", "x")}
    compressor: Any = BloscCodec(cname="zstd", clevel=_LEVEL, shuffle="shuffle")
    if version == "0.4":
        from numcodecs import Blosc

        options = {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}, "fill_value": 0}
        compressor = Blosc("zstd", clevel=_LEVEL, shuffle=Blosc.SHUFFLE)
    return zarr.create_array(
        path, shape=shape, dtype="float32", chunks=chunks, compressors=compressor, **options
    )


def pyramid_shapes(shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Shapes of the levels of a volume, the finest first; an axis of one voxel stays.

    Examples
    --------
    >>> pyramid_shapes((96, 257, 256))
    [(96, 257, 256), (48, 128, 128), (24, 64, 64)]
    """
    shapes = [tuple(int(n) for n in shape)]
    while max(shapes[-1]) > _SMALLEST:
        shapes.append(tuple(max(n // 2, 1) for n in shapes[-1]))
    return shapes


@contextmanager
def _scratch(path: Path, shape: Sequence[int]) -> Iterator[NDArray[np.float32]]:
    """Zeros in a file without a name in the folder of ``path``, so that nothing is left of it."""
    n_bytes = 4 * math.prod(int(n) for n in shape)
    reserve(path, n_bytes)
    with ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.TemporaryFile(dir=path.parent))
            file.truncate(n_bytes)
            allocate(file.fileno())
            data = np.memmap(file, np.float32, "r+", shape=tuple(int(n) for n in shape))
        except OSError as error:
            raise unwritable(path, error) from None
        yield data


def _halve(source: NDArray[Any], target: NDArray[np.float32]) -> None:
    """Assign means of 2 x 2 x 2 voxels of a finer level; along an axis of one, of that one."""
    steps = [2 if n > 1 else 1 for n in source.shape]
    _, height, width = target.shape
    for z, section in enumerate(target):
        slab = np.asarray(source[z * steps[0] : (z + 1) * steps[0]], dtype=np.float32)
        slab = slab[:, : height * steps[1], : width * steps[2]]
        section[...] = slab.reshape(-1, height, steps[1], width, steps[2]).mean(axis=(0, 2, 4))


def _described(
    name: str,
    shapes: Sequence[Sequence[int]],
    voxel_size_A: float | None,
    origin_xyz_A: tuple[float, float, float],
    version: ZarrVersion,
) -> dict[str, Any]:
    """Axes and places of all levels, as the specification has them."""
    from yaozarrs import v04, v05

    models: Any = v04 if version == "0.4" else v05
    known = voxel_size_A is not None
    size, origin = (voxel_size_A or 1.0), (origin_xyz_A[::-1] if known else (0.0, 0.0, 0.0))
    datasets, factors = [], [1, 1, 1]
    for level in range(len(shapes)):
        if level > 0:
            finer = shapes[level - 1]
            factors = [factor * (2 if n > 1 else 1) for factor, n in zip(factors, finer, strict=True)]
        # The middle of a voxel is that of the block of voxels it is the mean of.
        place = [first + (factor - 1) / 2 * size for first, factor in zip(origin, factors, strict=True)]
        transformations: list[Any] = [
            models.ScaleTransformation(scale=[size * factor for factor in factors]),
            models.TranslationTransformation(translation=place),
        ]
        datasets.append(models.Dataset(path=str(level), coordinateTransformations=transformations))
    multiscale = models.Multiscale(
        name=name,
        axes=[models.SpaceAxis(name=axis, unit="angstrom" if known else None) for axis in "zyx"],
        datasets=datasets,
        type="mean",
        metadata={"method": "mean of 2 x 2 x 2 voxels", "version": f"dewedge {dewedge.__version__}"},
    )
    described: dict[str, Any] = models.Image(multiscales=[multiscale]).model_dump(
        mode="json", exclude_none=True
    )
    return described


def _image(path: Path, store: Path) -> tuple[Any, Path, str | None, dict[str, Any]]:
    """The image that a path is of, the folder of its group, the level that is named, and attributes."""
    with zarr_at_hand(path):
        import zarr  # noqa: F401, as its arrays need it
        from yaozarrs import v04, v05
    depth = len(path.parts) - len(store.parts)
    for group in [path, *path.parents][: depth + 1]:
        attributes = _attributes(group, store)
        of_new = attributes.get("ome")
        values, model = (of_new, v05.Image) if isinstance(of_new, dict) else (attributes, v04.Image)
        if "multiscales" not in values:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what should be, but need not
                image = model.model_validate(values)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{group}: not OME-Zarr 0.4 or 0.5: {_first_fault(error)}") from None
        level = None if group == path else path.relative_to(group).as_posix()
        return image, group, level, attributes
    raise InputError(f"{path}: no OME-Zarr image there: expected a group with multiscales")


def _attributes(group: Path, store: Path) -> dict[str, Any]:
    """Attributes of a Zarr group of either format; none if there is no such group."""
    for name in ("zarr.json", ".zattrs"):
        file = group / name
        if file.is_file():
            require_inside(file, store)
            values = parse_json(file, read_text(file))
            found = values.get("attributes") if isinstance(values, dict) and name == "zarr.json" else values
            return found if isinstance(found, dict) else {}
    return {}


def _first_fault(error: Exception) -> str:
    """What a model says first of values that do not fit it."""
    faults = error.errors() if hasattr(error, "errors") else []
    if not faults:
        return reason(error)
    place = ".".join(map(str, faults[0]["loc"]))
    return printable(f"{place[: limits.SHOWN]}: {faults[0]['msg'][: 2 * limits.SHOWN]}")


def _placed(group: Path, multiscale: Any, dataset: Any) -> tuple[float | None, tuple[float, float, float]]:
    """Voxel size and origin of a level in Angstrom; None and zeros where no unit is told."""
    units = [axis.unit for axis in multiscale.axes]
    if any(unit is None for unit in units):
        return None, (0.0, 0.0, 0.0)
    if any(unit not in _A_PER_UNIT for unit in units):
        raise InputError(f"{group}: units {shown(units)}: expected one of {', '.join(_A_PER_UNIT)}")
    scale, origin = np.ones(3), np.zeros(3)
    for transformation in [*dataset.coordinateTransformations, *(multiscale.coordinateTransformations or [])]:
        if transformation.type == "scale":
            factors = np.array(transformation.scale, dtype=np.float64)
            scale, origin = scale * factors, origin * factors
        else:
            origin = origin + np.array(transformation.translation, dtype=np.float64)
    to_A = np.array([_A_PER_UNIT[unit] for unit in units])
    with np.errstate(all="ignore"):
        scale, origin = scale * to_A, origin * to_A
    low, high = limits.LENGTH_A
    if not np.all((scale >= low) & (scale <= high)):
        return None, (0.0, 0.0, 0.0)
    if scale.max() > 1.01 * scale.min():
        text = " x ".join(f"{size:g}" for size in scale)
        raise InputError(
            f"{group}: voxels of {text} A (z first): expected the same size along every axis; resample"
        )
    if not (np.abs(origin) <= limits.NUMBER).all():
        origin = np.zeros(3)
    z, y, x = origin.tolist()
    return float(scale[2]), (x, y, z)


def _labels(attributes: dict[str, Any]) -> tuple[str, ...]:
    """The labels of a volume that dewedge has written."""
    own = attributes.get("dewedge")
    labels = own.get("labels") if isinstance(own, dict) else None
    if not isinstance(labels, list):
        return ()
    return tuple(
        printable(label)[: limits.SHOWN] for label in labels[:_MOST_LABELS] if isinstance(label, str)
    )
