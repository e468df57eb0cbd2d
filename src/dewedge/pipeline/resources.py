"""What a run takes of this machine: forecast, and refused where it is far more memory than is free."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from dewedge.check.finding import Finding
from dewedge.check.forecast import Forecast, check_forecast, forecast, network_speed
from dewedge.check.memory import (
    BASE_BYTES,
    Shape,
    fit_bytes,
    reconstruct_bytes,
    refine_bytes,
    require_free_memory,
)
from dewedge.errors import InputError
from dewedge.inputs.run_input import RunInput, SeriesInput
from dewedge.learn.network import NetworkConfig
from dewedge.runtime.devices import choose_device, choose_precision
from dewedge.settings.fit import FitSection
from dewedge.settings.sections import Config, DeviceSection, TileSection


def predict(inputs: Sequence[RunInput], config: Config) -> Forecast | None:
    """Forecast what a run will take on this machine; None where a thickness is not known.

    Errors as `dewedge.runtime.devices.choose_device` and `dewedge.runtime.devices.choose_precision`.
    """
    try:
        shapes = [item.tomogram_shape(config.reconstruct) for item in inputs]
    except InputError:
        return None
    if not shapes:
        return None
    device = choose_device(config.compute)
    precision = choose_precision(config.compute, device)
    network = config.fit.network()
    reconstructions = [
        reconstruct_bytes(
            shape,
            item.series[0].geometry.tilt_deg,
            config.reconstruct,
            with_tv=config.refine.tv_share > 0,
            frames=item.has_frames,
        )
        for item, shape in zip(inputs, shapes, strict=True)
        if isinstance(item, SeriesInput)
    ]
    return forecast(
        shapes,
        max(reconstructions, default=0.0),
        network,
        config.fit.options(),
        voxels_per_s=network_speed(network, device, precision),
        precision=precision,
        tile=config.refine.edge(network, config.fit.cube_size),
        overlap=config.refine.overlap,
        predictions=predictions(config),
        fits=_fits(inputs, config),
        output_format=config.output_format,
        files=config.files,
        folder=config.output or Path(),
    )


def _fits(inputs: Sequence[RunInput], config: Config) -> int:
    """How many networks a run fits."""
    if config.model is not None:
        return 0
    return len(inputs) if config.fit_each else 1


def predictions(config: Config) -> int:
    """Number of predictions that the refined tomogram of a run is the average of."""
    halves = 2 if config.refine.refine == "halves" else 1
    return config.refine.average_rotations * config.fit.network().fold * halves


def require_memory(inputs: Sequence[RunInput], config: Config) -> None:
    """Refuse a run whose fit or refinement would take far more memory than is free.

    Raises
    ------
    InputError
        With what takes it, and how it would take less.
    """
    shapes, network = [item.tomogram_shape(config.reconstruct) for item in inputs], config.fit.network()
    if config.model is None:
        require_fit_memory(shapes, config.fit, config.compute)
    require_refine_memory(shapes, network, config.fit.cube_size, config.refine, config.compute)


def require_fit_memory(shapes_zyx: Sequence[Shape], section: FitSection, compute: DeviceSection) -> None:
    """Refuse a fit to tomograms of these shapes that would take too much; errors as `require_memory`."""
    device, network, options = choose_device(compute), section.network(), section.options()
    require_free_memory(
        _base_bytes(device) + fit_bytes(network, options, shapes_zyx, choose_precision(compute, device)),
        device,
        "fit",
        f"give less than --batch-size {options.batch_size}, --cube-size {options.cube_size} or "
        f"{network.channels} --channels",
    )


def require_refine_memory(
    shapes_zyx: Sequence[Shape],
    network: NetworkConfig,
    cube_size: int,
    section: TileSection,
    compute: DeviceSection,
    what: str = "refinement",
) -> None:
    """Refuse a refinement that would take too much, by a network that was fitted to cubes of this edge.

    Errors as `require_memory`.
    """
    device, tile = choose_device(compute), section.edge(network, cube_size)
    require_free_memory(
        _base_bytes(device) + refine_bytes(network, shapes_zyx, tile, choose_precision(compute, device)),
        device,
        what,
        f"give less than --tile {tile}, or bin more",
    )


def _base_bytes(device: torch.device) -> float:
    return 0.0 if device.type == "cuda" else BASE_BYTES


def find_shortage(predicted: Forecast, config: Config) -> list[Finding]:
    """Find what a run would take that there is not."""
    return check_forecast("run", predicted, config.fit.cube_size, config.fit.batch_size)
