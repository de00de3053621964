"""From a draw of the plan to a batch: which passages, which columns are positives, which are left out.

Every passage stands in a batch once, however many queries bring it, so no query meets its own positive as a
negative and nothing is encoded twice (in SQuAD four questions share a passage). All passages of the batch,
of all processes, are negatives of every query but for its own positives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dretrieve.store.draws import generator
from dretrieve.training.plan import Draw
from dretrieve.training.token_table import TokenTable

PositiveChoice = Literal["sample", "first"]


@dataclass(frozen=True, slots=True)
class Ragged:
    """Rows of different length in columns: row i is ``values[offsets[i]:offsets[i + 1]]``."""

    values: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> Ragged:
        """Return the columns of those rows."""
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)])
        values = np.fromiter((value for row in rows for value in row), dtype=np.int32)
        return cls(values, offsets.astype(np.int64))

    def row(self, index: int) -> NDArray[np.int32]:
        """Return one row."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """One set in rows: queries with positives and hard negatives, all texts tokenised.

    Attributes:
        name: for messages and the plan.
        query_ids: one per example.
        positives: rows of ``passages`` per example, at least one.
        negatives: rows of ``passages`` per example, possibly none; never one of its positives.
        queries: the queries' tokens, one row per example.
        passages: the tokens of the passages that some example names.
        weight: factor on the set's share of the batches.
        teacher: a teacher's score of each of ``positives`` and of each of ``negatives``, flat as their
            values; None where none teaches.
    """

    name: str
    query_ids: Sequence[str]
    positives: Ragged
    negatives: Ragged
    queries: TokenTable
    passages: TokenTable
    weight: float = 1.0
    teacher: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choosing:
    """How an example's passages are chosen.

    Attributes:
        negatives: hard negatives per query; a query with fewer takes all it has.
        positives: ``sample`` draws one of the query's positives at each turn, ``first`` takes the first
            (DPR, Tevatron).
        seed: of the run.
    """

    negatives: int
    positives: PositiveChoice
    seed: int


@dataclass(frozen=True, slots=True)
class Batch:
    """A step's texts, the same in every process.

    Attributes:
        step: from 0.
        training_set: where the rows point.
        query_rows: [Q] rows of the set's queries.
        passage_rows: [P] distinct rows of the set's passages: positives first, then hard negatives.
        positives: [Q] the column of each query's positive.
        allowed: [Q, P] bool, False at a query's other positives.
        teacher_scores: [Q, P], a teacher's scores of the passages chosen for the query, NaN elsewhere; None
            where none teaches.
    """

    step: int
    training_set: TrainingSet
    query_rows: NDArray[np.int64]
    passage_rows: NDArray[np.int64]
    positives: NDArray[np.int64]
    allowed: NDArray[np.bool_]
    teacher_scores: NDArray[np.float32] | None = None

    @property
    def query_ids(self) -> list[str]:
        """The ids of the batch's queries."""
        return [self.training_set.query_ids[int(row)] for row in self.query_rows]


def compose(training_set: TrainingSet, draw: Draw, choosing: Choosing) -> Batch:
    """Return the batch of that draw: a pure function of its arguments."""
    chosen = [_chosen(training_set, row, draw.turn, choosing) for row in map(int, draw.rows)]
    positives = [int(training_set.positives.values[first]) for first, _ in chosen]
    negatives = [training_set.negatives.values[places].astype(np.int64) for _, places in chosen]
    wanted = np.concatenate([np.asarray(positives, dtype=np.int64), *negatives])
    distinct, first_place = np.unique(wanted, return_index=True)
    passage_rows = wanted[np.sort(first_place)]
    column = {int(row): place for place, row in enumerate(passage_rows)}
    targets = np.asarray([column[row] for row in positives], dtype=np.int64)
    allowed = np.ones((len(draw.rows), len(distinct)), dtype=bool)
    for query, row in enumerate(map(int, draw.rows)):
        others = [column[known] for known in training_set.positives.row(row).tolist() if known in column]
        allowed[query, others] = False
        allowed[query, targets[query]] = True
    teacher = None
    if training_set.teacher is not None:
        teacher = np.full(allowed.shape, np.nan, dtype=np.float32)
        for query, (first, places) in enumerate(chosen):
            teacher[query, targets[query]] = training_set.teacher[0][first]
            columns = [column[row] for row in negatives[query].tolist()]
            teacher[query, columns] = training_set.teacher[1][places]
    return Batch(draw.step, training_set, draw.rows, passage_rows, targets, allowed, teacher)


def _chosen(
    training_set: TrainingSet, row: int, turn: int, choosing: Choosing
) -> tuple[int, NDArray[np.int64]]:
    """Return where the example's positive and its hard negatives stand among the set's."""
    random = generator(choosing.seed, "passages", training_set.name, row, turn)
    start, stop = (int(training_set.positives.offsets[row + more]) for more in (0, 1))
    first = start + (0 if choosing.positives == "first" else int(random.integers(stop - start)))
    start, stop = (int(training_set.negatives.offsets[row + more]) for more in (0, 1))
    if stop - start <= choosing.negatives:
        return first, np.arange(start, stop)
    return first, start + random.choice(stop - start, size=choosing.negatives, replace=False)
