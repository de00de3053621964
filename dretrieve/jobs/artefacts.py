"""The kinds of artefact: how each is recognised, opened, counted. For `inspect` and `validate`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError, VerificationError
from dretrieve.index.base import open_embeddings
from dretrieve.metrics.qa import read_predictions
from dretrieve.models.registry import spelled
from dretrieve.runs.lines import RUN_FORMATS
from dretrieve.runs.read import read_run
from dretrieve.store.card import CARD, ModelCard
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.manifest import Manifest, manifest_path, read_verified
from dretrieve.store.state import read_state
from dretrieve.text.beir import Query
from dretrieve.text.cache import remember
from dretrieve.text.collection import Collection
from dretrieve.text.examples import read_examples, read_triples
from dretrieve.text.files import is_file, is_stream, open_stored, sha256_of
from dretrieve.text.forms import FORMS, Form, detect
from dretrieve.text.qrels import read_qrels
from dretrieve.text.records import read_corpus, read_queries
from dretrieve.text.training_rows import read_training
from dretrieve.types import SIDES, Progress, Qrels, Run

Facts = dict[str, Any]
RUN_STAGES = ("search", "fuse-bm25", "convert-run")
TEXT_STAGES = ("prepare", "merge", "mine-negatives", *RUN_STAGES)
SHARDS = "shard-*-of-*."


@dataclass(frozen=True)
class Artefact:
    """What stands at a path.

    Attributes:
        split: of a collection, where the user named one.
        run_format: the form of a run, ``auto`` to tell.
    """

    path: Path
    split: str | None
    run_format: str
    full: bool
    progress: Progress
    manifest: Manifest | None

    @property
    def run_form(self) -> str:
        """The form of its run: as the user says, as the stage of ours that wrote it says, or ``auto``."""
        if self.run_format == "auto" and self.manifest and self.manifest.stage in RUN_STAGES:
            form = str(self.manifest.options.get("form", "trec")).split(".")[0]
            return form if form in RUN_FORMATS else "dpr"  # Contriever's is DPR's, a question a line
        return self.run_format

    @cached_property
    def form(self) -> Form:
        """The form of its text; `detect` says what it raises."""
        return FORMS["run"] if self.run_form != "auto" else detect(self.path)

    @cached_property
    def kind(self) -> Kind:
        """What it is: the first of `KINDS` that knows it, by its first bytes, or by its text."""
        told = [kind for knows, kind in KINDS if knows(self)]
        told += [kind for start, kind in BEGINNINGS.items() if self.head.startswith(start)]
        return told[0] if told else TEXTS[self.form.role]

    @property
    def name(self) -> str:
        """The name of its kind."""
        stage = self.manifest.stage if self.manifest else (self.state or {}).get("stage")
        return self.kind.name.format(stage=str(stage).replace("index-", "index: "))

    @cached_property
    def facts(self) -> Facts:
        """What there is to count and to name in it, in the order of showing."""
        form = {"form": f"{self.form.name}  {self.form.shape}"} if self.kind in TEXTS.values() else {}
        return form | self.kind.facts(self)

    @cached_property
    def value(self) -> Any:
        """It, opened and verified (a card with its note, `Embeddings`, a `Collection`, a `Run` …)."""
        return self.kind.open(self)

    @cached_property
    def state(self) -> Mapping[str, Any] | None:
        """The state of an unfinished output, also of embeddings of which some shards were begun."""
        begun = min(self.path.glob(f"{SHARDS}state.json"), default=None) if self.path.is_dir() else None
        shard = begun.with_name(begun.name.replace("state.json", "manifest.json")) if begun else None
        return read_state(manifest_path(self.path)) or (read_state(shard) if shard else None)

    @cached_property
    def head(self) -> bytes:
        """The first bytes of a file, at most 8."""
        if not is_file(self.path):
            return b""
        with open_stored(self.path) as file:
            return bytes(file.read(8))


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of artefact.

    Attributes:
        facts: what there is to count and to name, in the order of showing.
        role: what `validate` takes it for, "" for what it does not take.
        broken: its name where its facts cannot be told.
    """

    name: str
    facts: Callable[[Artefact], Facts]
    role: str = ""
    open: Callable[[Artefact], Any] = lambda it: None
    broken: str = ""


def checked_manifest(path: Path, *, full: bool) -> Manifest | None:
    """Return the manifest of the artefact, None where it has none, after comparing its files.

    Raises:
        DataError: it cannot be read.
        PreconditionError: a file that it lists is missing.
        VerificationError: other bytes than it records.
    """
    file = manifest_path(path)
    if is_stream(path) or not file.exists():
        return None
    return read_verified(file, full=full)


