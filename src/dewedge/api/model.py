"""The fit of a network to half-sets, and the fitted model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray

from dewedge.api.tomogram import Halves, Tomogram, TomogramLike, as_halves, as_tomogram, tilt_keys
from dewedge.check.volumes import check_model_voxel, check_voxel_sizes, require_sound
from dewedge.errors import InputError
from dewedge.geometry import TiltRange, TiltRangeLike
from dewedge.inputs.entries import ranges_given
from dewedge.inputs.mask import find_specimen
from dewedge.inputs.run_input import Mask
from dewedge.io.files import StrPath
from dewedge.io.formats import create_volume
from dewedge.learn import checkpoint
from dewedge.learn.loss_curve import EpochRow
from dewedge.learn.network import UNet
from dewedge.learn.objective import OBJECTIVES
from dewedge.learn.pairs import TomogramPair
from dewedge.learn.state import FitState
from dewedge.pipeline.fit import fit_pairs, require_one_fit
from dewedge.pipeline.initial import require_initial_voxel
from dewedge.pipeline.refine import refine_arrays
from dewedge.pipeline.resources import require_fit_memory, require_refine_memory
from dewedge.runtime.devices import launched, started_processes
from dewedge.runtime.folder import refuse_sources, require_new
from dewedge.settings.file import resolve_options
from dewedge.settings.fit import FitSection
from dewedge.settings.sections import ComputeSection, TileSection, TomogramsSection

PairLike = Halves | tuple[TomogramLike, TomogramLike] | tuple[TomogramLike, TomogramLike, TomogramLike]
MaskLike = NDArray[Any] | StrPath


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A fitted network, which knows all that a refinement needs.

    Parameters
    ----------
    fitted
        Weights, network, grey scale and tilt range.
    """

    fitted: checkpoint.Model

    @property
    def tilt_range(self) -> TiltRange:
        """Lowest and highest tilt angle in degrees of the fitted tomograms."""
        return self.fitted.tilt_range

    @property
    def losses(self) -> list[EpochRow]:
        """The loss curve, a row an epoch."""
        return [EpochRow(**row) for row in self.fitted.details.get("epochs", [])]

    def save(self, path: StrPath, *, overwrite: bool = False) -> None:
        """Write the model as a .safetensors file, for `load` and ``dewedge refine``.

        Raises
        ------
        InputError
            If the file cannot be written, or exists and is not to be overwritten.
        """
        require_new([Path(path)], overwrite)
        checkpoint.save_model(Path(path), self.fitted)

    @overload
    def refine(self, tomogram: NDArray[Any], out: None = None, **options: Any) -> NDArray[np.float32]: ...
    @overload
    def refine(
        self,
        tomogram: TomogramLike | tuple[TomogramLike, TomogramLike],
        out: StrPath | None = None,
        **options: Any,
    ) -> Tomogram: ...
    def refine(
        self,
        tomogram: TomogramLike | tuple[TomogramLike, TomogramLike],
        out: StrPath | None = None,
        *,
        tilt_range: TiltRangeLike | None = None,
        overwrite: bool = False,
        device: str = "auto",
        precision: str = "auto",
        progress: Callable[[int, int], None] | None = None,
        no_check: bool = False,
        **options: Any,
    ) -> Any:
        """Refine a tomogram, tile by tile: of one that is memory-mapped, one band of rows is in memory.

        Parameters
        ----------
        tomogram
            ``(z, y, x)`` full tomogram of any grey scale: a `Tomogram`, an array, or a file (MRC, OME-Zarr).
            Or both half-sets as a pair of these, which are refined one by one and averaged.
        out
            File to write the result into, OME-Zarr if its name ends in .zarr, else MRC; if not given it is
            made in memory.
        tilt_range
            Lowest and highest tilt angle in degrees; else the tomogram's, else the model's.
        overwrite
            Replace a file ``out`` that exists.
        device, precision
            "cpu", "cuda", or "auto" for a GPU if there is one; "32-true", "bf16-mixed", or "auto" for what
            the device does best.
        progress
            Called with the number of tiles done and of all tiles.
        no_check
            Whether it may be of another voxel size than the model's, or seem to be a stack of tilt images.
        **options
            ``tile`` and ``overlap`` in voxels, ``average_rotations`` (1, 2 or 4), ``wedge_amplitude``
            ("confirmed" or "predicted"), ``tv_share``, as of ``dewedge refine``.

        Returns
        -------
        Tomogram or array
            Of the shape and grey scale of what was given, with gold beads added that were painted over in it:
            an array for an array, else a `Tomogram`, memory-mapped from ``out`` if that is given.

        Raises
        ------
        InputError
            If the tomogram, an option or the file cannot be used.
        """
        config = resolve_options("refine", options, {"refine": TileSection}, _compute(device, precision))
        given = list(tomogram) if isinstance(tomogram, tuple | list) else [tomogram]
        if len(given) not in (1, 2):
            raise InputError(f"refine: expected a tomogram, or a pair (half0, half1), got {len(given)}")
        sources = [as_tomogram(each, no_check=no_check) for each in given]
        first = sources[0]
        if not no_check:
            found = check_voxel_sizes(
                first.name, {f"half-set {i} {each.name}": each.voxel_size_A for i, each in enumerate(sources)}
            )
            found += check_model_voxel(first.name, first.voxel_size_A, self.fitted.voxel_size_A)
            require_sound(found)
        require_refine_memory(
            [first.shape], self.fitted.network, self.fitted.cube_size, config.refine, config.compute
        )
        wedge = TiltRange(*(first.tilt_range or self.tilt_range))
        wedge = (wedge.with_angles(tilt_range) if tilt_range else wedge).validated()
        path = None if out is None else Path(out)
        if path is not None:
            refuse_sources([path], [file for source in sources for file in source.files])
            require_new([path], overwrite)

        def refine_into(data: NDArray[np.float32]) -> None:
            with _alone("refine", config.compute) as fabric:
                refine_arrays(
                    [source.data for source in sources],
                    data,
                    self.fitted,
                    wedge,
                    config.refine,
                    config.compute,
                    fabric,
                    names=[source.name for source in sources],
                    beads=first.beads,
                    tv=first.tv,
                    on_tile=progress,
                )

        if path is not None:
            with create_volume(
                path,
                first.shape,
                first.voxel_size_A,
                origin_xyz_A=first.origin_xyz_A,
                labels=first.labels,
                what="refined",
            ) as writer:
                refine_into(writer.data)
            return Tomogram.read(path, tilt_range=wedge)
        data = np.empty(first.shape, dtype=np.float32)
        refine_into(data)
        if isinstance(tomogram, np.ndarray):
            return data
        return Tomogram(
            data,
            first.voxel_size_A,
            wedge,
            f"{first.name} refined",
            origin_xyz_A=first.origin_xyz_A,
            labels=first.labels,
        )

    def __repr__(self) -> str:
        fitted = self.fitted
        return (
            f"<Model of {fitted.network.channels} channels, fitted to cubes of {fitted.cube_size} voxels in "
            f"{len(self.losses)} epochs, tilts {self.tilt_range}>"
        )


