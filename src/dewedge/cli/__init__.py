"""The command line: ``dewedge VERB``; nothing heavy is imported before a command runs."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from dewedge.errors import InputError, LostProcessError, is_out_of_memory, printable, reason
from dewedge.limits import MESSAGE
from dewedge.runtime.first_process import is_first_process

USER_ERROR = 2
OTHER_ERROR = 1


class Terminated(KeyboardInterrupt):
    """SIGTERM, treated like Ctrl-C."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status: 0, 1 (our fault), 2 (wrong input) or 128 + signal."""
    from dewedge.cli.app import VERBS, build_app

    arguments = list(sys.argv[1:] if argv is None else argv)
    app = build_app(called=arguments[0] if arguments else None)
    if arguments[1:] == ["--help"] and arguments[0] in VERBS:
        atexit.register(gc.freeze)  # no search for garbage at the end, in all that goes with the process
        return guarded(lambda: app.help_print(arguments[:1]))  # without making all flags twice, to parse none
    return guarded(lambda: app(arguments, exit_on_error=False, print_error=False))


def guarded(command: Callable[[], object]) -> int:
    """Run a command; whatever it raises becomes one line on stderr and an exit status."""
    from cyclopts import CycloptsError

    before = signal.signal(signal.SIGTERM, _terminate)
    wait_briefly()
    try:
        command()
    except InputError as error:
        _repeat_warnings()
        return _fail(str(error), USER_ERROR)
    except CycloptsError as error:
        from dewedge.cli.usage import usage_message

        return _fail(usage_message(error), USER_ERROR)
    except KeyboardInterrupt as interrupt:
        name, number = (
            ("terminated", signal.SIGTERM) if _was_terminated(interrupt) else ("interrupted", signal.SIGINT)
        )
        return _fail(f"{name}; {interrupt}" if str(interrupt) else name, 128 + number, kind="")
    except LostProcessError as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher's, which comes next
        _log_traceback()
        _fail(str(error), OTHER_ERROR, everywhere=True)
        os._exit(OTHER_ERROR)  # torch would wait for the lost process
    except OSError as error:
        _log_traceback()
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return _fail(f"{where}{error.strerror or error}", USER_ERROR)
    except Exception as error:
        path = _log_traceback()
        if is_out_of_memory(error):
            text = f"out of memory ({reason(error)}); use more binning or smaller cubes, batches or tiles"
            return _fail(text, OTHER_ERROR)
        where = "" if path is None else f"; traceback in {path}"
        first = (str(error).splitlines() or [""])[0][:MESSAGE]
        return _fail(f"unexpected {type(error).__name__}: {first}{where}", OTHER_ERROR)
    else:
        _repeat_warnings()
    finally:
        signal.signal(signal.SIGTERM, before)
        if "dewedge.runtime.log" in sys.modules:
            sys.modules["dewedge.runtime.log"].stop_messages()
    return 0


def wait_briefly() -> None:
    """Let OpenMP's threads sleep soon while they wait for each other; before torch, which reads it once.

    By default they spin for long, on a core that the late thread may need: beside two busy processes, a fit
    on two cores falls from 24 sub-tomograms a second to 1.3, so to 10. Not to spin at all gives 12 there, but
    21 on a free machine (docs/notebook/speed.md).
    """
    if "OMP_WAIT_POLICY" in os.environ or "GOMP_SPINCOUNT" in os.environ:
        return
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ["GOMP_SPINCOUNT"] = "10000"  # of libgomp, which torch's wheels for Linux have; it wins


def _repeat_warnings() -> None:
    if "dewedge.runtime.log" in sys.modules:
        sys.modules["dewedge.runtime.log"].repeat_warnings()


def _fail(message: str, status: int, kind: str = "error: ", everywhere: bool = False) -> int:
    """Print one line, on the first process only unless it may be the one that is gone."""
    if everywhere or is_first_process():
        import logging

        print(f"dewedge: {kind}{printable(' '.join(message.split()))}\n", end="", file=sys.stderr, flush=True)
        logging.getLogger("dewedge").debug("%s%s", kind, message)
    return status


def _log_traceback() -> Path | None:
    """Write the traceback to the run's log, or a file of its own; return its path, None if there is none."""
    import logging

    from dewedge.runtime.log import log_file, log_to_file

    if log_file() is None:
        # A name that nobody can foresee, made for this user alone.
        with suppress(OSError, InputError):
            descriptor, name = tempfile.mkstemp(prefix="dewedge-", suffix=".log")
            os.close(descriptor)
            log_to_file(Path(name))
    logging.getLogger("dewedge").debug("traceback", exc_info=True)
    return log_file()


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise Terminated


def _was_terminated(interrupt: BaseException | None) -> bool:
    while interrupt is not None:
        if isinstance(interrupt, Terminated):
            return True
        interrupt = interrupt.__context__
    return False
