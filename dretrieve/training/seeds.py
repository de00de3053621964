"""torch's generators: set from what a draw belongs to, given back afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dretrieve.store.draws import fold


def seed_dropout(seed: int, *parts: int | str) -> None:
    """Set torch's global generators (all devices), which dropout draws from, for the forward that follows."""
    torch.manual_seed(fold(seed, *parts))


@contextmanager
def own_generators() -> Iterator[None]:
    """Give the caller's torch generators back, untouched, after the block."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        yield
