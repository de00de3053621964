"""``--data`` to sets of examples by id: from a split's judgements, or from mined examples.

``DIR:split`` trains on the judgements of a collection, with the hard negatives that ``examples.jsonl`` in its
folder holds (`prepare` of a training file writes it). ``EX.jsonl`` (or ``path=EX.jsonl``) brings hard
negatives of its own; its collection is the one in its manifest, or ``corpus=DIR``, which must be the same.
A teacher's scores (`text.examples`) are kept where they are asked for, and named where they are not.
Longer: ``name=nq,path=DIR,split=train,weight=4,sample=1000,phase=general``, and ``FIELD=VALUE`` for a field
of queries that the method reads (`models.base.Method.columns`) and the data do not have;
``run=RUN,depth=K`` for a method that reads a query's close passages (`training.close`), to whose answers
``target=passage`` makes the judged ones;
``query_vectors=EMB`` and ``passage_vectors=EMB`` for what a frozen backbone gives (`encoding.given_vectors`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from dretrieve.encoding.given_vectors import open_given
from dretrieve.errors import DataError, DretrieveError, PreconditionError, UsageError, VerificationError
from dretrieve.options import REQUIRED, option, options, read_pairs
from dretrieve.runs.read import run_fingerprint
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.fingerprint import canonical_json, sha256_bytes
from dretrieve.store.manifest import manifest_path, read_manifest
from dretrieve.store.seeds import generator
from dretrieve.store.stage import open_artefact
from dretrieve.store.text_store import TextStore
from dretrieve.text.beir import Query, find_file
from dretrieve.text.cache import read_once
from dretrieve.text.collection import Collection
from dretrieve.text.examples import EXAMPLES, Example, read_examples
from dretrieve.text.files import is_file, sha256_of
from dretrieve.text.forms import detect
from dretrieve.text.qrels import qrels_of
from dretrieve.training.close import judged_texts, with_close
from dretrieve.types import Progress, Side

STAGES = ("mine-negatives", "prepare", "convert")  # that write examples


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSpec:
    """One ``--data`` word; ``columns`` are fields that all its queries have."""

    path: str = option(REQUIRED, "A collection's folder or a file of examples.")
    name: str = option("", "For messages, and in the seeds of its draws; else the path's own name.")
    split: str = option("", "Of a collection.")
    weight: float = option(1.0, "Factor on the set's share of the batches.", above=0)
    corpus: str = option("", "Collection of examples, when their manifest does not say or has moved.")
    sample: int = option(0, "Take so many of the queries, drawn by the seed; 0 takes all.", least=0)
    phase: str = option("", "Only that phase of training uses the set.")
    run: str = option("", "What was found for the queries: a method that reads learns from it.")
    depth: int = option(
        -1, "Passages of the run a query; without run= the judged ones; 0 reads none.", least=0
    )
    target: str = option("answers", "What is generated.", legal=("answers", "passage"))
    query_vectors: str = option("", "What the frozen backbone gives for the queries, from encode.")
    passage_vectors: str = option("", "The same for the passages.")
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def reads(self) -> bool:
        """Whether its queries have close passages (`training.close`)."""
        return self.depth >= 0


def parse_data(word: str, columns: Sequence[str] = ()) -> DataSpec:
    """Return the specification that one ``--data`` word holds; ``columns`` are the fields that it may name.

    Raises:
        UsageError: an unknown key, a key twice, no path, a value that is not legal.
    """
    known = [*(item.name for item, _ in options(DataSpec)), *columns]
    if word.partition("=")[0] not in known:
        return DataSpec(path=word, name=_own_name(word))
    values = read_pairs(DataSpec, word, "--data", known)
    if not values.get("path"):
        raise UsageError(f"--data {word}: path=DIR or path=EXAMPLES.jsonl is missing")
    given = {key: values.pop(key) for key in columns if key in values}
    if "run" in values and values.get("depth", 0) < 1:
        raise UsageError(f"--data {word}: say how many passages of the run a query gets, such as depth=10")
    return DataSpec(**{"name": _own_name(values["path"]), **values, "columns": given})


def _own_name(word: str) -> str:
    return Path(word).name.split(".")[0] or "set"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleSet:
    """A set by id, before its texts are tokenised.

    Attributes:
        examples: those with a positive (or a close passage), in file order.
        fingerprint: of the examples and their passages.
        taught: whether every example has a teacher's scores, to learn from.
        columns: the examples' fields that the method reads.
        query_texts: the hash of all queries of the split; None of examples.
        vectors: by side, what the frozen backbone gives for all its texts, where that was given.
    """

    spec: DataSpec
    examples: Sequence[Example]
    corpus: TextStore
    fingerprint: str
    source: Path
    taught: bool = False
    columns: Sequence[str] = ()
    query_texts: str | None = None
    vectors: Mapping[Side, Embeddings] = field(default_factory=dict)

    def passage_rows(self) -> dict[str, int]:
        """Return the passages that some example names, with their rows of the corpus.

        Raises:
            DataError: an example names a passage that the corpus lacks.
        """
        rows: dict[str, int] = {}
        for example in self.examples:
            judged = (*example.positive_document_ids, *example.negative_document_ids)
            for name in judged if example.close is None else example.close:
                row = rows[name] if name in rows else self.corpus.row_of(name)
                if row is None:
                    raise DataError(
                        f"{self.spec.path} names passage {name!r}, which its collection lacks; use the "
                        "collection that the examples were made from"
                    )
                rows[name] = row
        return rows


def open_set(
    spec: DataSpec,
    seed: int,
    progress: Progress,
    *,
    taught: bool = False,
    columns: Sequence[str] = (),
    full: bool = False,
) -> ExampleSet:
    """Return the set of that specification.

    Raises:
        DataError: no example has a positive; some have no scores of a teacher where they are asked for.
        VerificationError: examples of another collection than the one given; a run over other passages.
        PreconditionError: the examples do not exist.
        UsageError: options that do not fit the kind of file.
    """
    word = f"{spec.path}:{spec.split}" if spec.split else spec.path
    role = detect(Path(spec.path)).role if is_file(Path(spec.path)) else ""
    if role in ("training", "triples"):
        beside = " --corpus … --queries …" if role == "triples" else ""
        raise DataError(
            f"{spec.path} is a training file of another tool; make it a collection first: dretrieve prepare "
            f"{quote(str(spec.path))}{beside} --output DIR, then --data DIR:train"
        )
    if role == "examples":
        found = _from_examples(spec, progress, columns, full=full)
    else:
        found = _from_split(spec, word, progress, full=full)
    source, fingerprint = found.source, found.fingerprint
    usable = _usable(found, word, progress)
    if spec.reads:
        run = Path(spec.run) if spec.run else None
        read_by = run_fingerprint(run, full=full, corpus=found.corpus.sha256) if run is not None else ""
        usable = with_close(usable, run, spec.depth, found.corpus, spec.name, progress)
        fingerprint = f"{fingerprint}:close {spec.depth}:{read_by}"
    if taught:
        _check_taught(usable, source)
    elif any(example.positive_scores is not None for example in usable):
        progress.note(
            f"{source} holds a teacher's scores; nothing is learned from them without --distil-weight"
        )
    if spec.sample and spec.sample < len(usable):
        rows = generator(seed, "sample", spec.name).permutation(len(usable))[: spec.sample]
        usable = [usable[row] for row in np.sort(rows).tolist()]
    if columns:
        usable = [_with_fields(example, spec, source) for example in usable]
        read = [[example.fields.get(name) for name in columns] for example in usable]
        fingerprint = f"{fingerprint}:{sha256_bytes(canonical_json([list(columns), read]))}"
    vectors = _brought(spec, found, word)
    fingerprint = ":".join([fingerprint, *(of.fingerprint for of in vectors.values())])
    return replace(
        found, examples=usable, fingerprint=fingerprint, taught=taught, columns=columns, vectors=vectors
    )


def _usable(found: ExampleSet, word: str, progress: Progress) -> list[Example]:
    """Return the examples that can teach: with close passages or none, all; else those with a positive."""
    spec = found.spec
    judged = spec.target == "passage" or (not spec.reads)
    usable = [of for of in found.examples if of.positive_document_ids or not judged]
    if not usable:
        raise DataError(
            f"{word} has no query with a positive (a grade above 0); training needs a passage for every query"
        )
    dropped = len(found.examples) - len(usable)
    if dropped:
        progress.note(f"{spec.name}: {dropped:,} queries without a positive are left out")
    return usable


def _brought(spec: DataSpec, found: ExampleSet, word: str) -> dict[Side, Embeddings]:
    """Return the vectors that the set brings."""
    places: dict[Side, str] = {"query": spec.query_vectors, "passage": spec.passage_vectors}
    texts: dict[Side, str | None] = {"query": found.query_texts, "passage": found.corpus.sha256}
    for side, place in places.items():
        if place and texts[side] is None:
            raise UsageError(
                f"--data {word}: {side}_vectors= are of a collection's split, and examples hold their "
                "queries themselves; leave it out, or give path=DIR,split="
            )
    return {
        side: open_given(Path(place), f"--data {word}: {side}_vectors=", side, texts[side])
        for side, place in places.items()
        if place
    }


def _with_fields(example: Example, spec: DataSpec, source: Path) -> Example:
    """Return the example with the fields that ``--data`` gives to the whole set."""
    both = next((name for name in spec.columns if name in example.fields), None)
    if both is not None:
        raise UsageError(
            f"--data …,{both}={spec.columns[both]}: {source} gives query {example.query_id!r} a '{both}' of "
            "its own; leave one of the two out"
        )
    return replace(example, fields={**example.fields, **spec.columns})


def _check_taught(examples: Sequence[Example], source: Path) -> None:
    """Refuse examples without a teacher's scores."""
    bare = next((example for example in examples if not example.taught), None)
    if bare is None:
        return
    if bare.positive_scores is not None:
        has = "has 'positive_scores' without 'negative_scores'"
    elif bare.negative_scores is not None:
        has = "has 'negative_scores' only, those of the run that they were mined from"
    else:
        has = "has no scores"
    raise DataError.at(
        source,
        bare.line or None,
        f"query {bare.query_id!r} {has}; --distil-weight needs a teacher's 'positive_scores' and "
        "'negative_scores' in every example",
    )


