"""The records that travel between packages: ids, runs, qrels, vector specifications, progress.

Ids are ``str`` at every border. Inside a run or qrels a passage is an ``int32`` row of one id list, so
that sorting, fusing and measuring never touch a string.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Side = Literal["query", "passage"]
SIDES: tuple[Side, Side] = ("query", "passage")
UNITS: dict[Side, str] = {"query": "queries", "passage": "passages"}  # what their texts are called
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


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """The vectors of N texts in host memory: one a text, or all tokens' vectors, one text after another.

    Attributes:
        values: [N, dim], or [T, dim] with ``offsets``; float16 or float32.
        offsets: int64 [N + 1] from 0 to T, text i has ``values[offsets[i]:offsets[i + 1]]``, maybe none; None
            for one vector a text.
        weights: [T] float16 or float32, the salience of each token's vector; None where the method has none.
        tokens: [T] int32, the vocabulary's number of each token; None where they are not known.
        whole: [N] int64, how many tokens each text had before some were left out; None where none were.
    """

    values: NDArray[Any]
    offsets: NDArray[np.int64] | None = None
    weights: NDArray[np.floating[Any]] | None = None
    tokens: NDArray[np.int32] | None = None
    whole: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        assert self.values.ndim == 2
        if self.offsets is not None:
            assert self.offsets[0] == 0
            assert self.offsets[-1] == len(self.values)
        for of in (self.weights, self.tokens):
            if of is not None:
                assert self.offsets is not None
                assert of.shape == (len(self.values),)

    def __len__(self) -> int:
        return len(self.values) if self.offsets is None else len(self.offsets) - 1

    @property
    def dim(self) -> int:
        """Numbers per vector."""
        return int(self.values.shape[1])

    @property
    def many(self) -> bool:
        """Whether a text has a vector per token."""
        return self.offsets is not None

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[N], how many tokens each text has, those left out among them."""
        assert self.offsets is not None
        return np.diff(self.offsets) if self.whole is None else self.whole

    def __getitem__(self, rows: slice) -> Vectors:
        """Return some consecutive texts as views; their offsets begin at 0 again."""
        start, stop, step = rows.indices(len(self))
        assert step == 1
        stop = max(start, stop)
        if self.offsets is None:
            return Vectors(self.values[start:stop])
        first, last = int(self.offsets[start]), int(self.offsets[stop])
        return Vectors(
            self.values[first:last],
            self.offsets[start : stop + 1] - first,
            None if self.weights is None else self.weights[first:last],
            None if self.tokens is None else self.tokens[first:last],
            None if self.whole is None else self.whole[start:stop],
        )

    def take(self, rows: NDArray[np.int64]) -> Vectors:
        """Return a copy of those texts, in that order; a row may stand twice."""
        if self.offsets is None:
            return Vectors(self.values[rows])
        lengths = np.diff(self.offsets)[rows]
        offsets = offsets_of(lengths)
        # the tokens of a text count on from its first
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][rows] - offsets[:-1], lengths)
        return Vectors(
            self.values[places],
            offsets,
            None if self.weights is None else self.weights[places],
            None if self.tokens is None else self.tokens[places],
            None if self.whole is None else self.whole[rows],
        )

    @classmethod
    def joined(cls, parts: Sequence[Vectors]) -> Vectors:
        """Return the texts of all parts, at least one part, all of one kind; copies unless there is one."""
        if len(parts) == 1:
            return parts[0]
        values = np.concatenate([part.values for part in parts])
        if not parts[0].many:
            assert not any(part.many for part in parts)
            return cls(values)
        lengths = [np.diff(part.offsets) for part in parts if part.offsets is not None]
        weights = [part.weights for part in parts if part.weights is not None]
        tokens = [part.tokens for part in parts if part.tokens is not None]
        assert len(lengths) == len(parts)
        whole = [part.whole for part in parts if part.whole is not None]
        assert {len(weights), len(tokens), len(whole)} <= {0, len(parts)}
        return cls(
            values,
            offsets_of(np.concatenate(lengths)),
            np.concatenate(weights) if weights else None,
            np.concatenate(tokens) if tokens else None,
            np.concatenate(whole) if whole else None,
        )


def offsets_of(lengths: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return [N + 1] int64: where each of N rows of those lengths begins, and where the last one ends."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


class Engine(NamedTuple):
    """What computes vectors: ``packed``, ``transformers`` or ``torch``; in which precision; the attention."""

    name: str
    precision: str
    attention: str = ""

    @staticmethod
    def of_all(engines: Collection[Engine]) -> Engine:
        """Return the one engine, of several all their names; at least one is given."""
        return Engine(*("+".join(sorted(set(of))) for of in zip(*engines, strict=True)))


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

    def rows(self) -> Iterator[tuple[str, str, int]]:
        """Yield ``(query id, passage id, grade)`` in file order."""
        queries = np.repeat(np.arange(len(self)), np.diff(self.offsets)).tolist()
        for query, passage, grade in zip(queries, self.passages.tolist(), self.grades.tolist(), strict=True):
            yield self.query_ids[query], self.passage_ids[passage], grade

    def positives(self) -> dict[str, list[str]]:
        """Return query id to the ids of its relevant passages, in file order; queries with one at least."""
        found: dict[str, list[str]] = {}
        for query_id, passage_id, grade in self.rows():
            if grade > 0:
                found.setdefault(query_id, []).append(passage_id)
        return found


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


SILENT = Silent()  # it has no state
