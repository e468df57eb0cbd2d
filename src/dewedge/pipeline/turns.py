"""Tomograms of which each is done for itself, taken by turns by however many processes.

Processes of one launcher, tasks of a job array and commands on several machines do the same: each takes the
next tomogram whose folder nobody has locked, so that what one left undone is taken over by the next that
comes. They tell each other by files alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial

from lightning_fabric import Fabric

from dewedge.errors import InputError
from dewedge.io.files import remove_leftovers, unwritable, write_text_atomic
from dewedge.io.text_files import read_text
from dewedge.runtime.devices import alone, log_device, on_first_process
from dewedge.runtime.faults import Faults
from dewedge.runtime.folder import ResultFolder
from dewedge.runtime.lock import taken_by_turns
from dewedge.runtime.log import logged_apart
from dewedge.runtime.run_folder import RunFolder

logger = logging.getLogger(__name__)


def take_turns(
    run: RunFolder,
    fabric: Fabric,
    is_done: Callable[[int], bool],
    work: Callable[[int, Fabric], Faults],
    look: Callable[[], object],
) -> Faults:
    """Work on each tomogram of a run, which has begun, that is not done and that nobody has taken.

    Processes of one launcher take tomograms each for itself, without a word to the others, unless there are
    fewer tomograms than processes: then all work on one after another.

    Parameters
    ----------
    run
        The run, whose processes are those of ``fabric``.
    is_done
        Whether nothing is to be done for the tomogram of this number.
    work
        Does all for the tomogram of this number, with the processes given, and tells why it cannot be used.
    look
        Called on the first of these after each tomogram.

    Returns
    -------
    Faults
        Why tomograms cannot be used, those that other processes took since this one began included.

    Raises
    ------
    UnwritableError
        If a folder cannot be written.
    """
    folders = run.tomograms
    own = alone(fabric, run.config.compute) if len(folders) >= fabric.world_size else fabric
    # By the clock of the disk, which dates what other machines write, too.
    begun_ns = on_first_process(fabric, lambda: run.inputs.stat().st_mtime_ns)

    with closing(taken_by_turns([folder.path for folder in folders])) as turns:

        def next_number() -> int | None:
            left = (n for n in turns if not is_left_out(folders[n], begun_ns) and not is_done(n))
            return next(left, None)

        while (number := on_first_process(own, next_number)) is not None:
            logger.info("%s: %d of %d", folders[number].name, number + 1, len(folders))
            _work_in(folders[number], run, own, partial(work, number))
            on_first_process(own, look)
    # The others may be at their last ones.
    fabric.barrier()
    return Faults(_fault_of(folder) for folder in folders if is_left_out(folder, begun_ns))


def is_left_out(folder: ResultFolder, since_ns: int) -> bool:
    """True if a process has found, at this time or later, that the tomogram cannot be used."""
    return folder.left_out.is_file() and folder.left_out.stat().st_mtime_ns >= since_ns


def _fault_of(folder: ResultFolder) -> InputError:
    """Why a tomogram was left out."""
    fault = InputError(read_text(folder.left_out).strip())
    fault.input_name = folder.name
    return fault


def _work_in(folder: ResultFolder, run: RunFolder, fabric: Fabric, work: Callable[[Fabric], Faults]) -> None:
    """Work in a folder that is held, with a log of its own; a file there tells why if it cannot be used."""
    with ExitStack() as stack:
        on_first_process(fabric, lambda: _begin(folder, stack))
        log_device(fabric, run.config.compute, logging.DEBUG)
        faults = work(fabric)
    if faults:
        on_first_process(fabric, lambda: write_text_atomic(folder.left_out, f"{faults[0]}\n"))


def _begin(folder: ResultFolder, stack: ExitStack) -> None:
    """Start the log, until ``stack`` ends, and clear what a killed process left half-written."""
    stack.enter_context(logged_apart(folder.log))
    try:
        folder.left_out.unlink(missing_ok=True)
        for path in folder.of_tomogram:
            remove_leftovers(path)
    except OSError as error:
        raise unwritable(error.filename or folder.path, error) from None
