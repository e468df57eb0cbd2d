"""Whether this is the first of several processes, as a launcher's variables tell; without torch."""

from __future__ import annotations

import os


def is_first_process() -> bool:
    """True unless a launcher's variables say otherwise; known before launching, too."""
    if "RANK" in os.environ:
        return os.environ["RANK"] == "0"
    return all(os.environ.get(name, "0") == "0" for name in ("SLURM_PROCID", "LOCAL_RANK"))
