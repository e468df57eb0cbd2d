"""Things made in a thread while others of their kind are in use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Made = TypeVar("Made")


def made_ahead(make: Callable[[int], Made], items: Iterable[int]) -> Iterator[Made]:
    """Yield what ``make`` makes of the items in turn, each made in a thread while that before it is in use.

    On a CPU, which is busy with the network itself, it would gain nothing.
    """
    with ThreadPoolExecutor(1) as thread:
        waiting: deque[Future[Made]] = deque()
        for item in items:
            waiting.append(thread.submit(make, item))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        for last in waiting:
            yield last.result()
