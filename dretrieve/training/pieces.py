"""A batch cut into pieces of like length, made ahead of the model by a thread.

The rows (both sides together where one encoder serves both) are sorted by length; the cuts minimise
``sum(rows * longest) + overhead * groups``, the cost of a forward in padded tokens plus a constant per
group. Padding a DPR step to its longest passage costs 1.5 to 2.5 times the tokens that this costs.
Nothing here touches a model.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dretrieve.errors import DataError, UsageError
from dretrieve.models.base import Distillation, Group, Method, Stepped, TokenBatch
from dretrieve.training.batches import Batch, Choosing, Plan, SetShare, compose
from dretrieve.training.processes import Processes
from dretrieve.training.sets import TrainingSet
from dretrieve.types import SIDES, Side, offsets_of

AHEAD = 2
CPU_OVERHEAD = 192
GPU_OVERHEAD = 16384  # a GPU is done with so many tokens while the kernels of one more group are launched
Rows = NDArray[np.int64]
Precision = Literal["fp32", "bf16"]
# A piece has texts of one side, of both, or whole queries with their own passages.
Cut = Literal["sides", "both", "queries"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOptions:
    """How a step is computed; none of it is the method's business."""

    seed: int  # of the run
    precision: Precision  # ``fp32``, or ``bf16`` by autocast over fp32 weights; the loss is always fp32
    cache_tokens: int  # the gradient cache, with so many padded tokens a piece at most; 0: none
    overhead: int  # what one more piece costs, in tokens
    pad: Mapping[Side, int]  # side to the padding id
    distillation: Distillation | None = None  # how a teacher's scores teach; None where the labels alone do
    phase: str = ""  # its name, for a method with a step of its own


@dataclass(frozen=True, slots=True)
class Layout:
    """How a side's rows come back into batch order.

    Attributes:
        counts: rows of each process.
        local: [own rows] the place of each own row in the concatenation of this process's pieces.
        batch: [rows] the place of each batch row in the concatenation of the processes' rows.
    """

    counts: list[int]
    local: Tensor
    batch: Tensor


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch ready for the model.

    Attributes:
        pieces: this process's texts: (queries or None, passages or None), like lengths together.
        layouts: how each side's rows come back into batch order.
        groups: this process's queries with their own passages, in the place of ``pieces``.
    """

    batch: Batch
    pieces: Sequence[tuple[TokenBatch | None, TokenBatch | None]]
    layouts: tuple[Layout, ...]
    groups: Sequence[Group] = ()

    @property
    def tokens(self) -> int:
        """Padded tokens of this process; a text whose vector is given counts as one."""
        groups = ((group.queries, group.passages) for group in self.groups)
        texts = chain(*self.pieces, *groups)
        return sum(of.input_ids.numel() or len(of) for of in texts if of is not None)


def cut_of(method: Method) -> Cut:
    """Return how the method's batches are cut: by the functions that it has of its own."""
    if isinstance(method, Stepped):
        return "queries"
    return "both" if type(method).encode_pair is not Method.encode_pair else "sides"


def prepare(batch: Batch, cut: Cut, options: StepOptions, processes: Processes) -> Prepared:
    """Return this process's pieces of the batch.

    Each side's rows are dealt to the processes by descending length, so all have like work.

    Raises:
        DataError: a side has fewer rows than there are processes.
    """
    rows = (batch.query_rows, batch.passage_rows)
    tables = (batch.training_set.queries, batch.training_set.passages)
    lengths = [table.lengths(of) for table, of in zip(tables, rows, strict=True)]
    dealt = rows[:1] if cut == "queries" else rows
    if min(map(len, dealt)) < processes.count:
        raise DataError(
            f"a batch of {len(rows[0])} queries and {len(rows[1])} passages cannot be dealt to "
            f"{processes.count} processes; raise --per-device-train-batch-size"
        )

    def texts(side: int, chosen: Rows) -> TokenBatch:
        return tables[side].batch(rows[side][chosen], pad=options.pad[SIDES[side]])

    if cut == "queries":
        return Prepared(batch, (), (), _whole_queries(batch, lengths, texts, options, processes))
    hands = [_deal(of, processes.count) for of in lengths]
    own = [hand[processes.rank] for hand in hands]
    groups = _cut_sides([of[mine] for of, mine in zip(lengths, own, strict=True)], cut, options)
    query, passage = (
        Layout(
            [len(hand) for hand in hands[side]],
            inverse(np.concatenate([group[side] for group in groups])),
            inverse(np.concatenate(hands[side])),
        )
        for side in (0, 1)
    )
    pieces = [
        (
            texts(0, own[0][queries]) if len(queries) else None,
            texts(1, own[1][passages]) if len(passages) else None,
        )
        for queries, passages in groups
    ]
    return Prepared(batch, pieces, (query, passage))


def _deal(lengths: Rows, count: int) -> list[Rows]:
    order = np.argsort(-lengths, kind="stable")
    return [order[rank::count] for rank in range(count)]


def _cut_sides(lengths: Sequence[Rows], cut: Cut, options: StepOptions) -> list[tuple[Rows, Rows]]:
    """Return the pieces as places of queries and of passages."""
    none, count = np.empty(0, dtype=np.int64), len(lengths[0])
    if cut == "both":
        both = _groups(np.concatenate(lengths), options)
        return [(group[group < count], group[group >= count] - count) for group in both]
    queries, passages = (_groups(of, options) for of in lengths)
    return [(group, none) for group in queries] + [(none, group) for group in passages]


