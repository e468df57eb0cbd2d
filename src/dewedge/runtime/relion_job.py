"""How RELION watches an external job, and asks it to stop: by empty files in the folder of the job.

Source: RELION 5 (github.com/3dem/relion), pipeliner and pipeline_control: it removes such files before it
starts a job, and looks for one of the three that tell of the end while the job is running.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dewedge.io.files import unwritable
from dewedge.runtime.first_process import is_first_process

logger = logging.getLogger(__name__)

SUCCESS, FAILURE, ABORTED = (f"RELION_JOB_EXIT_{how}" for how in ("SUCCESS", "FAILURE", "ABORTED"))
ABORT_NOW = "RELION_JOB_ABORT_NOW"
# As long as a user who asks for an end may wait for a first sign of it.
_LOOK_EVERY_S = 1.0


@contextmanager
def relion_job(folder: Path) -> Iterator[None]:
    """Leave in the folder, which is created, what RELION must know of how the block has ended.

    While it lasts, a file that asks to abort ends it as SIGTERM does.

    Raises
    ------
    UnwritableError
        If the folder cannot be written.
    """
    if is_first_process():
        _begin(folder)
    ended = threading.Event()
    threading.Thread(target=_watch, args=(folder / ABORT_NOW, ended), daemon=True).start()
    how = FAILURE
    try:
        yield
        how = SUCCESS
    except KeyboardInterrupt:
        how = ABORTED
        raise
    finally:
        ended.set()
        if is_first_process():
            with suppress(OSError):  # what could not be written was told
                (folder / how).touch()


def _begin(folder: Path) -> None:
    """Remove the signs of how an earlier job ended, and of an abortion that was obeyed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        obeyed = [ABORT_NOW] if (folder / ABORTED).exists() else []
        for name in (*obeyed, SUCCESS, FAILURE, ABORTED):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from None


def _watch(path: Path, ended: threading.Event) -> None:
    """Terminate this process as a signal does once there is the file, unless it has ended."""
    while not ended.wait(_LOOK_EVERY_S):
        if path.exists():
            logger.info("%s: asked to abort", path.name)
            os.kill(os.getpid(), signal.SIGTERM)
            return
