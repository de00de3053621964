"""Local files in any known form written as one collection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from dretrieve.errors import DataError, PreconditionError, UsageError, quoted
from dretrieve.store.fingerprint import canonical_json, sha256_bytes, sha256_file
from dretrieve.text.assemble import CollectionWriter
from dretrieve.text.beir import Query, find_file, split_files
from dretrieve.text.examples import Example, read_examples
from dretrieve.text.files import exists, is_file, sha256_of
from dretrieve.text.foreign.columns import Side
from dretrieve.text.foreign.pyserini import collection_files
from dretrieve.text.foreign.triplets import read_colbert_triples
from dretrieve.text.forms import (
    TRAINING_READERS,
    UNSAID,
    Form,
    detect,
    headerless,
    is_row,
    read_corpus,
    read_queries,
)
from dretrieve.text.qrels import read_qrels

Tick = Callable[[], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """The files that together become one collection.

    Attributes:
        main: the file or folder named first.
        corpus: passages, when ``main`` holds queries, examples by id or triples of ids.
        queries: queries, when ``main`` holds passages or triples of ids.
        qrels: split name to judgements.
        topic_field: what of a topic is its query's text.
        split: the split of training rows, and of queries that name none.
        answers_are_regex: whether the answers are patterns, where their file cannot say it.
    """

    main: Path
    corpus: Path | None = None
    queries: Path | None = None
    qrels: dict[str, Path] = field(default_factory=dict)
    split: str | None = None
    topic_field: str | None = None
    answers_are_regex: bool = False

    def check_beside(self) -> None:
        """Refuse a file given beside the main one that is not there.

        Raises:
            PreconditionError: names it.
        """
        for path in (self.corpus, self.queries, *self.qrels.values()):
            if path is not None and not exists(path):
                raise PreconditionError(f"{path} does not exist; correct the path")

    def inputs(self) -> dict[str, str]:
        """Return role to content hash of everything read."""
        named = {"source": self.main, "corpus": self.corpus, "queries": self.queries}
        found = {role: content_sha256(path) for role, path in named.items() if path is not None}
        return found | {f"qrels_{split}": content_sha256(path) for split, path in sorted(self.qrels.items())}


def content_sha256(path: Path) -> str:
    """Return the hash of a file, or of the names and hashes of a collection folder's files.

    Raises:
        PreconditionError: nothing stands there.
    """
    if not exists(path):
        raise PreconditionError(f"{path} does not exist; correct the path")
    if is_file(path):
        return sha256_of(path)
    beir = [find_file(path, "corpus.jsonl"), find_file(path, "queries.jsonl"), *split_files(path).values()]
    files = [file for file in beir if file is not None] or collection_files(path)
    return sha256_bytes(canonical_json([[str(file.relative_to(path)), sha256_file(file)] for file in files]))


def parse_qrels_option(words: tuple[str, ...]) -> dict[str, Path]:
    """Return split to path of ``[SPLIT=]FILE`` words; the split is ``test`` where none is named.

    Raises:
        UsageError: a split is named twice, or cannot be a file name.
    """
    found: dict[str, Path] = {}
    for word in words:
        split, equals, path = word.partition("=")
        if not equals:
            split, path = "test", word
        if not split or "/" in split or split.startswith("."):
            raise UsageError(f"--qrels {word!r}: {split!r} cannot name a split; write e.g. dev=FILE")
        if split in found:
            raise UsageError(
                f"--qrels names the split '{split}' twice; write e.g. dev=FILE for the other one"
            )
        found[split] = Path(path)
    return found


def check_local(sources: Sources) -> Form:
    """Return the form of the main file; refuse what `write_local` would, as far as first records show it.

    Raises:
        PreconditionError, DataError, UsageError: as `write_local`.
    """
    sources.check_beside()
    form = detect(sources.main)
    arranged = _arranged(sources, form)
    for _ in islice(read_corpus(arranged.corpus), 1) if arranged.corpus else ():
        pass
    for _ in islice(read_queries(arranged.queries, sources.topic_field), 1) if arranged.queries else ():
        pass
    return form


def write_local(writer: CollectionWriter, sources: Sources, tick: Tick) -> Form:
    """Write what the sources hold and return the form of the main one; ``tick`` is called for every record.

    Raises:
        DataError: a broken line; a form that is no source of a collection.
        UsageError: files that are missing for this form, or given twice.
    """
    form = detect(sources.main)
    sources = _arranged(sources, form)
    left, kept = dict[str, None](), dict[str, None]()  # keys in the order in which they are met
    for record in read_corpus(sources.corpus, left) if sources.corpus else ():
        tick()
        writer.passage(record)
    for query in read_queries(sources.queries, sources.topic_field) if sources.queries else ():
        tick()
        kept.update(dict.fromkeys(query.fields))
        if sources.split and "split" not in query.fields:
            query = replace(query, fields={**query.fields, "split": sources.split})
        if sources.answers_are_regex:
            query = replace(query, answers_are_regex=bool(query.answers))
        writer.query(query)
    writer.notes += _said(sources, left, kept)
    if form.role == "training":
        rows = (row for _, row in TRAINING_READERS[form.name](sources.main))
        writer.training(_ticking(rows, tick), sources.split or "train")
    elif form.role in ("examples", "triples"):
        _write_examples(writer, sources, form, tick)
    for split, path in sources.qrels.items():
        writer.qrels(split, read_qrels(path))
    return form


def _said(sources: Sources, left: Iterable[str], kept: Iterable[str]) -> list[str]:
    """Return what a user should know of how the files were read."""
    notes = []
    sides: tuple[tuple[Side, Path | None], ...] = (("corpus", sources.corpus), ("queries", sources.queries))
    for side, path in sides:
        if path is not None and (columns := headerless(path, side)):
            notes.append(f"{path.name} has no header, so its columns are {', '.join(columns)}")
    for what, keys in (("passages: left out", left), ("queries: kept as fields", kept)):
        if listed := [quoted(key) for key in keys if key not in ("split", "metadata")]:
            more = f" and {len(listed) - 12} more" if len(listed) > 12 else ""
            notes.append(f"{what} {', '.join(listed[:12])}{more}")
    return notes


def _ticking(rows: Iterator[Any], tick: Tick) -> Iterator[Any]:
    for row in rows:
        tick()
        yield row


def _arranged(sources: Sources, form: Form) -> Sources:
    """Return the sources with the main file in the place where its role puts it."""
    main = sources.main
    if form.role == "collection":
        return _opened(sources)
    side = _side(sources, form)
    if side is not None:
        return replace(sources, corpus=main) if side == "corpus" else replace(sources, queries=main)
    if form.role == "training" and (sources.corpus or sources.queries):
        raise UsageError(f"{main} ({form.name}) carries its texts; leave --corpus and --queries out")
    if form.role == "triples" and (sources.corpus is None or sources.queries is None):
        raise UsageError(f"{main} holds ids only; give --corpus and --queries that hold their texts")
    if form.role not in ("training", "examples", "triples"):
        hint = (
            "give it by --qrels SPLIT=FILE beside a corpus"
            if form.role == "qrels"
            else "give a corpus, queries or training file"
        )
        raise DataError(
            f"{main} holds {form.role} ({form.name}), from which no collection can be made; {hint}"
        )
    return sources


def _side(sources: Sources, form: Form) -> Side | None:
    """Return what the main file holds, if it holds texts: as the options say, else as its content shows.

    Raises:
        UsageError: both sides are given beside it.
        DataError: nothing tells which side it is.
    """
    main, given = sources.main, {"corpus": sources.corpus, "queries": sources.queries}
    other: dict[Side, Side] = {"corpus": "queries", "queries": "corpus"}
    for side in other:
        if given[side] == main:
            return side
    for side in other:
        if form.role == side:
            if given[side] is not None:
                raise UsageError(
                    f"{main} looks like the {side}, which --{side} names; leave --{side} out, or give "
                    f"{main} by --{other[side]}"
                )
            return side
    free = [side for side in other if given[side] is None]
    if form.role == "texts" and len(free) == 2:
        raise DataError(f"{main} {UNSAID} in place of SOURCE")
    if form.role == "texts" and not free:
        raise UsageError(
            f"{main} is one file too many beside --corpus and --queries; leave one of the three out"
        )
    if form.role == "texts" or (form.role in ("run", "qrels") and len(free) == 1 and is_row(main, free[0])):
        return free[0]
    return None


def _opened(sources: Sources) -> Sources:
    folder = sources.main
    own = {"corpus": find_file(folder, "corpus.jsonl"), "queries": find_file(folder, "queries.jsonl")}
    for role, path in own.items():
        if path is not None and getattr(sources, role) is not None:
            raise UsageError(f"{folder} holds {path.name} already; leave --{role} out")
    both = split_files(folder).keys() & sources.qrels.keys()
    if both:
        raise UsageError(
            f"{folder} holds judgements of '{min(both)}' already; give --qrels another split name"
        )
    return replace(
        sources,
        corpus=own["corpus"] or sources.corpus,
        queries=own["queries"] or sources.queries,
        qrels=split_files(folder) | sources.qrels,
    )


def _write_examples(writer: CollectionWriter, sources: Sources, form: Form, tick: Tick) -> None:
    split = sources.split or "train"
    rows = read_examples(sources.main) if form.role == "examples" else _from_triples(writer, sources)
    for example in _ticking(iter(rows), tick):
        if form.role == "examples":
            writer.query(Query(example.query_id, example.query_text, fields={"split": split}))
        for passage_id in example.positive_document_ids:
            writer.judge(split, example.query_id, passage_id)
        writer.example(example)


def _from_triples(writer: CollectionWriter, sources: Sources) -> Iterator[Example]:
    for line, (query_id, ids, scores) in read_colbert_triples(sources.main):
        text = writer.query_text(query_id)
        if text is None:
            raise DataError.at(sources.main, line, f"the query {query_id!r} is not in {sources.queries}")
        yield Example(
            query_id,
            text,
            ids[:1],
            tuple(dict.fromkeys(name for name in ids[1:] if name != ids[0])),
            scores[:1] if scores else None,
            tuple({name: score for name, score in zip(ids, scores, strict=True) if name != ids[0]}.values())
            if scores
            else None,
        )
