"""The cgroups of this process, by which containers and jobs limit cores and memory; both versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
# The cgroups of this process: a line each, number:controllers:path.
OWN_CGROUPS = Path("/proc/self/cgroup")


def own_cgroups(controller: str) -> Iterator[Path]:
    """Folders of this process's cgroups in which a controller may set limits, and of all above them.

    Those of version 1 are in a folder of the controller's name. They need not exist.
    """
    for line in read_text(OWN_CGROUPS).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = CGROUPS / controller if controllers else CGROUPS
        # In a container the path may be that of the host, which is not to be seen there.
        own = top / path.lstrip("/")
        yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(top))


def read_text(path: Path) -> str:
    """What a file of the system says; nothing where it is not."""
    try:
        return path.read_text()
    except OSError:
        return ""