def load(path: StrPath) -> Model:
    """Read the model that `Model.save`, ``dewedge run`` or ``dewedge fit`` wrote.

    Raises
    ------
    InputError
        If the file is missing, damaged, or not a model.
    """
    return Model(checkpoint.load_model(Path(path)))


def fit(
    pairs: Sequence[PairLike],
    *,
    tilt_range: TiltRangeLike | Sequence[TiltRangeLike] | None = None,
    budget: str | None = None,
    epochs: int | None = None,
    mask: MaskLike | Sequence[MaskLike] | None = None,
    recipe: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    progress: Callable[[EpochRow], object] | None = None,
    no_check: bool = False,
    **options: Any,
) -> Model:
    """Fit one network to the half-sets of one or more tomograms, as ``dewedge fit`` does.

    Parameters
    ----------
    pairs
        For each tomogram what `Series.reconstruct` returns, or a pair ``(half0, half1)``, or that with the
        full tomogram as third. Each is a `Tomogram`, a ``(z, y, x)`` array or an MRC file, of any grey scale;
        what is memory-mapped is not read into memory.
    tilt_range
        Lowest and highest tilt angle in degrees, once or for each pair; else that of each `Tomogram`.
    budget
        Wall-clock time, such as "90s", "10min" or "1h30min"; "10min" if neither this nor ``epochs`` is given.
    epochs
        Number of epochs.
    mask
        Where there is specimen, once or for each pair: a ``(z, y, x)`` array or an MRC file that is above 0.5
        there, "auto" to find it in the full tomogram, or "none"; else what came with the files.
    recipe
        The method whose settings are the defaults: dewedge, deepdewedge, cryocare, isonet.
    device, precision
        "cpu", "cuda", or "auto" for a GPU if there is one; "32-true", "bf16-mixed", or "auto" for what the
        device does best.
    progress
        Called after each epoch with its row of the loss curve, which prints as a line.
    no_check
        Whether weights of ``init`` may be of another voxel size, and the fit take more than the free memory.
    **options
        Every other flag of the fit, by its key in ``config.toml``: ``preset``, ``channels``, ``cube_size``,
        ``batch_size``, ``epoch_samples``, ``seed``, ``init`` ...

    Raises
    ------
    InputError
        If tomograms do not fit each other or the network, their tilt range is not known, or an option cannot
        be used.
    """
    limits = {key: value for key, value in (("budget", budget), ("epochs", epochs)) if value is not None}
    given = _compute(device, precision)
    if recipe is not None:
        given["recipe"] = recipe
    if tilt_range is not None:
        given["tomograms"] = tilt_keys(tilt_range)
    config = resolve_options("fit", limits | options, {"fit": FitSection}, given)
    require_one_fit(config)
    if isinstance(pairs, Tomogram | Halves | np.ndarray):
        raise InputError("fit: expected a list of pairs: dewedge.fit([(half0, half1)])")
    all_halves = [as_halves(pair) for pair in pairs]
    if not all_halves:
        raise InputError("fit: expected at least one pair (half0, half1)")
    ranges = _tilt_ranges(all_halves, config.tomograms)
    opened = [
        _pair(halves, where, wedge, OBJECTIVES[config.fit.objective].needs_halves)
        for halves, where, wedge in zip(all_halves, _masks(mask, all_halves), ranges, strict=True)
    ]

    if not no_check:
        require_fit_memory([halves.half0.shape for halves in all_halves], config.fit, config.compute)
        require_initial_voxel(config.fit, {halves.name: halves.half0.voxel_size_A for halves in all_halves})

    def on_epoch(state: FitState, network: UNet) -> None:
        if progress is not None:
            progress(state.rows[-1])

    with _alone("fit", config.compute) as fabric:
        model, _ = fit_pairs(opened, config.fit, fabric, on_epoch=on_epoch)
    return Model(model)


