"""Texts to vectors, chunk by chunk: tokenising beside computing, results in row order.

On a CPU each batch is computed by one thread and several batches at once, which is faster than several
threads in one batch and makes the bytes independent of their number. On a GPU one thread feeds the device;
results come back by asynchronous copies. Three chunks are under way at any time, so that no device waits for
the end of one, and memory is bounded by them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeVar

import numpy as np
import torch

from dretrieve.encoding.pieces import ChunkVectors, Piece, assemble, batches_of, run_batch
from dretrieve.models.loading import LoadedModel
from dretrieve.store.interrupt import Signals
from dretrieve.store.shards import CHUNK_ROWS
from dretrieve.threads import allotted_threads
from dretrieve.tokens.tokenizer import Tokenized
from dretrieve.types import Record, Side, Vectors

# Chunks under way: one being computed, one ready behind it, one being tokenised.
AHEAD = 3
POLL_SECONDS = 0.2
Read = Callable[[], Sequence[Record]]
T = TypeVar("T")


class StopCheck(Protocol):
    """What may end the work between two moments of waiting (`store.interrupt.Signals`)."""

    def check(self) -> None:
        """Raise if the work is to stop."""
        ...


@dataclass(frozen=True, slots=True)
class _UnderWay:
    tokens: Tokenized
    pieces: list[Future[Piece]]


def encode_chunks(
    model: LoadedModel,
    side: Side,
    chunks: Iterable[Read],
    stop: StopCheck | None = None,
    advance: Callable[[int], None] = lambda rows: None,
) -> Iterator[ChunkVectors]:
    """Yield the vectors of each chunk, in order.

    Each chunk is read in the tokenising thread. ``stop`` is asked several times a second; what it raises ends
    the work without waiting for the chunk. ``advance`` is told the number of texts of every finished batch.
    """
    stop = stop or Signals()
    with pools(model.device) as (reader, pool):

        def begin(read: Read) -> _UnderWay:
            records = read()
            tokens, ids = model.tokenizers[side].tokenize(records), [record.id for record in records]
            batches = batches_of(tokens, model.device)
            return _UnderWay(
                tokens, [pool.submit(run_batch, model, side, tokens, rows, ids) for rows in batches]
            )

        waiting, under_way = iter(chunks), deque[Future[_UnderWay]]()
        while True:
            while len(under_way) < AHEAD and (read := next(waiting, None)) is not None:
                under_way.append(reader.submit(begin, read))
            if not under_way:
                return
            chunk = result_of(under_way[0], stop)
            pieces = []
            for future in chunk.pieces:
                pieces.append(result_of(future, stop))
                advance(len(pieces[-1].rows))
            under_way.popleft()
            tokens = chunk.tokens
            vectors = assemble(pieces, tokens, model.card.vectors)
            yield ChunkVectors(vectors, int(tokens.offsets[-1]), tokens.truncated, model.ran)


def result_of(future: Future[T], stop: StopCheck) -> T:
    """Return the future's result, asking ``stop`` while waiting."""
    while not wait([future], timeout=POLL_SECONDS).done:
        stop.check()
    return future.result()


@contextmanager
def pools(device: torch.device) -> Iterator[tuple[ThreadPoolExecutor, ThreadPoolExecutor]]:
    """Give the tokenising thread and the computing threads; leaving the block drops what has not begun."""
    on_cpu, before = device.type == "cpu", torch.get_num_threads()
    workers = allotted_threads() if on_cpu else 1
    alone: Callable[[], None] = (lambda: torch.set_num_threads(1)) if on_cpu else (lambda: None)
    reader = ThreadPoolExecutor(1, thread_name_prefix="tokenise")
    pool = ThreadPoolExecutor(workers, thread_name_prefix="encode", initializer=alone)
    try:
        yield reader, pool
    finally:
        for executor in (reader, pool):
            executor.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(before)


def encode_records(
    model: LoadedModel,
    side: Side,
    records: Sequence[Record],
    dtype: Literal["float16", "float32"] = "float16",
    stop: StopCheck | None = None,
) -> Vectors:
    """Return the vectors of texts in memory, for search and dev selection.

    The numbers are those that ``encode`` stores for the same texts in the same order.

    Raises:
        DataError: a vector that is not finite or all zeros (names the ids).
    """
    from dretrieve.store.shard_writer import check_vectors

    # one chunk at least: no texts are of a kind too
    starts = range(0, max(1, len(records)), CHUNK_ROWS)
    chunks = [_slice(records, start) for start in starts]
    found = Vectors.joined([chunk.vectors for chunk in encode_chunks(model, side, chunks, stop)])
    with np.errstate(over="ignore"):
        vectors = replace(
            found,
            values=found.values.astype(dtype),
            weights=None if found.weights is None else found.weights.astype(dtype),
        )
    check_vectors(vectors, [record.id for record in records])
    return vectors


def _slice(records: Sequence[Record], start: int) -> Read:
    return lambda: records[start : start + CHUNK_ROWS]
