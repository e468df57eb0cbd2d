"""How many processor cores are this process's own, of those that the machine has."""

from __future__ import annotations

import math
import os
from pathlib import Path

from dewedge.check.cgroups import own_cgroups, read_text


def usable_cores(processes: int = 1) -> int:
    """Cores for each of so many processes, this one among them: what affinity, quotas and SLURM leave them.

    A quota of 2.5 cores counts as 3. SLURM tells of the cores of each process, all else of those of all.
    """
    each = min([_affinity(), *(math.ceil(quota) for quota in _quotas())]) // processes
    slurm = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return max(1, min(each, int(slurm)) if slurm.isdecimal() else each)


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas() -> list[float]:
    """Quotas in cores, of the cgroups of this process and of all above them; both versions of cgroups."""
    return [quota for folder in own_cgroups("cpu") for quota in _quota(folder)]


def _quota(cgroup: Path) -> list[float]:
    """The quota of one cgroup, if it has any: processor time for each period of the clock."""
    words = read_text(cgroup / "cpu.max").split()
    if not words:
        words = [read_text(cgroup / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    if len(words) != 2 or not all(word.isdecimal() for word in words) or int(words[1]) == 0:
        return []  # "max" or -1: none
    return [int(words[0]) / int(words[1])]
