"""search: the best passages of every query, as a run; over vectors (exact or approximate) or over words."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from dretrieve.errors import UsageError
from dretrieve.index.base import VectorIndex, contents
from dretrieve.index.exact import FIRST_BLOCK, LARGEST_BLOCK, ExactOptions
from dretrieve.index.registry import kind_at, open_vector_index, search_settings
from dretrieve.index.top_k import TopK
from dretrieve.jobs.configs.search import SearchConfig
from dretrieve.jobs.search_config import SearchResult
from dretrieve.jobs.search_output import STAGE, search_stage, write_search
from dretrieve.jobs.search_queries import QuerySource, encoded_queries, given_queries, resolved_device
from dretrieve.jobs.search_show import Example, examples, passage_texts
from dretrieve.runs.checkpoint import Checkpoint, checkpoint_path, discard_checkpoint
from dretrieve.runs.read import read_run
from dretrieve.runs.search import QueryVectors, check_model, check_queries, search_run
from dretrieve.store.atomic import make_folder
from dretrieve.store.fingerprint import sha256_bytes
from dretrieve.store.interrupt import Signals, interruptible
from dretrieve.store.shards import Shard, shard_rows
from dretrieve.store.stage import Planned
from dretrieve.store.state import recorded_state
from dretrieve.types import Progress, Run, Silent

__all__ = ["SearchConfig", "SearchResult", "run"]

PRODUCTS_PER_BLOCK = 4e11  # a few seconds on one slow core, so that a signal is heard in time


def run(config: SearchConfig, progress: Progress | None = None) -> SearchResult | Planned:
    """Search and write the run, or say that it stands already.

    Raises:
        UsageError: options that do not fit the index.
        PreconditionError: an input is missing; the output holds something else.
        VerificationError: queries and passages of different models; changed bytes.
        Interrupted: a signal came; the same command continues.
    """
    progress = progress or Silent()
    with interruptible() as signals:
        if kind_at(config.index) == "bm25":
            from dretrieve.jobs.search_words import search_words

            return search_words(config, progress, signals)
        return _search_vectors(config, progress, signals)


def _search_vectors(config: SearchConfig, progress: Progress, signals: Signals) -> SearchResult | Planned:
    names = search_settings(config.index)
    settings = {name: value for name, value in config.settings.items() if name in names}
    config = replace(
        config, settings={name: value for name, value in config.settings.items() if name not in settings}
    )
    if config.settings and config.query_embeddings is not None:
        raise UsageError(
            f"--set {next(iter(config.settings))}: a search with --query-embeddings encodes nothing, and an "
            f"index of type {kind_at(config.index)} takes {', '.join(names) or 'no settings'}"
        )
    index = open_vector_index(config.index, full=config.verify, settings=settings)
    queries = _queries(config, index, progress, signals)
    check_model(queries.name, queries.passage_model, index.passages)
    if config.shard is not None and not index.exact:
        raise UsageError(f"{config.index} is approximate and searched whole; leave --shard away")
    rows = index.passages.rows
    shard = shard_rows(rows, *(config.shard or (0, 1)))
    stage = search_stage(config, index.search_options, described(index, queries), shard)
    counts = {"queries": len(queries.ids), "passages": rows}
    if config.dry_run:
        return stage.planned(_plan(config, counts, shard), counts)
    if stage.up_to_date():
        discard_checkpoint(config.output)
        counts = dict(stage.existing().counts)
        shown = _shown(config, index, queries.texts, None)
        return SearchResult(output=config.output, state="up to date", counts=counts, examples=shown)
    make_folder(stage.folder)
    with recorded_state(stage.manifest_file, STAGE, stage.fingerprint):
        asked = queries.vectors()
        check_queries(asked, index.passages)
        started = time.monotonic()
        found = _found(config, index, asked, (shard, stage.fingerprint), (progress, signals))
        seconds = time.monotonic() - started
        counts["hits"] = write_search(stage, found, config, counts, seconds, queries.extra)
    discard_checkpoint(config.output)
    shown = _shown(config, index, queries.texts, found)
    return SearchResult(
        output=config.output,
        state="written",
        counts=counts,
        seconds=seconds,
        examples=shown,
        is_part=config.shard is not None,
    )


def described(index: VectorIndex, queries: QuerySource) -> dict[str, str]:
    """Return the inputs of a search: the passages' vectors, not the index that makes them quick.

    The query side's model stands beside the queries: their fingerprint alone leads to no card.
    """
    inputs = {"passages": index.passages.embeddings.fingerprint, "queries": queries.fingerprint}
    return inputs | ({"query_model": queries.query_model} if queries.query_model else {})


def _queries(config: SearchConfig, index: VectorIndex, progress: Progress, signals: Signals) -> QuerySource:
    if config.query_embeddings is not None:
        return given_queries(config.query_embeddings, full=config.verify)
    if config.model is None:
        raise UsageError(
            f"{config.index} holds vectors: name the model that encodes --queries with --model, or give "
            "--query-embeddings"
        )
    return encoded_queries(config, index.passages.embeddings, progress, signals)


def _found(
    config: SearchConfig,
    index: VectorIndex,
    queries: QueryVectors,
    task: tuple[Shard, str],
    watch: tuple[Progress, Signals],
) -> Run:
    """Search the rows of the shard, saving what was found from time to time."""
    shard, fingerprint = task
    progress, signals = watch
    parts = (queries.vectors.values, queries.vectors.offsets, queries.vectors.weights)
    asked = [sha256_bytes(np.ascontiguousarray(part).tobytes()) for part in parts if part is not None]
    key = " ".join((fingerprint, contents(index.passages.embeddings), *asked))
    checkpoint = Checkpoint(checkpoint_path(config.output), key)
    empty = TopK.empty(len(queries.ids), min(config.hits, len(shard)))
    kept, row = checkpoint.load(empty, shard.start) if index.exact else (empty, shard.start)
    progress.start("search", len(shard), "passages", row - shard.start)
    reached = row

    def after_block(row: int, kept: TopK) -> None:
        nonlocal reached
        progress.advance(row - reached)
        reached = row
        if index.exact:
            checkpoint.save(kept, row, now=signals.received is not None and row < shard.stop)
        signals.check()

    device = resolved_device(config.device)
    options = ExactOptions(
        threads=config.threads,
        device=device,
        largest_block=largest_block(len(queries.ids), index.passages.dim) if device == "cpu" else None,
        after_block=after_block,
    )
    found = search_run(index, queries, kept, (row, shard.stop), options)
    progress.finish()
    wanted = kept.scores.shape[1]
    full = int(np.count_nonzero(np.diff(found.offsets) >= wanted))
    short = 0 if index.exact else len(queries.ids) - full
    if short:
        progress.note(
            f"{short:,} of {len(queries.ids):,} queries have fewer than the {wanted:,} hits wanted: the "
            f"index proposed no more; search wider (--set {_wider(index)}) or an exact index"
        )
    return found


def _wider(index: VectorIndex) -> str:
    """Return the setting of an approximate index that makes it look at more passages."""
    name = next(name for name in ("ef_search", "probes") if name in index.search_options)
    return f"{name}=N, now {index.search_options[name]}"


def largest_block(num_queries: int, dim: int) -> int | None:
    """Return how many passages a block may have so that it is done within seconds; None when that is many."""
    rows = int(PRODUCTS_PER_BLOCK / max(1, num_queries * dim))
    return max(FIRST_BLOCK, rows) if rows < LARGEST_BLOCK else None


def _shown(
    config: SearchConfig, index: VectorIndex, texts: str | None, found: Run | None
) -> tuple[Example, ...]:
    if config.show < 1:
        return ()
    if found is None:
        found = read_run(config.output, config.form)
    passages = passage_texts(config.corpus, index.passages.embeddings)
    return examples(found, config.show, passages, texts)


def _plan(config: SearchConfig, counts: Mapping[str, int], shard: Shard) -> str:
    state = counts["queries"] * min(config.hits, max(1, len(shard))) * 12 / 1e6
    return (
        f"would search rows {shard.start:,} to {shard.stop:,} of {counts['passages']:,} with "
        f"{counts['queries']:,} queries for {config.hits:,} hits each on {resolved_device(config.device)} "
        f"({config.threads} threads); memory for the hits {state:,.0f} MB; output {config.output}"
    )
