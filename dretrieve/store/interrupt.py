"""Signals become a flag that a stage looks at between two chunks, never an exception in the middle."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from dretrieve.errors import Interrupted

CAUGHT = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGXCPU") if hasattr(signal, name)
)


class Signals:
    """The flag: which signal came first, if any."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    def set(self, number: int, frame: FrameType | None = None) -> None:
        """Remember the first signal (the handler)."""
        self.received = self.received or signal.Signals(number)

    def check(self) -> None:
        """Raise `Interrupted` if a signal came; call it where the state on disk is resumable."""
        if self.received is not None:
            raise Interrupted(
                f"stopped by {self.received.name} at a safe point; run the same command again to continue"
            )


@contextmanager
def interruptible() -> Iterator[Signals]:
    """Catch SIGINT, SIGTERM, SIGUSR1 and SIGXCPU for the block; the old handlers come back after it.

    In a thread other than the main one Python allows no handlers: the flag then stays unset.
    """
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    before = {number: signal.signal(number, signals.set) for number in CAUGHT}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
