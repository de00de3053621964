"""Choosing weights by retrieval on a dev set: exact search of a small pool, measured like any run.

The pool holds every positive of the dev queries and other passages of the collection, drawn by the seed. A
pool is easier than the whole collection, so its values rank weights of one training and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from dretrieve.encoding.numerics import resolve_precision
from dretrieve.encoding.pipeline import encode_records
from dretrieve.errors import DataError, UsageError
from dretrieve.metrics.judged import judge
from dretrieve.metrics.measure import Measure
from dretrieve.metrics.registry import parse_measures
from dretrieve.models.base import Method
from dretrieve.models.encoder import prepared
from dretrieve.models.loading import DTYPES, LoadedModel
from dretrieve.runs.search import search_in_memory
from dretrieve.store.fingerprint import sha256_bytes
from dretrieve.store.seeds import generator
from dretrieve.store.text_store import records_sha256
from dretrieve.text.collection import Collection
from dretrieve.text.qrels import qrels_of
from dretrieve.threads import allotted_threads
from dretrieve.tokens.tokenizer import SideTokenizer
from dretrieve.training.options import TrainOptions
from dretrieve.types import Progress, Qrels, Record, Side


class Dev:
    """A dev set in memory; call it with a method to get the measure."""

    def __init__(
        self, measure: Measure, queries: Sequence[Record], passages: Sequence[Record], qrels: Qrels
    ) -> None:
        self.measure, self.queries, self.passages = measure, queries, passages
        self._qrels = qrels
        texts = records_sha256(queries) + records_sha256(passages)
        self.fingerprint = sha256_bytes(f"{measure}|{texts}|{list(qrels.rows())}".encode())

    def value(self, method: Method, tokenizers: Mapping[Side, SideTokenizer], device: torch.device) -> float:
        """Return the measure's mean over the dev queries.

        Raises:
            VerificationError: there is no search by the method's score.
        """
        precision = resolve_precision("auto", str(device))
        model = LoadedModel("dev", method.card(), method, tokenizers, device, precision)
        with prepared(method, device, DTYPES[precision]):
            passages = encode_records(model, "passage", self.passages)
            queries = encode_records(model, "query", self.queries, "float32")
        ids = [[record.id for record in records] for records in (self.queries, self.passages)]
        run = search_in_memory(
            ids[0],
            queries,
            ids[1],
            passages,
            self.measure.depth,
            score=method.spec.score,
            alignment=str(getattr(method.choices, "alignment", "")),
            threads=allotted_threads(),
        )
        return self.measure.aggregate(self.measure.values(judge(run, self._qrels)))


def open_dev(options: TrainOptions, progress: Progress) -> Dev:
    """Return the dev set.

    Raises:
        DataError: no dev query has a positive in the collection.
        UsageError: no such measure, or more than one.
    """
    measures = parse_measures(options.dev_metric)
    if len(measures) != 1:
        raise UsageError(
            f"--dev-metric {options.dev_metric} names {len(measures)} measures; weights are chosen by one"
        )
    collection = Collection.open(options.dev)
    corpus, qrels = collection.corpus(progress), collection.qrels()
    positives = {
        query_id: [row for name in names if (row := corpus.row_of(name)) is not None]
        for query_id, names in qrels.positives().items()
    }
    usable = [query for query in collection.queries().queries if positives.get(query.id)]
    if not usable:
        raise DataError(f"{options.dev} has no query with a positive in its collection; choose another --dev")
    if options.dev_queries and options.dev_queries < len(usable):
        drawn = generator(options.seed, "dev queries").permutation(len(usable))[: options.dev_queries]
        usable = [usable[row] for row in np.sort(drawn).tolist()]
    judged: dict[str, dict[str, int]] = {query.id: {} for query in usable}
    for query_id, passage_id, grade in qrels.rows():
        if query_id in judged:
            judged[query_id][passage_id] = grade
    rows = _pool({row for query in usable for row in positives[query.id]}, len(corpus), options)
    progress.note(f"dev: {len(usable):,} queries over {len(rows):,} passages of {options.dev}, {measures[0]}")
    queries = [Record(query.id, "", query.text) for query in usable]
    return Dev(measures[0], queries, [corpus.record(row) for row in rows], qrels_of(judged))


def _pool(positives: set[int], total: int, options: TrainOptions) -> list[int]:
    """Return the rows searched: the positives and, up to the pool's size, others drawn by the seed."""
    if options.dev_pool == 0 or options.dev_pool >= total:
        return list(range(total))
    chosen = set(positives)
    for row in generator(options.seed, "dev pool").permutation(total).tolist():
        if len(chosen) >= options.dev_pool:
            break
        chosen.add(row)
    return sorted(chosen)
