"""The number format in which a device runs the network fastest."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["bf16-mixed", "16-mixed", "32-true"]

# The number format of autocast; none for 32-true.
AUTOCAST: dict[Precision, torch.dtype] = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def preferred_precision(device: torch.device) -> Precision:
    """``bf16-mixed`` where the device computes in bfloat16 natively, else ``32-true``; Fabric takes both.

    A GPU without it (before Ampere) gets ``16-mixed``, with which Fabric scales the loss: gradients are
    unscaled before they are clipped, and a step whose gradients are not finite is left out.
    """
    if device.type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    if device.type == "cpu":
        # Torch has no public way to ask a CPU.
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        native = any(getattr(torch.cpu, probe, bool)() for probe in probes)
    else:
        native = False
    return "bf16-mixed" if native else "32-true"
