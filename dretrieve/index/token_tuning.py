"""How widely a fast search of token vectors looks: chosen when the index is built, on sampled queries.

Of two halves of the sample one chooses: the first step of a ladder whose hits share ``target`` of the exact
ones, at k 10 and at k 100. What the other half then shares is stored and said by `search`. All of it is a
function of the passages and the queries, so the bytes of an index do not depend on the machine.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import UsageError
from dretrieve.index.base import Passages
from dretrieve.index.exact import ExactOptions
from dretrieve.index.token_search import TokenSearch
from dretrieve.index.top_k import TopK
from dretrieve.kernels.token_search import Counts
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.stage import Stage
from dretrieve.types import Vectors, offsets_of

FILE = "fast.json"
SAMPLED = 64
PIECES = (8, 24)
"""Tokens of a piece of a passage that stands for a query, in turn."""
LISTED_TOKENS = 1 << 20
"""From so many tokens on the lists of the best centroids are read and not the codes of all passages."""
NEAR = 2.0
# of each step: passages scored in bytes, and canonically; lists read for a query token
STEPS_10 = ((75, 20, 32), (100, 30, 32), (150, 40, 48), (250, 50, 64), (400, 60, 64), (600, 100, 96))
STEPS_100 = ((300, 150, 64), (400, 200, 64), (600, 250, 96), (1000, 350, 128), (1500, 500, 256))
LADDERS = {
    10: (*STEPS_10, (1000, 150, 128), (2000, 300, 256)),
    100: (*STEPS_100, (3000, 1000, 512)),
}


@dataclass(frozen=True, slots=True)
class Tuned:
    """What building an index chose, at each k of `LADDERS`.

    Attributes:
        counts: None where no step of the ladder reached the target: the search is exact.
        measured: the share of exact hits that the other half of the sample had.
        queries: what the sample was made of.
    """

    counts: dict[int, Counts | None]
    measured: dict[int, float]
    queries: str

    @classmethod
    def open(cls, folder: Path) -> Tuned:
        """Return what stands in a verified index."""
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
        steps = found["steps"].items()
        counts = {int(k): Counts(**step["counts"]) if step["counts"] else None for k, step in steps}
        return cls(counts, {int(k): step["overlap"] for k, step in steps}, found["queries"])

    def for_hits(self, k: int) -> Counts | None:
        """Return how widely to look for k hits; None: exactly."""
        tuned = min((hits for hits in self.counts if hits >= k), default=max(self.counts))
        counts = self.counts[tuned]
        if counts is None:
            return None
        times = max(1, math.ceil(k / tuned))
        wider = {name: times * getattr(counts, name) for name in ("listed", "coded", "rescored")}
        return counts._replace(**wider)

    @property
    def said(self) -> str:
        """One line for the user."""
        shares = ", ".join(f"overlap@{k} {share:.3f}" for k, share in self.measured.items())
        return f"fast search; beside exact search: {shares}, measured on {self.queries}"


def queries_of(folder: Path, dim: int) -> Vectors:
    """Return sampled queries from a folder of their embeddings.

    Raises:
        UsageError: vectors of passages, one vector a text, or of another dimension.
    """
    embeddings = Embeddings.open(folder)
    if embeddings.side != "query" or embeddings.vectors.kind != "many" or embeddings.vectors.dim != dim:
        raise UsageError(
            f"--set queries={folder}: queries with vectors per token of {dim} dimensions are wanted, as "
            f"`dretrieve encode --queries` writes them; these are {embeddings.side} vectors of "
            f"{embeddings.vectors.dim}, {embeddings.vectors.kind} a text"
        )
    return _sampled(embeddings.all_vectors())


def pieces_of(passages: Passages) -> Vectors:
    """Return pieces out of the middle of passages, which stand for queries where none are given."""
    rows = np.unique(np.arange(SAMPLED, dtype=np.int64) * passages.rows // SAMPLED)
    found = []
    for place, passage in enumerate(_each(passages.gather(rows))):
        count = min(PIECES[place % len(PIECES)], len(passage))
        start = (len(passage) - count) // 2
        found.append(passage[start : start + count])
    lengths = np.array([len(piece) for piece in found], dtype=np.int64)
    return _sampled(Vectors(np.concatenate(found), offsets_of(lengths)))


def _each(texts: Vectors) -> list[NDArray[Any]]:
    assert texts.offsets is not None
    return np.split(texts.values, texts.offsets[1:-1])


def _sampled(texts: Vectors) -> Vectors:
    """Return at most `SAMPLED` texts that have tokens, spread evenly."""
    assert texts.offsets is not None
    present = np.flatnonzero(np.diff(texts.offsets))
    count = min(SAMPLED, len(present))
    return texts.take(present[np.arange(count, dtype=np.int64) * len(present) // max(1, count)])


def write_tuned(
    stage: Stage,
    search: TokenSearch,
    queries: Vectors | None,
    target: float,
    threads: int,
    checked: Callable[[], None],
) -> None:
    """Choose how widely to look, and write it into the index.

    Args:
        stage: of the index.
        search: over its codes.
        queries: from `queries_of`; None takes `pieces_of`.
        target: the wanted share of the exact hits.
        threads: change nothing but the time.
        checked: called from time to time; may raise.
    """
    asked = pieces_of(search.passages) if queries is None else queries
    halves = [asked.take(np.arange(half, len(asked), 2)) for half in range(2)]
    source = "pieces of passages" if queries is None else "given queries"
    options = ExactOptions(threads=threads, after_block=lambda row, kept: checked())
    steps = {
        str(k): {"counts": None if counts is None else counts._asdict(), "overlap": round(overlap, 4)}
        for k, (counts, overlap) in choose(search, halves, target, options).items()
    }
    found = {"queries": f"{len(halves[1])} {source}", "target": target, "steps": steps}
    with stage.write(FILE, text=True) as file:
        json.dump(found, file, indent=1)
        file.write("\n")


def choose(
    search: TokenSearch, halves: Sequence[Vectors], target: float, options: ExactOptions
) -> dict[int, tuple[Counts | None, float]]:
    """Return for each k of `LADDERS` the first step that reaches the target on one half of some queries.

    Beside it stands the share of the exact hits on the other half; (None, 1) where no step is enough.
    """
    found: dict[int, tuple[Counts | None, float]] = {}
    exact = [_found(search, half, max(LADDERS), None, options) for half in halves]
    listed = len(search.codes.codes) >= LISTED_TOKENS
    for k, ladder in LADDERS.items():
        found[k] = None, 1.0
        for coded, rescored, probes in ladder if all(search.fits(half) for half in halves) else ():
            counts = Counts(probes if listed else 0, 3 * coded, coded, rescored, NEAR)
            if _overlap(_found(search, halves[0], k, counts, options), exact[0], k) >= target:
                found[k] = counts, _overlap(_found(search, halves[1], k, counts, options), exact[1], k)
                break
    return found


def _found(
    search: TokenSearch, queries: Vectors, k: int, counts: Counts | None, options: ExactOptions
) -> list[NDArray[np.int64]]:
    """Return each query's hits, best first."""
    kept = TopK.empty(len(queries), min(k, search.passages.rows))
    if counts is not None:
        search.fast(queries, kept, counts, options)
    elif search.fits(queries):
        search.sure(queries, kept, (0, search.passages.rows), options)
    return [rows for rows, _ in kept.best_first(search.passages.ranks)]


def _overlap(found: list[NDArray[np.int64]], exact: list[NDArray[np.int64]], k: int) -> float:
    """Return the share of the exact hits that were found; 1 where there are none."""
    shares = [np.isin(every[:k], rows).mean() for rows, every in zip(found, exact, strict=True) if len(every)]
    return float(np.mean(shares)) if shares else 1.0
