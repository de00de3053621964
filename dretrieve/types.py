"""The records that travel between packages: ids, runs, qrels, vector specifications, progress.

Ids are ``str`` at every border. Inside a run or qrels a passage is an ``int32`` row of one id list, so
that sorting, fusing and measuring never touch a string.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Side = Literal["query", "passage"]
ScoreName = Literal["dot", "maxsim_sum", "maxsim_mean", "alignment", "bm25", "fused"]


@dataclass(frozen=True, slots=True)
class Record:
    """One text of a collection: a passage (title and text) or a query (``title == ""``)."""

    id: str
    title: str
    text: str


class Texts(Protocol):
    """Random access to the records of one side of a collection, in file order.

    Held by the text store for passages (memory-mapped) and by ``QuerySet`` for queries (in memory).
    """

    @property
    def sha256(self) -> str:
        """Hash over the canonical records (id, title, text), independent of the file's form."""
        ...

    def __len__(self) -> int: ...

    def ids(self, start: int, stop: int) -> list[str]:
        """Return the ids of rows ``start`` to ``stop`` (exclusive)."""
        ...

    def records(self, start: int, stop: int) -> list[Record]:
        """Return the records of rows ``start`` to ``stop`` (exclusive)."""
        ...


@dataclass(frozen=True, slots=True)
class VectorSpec:
    """What a vector is: its size, one or many per text, the score that compares two of them."""

    dim: int
    kind: Literal["one", "many"]
    score: ScoreName


@dataclass(frozen=True, slots=True)
class Run:
    """Hits of many queries in columns (compressed rows).

    Hits of query ``i`` are rows ``offsets[i]:offsets[i + 1]`` of ``passages`` and ``scores``, sorted by
    `dretrieve.order` (score descending, ties by id descending in UTF-8 bytes), without duplicates.

    Attributes:
        query_ids: one id per query; a query without hits stays, with an empty slice.
        passage_ids: the id of each passage row; not every row needs to be hit.
        offsets: int64, length ``len(query_ids) + 1``, starts at 0.
        passages: int32 rows of ``passage_ids``.
        scores: float64 of a file (trec_eval's own precision), float32 of a search; higher is better, finite.
        tag: the run's name in the sixth TREC column.
        by_rank: the file held ranks only; ``scores`` are 1 / rank, which order hits and cannot be weighed.
    """

    query_ids: Sequence[str]
    passage_ids: Sequence[str]
    offsets: NDArray[np.int64]
    passages: NDArray[np.int32]
    scores: NDArray[np.floating[Any]]
    tag: str = "dretrieve"
    by_rank: bool = False

    def __len__(self) -> int:
        return len(self.query_ids)

    def hits(self, query: int) -> Iterator[tuple[str, float]]:
        """Yield ``(passage_id, score)`` of the query at that position, best first."""
        for row in range(int(self.offsets[query]), int(self.offsets[query + 1])):
            yield self.passage_ids[int(self.passages[row])], float(self.scores[row])


@dataclass(frozen=True, slots=True)
class Qrels:
    """Relevance judgements in the same columns as `Run`; ``grades`` are int32, above 0 is relevant."""

    query_ids: Sequence[str]
    passage_ids: Sequence[str]
    offsets: NDArray[np.int64]
    passages: NDArray[np.int32]
    grades: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.query_ids)


class Progress(Protocol):
    """Where a job reports how far it is; the command line draws it on stderr, tests count it."""

    def start(self, label: str, total: int | None, unit: str, done: int = 0) -> None:
        """Begin a stage of ``total`` units, ``done`` of which were finished by an earlier run."""
        ...

    def advance(self, units: int) -> None:
        """Count ``units`` more."""
        ...

    def note(self, text: str) -> None:
        """Say one line (a default taken, a row dropped, a warning)."""
        ...

    def finish(self) -> None:
        """End the stage begun last."""
        ...


class Silent:
    """The `Progress` that says nothing: the default of every job used as a library."""

    def start(self, label: str, total: int | None, unit: str, done: int = 0) -> None:
        """Ignore."""

    def advance(self, units: int) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""

    def finish(self) -> None:
        """Ignore."""
