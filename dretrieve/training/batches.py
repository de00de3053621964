"""Batch ``s``: which examples, which passages, which are positives and which are left out.

All of it is a pure function of (seed, ``s``), so that resuming needs only ``s``. Every batch comes from one
set (peers.md: mixed batches make other sets' passages easy negatives). In one epoch a set of n examples gives
``round(weight * (n // batch))`` batches, at least one: weight 4 shows a small set four times, as DPR does
with WebQuestions and CuratedTREC. The order of the sets inside an epoch is shuffled per epoch, the examples
of a set per pass over it; the n mod batch examples left over in one pass change from pass to pass.

Every passage stands in a batch once, however many queries bring it, so no query meets its own positive as a
negative and nothing is encoded twice (in SQuAD four questions share a passage). All passages of the batch,
of all processes, are negatives of every query but for its own positives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError
from dretrieve.store.seeds import generator
from dretrieve.training.sets import Ragged, TrainingSet

PositiveChoice = Literal["sample", "first"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetShare:
    """How much of a set the plan takes: its number of examples and the factor on its batches."""

    name: str
    examples: int
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Draw:
    """Batch ``step``: rows of one set, in order; ``turn`` counts the passes over that set (from 0)."""

    step: int
    set_index: int
    turn: int
    rows: NDArray[np.int64]


class Plan:
    """The batches of a training run; `draw` gives any of them directly."""

    def __init__(self, shares: Sequence[SetShare], batch: int, seed: int) -> None:
        """Lay out an epoch.

        Args:
            shares: the sets, in the order of the command line.
            batch: examples per step over all processes.
            seed: of the run.

        Raises:
            DataError: a set is smaller than one batch.
        """
        for share in shares:
            if share.examples < batch:
                raise DataError(
                    f"set {share.name} has {share.examples:,} usable examples, fewer than one batch "
                    f"of {batch:,}; lower --per-device-train-batch-size or leave the set out"
                )
        self._shares, self._batch, self._seed = tuple(shares), batch, seed
        self._per_epoch = [max(1, round(share.weight * (share.examples // batch))) for share in self._shares]
        self._order = lru_cache(maxsize=2)(self._epoch_order)
        self._permutation = lru_cache(maxsize=2 * len(self._shares))(self._shuffled)

    @property
    def steps_per_epoch(self) -> int:
        """Batches of all sets in one epoch."""
        return sum(self._per_epoch)

    def draw(self, step: int) -> Draw:
        """Return batch ``step`` (from 0)."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order = self._order(epoch)
        index = int(order[position])
        earlier = int(np.count_nonzero(order[:position] == index))
        ordinal = epoch * self._per_epoch[index] + earlier
        turn, block = divmod(ordinal, self._shares[index].examples // self._batch)
        rows = self._permutation(index, turn)[block * self._batch : (block + 1) * self._batch]
        return Draw(step, index, turn, rows)

    def _epoch_order(self, epoch: int) -> NDArray[np.int64]:
        order = np.repeat(np.arange(len(self._shares)), self._per_epoch)
        generator(self._seed, "sets", epoch).shuffle(order)
        return order

    def _shuffled(self, index: int, turn: int) -> NDArray[np.int64]:
        share = self._shares[index]
        return generator(self._seed, "rows", index, turn).permutation(share.examples)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choosing:
    """How an example's passages are chosen."""

    negatives: int  # hard negatives per query; a query with fewer takes all it has
    positives: PositiveChoice  # sample: another of the query's at each turn; first: the first (DPR, Tevatron)
    seed: int  # of the run


@dataclass(frozen=True, slots=True)
class Batch:
    """A step's texts, the same in every process.

    Attributes:
        step: from 0.
        training_set: where the rows point.
        query_rows: [Q] rows of the set's queries.
        passage_rows: [P] distinct rows of the set's passages: positives first, then hard negatives.
        positives: [Q] the column of each query's positive; -1 where no close passage of the query is one.
        own: by query, the columns of its own passages: its positive, then its hard negatives; or close ones.
        allowed: [Q, P] bool, False at a query's other positives.
        teacher_scores: [Q, P], a teacher's scores of the passages chosen for the query, NaN elsewhere; None
            where none teaches.
    """

    step: int
    training_set: TrainingSet
    query_rows: NDArray[np.int64]
    passage_rows: NDArray[np.int64]
    positives: NDArray[np.int64]
    own: list[list[int]]
    allowed: NDArray[np.bool_]
    teacher_scores: NDArray[np.float32] | None = None

    @property
    def query_ids(self) -> list[str]:
        """The ids of the batch's queries."""
        return [self.training_set.queries.text_ids[int(row)] for row in self.query_rows]


def compose(training_set: TrainingSet, draw: Draw, choosing: Choosing) -> Batch:
    """Return the batch of that draw: a pure function of its arguments."""
    if training_set.close is not None:
        return _of_close(training_set, training_set.close, draw)
    chosen = [_chosen(training_set, row, draw.turn, choosing) for row in map(int, draw.rows)]
    positives = [int(training_set.positives.values[first]) for first, _ in chosen]
    negatives = [training_set.negatives.values[places].tolist() for _, places in chosen]
    column = _columns([positives, *negatives])
    own = [
        [column[row] for row in (positive, *hard)]
        for positive, hard in zip(positives, negatives, strict=True)
    ]
    allowed = np.ones((len(draw.rows), len(column)), dtype=bool)
    for query, row in enumerate(map(int, draw.rows)):
        allowed[query, [column[of] for of in _judged(training_set, row) if of in column]] = False
        allowed[query, own[query][0]] = True
    teacher = None
    if training_set.teacher is not None:
        teacher = np.full(allowed.shape, np.nan, dtype=np.float32)
        for query, (first, places) in enumerate(chosen):
            teacher[query, own[query][0]] = training_set.teacher[0][first]
            teacher[query, own[query][1:]] = training_set.teacher[1][places]
    targets = np.asarray([columns[0] for columns in own], dtype=np.int64)
    passage_rows = np.asarray(list(column), dtype=np.int64)
    return Batch(draw.step, training_set, draw.rows, passage_rows, targets, own, allowed, teacher)


def _of_close(training_set: TrainingSet, close: Ragged, draw: Draw) -> Batch:
    """Return a batch of every query's close passages, best first."""
    wanted = [close.row(int(row)).tolist() for row in draw.rows]
    column = _columns(wanted)
    own = [[column[row] for row in rows] for rows in wanted]
    targets = np.full(len(draw.rows), -1, dtype=np.int64)
    allowed = np.ones((len(draw.rows), len(column)), dtype=bool)
    for query, row in enumerate(map(int, draw.rows)):
        judged = _judged(training_set, row)
        known = [column[of] for of in wanted[query] if of in judged]
        targets[query] = next(iter(known), -1)
        allowed[query, known[1:]] = False
    passage_rows = np.asarray(list(column), dtype=np.int64)
    return Batch(draw.step, training_set, draw.rows, passage_rows, targets, own, allowed)


def _columns(wanted: Iterable[Iterable[int]]) -> dict[int, int]:
    """Return the column of each passage, in the order in which they are first wanted."""
    return {row: place for place, row in enumerate(dict.fromkeys(chain.from_iterable(wanted)))}


def _judged(training_set: TrainingSet, row: int) -> set[int]:
    """Return the passages that are positive of the example's query, which may have a line for each."""
    ids = training_set.queries.text_ids
    lines = training_set.lines.get(ids[row], (row,)) if ids else (row,)
    return {of for line in lines for of in training_set.positives.row(line).tolist()}


def _chosen(
    training_set: TrainingSet, row: int, turn: int, choosing: Choosing
) -> tuple[int, NDArray[np.int64]]:
    """Return where the example's positive and its hard negatives stand among the set's."""
    first, end = (int(training_set.positives.offsets[row + more]) for more in (0, 1))
    start, stop = (int(training_set.negatives.offsets[row + more]) for more in (0, 1))
    is_given, all_of = choosing.positives == "first" or end - first == 1, stop - start <= choosing.negatives
    if is_given and all_of:  # nothing to draw; a generator costs half of what a batch does
        return first, np.arange(start, stop)
    random = generator(choosing.seed, "passages", training_set.name, row, turn)
    first += 0 if choosing.positives == "first" else int(random.integers(end - first))
    if all_of:
        return first, np.arange(start, stop)
    return first, start + random.choice(stop - start, size=choosing.negatives, replace=False)