def _from_split(spec: DataSpec, word: str, progress: Progress, *, full: bool) -> ExampleSet:
    if spec.corpus and not Path(spec.path).exists():
        raise PreconditionError(
            f"--data {word} does not exist; make it with `dretrieve mine-negatives`, or correct the path"
        )
    if spec.corpus:
        raise UsageError(f"--data {word}: corpus= belongs to examples; a collection has its own passages")
    collection = Collection.open(word)
    own = find_file(collection.path, EXAMPLES) if collection.path.is_dir() else None
    files = [*collection.files.all, *([own] if own is not None else [])]
    read = replace(spec, name="", sample=0, query_vectors="", passage_vectors="")  # what is read for it
    found = read_once(
        f"{read} {full}", files, lambda: _read_split(spec, collection, own, progress, full=full)
    )
    return replace(found, spec=spec)


def _read_split(
    spec: DataSpec, collection: Collection, own: Path | None, progress: Progress, *, full: bool
) -> ExampleSet:
    queries = collection.queries()
    unjudged = spec.reads and spec.target == "answers" and not _is_judged(collection)
    qrels = qrels_of({}) if unjudged else collection.qrels()
    positives = qrels.positives()
    corpus = collection.corpus(progress, full=full)
    known = {name for names in positives.values() for name in names if corpus.row_of(name) is not None}
    examples = [
        Example(
            query.id,
            query.text,
            tuple(name for name in positives.get(query.id, ()) if name in known),
            fields=_fields_of(query),
        )
        for query in queries.queries
    ]
    lost = sum(name not in known for names in positives.values() for name in names)
    if lost:
        progress.note(f"{spec.name}: {lost:,} judged passages are not in the collection and are left out")
    judgements = "" if unjudged else sha256_of(collection.qrels_file())
    fingerprint = f"{corpus.sha256}:{queries.sha256}:{judgements}"
    if spec.target == "passage":
        examples = judged_texts(examples, qrels, corpus)
    source = collection.path
    hard: dict[str, list[Example]] = {}
    for example in read_examples(own) if own is not None else ():
        hard.setdefault(example.query_id, []).append(example)
    brought = sum(example.query_id in hard for example in examples)
    if own is not None and brought:
        progress.note(
            f"{spec.name}: {own.name} brings hard negatives for {brought:,} of {len(examples):,} queries"
        )
        examples = [_with_hard(example, hard.get(example.query_id, [])) for example in examples]
        fingerprint, source = f"{fingerprint}:{sha256_of(own)}", own
    return ExampleSet(
        spec=spec,
        examples=examples,
        corpus=corpus,
        fingerprint=fingerprint,
        source=source,
        query_texts=queries.sha256,
    )


