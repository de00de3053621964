"""Which examples make up batch ``s``: a pure function of (seed, ``s``), so that resuming needs only ``s``.

Every batch comes from one set (peers.md: mixed batches make other sets' passages easy negatives). In one
epoch a set of n examples gives ``round(weight * (n // batch))`` batches, at least one: weight 4 shows a small
set four times, as DPR does with WebQuestions and CuratedTREC. The order of the sets inside an epoch is
shuffled per epoch, the examples of a set per pass over it; the n mod batch examples left over in one pass
change from pass to pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError
from dretrieve.store.draws import generator


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
