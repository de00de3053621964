"""Several devices of one machine: one process each, chunks dealt in turn, results taken in order.

A chunk's bytes do not depend on which process computed it, so the output is that of one device.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from dretrieve.encoding.pieces import ChunkVectors
from dretrieve.encoding.pipeline import AHEAD, POLL_SECONDS, Read, StopCheck, encode_chunks
from dretrieve.errors import DretrieveError
from dretrieve.models.loading import load_model
from dretrieve.store.card import Choice
from dretrieve.types import Record, Side


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What a process needs to load the model."""

    name: str
    precision: str
    side: Side
    settings: Mapping[str, Choice] = field(default_factory=dict)


def encode_over(
    request: ModelRequest,
    devices: Sequence[str],
    chunks: Iterable[Read],
    stop: StopCheck,
    advance: Callable[[int], None] = lambda rows: None,
) -> Iterator[ChunkVectors]:
    """Yield the vectors of each chunk, in order, computed on several devices.

    Raises:
        DretrieveError: a process failed (with its own sentence) or died.
    """
    context = multiprocessing.get_context("spawn")
    workers = [_Worker(context, request, device) for device in devices]
    reads, turns, answers = iter(chunks), cycle(workers), cycle(workers)

    def deal() -> None:
        """Send the next chunk in turn; when there is none tell all, for each waits for one more."""
        if (read := next(reads, None)) is not None:
            next(turns).send(read())
        else:
            for worker in workers:
                worker.send(None)

    try:
        for _ in range(AHEAD * len(workers)):
            deal()
        while (worker := next(answers)).owing:
            vectors = worker.receive(stop)
            deal()
            advance(len(vectors.vectors))
            yield vectors
    finally:
        for worker in workers:
            worker.close()


class _Worker:
    """The parent's end of one process."""

    def __init__(self, context: Any, request: ModelRequest, device: str) -> None:
        self.device, self.owing, self._told = device, 0, False
        self._requests, self._results = context.Queue(), context.Queue()
        self._process = context.Process(
            target=_serve, args=(request, device, self._requests, self._results), daemon=True
        )
        self._process.start()

    def send(self, records: Sequence[Record] | None) -> None:
        if not self._told:
            self._requests.put(records)
        self._told, self.owing = records is None, self.owing + (records is not None)

    def receive(self, stop: StopCheck) -> ChunkVectors:
        while True:
            stop.check()
            try:
                result = self._results.get(timeout=POLL_SECONDS)
                break
            except queue.Empty:
                stop.check()  # first: a signal to the whole job ends the processes too
                if not self._process.is_alive() and self._results.empty():
                    raise DretrieveError(
                        f"the process of {self.device} died with exit code {self._process.exitcode}; run the "
                        "same command again to continue, on fewer devices if memory ran out"
                    ) from None
        self.owing -= 1
        if isinstance(result, Exception):
            raise result
        assert isinstance(result, ChunkVectors)
        return result

    def close(self) -> None:
        if self._process.is_alive() and self.owing:
            self._process.terminate()
        self._process.join(timeout=10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        for pipe in (self._requests, self._results):
            pipe.close()
            pipe.cancel_join_thread()


def _serve(request: ModelRequest, device: str, requests: Any, results: Any) -> None:
    """Answer chunks until None comes or the parent is gone; the parent alone reacts to Ctrl-C."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    def given(records: Sequence[Record]) -> Read:
        return lambda: records

    try:
        model = load_model(request.name, device, request.precision, request.settings)
        chunks = (given(records) for records in iter(requests.get, None))
        for vectors in encode_chunks(model, request.side, chunks):
            results.put(vectors)
    except DretrieveError as error:
        results.put(error)
    except Exception as error:  # unheard, the parent would wait for ever
        results.put(DretrieveError(f"the process of {device} failed: {type(error).__name__}: {error}"))


def _end_with_parent() -> None:
    """End this process when the parent's end of their pipe closes, which even a killed parent does."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a process of a pool has a parent"
    parent.join()
    os._exit(1)
