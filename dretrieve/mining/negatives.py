"""Hard negatives out of a run: the hits that are near, and are not answers after all.

A hit is dropped by the first filter that it meets, in this order: rank window, positives, copies of a
positive's text, margins, answers. What stays is sampled with a seed folded from the query's id, so that
neither the order of queries nor shards change a query's negatives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dretrieve.mining.options import MiningOptions
from dretrieve.store.seeds import generator
from dretrieve.store.shards import Shard
from dretrieve.text.examples import Example
from dretrieve.text.queries import QuerySet
from dretrieve.types import Record, Run

FILTERS = ("rank_window", "positive", "copy_of_positive", "margin", "answer")
COUNTS = (
    "queries",
    "queries_without_positives",
    "queries_without_hits",
    "examples",
    "examples_without_negatives",
    "negatives",
    *(f"dropped_{kind}" for kind in FILTERS),
)


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
        holds_answer: whether a passage answers a query (by its id); None does not ask.
    """

    options: MiningOptions
    passage: Callable[[str], Record]
    holds_answer: Callable[[str, Record], bool] | None = None

    def mine(self, query_id: str, hits: Sequence[tuple[str, float]], positives: Sequence[str]) -> Mined:
        """Return the negatives among ``hits`` (best first, all of the query's) given its positives."""
        first, depth = self.options.first_rank, self.options.depth
        window = hits[first - 1 : depth]
        dropped = Counter(dict.fromkeys(FILTERS, 0) | {"rank_window": len(hits) - len(window)})
        known = set(positives)
        copies = {same_text_key(self.passage(passage_id)) for passage_id in positives}
        limit = self._limit(hits, known)
        kept: list[tuple[str, float]] = []
        for passage_id, score in window:
            if passage_id in known:
                dropped["positive"] += 1
            elif same_text_key(record := self.passage(passage_id)) in copies:
                dropped["copy_of_positive"] += 1
            elif score > limit:
                dropped["margin"] += 1
            elif self.holds_answer is not None and self.holds_answer(query_id, record):
                dropped["answer"] += 1
            else:
                kept.append((passage_id, score))
        chosen = self._sample(query_id, kept)
        return Mined(tuple(hit for hit, _ in chosen), tuple(score for _, score in chosen), dropped)

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


class Examples:
    """Iterates over the examples of a shard's queries; ``counts`` is complete after the last.

    A query without positives gives no example. One whose hits were all dropped gives an example without
    negatives, which still trains with the batch's other passages.
    """

    def __init__(
        self,
        miner: Miner,
        queries: QuerySet,
        positives: Mapping[str, Sequence[str]],
        run: Run,
        shard: Shard,
    ) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
        self._miner, self._queries, self._positives = miner, queries, positives
        self._run, self._shard = run, shard
        self._rows = {query_id: row for row, query_id in enumerate(run.query_ids)}

    def __iter__(self) -> Iterator[Example]:
        for row in range(self._shard.start, self._shard.stop):
            query = self._queries[row]
            self.counts["queries"] += 1
            positives = self._positives.get(query.id)
            if not positives:
                self.counts["queries_without_positives"] += 1
                continue
            place = self._rows.get(query.id)
            hits = list(self._run.hits(place)) if place is not None else []
            self.counts["queries_without_hits"] += not hits
            mined = self._miner.mine(query.id, hits, positives)
            self.counts["examples"] += 1
            self.counts["examples_without_negatives"] += not mined.negatives
            self.counts["negatives"] += len(mined.negatives)
            self.counts.update({f"dropped_{kind}": number for kind, number in mined.dropped.items()})
            scores = None if self._run.by_rank else mined.scores
            yield Example(query.id, query.text, tuple(positives), mined.negatives, None, scores)
