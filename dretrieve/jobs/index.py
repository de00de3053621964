"""index: vectors or words become searchable."""

from __future__ import annotations

from dretrieve.errors import UsageError
from dretrieve.index.registry import KINDS, build_index, change_index, kind_named, plan_index
from dretrieve.jobs.configs.index import IndexConfig
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.interrupt import Signals, interruptible
from dretrieve.store.manifest import Manifest
from dretrieve.store.stage import Made, Planned, Stage
from dretrieve.types import SILENT, Progress


def run(config: IndexConfig, progress: Progress = SILENT) -> Made | Planned:
    """Build the index, or say that it stands already.

    Raises:
        UsageError: an unknown type, or an input that does not belong to it; a split of the passages.
        PreconditionError: the input is missing, the output holds something else, an extra is missing.
        VerificationError: the input's bytes changed.
        Interrupted: a signal came; the same command begins again, or goes on.
    """
    kind = kind_named(config.type)
    given = {"embeddings": config.embeddings, "corpus": config.corpus}
    other = "corpus" if kind.source == "embeddings" else "embeddings"
    if given[kind.source] is None or given[other] is not None:
        raise UsageError(f"--type {config.type} is built with --{kind.source}, and without --{other}")
    with interruptible() as signals:
        build = _over_corpus if kind.source == "corpus" else _over_embeddings
        return build(config, progress, signals)


def _over_embeddings(config: IndexConfig, progress: Progress, signals: Signals) -> Made | Planned:
    assert config.embeddings is not None
    embeddings = Embeddings.open(config.embeddings, full=config.verify)
    asked = config.type, embeddings, config.output, config.settings
    if any(name in config.settings for name in KINDS[config.type].changes):
        if config.shard is not None or config.force:
            raise UsageError("a finished index is changed whole and as it is; leave --shard and --force away")
        return change_index(
            *asked, dry_run=config.dry_run, threads=config.threads, progress=progress, signals=signals
        )
    stage, passages, choices = plan_index(*asked, shard=config.shard, force=config.force, progress=progress)
    if config.dry_run:
        counts = {"rows": passages.rows, "dim": passages.dim}
        return stage.planned(f"would index {passages.rows:,} passages", counts)
    made = build_index(stage, passages, choices, threads=config.threads, progress=progress, signals=signals)
    return _made(config, stage, made)


def _over_corpus(config: IndexConfig, progress: Progress, signals: Signals) -> Made | Planned:
    from dretrieve.bm25.backends import build_words, plan_words
    from dretrieve.text.collection import Collection

    assert config.corpus is not None
    if config.shard is not None:
        raise UsageError("a BM25 index is built whole; leave --shard away")
    texts = Collection.open(config.corpus, "corpus").corpus(progress, hashed=True, full=config.verify)
    stage = plan_words(texts, config.output, config.settings, force=config.force)
    if config.dry_run:
        return stage.planned(f"would index {len(texts):,} passages", {"passages": len(texts)})
    return _made(config, stage, build_words(stage, texts, progress=progress, signals=signals))


def _made(config: IndexConfig, stage: Stage, manifest: Manifest) -> Made:
    state = "written" if stage.committed else "up to date"
    return Made(config.output, state, manifest.counts, f"{config.type} index", {"type": config.type})
