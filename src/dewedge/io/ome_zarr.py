"""Volumes as OME-Zarr: read from version 0.4 (Zarr 2) and 0.5 (Zarr 3), written as 0.5, with a pyramid."""

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
    read_text,
    require_inside,
    require_store,
    reserve,
    unwritable,
)
from dewedge.io.mrc import own_label
from dewedge.io.nested import parse_json
from dewedge.io.volume_file import ZARR_SUFFIX, VolumeFile, VolumeWriter, file_of
from dewedge.io.zarr_array import ZarrArray, zarr_at_hand

_A_PER_UNIT = {"angstrom": 1.0, "nanometer": 10.0, "micrometer": 1e4, "picometer": 0.01}
_MOST_LABELS = 10
# Edges of what is compressed as one, and of what is one file; as those of neuroglancer and of our cubes.
_CHUNK, _SHARD = 64, 256
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
) -> Iterator[VolumeWriter]:
    """Write an OME-Zarr image of float32 piece by piece, as `dewedge.io.mrc.create_mrc` writes an MRC file.

    What is assigned waits in a nameless file of the same folder until the block ends, for pieces need not
    be chunks and may be assigned twice.
    """
    path = Path(path)
    if file_of(path) != path:
        raise UnwritableError(
            f"{path}: cannot be written: expected a name that ends in {ZARR_SUFFIX}, of no level"
        )
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
        write_zarr(path, data, voxel_size_A, origin_xyz_A=origin_xyz_A, labels=labels, what=what)


def write_zarr(
    path: StrPath,
    array: NDArray[Any],
    voxel_size_A: float | None,
    *,
    origin_xyz_A: tuple[float, float, float] = (0.0, 0.0, 0.0),
    labels: Sequence[str] = (),
    what: str = "",
) -> None:
    """Write a ``(z, y, x)`` array as OME-Zarr 0.5 of float32, shard by shard.

    Levels halve, each voxel the mean of 2 x 2 x 2, until no axis has more than 64; of an odd number of voxels
    the last one is left out. The store gets its name when it is complete. Parameters and errors as
    `dewedge.io.mrc.create_mrc`.
    """
    path = Path(path)
    with zarr_at_hand(path):
        import zarr
        from zarr.codecs import BloscCodec
    shapes = pyramid_shapes(array.shape)
    image = _described(path.stem, shapes, voxel_size_A, origin_xyz_A)
    attributes = {"ome": image, "dewedge": {"labels": [*labels, own_label(what)][-_MOST_LABELS:]}}
    reserve(path, 4 * math.prod(array.shape))
    with atomic_folder(path) as temporary, ExitStack() as levels:
        zarr.create_group(temporary, attributes=attributes)
        source = array
        for level, shape in enumerate(shapes):
            if level > 0:
                coarser = levels.enter_context(_scratch(path, shape))
                _halve(source, coarser)
                source = coarser
            target = zarr.create_array(
                temporary / str(level),
                shape=shape,
                dtype="float32",
                chunks=(_CHUNK,) * 3,
                shards=(_SHARD,) * 3,
                compressors=BloscCodec(cname="zstd", clevel=_LEVEL, shuffle="shuffle"),
                dimension_names=("z", "y", "x"),
            )
            # Shard by shard: a smaller piece would have its shard read, decoded and written again.
            for corner in product(*(range(0, n, _SHARD) for n in shape)):
                box = tuple(slice(start, start + _SHARD) for start in corner)
                target[box] = np.asarray(source[box], dtype=np.float32)


def pyramid_shapes(shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Shapes of the levels of a volume, the finest first; an axis of one voxel stays."""
    shapes = [tuple(int(n) for n in shape)]
    while max(shapes[-1]) > _SMALLEST:
        shapes.append(tuple(max(n // 2, 1) for n in shapes[-1]))
    return shapes


@contextmanager
def _scratch(path: Path, shape: Sequence[int]) -> Iterator[NDArray[np.float32]]:
    """Zeros in a file without a name in the folder of ``path``, so that nothing is left of it."""
    n_bytes = 4 * math.prod(int(n) for n in shape)
    try:
        reserve(path, n_bytes)
        with tempfile.NamedTemporaryFile(dir=path.parent) as file:
            file.truncate(n_bytes)
            allocate(file.name)
            yield np.memmap(file, np.float32, "r+", shape=tuple(int(n) for n in shape))
    except OSError as error:
        raise unwritable(path, error) from None


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
) -> dict[str, Any]:
    """Axes and places of all levels, as the specification has them."""
    from yaozarrs import v05

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
            v05.ScaleTransformation(scale=[size * factor for factor in factors]),
            v05.TranslationTransformation(translation=place),
        ]
        datasets.append(v05.Dataset(path=str(level), coordinateTransformations=transformations))
    multiscale = v05.Multiscale(
        name=name,
        axes=[v05.SpaceAxis(name=axis, unit="angstrom" if known else None) for axis in "zyx"],
        datasets=datasets,
        type="mean",
        metadata={"method": "mean of 2 x 2 x 2 voxels", "version": f"dewedge {dewedge.__version__}"},
    )
    described: dict[str, Any] = v05.Image(multiscales=[multiscale]).model_dump(mode="json", exclude_none=True)
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