def _is_judged(collection: Collection) -> bool:
    """Return whether the split has judgements, as a collection's only ones where none is named."""
    known = collection.files.qrels
    return collection.split in known if collection.split is not None else len(known) == 1


def _with_hard(example: Example, hard: Sequence[Example]) -> Example:
    """Return an example of the judgements with the negatives of that query's examples, and their scores."""
    positives = example.positive_document_ids
    scores: dict[str, float] = {}
    for of in hard:
        ids = (*of.positive_document_ids, *of.negative_document_ids)
        given = (*(of.positive_scores or ()), *(of.negative_scores or ()))
        scores |= dict(zip(ids, given, strict=True)) if of.taught else {}
    negatives = dict.fromkeys(name for of in hard for name in of.negative_document_ids)
    chosen = tuple(name for name in negatives if name not in positives)
    taught = bool(hard) and all(name in scores for name in (*positives, *chosen))
    return replace(
        example,
        negative_document_ids=chosen,
        positive_scores=tuple(scores[name] for name in positives) if taught else None,
        negative_scores=tuple(scores[name] for name in chosen) if taught else None,
        line=hard[0].line if hard else 0,
    )


def _fields_of(query: Query) -> Mapping[str, Any]:
    # a regular expression tells answers, and none is to be learned from it
    told = bool(query.answers) and not query.answers_are_regex
    return {**query.fields, "answers": query.answers} if told else query.fields


