"""Which machine and code a figure was measured on."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def measured_on() -> dict[str, str]:
    """What each row of a benchmark begins with."""
    return {"machine": machine(), "commit": commit("src", "benchmarks/*.py")}


def commit(*paths: str, checkout: Path = ROOT) -> str:
    """The commit of a checkout, with ``-dirty`` if one of the paths was changed since."""
    changed = _git(checkout, "status", "--porcelain", "--", *paths) if paths else ""
    return (_git(checkout, "rev-parse", "--short", "HEAD") or "unknown") + ("-dirty" if changed else "")


def _git(checkout: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=checkout, capture_output=True, text=True, check=False)
    return done.stdout.strip()


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
