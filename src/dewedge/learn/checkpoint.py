"""The fitted model and the state of a fit, each in one safetensors file whose metadata hold JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dewedge.errors import InputError
from dewedge.geometry import TiltRange
from dewedge.io.files import atomic_path, open_input
from dewedge.learn.amplitude import WedgeAmplitude
from dewedge.learn.network import NetworkConfig, UNet

MODEL_KIND = "dewedge model 1"


@dataclass(frozen=True, eq=False)
class Model:
    """A fitted network and all that refinement has to know.

    Parameters
    ----------
    weights
        State of the :class:`~dewedge.learn.network.UNet`.
    network
        Its configuration.
    cube_size
        Edge in voxels of the cubes it was fitted on.
    full_std
        Standard deviation of the average of both half-sets, in units of that of one half-set: the network was
        fitted to half-sets of standard deviation 1, so it expects a full reconstruction scaled to this one.
        1 where its inputs were standardised instead, so that whatever it gets has the same.
    clip
        Inputs were clipped at so many standard deviations from the mean; None if they were not.
    wedge_amplitude
        How strong its prediction in the missing wedge may be; None if that was not measured.
    tilt_range
        Tilt range of the fitted tomograms; the widest one, if there were several.
    voxel_size_A
        Edge in Angstrom of the voxels of the fitted tomograms; None if not known, or if there were several.
    details
        Whatever else describes the fit (options, steps, losses), for people to read.
    """

    weights: dict[str, Tensor]
    network: NetworkConfig
    cube_size: int
    full_std: float
    clip: float | None
    wedge_amplitude: WedgeAmplitude | None
    tilt_range: TiltRange
    details: dict[str, Any]
    voxel_size_A: float | None = None

    def build(self) -> UNet:
        """The network with its weights, ready for evaluation."""
        network = UNet(self.network)
        network.load_state_dict(self.weights)
        return network.eval()


def save_model(path: Path, model: Model) -> None:
    """Write a model; the file appears whole or not at all."""
    header = {
        "network": asdict(model.network),
        "cube_size": model.cube_size,
        "full_std": model.full_std,
        "clip": model.clip,
        "wedge_amplitude": model.wedge_amplitude,
        "tilt_range": list(model.tilt_range),
        "voxel_size_A": model.voxel_size_A,
        "details": model.details,
    }
    save_tensors(path, MODEL_KIND, model.weights, header)


def load_model(path: Path) -> Model:
    """Read a model.

    Raises
    ------
    InputError
        If the file is missing, damaged, or not a model.
    """
    weights, header = load_tensors(path, MODEL_KIND)
    try:
        network = NetworkConfig(**header["network"])
        with torch.device("meta"):
            expected = {name: tensor.shape for name, tensor in UNet(network).state_dict().items()}
        if {name: tensor.shape for name, tensor in weights.items()} != expected:
            raise InputError(f"{path}: its weights do not fit its network configuration; fit the model again")
        full_std = float(header["full_std"])
        if not 0 < full_std < math.inf:
            raise ValueError(f"full_std is {full_std}")
        clip = None if header["clip"] is None else float(header["clip"])
        if clip is not None and not 3 <= clip < math.inf:
            raise ValueError(f"clip is {clip}")
        return Model(
            weights=weights,
            network=network,
            cube_size=int(header["cube_size"]),
            full_std=full_std,
            clip=clip,
            wedge_amplitude=_amplitude(header["wedge_amplitude"]),
            tilt_range=TiltRange(*map(float, header["tilt_range"])).validated(),
            details=dict(header["details"]),
            voxel_size_A=_voxel_size_A(header.get("voxel_size_A")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: the description of the model is damaged ({error}); fit it again"
        ) from error


def _amplitude(value: Any) -> WedgeAmplitude | None:
    if value is None:
        return None
    factors, width = value
    amplitude = WedgeAmplitude(tuple(float(factor) for factor in factors), int(width))
    if amplitude.width < 2 or len(amplitude.factors) != amplitude.width // 2 + 1:
        raise ValueError(
            f"wedge_amplitude has {len(amplitude.factors)} factors for cubes of {amplitude.width}"
        )
    if not all(0 <= factor <= 1 for factor in amplitude.factors):
        raise ValueError("wedge_amplitude holds a factor that is not between 0 and 1")
    return amplitude


def _voxel_size_A(value: Any) -> float | None:
    if value is None:
        return None
    size_A = float(value)
    if not 0 < size_A < math.inf:
        raise ValueError(f"voxel_size_A is {size_A}")
    return size_A


def save_tensors(path: Path, kind: str, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write tensors and a JSON header atomically."""
    metadata = {"kind": kind, "json": json.dumps(header)}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(contiguous, metadata=metadata))


def load_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save_tensors` wrote.

    Raises
    ------
    InputError
        If the file is missing, damaged, or of another kind.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a {kind.rpartition(' ')[0]} (.safetensors)")
    # Of a file that is closed to the user safetensors would say that there is none.
    with open_input(path):
        pass
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("kind") != kind:
                raise InputError(
                    f"{path}: expected a {kind!r} file, found {metadata.get('kind', 'another')!r}"
                )
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(metadata["json"])  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: damaged or not a safetensors file ({error})") from error
