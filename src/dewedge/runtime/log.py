"""Messages of a run: on the terminal, and in a log file with everything needed to explain the results."""

from __future__ import annotations

import errno
import logging
import os
import platform
import resource
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.logging import RichHandler

import dewedge
from dewedge.errors import printable
from dewedge.io.files import unwritable

logger = logging.getLogger("dewedge")

# Warnings that are told again at the end, at most.
_REPEATED = 20

# On stderr: stdout is for results.
console = Console(stderr=True, highlight=False)


class LogFile(logging.FileHandler):
    """A log file; where it cannot be written any more, a warning tells so and the run goes on without."""

    is_written = True

    def handleError(self, record: logging.LogRecord) -> None:
        """Warn that the file cannot be written any more, and write no more to it."""
        self.is_written = False
        self.setLevel(logging.CRITICAL + 1)
        fault = sys.exc_info()[1]
        what = fault.strerror if isinstance(fault, OSError) else fault
        logger.warning("%s: cannot be written any more: the run goes on without: %s", self.baseFilename, what)

    def close(self) -> None:
        """Close the file, as far as its disk lets it be."""
        with suppress(OSError):
            super().close()


class Warned(logging.Handler):
    """Keeps warnings, to be told again at the end."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message of a warning; the same one is kept once."""
        self.messages[record.getMessage()] = None


class Printable(logging.Filter):
    """Messages as they are safe on a terminal, whatever names of files they hold."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Make the message of a record printable; none is left out."""
        record.msg, record.args = printable(record.getMessage()), None
        return True


def show_on_terminal(stream: TextIO | None = None) -> None:
    """Send messages to a stream, or to stderr: with colours on a terminal, as plain lines elsewhere."""
    handler: logging.Handler
    if console.is_terminal and stream is None:
        handler = RichHandler(
            console=console, show_path=False, show_level=False, log_time_format="%X", markup=False
        )
    else:
        handler = logging.StreamHandler(stream or sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
    handler.setLevel(logging.INFO)
    handler.addFilter(Printable())
    _replace_handlers(type(handler), handler)
    _replace_handlers(Warned, Warned())
    logger.setLevel(logging.DEBUG)
    logger.propagate = False


def is_on_terminal() -> bool:
    """True where `show_on_terminal` sends messages to a terminal, on which bars can be drawn, too."""
    return any(isinstance(handler, RichHandler) for handler in logger.handlers)


def log_to_file(path: Path) -> None:
    """Append messages, debug ones too, to a file.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():  # what it leads to would be written
            raise OSError(errno.ELOOP, "it is a link")
        handler = LogFile(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise unwritable(path, error) from None
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    _replace_handlers(LogFile, handler)
    logger.setLevel(logging.DEBUG)


@contextmanager
def logged_apart(path: Path) -> Iterator[None]:
    """Append the messages of the block to another file; after an exception the next ones, too.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    before = log_file()
    log_to_file(path)
    log_environment()
    yield
    _replace_handlers(LogFile, None)
    if before is not None:
        log_to_file(before)


def log_file() -> Path | None:
    """File that messages are appended to; None if there is none, or it cannot be written any more."""
    for handler in logger.handlers:
        if isinstance(handler, LogFile) and handler.is_written:
            return Path(handler.baseFilename)
    return None


def show_table(lines: Callable[[int | None], Sequence[str]]) -> None:
    """Show lines on the terminal without times, and keep them in the log.

    ``lines`` makes them for a width in characters, None for any.
    """
    for line in lines(None):
        logger.debug(line)
    for handler in logger.handlers:
        if isinstance(handler, RichHandler):
            for line in lines(console.width):
                console.print(printable(line), markup=False, soft_wrap=True)
        elif type(handler) is logging.StreamHandler:
            handler.stream.write("".join(f"{printable(line)}\n" for line in lines(None)))
            handler.flush()


def repeat_warnings() -> None:
    """Tell the warnings since `show_on_terminal` again, where much may have been told since then."""
    messages = [text for each in logger.handlers if isinstance(each, Warned) for text in each.messages]
    for text in messages[:_REPEATED]:
        logger.info("again: %s", text)
    if len(messages) > _REPEATED:
        logger.info("again: %d more warnings, which stand above", len(messages) - _REPEATED)


def stop_messages() -> None:
    """Close the log file and stop showing messages."""
    for handler in list(logger.handlers):
        _replace_handlers(type(handler), None)
    logger.propagate = True


def command_line() -> str:
    """The command that started this process, as a shell takes it."""
    program = Path(sys.argv[0]).name.replace("__main__.py", "dewedge")
    return shlex.join([program, *sys.argv[1:]])


def log_environment() -> None:
    """Log version, command and machine, for the file only."""
    import numpy
    import torch

    logger.debug("dewedge %s: %s", dewedge.__version__, command_line())
    logger.debug("working folder %s", Path.cwd())
    logger.debug(
        "%s, %s, Python %s, torch %s, numpy %s",
        platform.node(),
        platform.platform(),
        platform.python_version(),
        torch.__version__,
        numpy.__version__,
    )
    logger.debug("%d CPU cores, %d threads", os.cpu_count() or 0, torch.get_num_threads())


@contextmanager
def step(name: str) -> Iterator[None]:
    """Log how long a step took and the peak of resident memory so far."""
    started = time.monotonic()
    logger.debug("%s ...", name)
    yield
    logger.info("%s: %s, peak memory %s", name, duration(time.monotonic() - started), peak_memory())


def peak_memory() -> str:
    """Peak of the resident memory of this process, and of the GPU's if it was used."""
    unit = 1 if sys.platform == "darwin" else 1024
    text = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9:.2f} GB"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        text += f", GPU {torch.cuda.max_memory_allocated() / 1e9:.2f} GB"
    return text


def duration(seconds: float) -> str:
    """Seconds as people read them.

    Examples
    --------
    >>> duration(4.2), duration(185), duration(7210)
    ('4.2 s', '3:05 min', '2:00:10 h')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d} h"


def _replace_handlers(kind: type[logging.Handler], handler: logging.Handler | None) -> None:
    for old in [h for h in logger.handlers if type(h) is kind]:
        logger.removeHandler(old)
        old.close()
    if handler is not None:
        logger.addHandler(handler)