def _pair(
    halves: Halves, mask: Mask | NDArray[Any], tilt_range: TiltRange, needs_halves: bool
) -> TomogramPair:
    """What is fitted to; twice the full tomogram where half-sets are not needed."""
    inside: NDArray[np.bool_] | None = None
    if isinstance(mask, np.ndarray):
        inside = np.asarray(mask > 0.5)
    elif mask != "none":  # for which the full tomogram need not be made
        inside = find_specimen(mask, halves.full.data)
    half0, half1 = (halves.half0, halves.half1) if needs_halves else (halves.full, halves.full)
    known = (half0.planes, half1.planes)
    planes = None if known[0] is None or known[1] is None else (known[0], known[1])
    return TomogramPair(
        half0.data,
        half1.data,
        tilt_range,
        inside,
        halves.name,
        planes=planes,
        voxel_size_A=half0.voxel_size_A,
    )


def _masks(
    given: MaskLike | Sequence[MaskLike] | None, all_halves: Sequence[Halves]
) -> list[Mask | NDArray[Any]]:
    """The mask of each pair."""
    if given is None:
        return [halves.mask for halves in all_halves]
    masks: list[Any] = list(given) if isinstance(given, tuple | list) else [given] * len(all_halves)
    if len(masks) != len(all_halves):
        raise InputError(
            f"fit: mask: expected one, or one for each of {len(all_halves)} pairs, got {len(masks)}"
        )
    return [
        mask if isinstance(mask, np.ndarray) or mask in ("none", "auto") else Path(mask) for mask in masks
    ]


def _tilt_ranges(all_halves: Sequence[Halves], given: TomogramsSection) -> list[TiltRange]:
    """The tilt range of each pair: as given, else its own."""
    own = [halves.half0.tilt_range for halves in all_halves]
    if given.tilt_range:
        return [
            angles if known is None or given.x_tilt else TiltRange(*known).with_angles(angles[:2])
            for angles, known in zip(ranges_given(given, len(own)), own, strict=True)
        ]
    for halves, known in zip(all_halves, own, strict=True):
        if known is None:
            raise InputError(
                f"fit: {halves.half0.name}: no tilt range known: expected tilt_range=(lowest, highest)"
            )
    return [TiltRange(*known) for known in own if known is not None]


def _compute(device: str, precision: str) -> dict[str, Any]:
    """The keys of device and precision that are not left to be chosen."""
    given = {"device": device, "precision": precision}
    return {"compute": {key: value for key, value in given.items() if value != "auto"}}


@contextmanager
def _alone(call: str, compute: ComputeSection) -> Iterator[Fabric]:
    """The Fabric of this process alone."""
    if started_processes() is not None:
        raise InputError(
            f"{call}: started as one of several processes: expected one; dewedge run takes several"
        )
    with launched(compute) as fabric:
        yield fabric