def _open_model(it: Artefact) -> tuple[ModelCard, str | None]:
    """Return the card after reading all that a stage or another tool would read, and a plain folder's note.

    Raises:
        PreconditionError: a file is missing, or cannot be read as what it is.
        DataError: a card, or a file of sentence-transformers, that does not say what it must.
        VerificationError: files that are not those of the card or the manifest, or that contradict the card.
    """
    from safetensors import SafetensorError, safe_open

    from dretrieve.models.cards import read_card
    from dretrieve.models.plain import read_plain
    from dretrieve.tokens.tokenizer import SideTokenizer

    card, note = read_card(it.path)
    if note is None:
        checked_manifest(it.path, full=it.full)
    for side in (card.query, card.passage):
        place = it.path / side.folder
        SideTokenizer.open(place, side)
        for file in (place / name for name in side.files if name.endswith(".safetensors")):
            try:  # a header that does not describe its file: cut, grown or overwritten
                with safe_open(file, "numpy"):
                    pass
            except (SafetensorError, OSError) as error:
                raise DataError(
                    f"{file} cannot be read as safetensors: {error}; fetch or save it again"
                ) from error
        if note is None and (place / "modules.json").exists():
            told = read_plain(place).card.passage
            if (told.pooling, told.normalize) != (side.pooling, side.normalize):
                raise VerificationError(
                    f"{place / 'modules.json'} and its modules say pooling {told.pooling}, normalize "
                    f"{told.normalize}, but {it.path / CARD} says {side.pooling}, {side.normalize}; save or "
                    "convert the model again"
                )
    return card, note


def _model_facts(it: Artefact) -> Facts:
    card, note = it.value
    spec = card.vectors
    facts: Facts = {"read": note} if note else {}
    facts |= {
        "method": spelled(card.method),
        "vectors": f"{spec.kind} of {spec.dim} numbers, score {spec.score}",
    }
    for name in SIDES:
        side = card.side(name)
        pair, normal = ", as a pair" * side.pair, ", length 1" * side.normalize
        facts[f"{name} side"] = (
            f"{side.template!r}{pair}, {side.max_tokens} tokens, pooling {side.pooling}{normal}, "
            f"padding {side.padding_side}"
        )
        facts[f"{name} fingerprint"] = card.fingerprint(name)
    for word, table in (("choice", card.inference), ("config", card.method_config), ("source", card.source)):
        facts |= {f"{word} {name}": value for name, value in table.items()}
    return facts


