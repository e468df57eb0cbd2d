"""The number format in which a device runs the network fastest."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["bf16-mixed", "32-true"]


def preferred_precision(device: torch.device) -> Precision:
    """``bf16-mixed`` where the device computes in bfloat16 natively, else ``32-true``; Fabric takes both."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        # Torch has no public way to ask a CPU.
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        native = any(getattr(torch.cpu, probe, bool)() for probe in probes)
    else:
        native = False
    return "bf16-mixed" if native else "32-true"
