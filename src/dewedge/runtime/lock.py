"""One process at a time in an output folder, or at one result.

The lock is filelock's lease: a file that is created exclusively, as NFS can, and holds host, process and the
start of the process. One of a process of this host that is gone counts no more; nor does one of another host,
which cannot be asked, when its holder has not touched it for two minutes. A lock of the system (flock) would
not do: on clusters it often holds on one host only, or is not to be had.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import SoftFileLease, Timeout

from dewedge.errors import UnwritableError
from dewedge.io.files import unwritable
from dewedge.runtime.first_process import is_first_process

logger = logging.getLogger(__name__)

LOCK = ".dewedge.lock"
# All processes must agree on it.
LEASE_S = 120.0
_TOUCHED_EVERY_S = 20.0
# For a lock that counts no more to be removed.
_WAIT_S = 1.0


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold an output folder, which is created, for the block; the first of several processes does.

    Raises
    ------
    UnwritableError
        If another process holds it, or the folder cannot be written.
    """
    with _held(folder / LOCK, folder):
        yield


@contextmanager
def locked_file(path: Path) -> Iterator[None]:
    """Hold a result that is one file, and those that are named after it, as `locked_folder` does."""
    with _held(path.with_name(f".{path.name}.lock"), path):
        yield


@contextmanager
def _held(lock: Path, what: Path) -> Iterator[None]:
    if not is_first_process():
        yield
        return
    lease = _lease(lock)
    is_new = not lock.parent.exists()
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        _acquire(lease, lock, what)
    except Timeout:
        raise UnwritableError(
            f"{what}: another dewedge works there ({_holder(lease)}): wait for it, or give another output"
        ) from None
    except OSError as error:
        raise unwritable(what, error) from None
    try:
        yield
    finally:
        lease.release()
        if is_new:
            with suppress(OSError):  # it holds results
                lock.parent.rmdir()


def _lease(lock: Path) -> SoftFileLease:
    return SoftFileLease(
        lock, lease_duration=LEASE_S, heartbeat_interval=_TOUCHED_EVERY_S, on_compromise=lambda _: _stop(lock)
    )


def _acquire(lease: SoftFileLease, lock: Path, what: Path) -> None:
    try:
        lease.acquire(timeout=_WAIT_S)
    except Timeout:
        owner = lease.owner
        # A lock without an owner is just being made.
        if owner is None or owner.hostname == _own_host(lock):
            raise
        logger.info("%s: held by %s: waiting %g s for a sign of life", what, _holder(lease), LEASE_S)
        lease.acquire(timeout=LEASE_S + 2 * _TOUCHED_EVERY_S)


def _own_host(lock: Path) -> str | None:
    """This host as locks tell it: of a container with its namespace of processes, too."""
    own = _lease(lock.with_name(f"{lock.name}.{os.getpid()}"))
    with own:
        return None if own.owner is None else own.owner.hostname


def _holder(lease: SoftFileLease) -> str:
    owner = lease.owner
    return "just begun" if owner is None else f"process {owner.pid} on {owner.hostname}"


def _stop(lock: Path) -> None:
    """Terminate this process as a signal does: it was taken for gone, and another one may take its place."""
    logger.error("%s: lost, for this process gave no sign of life: it stops", lock)
    main = threading.main_thread().ident
    if main is not None:
        # Not SIGINT, which a shell's background processes ignore.
        signal.pthread_kill(main, signal.SIGTERM)
