"""The fitted model and the state of a fit, each in one safetensors file whose metadata hold JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dewedge import limits
from dewedge.errors import InputError, printable, reason, shown
from dewedge.geometry import TiltRange, TiltRangeLike
from dewedge.io.files import atomic_path, open_input
from dewedge.io.nested import parse_json
from dewedge.learn.amplitude import WedgeAmplitude
from dewedge.learn.loss_curve import EpochRow
from dewedge.learn.network import NetworkConfig, UNet

MODEL_KIND = "dewedge model 1"
_TYPES = (
    "F32",
    "F16",
)  # of tensors, in the words of safetensors; the weights of the package are of the latter


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
        Tilt range of the fitted tomograms; the widest one, if there were several, without a tilt about x that
        is not the same for all.
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
        """Build the network with its weights, ready for evaluation."""
        network = UNet(self.network)
        network.load_state_dict(self.weights)
        return network.eval()


def save_model(path: Path, model: Model) -> None:
    """Write a model; the file appears whole or not at all.

    Errors as `save_tensors`.
    """
    header = {
        "network": asdict(model.network),
        "cube_size": model.cube_size,
        "full_std": model.full_std,
        "clip": model.clip,
        "wedge_amplitude": model.wedge_amplitude,
        "tilt_range": model.tilt_range.plain,
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
    weights, values = load_tensors(path, MODEL_KIND)
    try:
        header = _Header.model_validate(values)
        amplitude = _amplitude(header.wedge_amplitude)
        tilt_range = TiltRange(*header.tilt_range).validated()
    except (ValueError, InputError) as error:
        text = explained(error) if isinstance(error, ValidationError) else reason(error)
        raise InputError(f"{path}: the description of the model is damaged ({text}); fit it again") from error
    require_weights(path, weights, header.network)
    return Model(
        weights=weights,
        network=header.network,
        cube_size=header.cube_size,
        full_std=header.full_std,
        clip=header.clip,
        wedge_amplitude=amplitude,
        tilt_range=tilt_range,
        details=header.details.model_dump(exclude_unset=True),
        voxel_size_A=header.voxel_size_A,
    )


class _Details(BaseModel):
    """What describes a fit; only what a program reads has a type."""

    model_config = ConfigDict(extra="allow")

    options: dict[str, Any] = {}
    epochs: list[EpochRow] = []
    tomograms: list[str] = []


class _Header(BaseModel):
    """The description of a model, as its file holds it."""

    model_config = ConfigDict(allow_inf_nan=False)

    network: NetworkConfig
    cube_size: int = Field(ge=1, le=limits.CUBE)
    full_std: float = Field(ge=1e-6, le=1e6)
    clip: float | None = Field(ge=3, le=limits.NUMBER)
    wedge_amplitude: tuple[list[float], int] | None
    tilt_range: TiltRangeLike
    details: _Details
    voxel_size_A: float | None = Field(default=None, gt=0, le=limits.NUMBER)


def require_weights(path: Path, weights: dict[str, Tensor], network: NetworkConfig) -> None:
    """Refuse weights that are not those of such a network, or larger than any fit makes them.

    Raises
    ------
    InputError
        If one is missing, too many, of another shape, or beyond `dewedge.limits.WEIGHT`.
    """
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in UNet(network).state_dict().items()}
    if {name: tensor.shape for name, tensor in weights.items()} != expected:
        raise InputError(f"{path}: its weights do not fit its network configuration; fit the model again")
    for name, tensor in weights.items():
        if float(tensor.abs().max()) > limits.WEIGHT:
            raise InputError(f"{path}: damaged: {name} holds a weight beyond {limits.WEIGHT:g}")


def explained(error: ValidationError) -> str:
    """First thing wrong with a description: which value, and what was expected and came."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"][:4])
    return f"{printable(place)[: limits.SHOWN]}: {first['msg']}, got {shown(first['input'])}"


def _amplitude(value: tuple[list[float], int] | None) -> WedgeAmplitude | None:
    if value is None:
        return None
    factors, width = value
    amplitude = WedgeAmplitude(tuple(factors), width)
    if amplitude.width < 2 or len(amplitude.factors) != amplitude.width // 2 + 1:
        raise ValueError(
            f"wedge_amplitude has {len(amplitude.factors)} factors for cubes of {amplitude.width}"
        )
    if not all(0 <= factor <= 1 for factor in amplitude.factors):
        raise ValueError("wedge_amplitude holds a factor that is not between 0 and 1")
    return amplitude


def save_tensors(path: Path, kind: str, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write tensors and a JSON header, all or nothing; errors as `dewedge.io.files.atomic_path`."""
    metadata = {"kind": kind, "json": json.dumps(header)}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(contiguous, metadata=metadata))


def load_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the header that :func:`save_tensors` wrote.

    Raises
    ------
    InputError
        If the file is missing, damaged, of another kind, or holds numbers that are not finite or of no type
        that weights have.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a {kind.rpartition(' ')[0]} (.safetensors)")
    with open_input(path):  # the library takes what it may not read for damaged
        pass
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = list(file.keys())
            if metadata.get("kind") != kind:
                raise InputError(
                    f"{path}: expected a {kind!r} file, found {shown(metadata.get('kind', 'another'))}"
                )
            if len(names) > limits.TENSORS:
                raise InputError(f"{path}: {len(names)} tensors: expected at most {limits.TENSORS}")
            for name in names:
                dtype = file.get_slice(name).get_dtype()
                if dtype not in _TYPES:
                    raise InputError(
                        f"{path}: {shown(name)} is of type {shown(dtype)}: expected {' or '.join(_TYPES)}"
                    )
            tensors = {name: file.get_tensor(name) for name in names}
            text = metadata["json"]
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: damaged or not a safetensors file ({reason(error)})") from error
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{path}: damaged: {shown(name)} holds a value that is not finite")
    header = parse_json(path, text)
    if not isinstance(header, dict):
        raise InputError(f"{path}: damaged: expected a description, got {shown(header)}")
    return tensors, header
