"""Which expert read what, counted over texts: shares by side, how alike the sides are, tokens by expert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dretrieve.types import Side

PRIOR_TOKENS = 10.0


@dataclass(frozen=True, slots=True)
class Attracted:
    """A token that an expert reads more often than other tokens.

    Attributes:
        log_odds: see `RoutingCounts.attracted`.
        count: how often this expert read it.
        total: how often any did.
    """

    token: int
    log_odds: float
    count: int
    total: int


class RoutingCounts:
    """Counts over batches; adding them in another order or in other batches changes nothing.

    Layers are numbers of those with experts, from 0.
    """

    def __init__(self, layers: Sequence[int], num_experts: int, vocabulary: int) -> None:
        shape = (len(layers), num_experts)
        self.layers = tuple(layers)
        self.tokens: dict[Side, NDArray[np.int64]] = {}
        self.texts: dict[Side, NDArray[np.int64]] = {}
        self.by_token = np.zeros((*shape, vocabulary), dtype=np.int64)
        self._shape = shape

    @property
    def num_experts(self) -> int:
        """In each layer."""
        return self._shape[1]

    def add(self, side: Side, experts: NDArray[np.int64], ids: NDArray[np.int64]) -> None:
        """Count a batch.

        Args:
            side: of its texts.
            experts: [L, B, T], -1 where padding stands.
            ids: [B, T], the tokens.
        """
        vocabulary = self.by_token.shape[2]
        for counts in (self.tokens, self.texts):
            counts.setdefault(side, np.zeros(self._shape, dtype=np.int64))
        for place, chosen in enumerate(experts):
            real = chosen >= 0
            pairs = chosen[real] * vocabulary + ids[real]
            counted = np.bincount(pairs, minlength=self.num_experts * vocabulary)
            self.by_token[place] += counted.reshape(self.num_experts, vocabulary)
            of_texts = np.stack([(chosen == expert).sum(axis=1) for expert in range(self.num_experts)])
            self.tokens[side][place] += of_texts.sum(axis=1)
            # The expert with most of a text's tokens; of equal ones the first.
            self.texts[side][place] += np.bincount(of_texts.argmax(axis=0), minlength=self.num_experts)

    def alike(self) -> list[list[int]]:
        """Return the layers' places in groups that routed every token alike (one group for Det-R)."""
        groups: dict[bytes, list[int]] = {}
        for place in range(len(self.layers)):
            own = (self.by_token[place], *(counts[side][place] for counts in (self.tokens, self.texts)
                                           for side in counts))  # fmt: skip
            groups.setdefault(b"".join(part.tobytes() for part in own), []).append(place)
        return list(groups.values())

    def attracted(self, place: int, expert: int, most: int) -> list[Attracted]:
        """Return the tokens that an expert of a layer attracts, strongest first.

        The measure is log(odds of the token / odds of all tokens) of being read by this expert, with
        `PRIOR_TOKENS` imagined readings of each token, shared as all tokens are, so that rare tokens stay
        near 0: log((n + k p) / (N - n + k (1 - p))) - log(p / (1 - p)), n of the token's N readings, p the
        expert's share of all. Only tokens above 0 are returned; none where the expert reads all or nothing.
        """
        counts = self.by_token[place]
        totals = counts.sum(axis=0)
        share = counts[expert].sum() / max(1, totals.sum())
        if not 0 < share < 1:
            return []
        own, others = counts[expert], totals - counts[expert]
        prior = PRIOR_TOKENS * np.array([share, 1 - share])
        values = np.log((own + prior[0]) / (others + prior[1])) - np.log(share / (1 - share))
        order = np.lexsort((np.arange(len(values)), -own, -values))
        best = [row for row in order[:most].tolist() if values[row] > 0 and own[row] > 0]
        return [Attracted(row, float(values[row]), int(own[row]), int(totals[row])) for row in best]


def shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return counts [..., E] as shares of their sum over the experts; zeros where nothing was counted."""
    return np.asarray(counts / np.maximum(1, counts.sum(axis=-1, keepdims=True)), dtype=np.float64)


def overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return [L] from shares [L, E]: the sum of the smaller shares, 1 for equal ones, 0 for disjoint ones."""
    return np.asarray(np.minimum(one, other).sum(axis=-1), dtype=np.float64)


def experts_in_use(found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return [L] from shares [L, E]: exp of their entropy, E for equal shares, 1 where one expert has all."""
    logs = np.log(np.where(found > 0, found, 1.0))
    return np.asarray(np.exp(-(found * logs).sum(axis=-1)), dtype=np.float64)
