"""Signals that ask a fit to stop: it ends its step and writes a checkpoint first."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_asked() -> Iterator[Callable[[], bool]]:
    """Give a function that tells if SIGINT or SIGTERM came; what they did before, they do after the block.

    A second signal does it at once. In a thread that is not the main one, where Python lets nobody handle
    signals, they do what they did.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def ask(number: int, frame: FrameType | None) -> None:
        received.append(number)
        restore()
        logger.info("stopping after this step, once the checkpoint is written; again to stop at once")

    def restore() -> None:
        for one, handler in before.items():
            signal.signal(one, handler)

    before = {number: signal.signal(number, ask) for number in _SIGNALS}
    try:
        yield lambda: bool(received)
    finally:
        restore()
        if received:
            signal.raise_signal(received[0])
