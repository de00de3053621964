"""A split's queries, a run and a miner, to training examples with counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from dretrieve.mining.negatives import FILTERS, Miner
from dretrieve.store.shards import Shard
from dretrieve.text.examples import Example
from dretrieve.text.queries import QuerySet
from dretrieve.types import Run

COUNTS = (
    "queries",
    "queries_without_positives",
    "queries_without_hits",
    "examples",
    "examples_without_negatives",
    "negatives",
    *(f"dropped_{kind}" for kind in FILTERS),
)


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
            for kind, number in mined.dropped.items():
                self.counts[f"dropped_{kind}"] += number
            scores = None if self._run.by_rank else mined.scores
            yield Example(query.id, query.text, tuple(positives), mined.negatives, None, scores)