def _whole_queries(
    batch: Batch,
    lengths: Sequence[Rows],
    texts: Callable[[int, Rows], TokenBatch],
    options: StepOptions,
    processes: Processes,
) -> list[Group]:
    """Return this process's queries with their own passages; like sums of pairs' lengths stand together."""
    sums = np.asarray(
        [
            lengths[1][own].sum() + max(1, len(own)) * length
            for own, length in zip(batch.own, lengths[0], strict=True)
        ],
        dtype=np.int64,
    )
    mine = _deal(sums, processes.count)[processes.rank]
    groups = []
    for places in _groups(sums[mine], options):
        queries = mine[places]
        own = [batch.own[query] for query in queries]
        passages = np.asarray(list(chain.from_iterable(own)), dtype=np.int64)
        owners = np.repeat(np.arange(len(own)), list(map(len, own)))
        rows = (torch.from_numpy(of) for of in (owners, queries, passages))
        groups.append(Group(texts(0, queries), texts(1, passages), *rows))
    return groups


def _groups(lengths: Rows, options: StepOptions) -> list[Rows]:
    return length_groups(lengths, overhead=options.overhead, budget=options.cache_tokens or None)


def length_groups(lengths: Rows, *, overhead: int, budget: int | None = None) -> list[Rows]:
    """Return the groups as row positions, longest rows first; every row stands in exactly one.

    Args:
        lengths: [N] real tokens per row, at least 1.
        overhead: cost of one more group, in tokens.
        budget: no group has more padded tokens than that (a single longer row is a group of its own).
    """
    if len(lengths) == 0:
        return []
    order = np.argsort(-lengths, kind="stable")
    distinct, counts = np.unique(-lengths, return_counts=True)
    groups = []
    for start, stop in _best_cuts(-distinct, counts, overhead, budget):
        rows = order[start:stop]
        longest = int(lengths[rows[0]])
        parts = 1 if budget is None else -(-len(rows) // max(1, budget // longest))
        groups += [part for part in np.array_split(rows, parts) if len(part)]
    return groups


def _best_cuts(distinct: Rows, counts: Rows, overhead: int, budget: int | None) -> list[tuple[int, int]]:
    """Return row ranges by dynamic programming over the distinct lengths (descending)."""
    ends = offsets_of(counts)
    best = np.zeros(len(distinct) + 1)
    previous = np.zeros(len(distinct) + 1, dtype=np.int64)
    for stop in range(1, len(distinct) + 1):
        # best[stop]: the least cost of the rows of the first `stop` lengths, over where the last group begins
        padded = (ends[stop] - ends[:stop]) * distinct[:stop]
        groups = np.ones(stop) if budget is None else np.ceil(padded / budget)
        total = best[:stop] + padded + overhead * groups
        previous[stop] = int(np.argmin(total))
        best[stop] = total[previous[stop]]
    ranges = []
    stop = len(distinct)
    while stop > 0:
        start = int(previous[stop])
        ranges.append((int(ends[start]), int(ends[stop])))
        stop = start
    return ranges[::-1]


def _check_budget(sets: Sequence[TrainingSet], budget: int) -> None:
    for of in sets:
        if of.close is None:
            continue
        counts = np.diff(of.close.offsets)
        passages = of.passages.lengths(of.close.values.astype(np.int64))
        ends = offsets_of(passages)[of.close.offsets]
        sums = np.diff(ends) + np.maximum(counts, 1) * of.queries.lengths(np.arange(len(of)))
        longest = int(sums.argmax())
        if sums[longest] > budget:
            raise UsageError(
                f"--grad-cache {budget}: query {of.queries.text_ids[longest]!r} of {of.name} has with its "
                f"{counts[longest]} passages {sums[longest]:,} tokens, and a piece holds whole queries; give "
                f"{sums[longest]} or more"
            )


def inverse(order: Rows) -> Tensor:
    """Return where each number of a permutation stands in it."""
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order), dtype=np.int64)
    return torch.from_numpy(places)


class Feed:
    """A phase's batches by number.

    Raises:
        UsageError: a query with its close passages is longer than a piece of the gradient cache.
    """

    def __init__(
        self,
        sets: Sequence[TrainingSet],
        batch: int,
        choosing: Choosing,
        options: StepOptions,
        processes: Processes,
        *,
        cut: Cut,
    ) -> None:
        shares = [SetShare(name=of.name, examples=len(of), weight=of.weight) for of in sets]
        self.plan = Plan(shares, batch, choosing.seed)
        self._sets, self._choosing, self._options = tuple(sets), choosing, options
        self._processes, self._cut = processes, cut
        if cut == "queries" and options.cache_tokens:
            _check_budget(sets, options.cache_tokens)

    def resized(self, batch: int, options: StepOptions, processes: Processes) -> Feed:
        """Return a feed of the same sets with batches of another size."""
        return Feed(self._sets, batch, self._choosing, options, processes, cut=self._cut)

    def make(self, step: int) -> Prepared:
        """Return this process's part of batch ``step``: a pure function of the step."""
        draw = self.plan.draw(step)
        batch = compose(self._sets[draw.set_index], draw, self._choosing)
        return prepare(batch, self._cut, self._options, self._processes)

    def between(self, start: int, stop: int) -> Iterator[tuple[Prepared, float]]:
        """Yield batches ``start`` to ``stop`` (exclusive), made ahead, and the seconds waited for each."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as pool:
            waiting: deque[Future[Prepared]] = deque()
            step = start
            try:
                while step < stop or waiting:
                    while step < stop and len(waiting) < AHEAD:
                        waiting.append(pool.submit(self.make, step))
                        step += 1
                    began = time.perf_counter()
                    prepared = waiting.popleft().result()
                    yield prepared, time.perf_counter() - began
            finally:
                for future in waiting:
                    future.cancel()
