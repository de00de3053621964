"""search: the best passages of every query, as a run; over vectors (exact or approximate) or over words."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any, Literal

import numpy as np

from dretrieve.errors import UsageError, VerificationError
from dretrieve.index.base import Passages, VectorIndex
from dretrieve.index.exact import FIRST_BLOCK, LARGEST_BLOCK, ExactOptions
from dretrieve.index.registry import kind_at, open_vector_index, search_settings
from dretrieve.index.top_k import TopK
from dretrieve.jobs.configs.search import AskingConfig, SearchConfig
from dretrieve.jobs.examples import Example, examples, passage_texts, recorded_collection, render_examples
from dretrieve.jobs.inputs import open_corpus
from dretrieve.models.places import PACKAGED
from dretrieve.runs.adapt import ENDING, read_adapted
from dretrieve.runs.checkpoint import Checkpoint, discard_checkpoint
from dretrieve.runs.read import read_run
from dretrieve.runs.search import Queries, as_run, check_model, check_queries, joined
from dretrieve.runs.write import compression, write_run
from dretrieve.scoring.alignment import doubts, parse_alignment
from dretrieve.store.atomic import make_folder
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.fingerprint import fingerprint
from dretrieve.store.interrupt import Signals, interruptible
from dretrieve.store.shards import Shard, shard_rows
from dretrieve.store.stage import Planned, Stage
from dretrieve.store.state import recorded_state
from dretrieve.store.text_store import TextStore
from dretrieve.text.collection import Collection
from dretrieve.types import SILENT, Progress, Run, Vectors

STAGE, VERSION = "search", 1
PRODUCTS_PER_BLOCK = 4e11  # a few seconds on one slow core, so that a signal is heard in time
WORDED_QUERIES_AT_ONCE = 256  # for the same, and so that memory is bounded


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchResult:
    """What stands in the output now.

    Attributes:
        is_part: whether the run holds the hits of one shard only.
    """

    output: Path
    state: str
    counts: Mapping[str, int]
    seconds: float = 0.0
    examples: tuple[Example, ...] = ()
    is_part: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "output": str(self.output),
            "state": self.state,
            **self.counts,
            "seconds": round(self.seconds, 3),
            "examples": [asdict(example) for example in self.examples],
        }

    def render(self) -> Any:
        """Return a few lines for people, the shown questions first."""
        counts = self.counts
        line = (
            f"{self.output}: {self.state}; {counts['queries']:,} queries, {counts['hits']:,} hits "
            f"from {counts['passages']:,} passages"
        )
        if self.seconds:
            line += f", {self.seconds:.1f} s ({counts['queries'] / max(self.seconds, 1e-9):,.0f} queries/s)"
        if self.state == "written" and self.is_part:
            line += "\nnext: the other parts, then dretrieve merge PART… --output RUN"
        elif self.state == "written":
            line += f"\nnext: dretrieve evaluate --run {quote(str(self.output))} --qrels DIR:split"
        return render_examples(self.examples, line) if self.examples else line


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """A search that was checked and not yet done.

    Attributes:
        stage: of the run; says whether it stands already.
        find: searches; returns the run, the seconds spent searching, and what the manifest says of it.
        questions: ``DIR:split`` with the queries' texts, where it is known.
        texts: opens the passages' texts.
    """

    stage: Stage
    queries: int
    passages: int
    plan: str
    find: Callable[[], tuple[Run, float, dict[str, Any]]]
    questions: str | None
    texts: Callable[[], TextStore]
    extra: Mapping[str, Any] = field(default_factory=dict)


def run(config: SearchConfig, progress: Progress = SILENT) -> SearchResult | Planned:
    """Search and write the run, or say that it stands already.

    Raises:
        UsageError: options that do not fit the index.
        PreconditionError: an input is missing; the output holds something else.
        VerificationError: queries and passages of different models; changed bytes.
        Interrupted: a signal came; the same command continues (over words it begins again).
    """
    with interruptible() as signals:
        over = _over_words if kind_at(config.index) == "bm25" else _over_vectors
        search = over(config, progress, signals)
        stage, counts = search.stage, {"queries": search.queries, "passages": search.passages}
        if config.dry_run:
            return stage.planned(search.plan, counts)
        texts = search.texts() if config.show else None  # what is not there is said before a long search
        state, seconds, found = "up to date", 0.0, None
        if stage.up_to_date():
            counts = dict(stage.existing().counts)
            found = read_run(config.output, config.form) if config.show else None
        else:
            state = "written"
            make_folder(stage.folder)
            with recorded_state(stage.manifest_file, STAGE, stage.fingerprint):
                found, seconds, more = search.find()
                with stage.write() as file:
                    counts["hits"] = write_run(file, found, form=config.form, name=config.output.name)
                speed = {"search_seconds": round(seconds, 3), "threads": config.threads}
                stage.commit(counts, {**search.extra, **more}, speed | {"device": config.device})
        discard_checkpoint(config.output)
        shown: tuple[Example, ...] = ()
        if found is not None and texts is not None:
            shown = examples(found, config.show, texts, search.questions, config.topic_field)
        return SearchResult(
            output=config.output,
            state=state,
            counts=counts,
            seconds=seconds,
            examples=shown,
            is_part=config.shard is not None,
        )


def _stage(
    config: SearchConfig, options: Mapping[str, Any], inputs: Mapping[str, str], shard: Shard | None
) -> Stage:
    """Return the stage of a search; only what can change the run's bytes is in it."""
    known = {"hits": config.hits, "form": config.form + compression(config.output), **options}
    if config.shard is not None and shard is not None:
        rows = {"start": shard.start, "stop": shard.stop, "total": shard.total}
        known["shard"] = {"index": shard.index, "count": shard.count, **rows}
    return Stage(config.output, "file", STAGE, VERSION, known, inputs, config.force)