def _embeddings_facts(it: Artefact) -> Facts:
    found: Embeddings = it.value
    options, spec = found.shards[0].manifest.options, found.vectors
    facts = {
        "side": found.side,
        "rows": found.rows,
        "vectors": f"{spec.kind} of {spec.dim} numbers, {found.dtype}, score {found.score}",
        "shards": len(found.shards),
        **{
            name: sum(entry.manifest.counts.get(name, 0) for entry in found.shards)
            for name in ("tokens", "truncated", "empty")
        },
        "token vectors": sum(len(of.array("tokens")) for of in found.shards) if spec.kind == "many" else None,
        "collection": found.collection_sha256,
        "passage model": found.passage_fingerprint,
        "query model": found.query_fingerprint,
        "fingerprint": found.fingerprint,
        "option precision": options.get("precision"),
        **found.extra,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _index_vectors(it: Artefact) -> Embeddings | None:
    """Return the embeddings that an index reads, None for one over words."""
    assert it.manifest is not None
    reads = "embeddings" in it.manifest.extra
    return open_embeddings(it.path, it.manifest, full=it.full) if reads else None


def _manifest_facts(it: Artefact) -> Facts:
    assert it.manifest is not None
    size = sum(int(entry["bytes"]) for entry in it.manifest.files.values())
    return {**it.manifest.counts, "files": len(it.manifest.files), "bytes": size, **it.manifest.extra}


def _state_facts(it: Artefact) -> Facts:
    state = it.state or {}
    told = {name: state.get(name) for name in ("state", "stage", "exit_code", "message")}
    told["next"] = "run the same command again"
    return {name: value for name, value in told.items() if value is not None}


def _array_facts(it: Artefact) -> Facts:
    try:
        array = np.load(it.path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise DataError(
            f"{it.path} is a numpy file of Python objects, which is never opened: {error}"
        ) from error
    return {"shape": list(array.shape), "dtype": str(array.dtype)}


def _weights_facts(it: Artefact) -> Facts:
    with open(it.path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise DataError(f"{it.path} is damaged: its header is no JSON; fetch or save it again") from error
    tensors = [entry for name, entry in header.items() if name != "__metadata__"]
    numbers = sum(int(np.prod(entry["shape"], dtype=np.int64)) for entry in tensors)
    types = ", ".join(sorted({entry["dtype"] for entry in tensors}))
    return {"tensors": len(tensors), "numbers": numbers, "types": types}


def relevant_counts(qrels: Qrels) -> NDArray[np.int64]:
    """Return how many relevant passages (grade above 0) each query has: [queries]."""
    totals = np.concatenate([np.zeros(1, np.int64), np.cumsum(qrels.grades > 0)])
    return np.asarray(totals[qrels.offsets[1:]] - totals[qrels.offsets[:-1]])


def _open_collection(it: Artefact) -> Collection:
    collection = Collection(it.path) if it.split is None else Collection.open(f"{it.path}:{it.split}")
    if it.path.is_dir():
        collection.verify(full=it.full)
    return collection


def _collection_facts(it: Artefact) -> Facts:
    collection: Collection = it.value
    facts: Facts = {"splits": ", ".join(collection.splits) or "none"}
    if collection.files.corpus:
        store = collection.corpus(it.progress)
        facts |= {"passages": len(store), "empty passages": store.num_empty, "sha256": store.sha256}
        facts["text store"] = str(store.folder)
    if collection.files.queries:
        queries = collection.queries()
        facts |= _query_facts(queries.queries) | {"queries sha256": queries.sha256}
    for split in [it.split] if it.split else collection.files.qrels:
        if split in collection.files.qrels:
            qrels = collection.qrels(split)
            found = _qrels_facts(qrels)
            unknown = len(collection.unknown_passages(qrels)) if collection.files.corpus else 0
            missing = f", {unknown:,} judged passages are not in the corpus" if unknown else ""
            counts = f"{found['queries']:,} queries, {found['judgements']:,} judgements"
            facts[f"qrels {split}"] = f"{counts}, grades {found['grades']}{missing}"
    return facts


def _corpus_facts(it: Artefact) -> Facts:
    assert it.value is not None  # verified
    counts, ids = Counter[str](), list[str]()
    it.progress.start(f"reading {it.path.name}", None, "passages")
    for number, record in enumerate(read_corpus(it.path), 1):
        counts["passages"] += 1
        counts["with title"] += bool(record.title)
        counts["empty"] += not (record.title.strip() or record.text.strip())
        counts["characters"] += len(record.title) + len(record.text)
        if number <= 3:
            ids.append(record.id)
        if number % 10_000 == 0:
            it.progress.advance(10_000)
    it.progress.advance(counts["passages"] % 10_000)
    it.progress.finish()
    return {**counts, "first ids": ", ".join(ids)}


def _query_facts(queries: list[Query]) -> Facts:
    splits = Counter(str(query.fields["split"]) for query in queries if query.fields.get("split"))
    counts = {
        "with answers": sum(bool(query.answers) for query in queries),
        "answers are regex": sum(query.answers_are_regex for query in queries),
        "empty queries": sum(not query.text.strip() for query in queries),
        "by field split": ", ".join(f"{split} {count:,}" for split, count in sorted(splits.items())),
    }
    first = f"{queries[0].id}  {queries[0].text[:80]}" if queries else "none"
    told = {name: value for name, value in counts.items() if value}
    return {"queries": len(queries), **told, "first query": first}


def _open_qrels(it: Artefact) -> Qrels:
    remember({it.path: sha256_of(it.path)}, said=False)
    return read_qrels(it.path)


def _qrels_facts(qrels: Qrels) -> Facts:
    grades = Counter(qrels.grades.tolist())
    first = f"{qrels.query_ids[0]} {qrels.passage_ids[int(qrels.passages[0])]}" if len(qrels) else "none"
    return {
        "queries": len(qrels),
        "judgements": len(qrels.grades),
        "grades": ", ".join(f"{grade}: {count:,}" for grade, count in sorted(grades.items())),
        "queries without a relevant passage": int((relevant_counts(qrels) == 0).sum()),
        "first": first,
    }


def _run_facts(it: Artefact) -> Facts:
    run: Run = it.value
    facts: Facts = {"queries": len(run), "hits": int(run.offsets[-1]), "tag": run.tag}
    if len(run) and len(run.scores):
        lengths, scores = np.diff(run.offsets), f"{run.scores.min():.6g} to {run.scores.max():.6g}"
        facts["hits per query"] = f"{lengths.min():,} to {lengths.max():,}"
        facts["scores"] = "none, ranks only" if run.by_rank else scores
        facts["first"] = f"{run.query_ids[0]} {run.passage_ids[int(run.passages[0])]}"
    return facts


def _summed(rows: Iterable[Mapping[str, int]]) -> Facts:
    totals: Counter[str] = Counter()
    for row in rows:
        totals.update(row)
    return dict(totals)


def _training_facts(it: Artefact) -> Facts:
    counts = _summed(
        {
            "queries": 1,
            "without positive": not row.positives,
            "positives": len(row.positives),
            "negatives": len(row.negatives),
            "with answers": bool(row.query.answers),
        }
        for _, row in read_training(it.path, it.form.name)
    )
    made = "makes a collection and examples of it"
    return {**counts, "next": f"dretrieve prepare {quote(str(it.path))} --output DIR {made}"}


def _example_facts(it: Artefact) -> Facts:
    return _summed(
        {
            "queries": 1,
            "without positive": not row.positive_document_ids,
            "positives": len(row.positive_document_ids),
            "negatives": len(row.negative_document_ids),
            "with scores": row.positive_scores is not None or row.negative_scores is not None,
        }
        for row in read_examples(it.path)
    )


def _triple_facts(it: Artefact) -> Facts:
    return _summed(
        {"rows": 1, "passages": 1 + len(row.negative_document_ids), "with scores": row.taught}
        for row in read_triples(it.path)
    )


def _next(text: str) -> Callable[[Artefact], Facts]:
    return lambda it: {"next": text.format(hf=quote(f"hf:{it.path}"))}


def _stage(it: Artefact) -> str:
    return it.manifest.stage if it.manifest is not None else ""


_collection_kind = partial(Kind, role="collection", open=_open_collection)
_PLAIN = "model (plain folder, used as it is)"
KINDS: tuple[tuple[Callable[[Artefact], bool], Kind], ...] = (
    (lambda it: (it.path / CARD).exists(), Kind("model", _model_facts, "model", _open_model, "model folder")),
    (
        lambda it: any((it.path / name).exists() for name in ("config.json", "modules.json")),
        Kind(_PLAIN, _model_facts, "model", _open_model, "model folder"),
    ),
    (
        lambda it: it.path.is_dir() and any(it.path.glob(f"{SHARDS}manifest.json")),
        Kind(
            "embeddings",
            _embeddings_facts,
            "embeddings",
            lambda it: Embeddings.open(it.path, full=it.full),
            "embeddings, not complete",
        ),
    ),
    (lambda it: _stage(it).startswith("index-"), Kind("{stage}", _manifest_facts, "index", _index_vectors)),
    (
        lambda it: _stage(it) == "read",
        Kind("answers", _manifest_facts, "answers", lambda it: read_predictions(it.path)),
    ),
    (lambda it: _stage(it) not in ("", *TEXT_STAGES), Kind("{stage}", _manifest_facts)),
    (
        lambda it: it.manifest is None and it.state is not None,
        Kind("unfinished output of {stage}", _state_facts),
    ),
    (
        lambda it: it.path.suffix == ".safetensors" and 0 < int.from_bytes(it.head, "little") < 1 << 28,
        Kind("weights (safetensors)", _weights_facts),
    ),
)
_PICKLE = Kind(
    "Python pickle (not opened: a pickle can run any program)",
    _next("have the tool that wrote it write .npy or safetensors"),
)
_ZIP = Kind(
    "zip archive (or torch checkpoint)",
    _next("unpack it; for a checkpoint of another tool see dretrieve convert --help"),
)
BEGINNINGS = {
    b"\x93NUMPY": Kind("numpy array", _array_facts),
    b"PAR1": Kind("Parquet file", _next("dretrieve prepare {hf} --output DIR")),
    **dict.fromkeys((b"PK\x03\x04", b"PK\x05\x06"), _ZIP),
    **dict.fromkeys((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), _PICKLE),
}
_EITHER = {"note": "an id and a text may be a passage or a query; both read them"}
TEXTS = {
    "collection": _collection_kind("collection (BEIR folder)", _collection_facts),
    "corpus": _collection_kind("corpus", _corpus_facts),
    "queries": _collection_kind("queries", lambda it: _query_facts(list(read_queries(it.path)))),
    "texts": _collection_kind("corpus", lambda it: _corpus_facts(it) | _EITHER),
    "training": Kind("training rows with texts", _training_facts),
    "examples": Kind("training examples by id", _example_facts, "examples", lambda it: it.path),
    "triples": Kind("training triples of ids", _triple_facts),
    "qrels": Kind("qrels", lambda it: _qrels_facts(it.value), "qrels", _open_qrels),
    "run": Kind("run", _run_facts, "run", lambda it: read_run(it.path, it.run_form)),
}
