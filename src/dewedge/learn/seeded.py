"""Random numbers of torch that do not depend on what drew some before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int, index: int, device: torch.device) -> Iterator[None]:
    """Draw random numbers of torch (dropout, added noise) that are a function of (seed, index).

    Examples
    --------
    >>> with seeded(0, 5, torch.device("cpu")):
    ...     first = torch.rand(3)
    >>> with seeded(0, 5, torch.device("cpu")):
    ...     again = torch.rand(3)
    >>> bool((first == again).all())
    True
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0]))
        yield