def _over_words(config: SearchConfig, progress: Progress, signals: Signals) -> _Search:
    """Return the search of a BM25 index."""
    from dretrieve.bm25.backends import open_words

    if config.queries is None or config.model is not None:
        raise UsageError(f"{config.index} is a BM25 index: search it with --queries DIR:split and no --model")
    if config.shard is not None:
        raise UsageError("a BM25 index is searched whole; leave --shard away")
    index = open_words(config.index, config.settings, full=config.verify)
    queries_of = config.queries
    queries = Collection.open(queries_of, "queries", config.topic_field).queries()

    def find() -> tuple[Run, float, dict[str, Any]]:
        started, parts = time.monotonic(), []
        progress.start("search", len(queries), "queries")
        for start in range(0, len(queries), WORDED_QUERIES_AT_ONCE):
            some = queries.records(start, start + WORDED_QUERIES_AT_ONCE)
            ids, texts = [record.id for record in some], [record.text for record in some]
            parts.append(index.search(ids, texts, config.hits, threads=config.threads, tag="dretrieve"))
            progress.advance(len(some))
            signals.check()
        progress.finish()
        return joined(parts), time.monotonic() - started, {}

    def texts() -> TextStore:
        store = open_corpus(config.corpus, queries_of, progress)
        if store.sha256 != index.manifest.inputs["corpus"]:
            raise VerificationError(
                f"--show: {config.corpus or queries_of} has other passages than those that were indexed; "
                "name these by --corpus DIR"
            )
        return store

    options = {"k1": index.options.k1, "b": index.options.b}
    inputs = {"index": index.manifest.fingerprint, "queries": queries.sha256}
    return _Search(
        stage=_stage(config, options, inputs, None),
        queries=len(queries),
        passages=len(index),
        plan=f"would search {len(index):,} passages with {len(queries):,} queries; output {config.output}",
        find=find,
        questions=config.queries,
        texts=texts,
        extra={"corpus": index.manifest.inputs["corpus"]},
    )


