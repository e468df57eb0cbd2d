"""The number of files that the process may have open."""

from __future__ import annotations

import resource
from contextlib import suppress

_MANY = 10_000


def allow_many_files() -> None:
    """Ask the system for more open files: every stack and tomogram that is memory-mapped takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    granted = _MANY if hard == resource.RLIM_INFINITY else min(_MANY, hard)
    if soft != resource.RLIM_INFINITY and soft < granted:
        with suppress(ValueError, OSError):  # macOS may refuse less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
