"""Which machine a figure was measured on."""

from __future__ import annotations

import platform
from pathlib import Path


def machine() -> str:
    """The accelerator, else the processor and the bfloat16 instructions that torch finds on it."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    if torch.cpu._is_amx_tile_supported():
        return f"{_processor()}, AMX"
    return f"{_processor()}, {'AVX512-BF16' if torch.cpu._is_avx512_bf16_supported() else 'no bfloat16'}"


def _processor() -> str:
    """The model by the kernel's name for it; on other systems what Python knows."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