def _over_vectors(config: SearchConfig, progress: Progress, signals: Signals) -> _Search:
    """Return the search of an index over vectors, or of embeddings."""
    of_index, of_model = settings_of(config, config.settings)
    index = _open_index(config, of_index)
    passages = index.passages
    queries = open_queries(config, of_model, passages, progress, signals)
    if config.shard is not None and not index.exact:
        may_be_exact = (
            "mode" in search_settings(config.index)
            and not {"ask", "neighbours"} & index.search_options.keys()
        )
        cure = "add --set mode=exact, or " if may_be_exact else ""
        raise UsageError(f"{config.index} is approximate and searched whole; {cure}leave --shard away")
    shard = shard_rows(passages.rows, *(config.shard or (0, 1)))
    # the passages' vectors, not the index that makes them quick; the query side's model stands beside the
    # queries, for their fingerprint alone leads to no card
    inputs = {"passages": passages.embeddings.fingerprint, "queries": queries.fingerprint}
    inputs |= {"query_model": queries.query_model} if queries.query_model else {}
    stage = _stage(config, index.search_options, inputs, shard)

    def find() -> tuple[Run, float, dict[str, Any]]:
        if said := index.search_options.get("said"):
            progress.note(said)
        if said := index.search_options.get("alignment"):
            if note := doubts(parse_alignment(said), passages.lengths()):
                progress.note(note)
        vectors = queries.load()
        check_queries(queries, vectors, passages)
        started = time.monotonic()
        reached: list[int] = []
        kept = _found(config, index, vectors, shard, stage.fingerprint, reached, progress, signals)
        seconds = time.monotonic() - started
        more: dict[str, Any] = {}
        if reached:
            share = round(sum(reached) / (len(reached) * passages.rows), 6)
            progress.note(f"a query's neighbours are in {share:.2%} of the passages")
            more = {"passages_reached": share}
        return as_run(queries.ids, kept, passages), seconds, more

    hits = len(queries.ids) * min(config.hits, max(1, len(shard)))
    return _Search(
        stage=stage,
        queries=len(queries.ids),
        passages=passages.rows,
        plan=f"would search rows {shard.start:,} to {shard.stop:,} of {passages.rows:,} with "
        f"{len(queries.ids):,} queries for {config.hits:,} hits each on {resolved_device(config.device)} "
        f"({config.threads} threads); memory for the hits {hits * 12 / 1e6:,.0f} MB; output {config.output}",
        find=find,
        questions=queries.texts,
        texts=lambda: (
            Collection.open(config.corpus, "corpus").corpus()
            if config.corpus
            else passage_texts(passages.embeddings)
        ),
        # rows that were deleted since are in the collection, and in no run
        extra={
            **queries.extra,
            **(passages.embeddings.searched if passages.rows == passages.embeddings.rows else {}),
        },
    )


