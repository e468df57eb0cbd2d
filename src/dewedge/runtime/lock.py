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
import time
from collections.abc import Callable, Generator, Iterator, Sequence
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
# For a lock that counts no more to be removed: of the only folder, or of one among many.
_WAIT_S, _TRY_S = 1.0, 0.1


@contextmanager
def locked_folder(folder: Path, wait_s: float = _WAIT_S) -> Iterator[None]:
    """Hold an output folder, which is created, for the block; the first of several processes does.

    Raises
    ------
    UnwritableError
        If another process holds it for so long, or the folder cannot be written.
    """
    if not is_first_process():
        yield
        return
    with _held(folder / LOCK, folder, wait_s):
        yield


@contextmanager
def locked_file(path: Path) -> Iterator[None]:
    """Hold a result that is one file, and those named after it; errors as `locked_folder`."""
    if not is_first_process():
        yield
        return
    with _held(path.with_name(f".{path.name}.lock"), path, _WAIT_S):
        yield


def taken_by_turns(folders: Sequence[Path]) -> Generator[int]:
    """Yield the numbers of the folders that no other process holds; each is held until the next is asked for.

    Every process takes them, not only the first of several. Those that others hold are tried again, until
    only such are left as others are alive to work in, which is told.

    Raises
    ------
    UnwritableError
        If a folder cannot be written.
    """
    # The same lease for all tries: it knows how long its holder has given no sign of life.
    leases = {i: _lease(folder / LOCK) for i, folder in enumerate(folders)}
    taken_s = time.monotonic()
    while leases:
        before = len(leases)
        for i, lease in list(leases.items()):
            with suppress(Timeout), _leased(lease, folders[i], lambda lease: lease.acquire(timeout=_TRY_S)):
                del leases[i]
                yield i
                taken_s = time.monotonic()
        if len(leases) < before:
            continue
        own = _own_host(folders[0].parent / LOCK)
        owners = [lease.owner for lease in leases.values()]
        # A lock without an owner was released just now.
        are_alive = all(owner is not None and owner.hostname == own for owner in owners)
        if are_alive or time.monotonic() - taken_s > LEASE_S + 2 * _TOUCHED_EVERY_S:
            break
        time.sleep(_WAIT_S)
    for i, lease in leases.items():
        logger.info("%s: another dewedge works there (%s)", folders[i], _holder(lease))


@contextmanager
def _held(lock: Path, what: Path, wait_s: float) -> Iterator[None]:
    lease = _lease(lock)
    try:
        with _leased(lease, what, lambda lease: _acquire(lease, lock, what, wait_s)):
            yield
    except Timeout:
        raise UnwritableError(
            f"{what}: another dewedge works there ({_holder(lease)}): wait for it, or give another output"
        ) from None


@contextmanager
def _leased(lease: SoftFileLease, what: Path, acquire: Callable[[SoftFileLease], object]) -> Iterator[None]:
    """Hold a lease for the block, which takes away the folder of the lock if it made it and left it empty."""
    folder = Path(lease.lock_file).parent
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        acquire(lease)
    except Timeout:
        raise
    except OSError as error:
        raise unwritable(what, error) from None
    try:
        yield
    finally:
        lease.release()
        if is_new:
            with suppress(OSError):  # it holds results
                folder.rmdir()


def _lease(lock: Path) -> SoftFileLease:
    return SoftFileLease(
        lock, lease_duration=LEASE_S, heartbeat_interval=_TOUCHED_EVERY_S, on_compromise=lambda _: _stop(lock)
    )


def _acquire(lease: SoftFileLease, lock: Path, what: Path, wait_s: float) -> None:
    try:
        lease.acquire(timeout=wait_s)
    except Timeout:
        owner = lease.owner
        # A lock without an owner is just being made.
        if owner is None or owner.hostname == _own_host(lock):
            raise
        logger.info("%s: held by %s: waiting %g s for a sign of life", what, _holder(lease), LEASE_S)
        lease.acquire(timeout=LEASE_S + 2 * _TOUCHED_EVERY_S)


def _own_host(lock: Path) -> str | None:
    """Name of this host as locks tell it: of a container with its namespace of processes, too."""
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
