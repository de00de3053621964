"""One step: a batch cut into pieces, encoded, compared, and its gradient on the parameters.

`prepare` is pure and touches no model, so a thread runs it ahead; `Stepper.run` does the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dretrieve.errors import DataError
from dretrieve.models.base import Distillation, Encoded, Loss, Method, Targets, TokenBatch
from dretrieve.training.batches import Batch
from dretrieve.training.gradient_cache import Outcome, Piece, backward
from dretrieve.training.groups import length_groups
from dretrieve.training.processes import Processes
from dretrieve.training.rows import Layout, inverse, join
from dretrieve.training.seeds import seed_dropout
from dretrieve.types import Side

SIDES: tuple[Side, Side] = ("query", "passage")
Group = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOptions:
    """How a step is computed; none of it is the method's business.

    Attributes:
        seed: of the run.
        precision: ``fp32``, or ``bf16`` by autocast over fp32 weights; the loss is always fp32.
        cache_tokens: 0 keeps every piece's graph; above 0 the gradient cache runs, with at most so many
            padded tokens a piece.
        overhead: what one more piece costs, in tokens (`dretrieve.training.groups`).
        pad: side to the padding id.
        distillation: how a teacher's scores teach; None where the labels alone do.
    """

    seed: int
    precision: Literal["fp32", "bf16"]
    cache_tokens: int
    overhead: int
    pad: Mapping[Side, int]
    distillation: Distillation | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch ready for the model.

    Attributes:
        batch: as composed.
        pieces: this process's texts: (queries or None, passages or None), like lengths together.
        layouts: how each side's rows come back into batch order.
    """

    batch: Batch
    pieces: list[tuple[TokenBatch | None, TokenBatch | None]]
    layouts: tuple[Layout, Layout]


@dataclass(frozen=True, slots=True)
class StepValue:
    """``loss`` is what was minimised (with the pieces' own terms); ``parts`` are logged beside it."""

    loss: Tensor
    parts: Mapping[str, Tensor]


def packs_sides(method: Method) -> bool:
    """Return whether the method runs both sides in one forward."""
    return type(method).encode_pair is not Method.encode_pair


def prepare(batch: Batch, options: StepOptions, processes: Processes, *, packed: bool) -> Prepared:
    """Return this process's pieces of the batch.

    Each side's rows are dealt to the processes by descending length, so all have like work. With ``packed``
    both sides share pieces: a method with one encoder runs them in one forward.

    Raises:
        DataError: a side has fewer rows than there are processes.
    """
    rows = (batch.query_rows, batch.passage_rows)
    tables = (batch.training_set.queries, batch.training_set.passages)
    lengths = [table.lengths(of) for table, of in zip(tables, rows, strict=True)]
    if min(map(len, rows)) < processes.count:
        raise DataError(
            f"a batch of {len(rows[0])} queries and {len(rows[1])} passages cannot be dealt to "
            f"{processes.count} processes; raise --per-device-train-batch-size"
        )
    hands = [_deal(of, processes.count) for of in lengths]
    own = [hand[processes.rank] for hand in hands]
    cut = _packed_groups if packed else _separate_groups
    groups = cut([of[mine] for of, mine in zip(lengths, own, strict=True)], options)

    def texts(side: int, group: NDArray[np.int64]) -> TokenBatch | None:
        if len(group) == 0:
            return None
        return tables[side].batch(rows[side][own[side][group]], pad=options.pad[SIDES[side]])

    layouts = [
        Layout(
            [len(hand) for hand in hands[side]],
            inverse(np.concatenate([group[side] for group in groups])),
            inverse(np.concatenate(hands[side])),
        )
        for side in (0, 1)
    ]
    pieces = [(texts(0, group[0]), texts(1, group[1])) for group in groups]
    return Prepared(batch, pieces, (layouts[0], layouts[1]))


def _deal(lengths: NDArray[np.int64], count: int) -> list[NDArray[np.int64]]:
    order = np.argsort(-lengths, kind="stable")
    return [order[rank::count] for rank in range(count)]


def _packed_groups(lengths: list[NDArray[np.int64]], options: StepOptions) -> list[Group]:
    queries = len(lengths[0])
    groups = length_groups(
        np.concatenate(lengths), overhead=options.overhead, budget=options.cache_tokens or None
    )
    return [(group[group < queries], group[group >= queries] - queries) for group in groups]


def _separate_groups(lengths: list[NDArray[np.int64]], options: StepOptions) -> list[Group]:
    none = np.empty(0, dtype=np.int64)
    budget = options.cache_tokens or None
    queries, passages = (length_groups(of, overhead=options.overhead, budget=budget) for of in lengths)
    return [(group, none) for group in queries] + [(none, group) for group in passages]


