"""The 3D U-Net and its sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dewedge import limits

# Channels times depth times height up to which torch does not give one volume to oneDNN (use_mkldnn in its
# Convolution.cpp).
_SLOW_ROWS = 20480
NEGATIVE_SLOPE = 0.05


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Size and kind of the U-Net.

    Parameters
    ----------
    channels
        Channels at the finest level; doubled at each further one.
    fold
        Edge of the blocks of voxels that are folded into channels before the first layer, and unfolded after
        the last (pixel shuffle; Shi et al. 2016), without leaving a grid. 2 spares the layers at full
        resolution, which take most of the time; 1 folds nothing, as published.
    levels
        Number of down-samplings by 2.
    convolutions
        Number of 3^3 convolutions in each block.
    normalisation
        ``instance``: instance normalisation after each convolution of a block, as published; its statistics
        depend on the tile, which shows as seams. ``none``: none.
    resampling
        ``learned``: strided and transposed convolutions, as published. ``fixed``: average pooling and nearest
        neighbours, which cannot imprint a grid.
    dropout
        Share of the values that is set to zero before each activation of a block while fitting; 0 for none.
    dropout_of
        What is set to zero at once: single ``values`` (Srivastava et al. 2014), as in IsoNet, or whole
        ``channels`` (Tompson et al. 2015), as in the U-Net of DeepDeWedge.
    residual
        Predict a correction that is added to the input, as published, instead of the output itself.

    Raises
    ------
    ValueError
        If a size is beyond `dewedge.limits`, the dropout is no share, or a kind is not known.
    """

    channels: int
    fold: int = 1
    levels: int = 3
    convolutions: int = 2
    normalisation: Literal["none", "instance"] = "none"
    resampling: Literal["fixed", "learned"] = "fixed"
    dropout: float = 0.0
    dropout_of: Literal["values", "channels"] = "values"
    residual: bool = False

    @property
    def multiple(self) -> int:
        """Number of voxels that edges of the input must be multiples of."""
        return self.fold * 2**self.levels

    def __post_init__(self) -> None:
        sizes = {
            "channels": limits.CHANNELS,
            "fold": limits.FOLD,
            "levels": limits.LEVELS,
            "convolutions": limits.CONVOLUTIONS,
        }
        for name, most in sizes.items():
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name}: expected 1 to {most}, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: expected at least 0 and less than 1, got {self.dropout}")
        kinds = {
            self.normalisation: ("none", "instance"),
            self.resampling: ("fixed", "learned"),
            self.dropout_of: ("values", "channels"),
        }
        if any(kind not in known for kind, known in kinds.items()):
            raise ValueError(f"unknown kind of network: {self}")


PRESETS = {
    "paper": NetworkConfig(
        channels=64,
        convolutions=3,
        normalisation="instance",
        resampling="learned",
        dropout_of="channels",
        residual=True,
    ),
    "default": NetworkConfig(channels=16, fold=2, levels=2),
    "large": NetworkConfig(channels=32, fold=2, levels=2),
}


def network_config(
    preset: str,
    channels: int | None,
    dropout: float,
    dropout_of: Literal["values", "channels"] | None = None,
) -> NetworkConfig:
    """Configuration of a preset, with other channels and another kind of dropout if given.

    ``dropout`` is the share of values that is set to zero while fitting.

    Examples
    --------
    >>> network_config("default", channels=32, dropout=0.0) == PRESETS["large"]
    True
    >>> network_config("default", channels=None, dropout=0.0).multiple
    8
    """
    config = replace(PRESETS[preset], dropout=dropout)
    if channels is not None:
        config = replace(config, channels=channels)
    return config if dropout_of is None else replace(config, dropout_of=dropout_of)