def _from_examples(spec: DataSpec, progress: Progress, columns: Sequence[str], *, full: bool) -> ExampleSet:
    path = Path(spec.path)
    if spec.split:
        raise UsageError(f"--data {spec.path}: split= belongs to a collection; examples are one set")
    if spec.target == "passage":
        raise UsageError(f"--data {spec.path}: target=passage takes a collection's judgements; give path=DIR")
    described: dict[str, str] = {}
    if manifest_path(path).exists():
        described = dict(open_artefact(path, STAGES, full=full).extra.get("collection", {}))
    elif (path.parent / "manifest.json").exists():
        manifest = read_manifest(path.parent / "manifest.json")
        described = dict(manifest.extra.get("collection", {"path": "."}))
    if not spec.corpus and "path" not in described:
        raise UsageError(
            f"{spec.path} does not say which collection its passages are in (no manifest); "
            f"write --data path={spec.path},corpus=DIR"
        )
    place = spec.corpus or str(path.resolve().parent / described["path"])
    try:
        collection = Collection.open(place, "corpus")
        corpus = collection.corpus(progress, full=full)
    except DretrieveError as error:
        if spec.corpus:
            raise
        raise DataError(
            f"{spec.path}: its collection is not at {place} ({error}); write corpus=DIR"
        ) from error
    if described.get("sha256", corpus.sha256) != corpus.sha256:
        raise VerificationError(
            f"{spec.path} was made from the collection {described.get('name', '')} "
            f"({described['sha256'][:12]}), {place} is another one ({corpus.sha256[:12]}); give the "
            "collection of the examples, or mine again"
        )
    examples = read_once("examples", [path], lambda: list(read_examples(path)))
    fingerprint = f"{corpus.sha256}:{sha256_of(path)}"
    if len({of.query_id for of in examples}) < len(examples):
        fingerprint += ":lines"  # of a query share their positives, which they did not always
    if columns and collection.files.queries is not None:  # mined examples do not repeat what queries say
        known = {query.id: _fields_of(query) for query in collection.queries().queries}
        examples = [replace(of, fields={**known.get(of.query_id, {}), **of.fields}) for of in examples]
    return ExampleSet(spec=spec, examples=examples, corpus=corpus, fingerprint=fingerprint, source=path)