class Stepper:
    """Adds a batch's gradient to a method's parameters.

    Args:
        method: in training mode, on its device.
        processes: who takes part.
        options: how.
        device: where the method is.
    """

    def __init__(
        self, method: Method, processes: Processes, options: StepOptions, device: torch.device
    ) -> None:
        self._method, self._processes, self._options, self._device = method, processes, options, device
        self._parameters = [parameter for parameter in method.parameters() if parameter.requires_grad]

    def run(self, prepared: Prepared) -> StepValue:
        """Return the batch's loss after adding its gradient, summed over the processes."""
        encoded: list[tuple[Encoded | None, Encoded | None]] = [(None, None)] * len(prepared.pieces)
        parts: dict[str, Tensor] = {}

        def loss(leaves: list[tuple[Tensor, ...]]) -> Tensor:
            pairs = [_filled(pair, of) for pair, of in zip(encoded, leaves, strict=True)]
            found = self._loss(prepared, pairs)
            parts.update(found.parts)
            return found.total

        value, terms = backward(
            [self._piece(prepared, index, encoded) for index in range(len(prepared.pieces))],
            loss,
            seed_piece=lambda piece: seed_dropout(
                self._options.seed, "dropout", prepared.batch.step, self._processes.rank, piece
            ),
            recompute=self._options.cache_tokens > 0,
            share_loss=self._share_loss,
        )
        self._processes.sum_gradients(self._parameters)
        return StepValue(value + self._processes.sum(terms), parts)

    def _piece(
        self, prepared: Prepared, index: int, encoded: list[tuple[Encoded | None, Encoded | None]]
    ) -> Piece:
        def forward() -> Outcome:
            query, passage = prepared.pieces[index]
            pair = self._encode(query, passage)
            encoded[index] = pair
            cached = [tensor for side in pair if side is not None for tensor in side.cached()]
            return Outcome(tuple(cached), self._terms(pair, prepared))

        return forward

    def _encode(
        self, query: TokenBatch | None, passage: TokenBatch | None
    ) -> tuple[Encoded | None, Encoded | None]:
        enabled = self._options.precision == "bf16"
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=enabled):
            if query is not None and passage is not None:
                pair = self._method.encode_pair(query.to(self._device), passage.to(self._device))
                return _single(pair[0]), _single(pair[1])
            if query is not None:
                return _single(self._method.encode_side(query.to(self._device), "query")), None
            assert passage is not None, "a piece holds texts of one side at least"
            return None, _single(self._method.encode_side(passage.to(self._device), "passage"))

    def _terms(self, pair: tuple[Encoded | None, Encoded | None], prepared: Prepared) -> Tensor | None:
        """Return the piece's part of the auxiliary terms: the mean over each side's texts counts half."""
        total: Tensor | None = None
        for side, layout in zip(pair, prepared.layouts, strict=True):
            for values in side.auxiliary.values() if side is not None else ():
                term = values.float().sum() / (2 * sum(layout.counts))
                total = term if total is None else total + term
        return total

    def _loss(self, prepared: Prepared, pairs: list[tuple[Encoded | None, Encoded | None]]) -> Loss:
        query, passage = (
            join([side for pair in pairs if (side := pair[index]) is not None], layout, self._processes)
            for index, layout in enumerate(prepared.layouts)
        )
        batch = prepared.batch
        taught = None if batch.teacher_scores is None else torch.from_numpy(batch.teacher_scores)
        targets = Targets(
            torch.from_numpy(batch.positives).to(self._device),
            torch.from_numpy(batch.allowed).to(self._device),
            None if taught is None else taught.to(self._device),
            self._options.distillation,
        )
        return self._method.loss(query, passage, targets)

    def _share_loss(self) -> None:
        """Divide what the loss itself left on parameters: every process computed all of it."""
        if self._processes.count > 1:
            for parameter in self._parameters:
                if parameter.grad is not None:
                    parameter.grad /= self._processes.count


def _single(encoded: Encoded) -> Encoded:
    """Return the same with the cached tensors in fp32, so that cached gradients are too."""
    return encoded.replace_cached(tensor.float() for tensor in encoded.cached())


def _filled(
    pair: tuple[Encoded | None, Encoded | None], leaves: tuple[Tensor, ...]
) -> tuple[Encoded | None, Encoded | None]:
    """Return the pair with the leaves in the places of the cached tensors."""
    left = iter(leaves)
    query, passage = (
        None if side is None else side.replace_cached([next(left) for _ in side.cached()]) for side in pair
    )
    return query, passage
