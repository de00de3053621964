"""Searching a BM25 index with the queries' words."""

from __future__ import annotations

import time

import numpy as np

from dretrieve.bm25.backends import open_words
from dretrieve.errors import UsageError
from dretrieve.jobs.configs.search import SearchConfig
from dretrieve.jobs.search_config import SearchResult
from dretrieve.jobs.search_output import search_stage, write_search
from dretrieve.jobs.search_show import Example, examples
from dretrieve.runs.read import read_run
from dretrieve.store.interrupt import Signals
from dretrieve.store.stage import Planned
from dretrieve.text.collection import Collection
from dretrieve.types import Progress, Run

QUERIES_AT_ONCE = 256


def search_words(config: SearchConfig, progress: Progress, signals: Signals) -> SearchResult | Planned:
    """Search and write the run; queries go through in blocks, so that a signal is heard and memory bounded.

    Raises:
        UsageError: options that belong to vectors.
        Interrupted: a signal came; the same command begins again.
    """
    if config.queries is None or config.model is not None:
        raise UsageError(f"{config.index} is a BM25 index: search it with --queries DIR:split and no --model")
    if config.shard is not None:
        raise UsageError("a BM25 index is searched whole; leave --shard away")
    index = open_words(config.index, config.settings, full=config.verify)
    collection = Collection.open(config.queries, "queries", config.topic_field)
    queries = collection.queries(collection.split)
    options = {"k1": index.options.k1, "b": index.options.b}
    inputs = {"index": index.manifest.fingerprint, "queries": queries.sha256}
    stage = search_stage(config, options, inputs, None)
    counts = {"queries": len(queries), "passages": len(index)}
    if config.dry_run:
        plan = f"would search {len(index):,} passages with {len(queries):,} queries; output {config.output}"
        return stage.planned(plan, counts)
    if stage.up_to_date():
        counts = dict(stage.existing().counts)
        shown = _shown(config, read_run(config.output, config.form) if config.show else None)
        return SearchResult(output=config.output, state="up to date", counts=counts, examples=shown)
    started = time.monotonic()
    progress.start("search", len(queries), "queries")
    parts = []
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        some = queries.records(start, start + QUERIES_AT_ONCE)
        ids, texts = [record.id for record in some], [record.text for record in some]
        parts.append(index.search(ids, texts, config.hits, threads=config.threads, tag="dretrieve"))
        progress.advance(len(some))
        signals.check()
    progress.finish()
    found = _joined(parts)
    seconds = time.monotonic() - started
    counts["hits"] = write_search(stage, found, config, counts, seconds)
    shown = _shown(config, found)
    return SearchResult(output=config.output, state="written", counts=counts, seconds=seconds, examples=shown)


def _shown(config: SearchConfig, found: Run | None) -> tuple[Example, ...]:
    """Return the questions to show; the passages are those of the queries' collection, or of ``corpus``."""
    if config.show < 1 or found is None or config.queries is None:
        return ()
    passages = (
        Collection.open(config.corpus, "corpus")
        if config.corpus
        else Collection.open(config.queries, "queries")
    ).corpus()
    return examples(found, config.show, passages, config.queries)


def _joined(parts: list[Run]) -> Run:
    """Return the runs of consecutive queries as one; each may have a table of ids of its own."""
    tables = {id(part.passage_ids): part.passage_ids for part in parts}
    places: dict[str, int] = {}
    passages = [np.empty(0, np.int32)]
    for part in parts:
        if len(tables) == 1:
            passages.append(part.passages)
            continue
        own = [places.setdefault(passage_id, len(places)) for passage_id in part.passage_ids]
        passages.append(np.asarray(own, dtype=np.int32)[part.passages])
    lengths = [np.zeros(1, dtype=np.int64), *(np.diff(part.offsets) for part in parts)]
    return Run(
        query_ids=[query_id for part in parts for query_id in part.query_ids],
        passage_ids=parts[0].passage_ids if len(tables) == 1 else list(places),
        offsets=np.cumsum(np.concatenate(lengths)),
        passages=np.concatenate(passages),
        scores=np.concatenate([np.empty(0, np.float32), *(part.scores for part in parts)]),
    )