class UNet(nn.Module):
    """3D U-Net from one channel to one; see :class:`NetworkConfig` for its kinds.

    Attributes
    ----------
    activation_checkpointing
        Keep the inputs of the blocks only and compute what lies within them again in the backward pass: the
        same gradients with less memory, for a third more time.

    Source: Wiedemann and Heckel 2024, Methods (network architecture), for the preset ``paper``.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.activation_checkpointing = False
        widths = [config.channels * 2**level for level in range(config.levels)]
        self.encoder = nn.ModuleList(
            _block(config, n_in, n_out)
            for n_in, n_out in zip([config.fold**3, *widths[:-1]], widths, strict=True)
        )
        self.down = nn.ModuleList(_down(config, width) for width in widths)
        deepest = widths[-1]
        self.bottleneck = nn.Sequential(
            _Convolution(deepest, 2 * deepest),
            nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
            _Convolution(2 * deepest, deepest),
        )
        if config.resampling == "fixed":  # as published, none before a transposed convolution
            self.bottleneck.append(nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True))
        self.up = nn.ModuleList(
            _up(config, n_in, n_out)
            for n_in, n_out in zip([deepest, *widths[:0:-1]], widths[::-1], strict=True)
        )
        self.decoder = nn.ModuleList(_block(config, 2 * width, width) for width in widths[::-1])
        self.head = nn.Conv3d(config.channels, config.fold**3, 1)
        if config.normalisation == "none":
            self._keep_variances()

    @property
    def multiple(self) -> int:
        """Number of voxels that edges of the input must be multiples of."""
        return self.config.multiple

    def inner_weights(self) -> list[Tensor]:
        """``(outputs, inputs, d, h, w)`` weights of all convolutions but the first and the last."""
        convolutions = [m for m in self.modules() if isinstance(m, nn.Conv3d | nn.ConvTranspose3d)]
        return [module.weight for module in convolutions[1:] if module is not self.head]

    def _keep_variances(self) -> None:
        """He et al. 2015: without normalisation layers, torch's own initial weights let the signal fade."""
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.kaiming_normal_(module.weight, a=NEGATIVE_SLOPE)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, volume: Tensor) -> Tensor:
        """Map ``(b, 1, d, h, w)`` standardised volumes to the same shape.

        Edges are multiples of ``multiple``.
        """
        skips = []
        hidden = _folded(volume, self.config.fold)
        for block, down in zip(self.encoder, self.down, strict=True):
            hidden = self._stage(block, hidden)
            skips.append(hidden)
            hidden = down(hidden)
        hidden = self.bottleneck(hidden)
        for up, block in zip(self.up, self.decoder, strict=True):
            hidden = self._stage(partial(_decoded, up, block), hidden, skips.pop())
        output = _unfolded(self.head(hidden), self.config.fold)
        return output + volume if self.config.residual else output

    def _stage(self, stage: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        if not (self.activation_checkpointing and torch.is_grad_enabled()):
            return stage(*inputs)
        output: Tensor = checkpoint(stage, *inputs, use_reentrant=False)
        return output


def _decoded(up: nn.Module, block: nn.Module, hidden: Tensor, skip: Tensor) -> Tensor:
    decoded: Tensor = block(up(hidden, skip))
    return decoded


def _folded(volume: Tensor, fold: int) -> Tensor:
    """``(b, 1, d, h, w)`` volumes to ``(b, fold^3, d / fold, h / fold, w / fold)``."""
    if fold == 1:
        return volume
    b, _, d, h, w = volume.shape
    blocks = volume.reshape(b, d // fold, fold, h // fold, fold, w // fold, fold)
    folded = blocks.permute(0, 2, 4, 6, 1, 3, 5).reshape(b, fold**3, d // fold, h // fold, w // fold)
    return folded.contiguous(memory_format=torch.channels_last_3d)


def _unfolded(folded: Tensor, fold: int) -> Tensor:
    """The inverse of `_folded`, averaged over ``fold`` voxels along each axis.

    The voxels of a block come from different weights; a difference between them would be a grid. The average,
    of as many neighbours as a block has, takes just that out; the weights learn to undo the rest.
    """
    if fold == 1:
        return folded
    b, _, d, h, w = folded.shape
    blocks = folded.reshape(b, fold, fold, fold, d, h, w).permute(0, 4, 1, 5, 2, 6, 3)
    # In float32 at least: the mean of rounded values is finer than they are.
    precise = blocks.to(torch.promote_types(blocks.dtype, torch.float32))
    volume = precise.reshape(b, 1, d * fold, h * fold, w * fold) / fold**3
    for axis in (2, 3, 4):
        n = volume.shape[axis]
        last = volume.narrow(axis, n - 1, 1)
        next_ones = [
            torch.cat([volume.narrow(axis, offset, n - offset), *offset * [last]], axis)
            for offset in range(1, fold)
        ]
        volume = sum(next_ones, volume)
    return volume


class _Convolution(nn.Conv3d):
    """3^3 convolution that knows two faults of torch (2.13) on a CPU.

    In float32 torch convolves one volume of few values in a way of its own, ten times as slow as oneDNN; two
    it gives to oneDNN. In bfloat16, on processors with AVX512-BF16 and no AMX, oneDNN returns arbitrary
    gradients of the weights, even not-a-number, where the depth is 2 voxels; float32 costs no time on so few.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out, 3, padding=1)

    def forward(self, hidden: Tensor) -> Tensor:
        if hidden.device.type != "cpu":
            return super().forward(hidden)
        if not torch.is_autocast_enabled("cpu"):
            return self._of_halves(hidden) if _is_slow(hidden) else super().forward(hidden)
        if hidden.shape[2] != 2:
            return super().forward(hidden)
        with torch.autocast("cpu", enabled=False):
            return super().forward(hidden.float())

    def _of_halves(self, hidden: Tensor) -> Tensor:
        """The convolution of the upper and the lower half of one volume, as a batch of two."""
        depth = hidden.shape[2]
        half = -(-depth // 2)
        padded = F.pad(hidden, [0, 0, 0, 0, 1, 1])
        halves = torch.cat([padded[:, :, : half + 2], padded[:, :, depth - half :]])
        upper, lower = F.conv3d(halves, self.weight, self.bias, padding=(0, 1, 1)).unbind()
        return torch.cat([upper, lower[:, 2 * half - depth :]], dim=1).unsqueeze(0)


def _is_slow(hidden: Tensor) -> bool:
    number, channels, depth, height, _ = hidden.shape
    return hidden.dtype == torch.float32 and number == 1 and channels * depth * height <= _SLOW_ROWS


def _block(config: NetworkConfig, n_in: int, n_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(config.convolutions):
        layers.append(_Convolution(n_in if i == 0 else n_out, n_out))
        if config.normalisation == "instance":
            layers.append(nn.InstanceNorm3d(n_out))
        activation = nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)
        # In one layer with the activation: the names of the weights are the same with and without dropout.
        layers.append(nn.Sequential(_dropout(config), activation) if config.dropout else activation)
    return nn.Sequential(*layers)


def _dropout(config: NetworkConfig) -> nn.Module:
    return (nn.Dropout3d if config.dropout_of == "channels" else nn.Dropout)(config.dropout)


def _down(config: NetworkConfig, width: int) -> nn.Module:
    if config.resampling == "fixed":
        return _AveragePool()
    return nn.Sequential(
        nn.Conv3d(width, width, 3, stride=2, padding=1), nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)
    )


def _up(config: NetworkConfig, n_in: int, n_out: int) -> nn.Module:
    if config.resampling == "fixed":
        return _ResizeConvolution(n_in, n_out)
    return _TransposedConvolution(n_in, n_out)


class _AveragePool(nn.Module):
    """Average of 2^3 voxels, axis by axis: torch's own has no bfloat16 on a CPU and copies to float32."""

    def forward(self, hidden: Tensor) -> Tensor:
        for axis in (2, 3, 4):
            first, second = torch.unflatten(hidden, axis, (-1, 2)).unbind(axis + 1)
            hidden = first + second
        return hidden / 8


class _ResizeConvolution(nn.Module):
    """1^3 convolution, then nearest-neighbour resizing by 2, beside the skip connection.

    The two commute, and this order is cheaper.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.mix = nn.Conv3d(n_in, n_out, 1)

    def forward(self, hidden: Tensor, skip: Tensor) -> Tensor:
        return torch.cat([F.interpolate(self.mix(hidden), scale_factor=2, mode="nearest"), skip], dim=1)


class _TransposedConvolution(nn.Module):
    """Transposed convolution beside the skip connection, then the activation of both, as published."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.transposed = nn.ConvTranspose3d(n_in, n_out, 3, stride=2, padding=1, output_padding=1)

    def forward(self, hidden: Tensor, skip: Tensor) -> Tensor:
        return F.leaky_relu(torch.cat([self.transposed(hidden), skip], dim=1), NEGATIVE_SLOPE)
