"""What encoding will cost, measured on a sample: time, memory, disk."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass, fields

import numpy as np

from dretrieve.encoding.pipeline import encode_records
from dretrieve.models.loading import LoadedModel
from dretrieve.store.shards import Shard
from dretrieve.types import Side, Texts, Vectors

SAMPLE_ROWS = 512
TIMED_ROWS = 96


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The cost of a shard.

    Attributes:
        tokens: expected, from a sample.
        truncated: expected texts longer than the limit.
        disk_bytes: of the finished shard; as much again while it is written.
        memory_bytes: the process's peak while the sample ran; it does not grow with the collection.
    """

    rows: int
    tokens: int
    truncated: int
    seconds: float
    disk_bytes: int
    memory_bytes: int

    def as_json(self) -> dict[str, float]:
        """Return everything as plain data."""
        return {item.name: round(getattr(self, item.name), 1) for item in fields(self)}

    def lines(self, unit: str) -> list[str]:
        """Return the cost in lines for people."""
        return [
            f"  tokens   {self.tokens:,} ({self.truncated:,} {unit} would be cut)",
            f"  time     {duration(self.seconds)}",
            f"  disk     {self.disk_bytes / 1e6:,.1f} MB, twice that while writing",
            f"  memory   {self.memory_bytes / 1e6:,.0f} MB",
        ]


def estimate(model: LoadedModel, side: Side, texts: Texts, shard: Shard, dtype: str) -> Estimate:
    """Return the expected cost of encoding a shard; encodes a few texts spread over it."""
    tokenizer = model.tokenizers[side]
    sample, timed = (
        [texts.records(row, row + 1)[0] for row in spread(shard.start, shard.stop, count)]
        for count in (SAMPLE_ROWS, TIMED_ROWS)
    )
    if not sample:
        return Estimate(rows=0, tokens=0, truncated=0, seconds=0.0, disk_bytes=0, memory_bytes=_peak_bytes())
    tokens = tokenizer.tokenize(sample)
    few = timed[: max(1, len(timed) // 8)]
    encode_records(model, side, few, "float32")
    began = time.perf_counter()
    found = encode_records(model, side, timed, "float32")
    seconds, read = time.perf_counter() - began, int(tokenizer.tokenize(timed).offsets[-1])
    total = int(tokens.offsets[-1]) / len(sample) * len(shard)
    times = total / read if found.many else len(shard) / len(timed)
    ids = sum(len(record.id.encode()) + 1 for record in sample) / len(sample) * len(shard)
    return Estimate(
        rows=len(shard),
        tokens=round(total),
        truncated=round(tokens.truncated / len(sample) * len(shard)),
        seconds=seconds / read * total,
        disk_bytes=round(_stored_bytes(found, dtype) * times + ids),
        memory_bytes=_peak_bytes(),
    )


def _stored_bytes(vectors: Vectors, dtype: str) -> int:
    """Return the size of the arrays as they are stored: of many vectors a text, of those that are kept."""
    numbers = vectors.values.size + (0 if vectors.weights is None else vectors.weights.size)
    beside = [of.nbytes for of in (vectors.offsets, vectors.tokens) if of is not None]
    return numbers * np.dtype(dtype).itemsize + sum(beside)


def spread(start: int, stop: int, count: int) -> list[int]:
    """Return up to ``count`` of the rows from ``start`` to ``stop`` (exclusive), evenly spread."""
    rows: list[int] = np.unique(np.linspace(start, stop - 1, min(count, stop - start)).astype(int)).tolist()
    return rows


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def duration(seconds: float) -> str:
    """Return the seconds in a unit that fits."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
