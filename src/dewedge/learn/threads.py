"""Independent parts of a computation, each in a thread with its share of the processor's cores."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class Threads:
    """Threads among which torch's are divided.

    Parameters
    ----------
    parts
        The work comes in so many equal parts.

    Attributes
    ----------
    count
        Threads: the most, of those that torch has, by which the parts can be divided. The others of torch's
        help each of them alike.
    """

    def __init__(self, parts: int) -> None:
        cores = torch.get_num_threads()
        self.count = max(n for n in range(1, min(parts, cores) + 1) if parts % n == 0)
        self._pool = ThreadPoolExecutor(
            self.count, initializer=torch.set_num_threads, initargs=(cores // self.count,)
        )

    def map(self, action: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Results of ``action`` for the items, in their order; all have ended when this does, or raises."""
        futures = [self._pool.submit(action, item) for item in items]
        wait(futures)
        return [future.result() for future in futures]