def settings_of(config: AskingConfig, settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return which of the settings are the index's, and which the model's.

    Raises:
        UsageError: one of the model's, where nothing is encoded.
    """
    names = search_settings(config.index)
    of_index = {name: value for name, value in settings.items() if name in names}
    of_model = {name: value for name, value in settings.items() if name not in names}
    if of_model and config.query_embeddings is not None:
        raise UsageError(
            f"--set {next(iter(of_model))}: with --query-embeddings nothing is encoded, and an index of type "
            f"{kind_at(config.index)} takes {', '.join(names) or 'no settings'}"
        )
    return of_index, of_model


def _open_index(config: SearchConfig, settings: dict[str, Any]) -> VectorIndex:
    """Return the index, searched by the settings; an alignment may be a file of ``adapt``."""
    file, chosen_for = str(settings.get("alignment", "")), None
    if file.endswith(ENDING):
        alignment, chosen_for = read_adapted(Path(file))
        settings = {**settings, "alignment": alignment}
    index: VectorIndex = open_vector_index(config.index, full=config.verify, settings=settings)
    mine = index.passages.embeddings.passage_fingerprint
    if chosen_for not in (None, mine):
        raise VerificationError(
            f"{file} was chosen for the vectors of another model ({str(chosen_for)[:12]}) than those of "
            f"{config.index} ({mine[:12]}); choose again with `dretrieve adapt`"
        )
    return index


def _found(
    config: SearchConfig,
    index: VectorIndex,
    queries: Vectors,
    shard: Shard,
    stage_fingerprint: str,
    reached: list[int],
    progress: Progress,
    signals: Signals,
) -> TopK:
    """Search the rows of the shard, saving what was found from time to time.

    To ``reached`` is added how many passages each query's neighbours are in, where it looks by them.
    """
    checkpoint = Checkpoint.of(config.output, stage_fingerprint, index.passages, queries)
    empty = TopK.empty(len(queries), min(config.hits, len(shard)))
    kept, row = checkpoint.load(empty, shard.start) if index.exact else (empty, shard.start)
    progress.start("search", len(shard), "passages", row - shard.start)
    done = row

    def after_block(row: int, kept: TopK) -> None:
        nonlocal done
        progress.advance(row - done)
        done = row
        if index.exact:
            checkpoint.save(kept, row, now=signals.received is not None and row < shard.stop)
        signals.check()

    def after_query(passages: int) -> None:
        reached.append(passages)
        signals.check()

    device = resolved_device(config.device)
    options = ExactOptions(
        threads=config.threads,
        device=device,
        largest_block=largest_block(len(queries), index.passages.dim) if device == "cpu" else None,
        after_block=after_block,
        reached=after_query,
    )
    index.search(queries, kept, (row, shard.stop), options)
    progress.finish()
    silent = 0 if queries.offsets is None else int(np.count_nonzero(np.diff(queries.offsets) == 0))
    if silent:
        progress.note(f"{silent:,} of {len(queries):,} queries have no tokens, and find nothing")
    wanted = kept.scores.shape[1]
    short = 0 if index.exact else int(np.count_nonzero(kept.sizes < wanted))
    if short:  # of a token index: what has no tokens
        wider = next((name for name in ("ef_search", "probes") if name in index.search_options), "")
    if short and wider:
        progress.note(
            f"{short:,} of {len(queries):,} queries have fewer than the {wanted:,} hits wanted: the index "
            f"proposed no more; search wider (--set {wider}=N, now {index.search_options[wider]}) or an "
            "exact index"
        )
    return kept


def largest_block(num_queries: int, dim: int) -> int | None:
    """Return how many passages a block may have so that it is done within seconds; None when that is many."""
    rows = int(PRODUCTS_PER_BLOCK / max(1, num_queries * dim))
    return max(FIRST_BLOCK, rows) if rows < LARGEST_BLOCK else None


def open_queries(
    config: AskingConfig, choices: Mapping[str, Any], passages: Passages, progress: Progress, signals: Signals
) -> Queries:
    """Return the queries that a config names, to be encoded as the passages were, or encoded before."""
    if config.query_embeddings is not None:
        queries = _given_queries(config.query_embeddings, full=config.verify)
    elif config.model is not None:
        queries = _encoded_queries(
            config, config.model, choices, passages.embeddings.dtype, progress, signals
        )
    else:
        raise UsageError(
            f"{config.index} holds vectors: name the model that encodes --queries with --model, or give "
            "--query-embeddings"
        )
    check_model(queries, passages)
    return queries


def _given_queries(folder: Path, *, full: bool) -> Queries:
    """Return the queries of an embeddings folder."""
    embeddings = Embeddings.open(folder, full=full)
    if embeddings.side != "query":
        raise VerificationError(
            f"{folder} holds vectors of passages, queries are wanted; give it as --index, and encode the "
            "queries with `dretrieve encode --queries`"
        )
    return Queries(
        ids=embeddings.ids(),
        passage_model=embeddings.passage_fingerprint,
        fingerprint=embeddings.fingerprint,
        name=str(folder),
        load=embeddings.all_vectors,
        texts=recorded_collection(embeddings.shards[0]),
        query_model=embeddings.query_fingerprint,
        extra=_places(embeddings.extra.get("model"), embeddings.extra.get("inference")),
    )


def _encoded_queries(
    config: AskingConfig,
    name: str,
    choices: Mapping[str, Any],
    dtype: Literal["float16", "float32"],
    progress: Progress,
    signals: Signals,
) -> Queries:
    """Return the queries of a split, to be encoded here as `encode --queries` would."""
    from dretrieve.encoding.numerics import resolve_precision
    from dretrieve.models.cards import read_card
    from dretrieve.models.places import find_model
    from dretrieve.models.registry import check_choices, check_used

    assert config.queries is not None
    card, _ = read_card(find_model(name))
    check_choices(card, choices)
    check_used(card, choices, "query")
    queries = Collection.open(config.queries, "queries", config.topic_field).queries()
    device = resolved_device(config.device)
    precision = resolve_precision(config.precision, device)
    models = {f"{side}_model": card.fingerprint(side, choices) for side in ("passage", "query")}

    def load() -> Vectors:
        from dretrieve.encoding.pipeline import encode_records  # torch and the model's libraries only now
        from dretrieve.models.loading import load_model

        progress.note(f"encoding {len(queries):,} queries with {name} in {precision} on {device}")
        model = load_model(name, device, precision, choices)
        return encode_records(model, "query", queries.records(0, len(queries)), dtype, signals)

    options, inputs = {"precision": precision, "dtype": dtype}, {"collection": queries.sha256, **models}
    return Queries(
        ids=queries.ids(),
        passage_model=models["passage_model"],
        fingerprint=fingerprint("queries", 1, options, inputs),
        name=f"{config.queries} by {name}",
        load=load,
        texts=config.queries,
        query_model=models["query_model"],
        extra=_places(name, choices),
    )


def _places(model: object, inference: object) -> dict[str, Any]:
    """Return what a manifest must say so that its model's card is found by its fingerprint.

    A card in the work folder needs nothing; a packaged model is found by its name, and a side under
    inference choices by these. No path is written: equal runs have equal manifests.
    """
    found: dict[str, Any] = {"model": model} if model in PACKAGED else {}
    return found | ({"inference": dict(inference)} if isinstance(inference, Mapping) and inference else {})


def resolved_device(device: str) -> str:
    """Return ``cpu`` or the accelerator to use; ``auto`` loads torch only where a driver is to be found."""
    if device == "auto" and not Path("/proc/driver/nvidia/version").exists():
        return "cpu"
    from dretrieve.encoding.numerics import resolve_device

    return resolve_device(device)
