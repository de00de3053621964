"""Signals set a flag; a stage stops where it is resumable."""

import os
import signal
import threading

import pytest

from dretrieve.errors import Interrupted
from dretrieve.store.interrupt import interruptible


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT"])
def test_a_signal_is_seen_at_the_next_check_and_not_before(name: str) -> None:
    before = signal.getsignal(getattr(signal, name))
    with interruptible() as signals:
        signals.check()
        os.kill(os.getpid(), getattr(signal, name))
        after_the_signal = "still running"
        with pytest.raises(Interrupted, match=f"stopped by {name} at a safe point") as caught:
            signals.check()
    assert after_the_signal
    assert caught.value.exit_code == 75
    assert signal.getsignal(getattr(signal, name)) == before


def test_in_another_thread_it_is_quiet() -> None:
    seen = []

    def work() -> None:
        with interruptible() as signals:
            signals.check()
            seen.append(signals.received)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [None]
