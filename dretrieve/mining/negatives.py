"""Hard negatives of one query: the hits that are near, and are not answers after all.

A hit is dropped by the first filter that it meets, in this order: rank window, positives, copies of a
positive's text, margins, answers. What stays is sampled with a seed folded from the query's id, so that
neither the order of queries nor shards change a query's negatives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from dretrieve.store.seeds import generator
from dretrieve.types import Record

Sampling = Literal["random", "top"]
SAMPLINGS: tuple[Sampling, ...] = ("random", "top")
FILTERS = ("rank_window", "positive", "copy_of_positive", "margin", "answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningOptions:
    """Which hits become negatives.

    Attributes:
        first_rank: hits above it are left out (from 1); above 1 skips likely positives without a label.
        depth: hits below that rank are left out.
        num_negatives: at most so many a query.
        margin: a hit stays only when its score is at most the positive's score minus ``margin``.
        relative_margin: … at most the positive's score minus ``relative_margin`` times its absolute value.
        sampling: ``random`` from all that stay, or the ``top`` ones.
        seed: of the sampling.
    """

    first_rank: int = 1
    depth: int = 100
    num_negatives: int = 8
    margin: float | None = None
    relative_margin: float | None = None
    sampling: Sampling = "random"
    seed: int = 42


@dataclass(frozen=True, slots=True)
class Mined:
    """One query's negatives, best first, and how many hits each filter dropped."""

    negatives: tuple[str, ...]
    scores: tuple[float, ...]
    dropped: Counter[str]


def same_text_key(record: Record) -> str:
    """Return what two copies of a passage share: its text without case and white space's form."""
    return " ".join(record.text.casefold().split())


@dataclass(frozen=True, slots=True)
class Miner:
    """Mines query by query.

    Attributes:
        options: which hits become negatives.
        passage: id to record.
        holds_answer: whether a passage answers a query (by its id); None does not ask.
    """

    options: MiningOptions
    passage: Callable[[str], Record]
    holds_answer: Callable[[str, Record], bool] | None = None

    def mine(self, query_id: str, hits: Sequence[tuple[str, float]], positives: Sequence[str]) -> Mined:
        """Return the negatives among ``hits`` (best first, all of the query's) given its positives."""
        dropped: Counter[str] = Counter(dict.fromkeys(FILTERS, 0))
        first, depth = self.options.first_rank, self.options.depth
        window = hits[first - 1 : depth]
        dropped["rank_window"] = len(hits) - len(window)
        known = set(positives)
        copies = {same_text_key(self.passage(passage_id)) for passage_id in positives}
        limit = self._limit(hits, known)
        kept: list[tuple[str, float]] = []
        for passage_id, score in window:
            reason = self._reason(query_id, passage_id, score, known, copies, limit)
            if reason is None:
                kept.append((passage_id, score))
            else:
                dropped[reason] += 1
        chosen = self._sample(query_id, kept)
        return Mined(tuple(hit for hit, _ in chosen), tuple(score for _, score in chosen), dropped)

    def _reason(
        self,
        query_id: str,
        passage_id: str,
        score: float,
        known: set[str],
        copies: set[str],
        limit: float,
    ) -> str | None:
        """Return the filter that drops the hit, None when it stays."""
        if passage_id in known:
            return "positive"
        record = self.passage(passage_id)
        if same_text_key(record) in copies:
            return "copy_of_positive"
        if score > limit:
            return "margin"
        if self.holds_answer is not None and self.holds_answer(query_id, record):
            return "answer"
        return None

    def _limit(self, hits: Sequence[tuple[str, float]], known: set[str]) -> float:
        """Return the highest score that the margins allow.

        The positive's score is that of its best hit. A query whose positives the run does not hold has only
        a bound for it, the run's last score, and that is taken.
        """
        margin, relative = self.options.margin, self.options.relative_margin
        if (margin is None and relative is None) or not hits:
            return float("inf")
        positive = next((score for passage_id, score in hits if passage_id in known), hits[-1][1])
        limits = []
        if margin is not None:
            limits.append(positive - margin)
        if relative is not None:
            limits.append(positive - relative * abs(positive))
        return min(limits)

    def _sample(self, query_id: str, kept: list[tuple[str, float]]) -> list[tuple[str, float]]:
        number = self.options.num_negatives
        if len(kept) <= number or self.options.sampling == "top":
            return kept[:number]
        rows = generator(self.options.seed, "negatives", query_id).choice(len(kept), number, replace=False)
        return [kept[row] for row in sorted(rows.tolist())]
