"""The files that together become one collection, whatever their forms, and how they are written as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from dretrieve.errors import DataError, PreconditionError, UsageError, quoted
from dretrieve.store.fingerprint import canonical_json, sha256_bytes, sha256_file
from dretrieve.text.beir import NO_DATA, QRELS, Files, Query, collection_files
from dretrieve.text.collection_writer import CollectionWriter
from dretrieve.text.examples import Example, read_examples, read_triples
from dretrieve.text.fields import Side
from dretrieve.text.files import exists, first_line, is_file, sha256_of
from dretrieve.text.forms import FORMS, Form, detect, headerless
from dretrieve.text.qrels import read_qrels
from dretrieve.text.records import is_row, perhaps_ids, read_corpus, read_queries
from dretrieve.text.tables import Table
from dretrieve.text.training_rows import read_training

Tick = Callable[[], None]
TOLD = (
    "passages: left out",
    "queries: kept as fields",
    "queries: left out",
    "queries: taken for answers, not for passages to train on (those are called 'positive'):",
    "training rows: left out",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """The files that together become one collection.

    Attributes:
        corpus: passages, when ``main`` holds queries, examples by id or triples of ids.
        queries: queries, when ``main`` holds passages or triples of ids.
        judged: split name to queries that name their relevant passages.
        topic_field: what of a topic is its query's text.
        split: the split of training rows, and of queries that name none.
        answers_are_regex: whether all answers are patterns, where their file does not say it.
    """

    main: Path
    corpus: Path | None = None
    queries: Path | None = None
    qrels: dict[str, Path] = field(default_factory=dict)
    judged: Mapping[str, Path] = field(default_factory=dict)
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
    files = Files.published(path).all or collection_files(path)
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


def form_of(sources: Sources) -> Form:
    """Return the form of the main file.

    Raises:
        PreconditionError, DataError: as `detect`; of a file whose side is said, what it lacks for that.
    """
    beside = {sources.corpus, sources.queries} - {None, sources.main}
    try:
        form = detect(sources.main)
        is_triple = form.name in ("run", "passage-columns") and len(first_line(sources.main).split()) == 3
        return FORMS["triples"] if is_triple and len(beside) == 2 else form
    except DataError:
        for given, read in ((sources.corpus, read_corpus), (sources.queries, read_queries)):
            if given == sources.main:
                next(read(given), None)
        raise


def check_sources(sources: Sources) -> Form:
    """Return the form of the main file; refuse what `write_sources` would, as far as first records show it.

    Raises:
        PreconditionError, DataError, UsageError: as `write_sources`.
    """
    sources.check_beside()
    form = form_of(sources)
    arranged = _arranged(sources, form)
    if arranged.corpus:
        next(read_corpus(arranged.corpus), None)
    for path in filter(None, (arranged.queries, *arranged.judged.values())):
        next(read_queries(path, sources.topic_field), None)
    return form


def write_sources(sources: Sources, writer: CollectionWriter, tick: Tick) -> None:
    """Write what the sources hold; ``tick`` is called for every record.

    Raises:
        DataError: a broken line; a form that is no source of a collection; no answers that may be patterns.
        UsageError: files that are missing for this form, or given twice.
    """
    form = form_of(sources)
    is_guess = form.role == "queries" and not (sources.corpus or sources.queries)
    sources = _arranged(sources, form)
    split, patterned = sources.split or "train", 0

    def as_said(query: Query) -> Query:
        nonlocal patterned
        if not (sources.answers_are_regex and query.answers):
            return query
        patterned += 1
        return replace(query, answers_are_regex=True)

    told = {what: dict[str, None]() for what in TOLD}  # keys in the order in which they are met
    left, kept, lists, pairs, unread = told.values()
    for record in read_corpus(sources.corpus, left) if sources.corpus else ():
        tick()
        writer.passage(record)
    for query in _queries(sources, writer, lists, pairs if is_guess else None):
        tick()
        kept.update(dict.fromkeys(query.fields))
        writer.query(as_said(query))
    for _, row in read_training(sources.main, form.name, unread) if form.role == "training" else ():
        tick()
        writer.training(replace(row, query=as_said(row.query)), split)
    for example in _examples(sources, form, writer):
        tick()
        if form.role == "examples":
            writer.query(Query(example.query_id, example.query_text, fields={"split": split}))
        for passage_id in example.positive_document_ids:
            writer.judge(split, example.query_id, passage_id)
        writer.example(example)
        unread.update(dict.fromkeys(example.fields))
    writer.notes += _notes(sources, told)
    for name, path in sources.qrels.items():
        writer.qrels(name, read_qrels(path))
    if sources.answers_are_regex and not patterned:
        raise DataError(f"--regex: no question of {sources.main} has answers; leave it out")


def _queries(
    sources: Sources, writer: CollectionWriter, lists: dict[str, None], pairs: dict[str, None] | None
) -> Iterator[Query]:
    """Yield the queries as they are to be written; judge the passages that queries themselves name.

    ``lists`` takes the keys of such queries that are left out: ids of the user's passages, of BM25's hits;
    ``pairs`` is that of `read_queries`.

    Raises:
        DataError: a query of `Sources.judged` names none.
    """
    for query in read_queries(sources.queries, sources.topic_field, pairs) if sources.queries else ():
        if sources.split and "split" not in query.fields:
            query = replace(query, fields={**query.fields, "split": sources.split})
        yield query
    for split, path in sources.judged.items():
        for query in read_queries(path, sources.topic_field):
            relevant = query.fields.get("rel_doc_ids")
            if not (isinstance(relevant, list) and relevant and {*map(type, relevant)} <= {str, int}):
                raise DataError(
                    f"{path}: the query {quoted(query.id)} names no relevant passages; give it rel_doc_ids, "
                    "a list of ids"
                )
            for passage_id in relevant:
                writer.judge(split, query.id, str(passage_id))
            lists.update((key, None) for key, value in query.fields.items() if isinstance(value, list))
            yield replace(
                query, fields={key: value for key, value in query.fields.items() if key not in lists}
            )


def _examples(sources: Sources, form: Form, writer: CollectionWriter) -> Iterator[Example]:
    """Yield the examples by id of the main file, if it holds some."""
    if form.role == "examples":
        yield from read_examples(sources.main)
    for example in read_triples(sources.main) if form.role == "triples" else ():
        text = writer.query_text(example.query_id)
        if text is None:
            raise DataError.at(
                sources.main, example.line, f"the query {example.query_id!r} is not in {sources.queries}"
            )
        yield replace(example, query_text=text)


def _notes(sources: Sources, told: Mapping[str, Iterable[str]]) -> list[str]:
    """Return what a user should know of how the files were read; of `TOLD` which keys."""
    notes = []
    tables: tuple[tuple[Table, Path | None], ...] = (
        ("corpus", sources.corpus),
        ("queries", sources.queries),
        ("training", None if sources.corpus or sources.queries else sources.main),
    )
    for table, path in tables:
        if path is not None and (note := headerless(path, table)):
            notes.append(note)
    if sources.queries and (ids := perhaps_ids(sources.queries, sources.topic_field)):
        notes.append(f"queries: counted from 0; rename {quoted(ids[0])} to query_id if it holds their ids")
    if unread := _unread(sources):
        notes.append(f"not read of the folder: {', '.join(map(quoted, unread[:12]))}")
    for what, keys in told.items():
        if listed := [quoted(key) for key in keys if key not in ("split", "metadata", "rel_doc_ids")]:
            more = f" and {len(listed) - 12} more" if len(listed) > 12 else ""
            notes.append(f"{what} {', '.join(listed[:12])}{more}")
    return notes


def _unread(sources: Sources) -> list[str]:
    """Return what holds text in a collection's folder beside the files that are read."""
    if not Files.published(sources.main).all:
        return []
    given = (sources.corpus, sources.queries, *sources.qrels.values(), *sources.judged.values())
    read = {path.resolve() for path in given if path is not None}
    files = (path for path in sorted(sources.main.iterdir()) if path.is_file() and path.resolve() not in read)
    text = (path.name for path in files if QRELS.fullmatch(path.name) and not NO_DATA.match(path.name))
    names = [name for name in text if not name.endswith(("manifest.json", "provenance.json", "state.json"))]
    folders = (sources.main / name for name in ("corpus", "queries"))
    return names + [f"{path.name}/" for path in folders if path.is_dir() and path.resolve() not in read]


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
            else "give a corpus, queries or training file (triples of ids need --corpus and --queries beside)"
        )
        raise DataError(
            f"{main} holds {form.role} ({form.name}), from which no collection can be made; {hint}"
        )
    return sources


def _side(sources: Sources, form: Form) -> Side | None:
    """Return what the main file holds, if it holds texts: as the options say, else as its content shows."""
    main, given = sources.main, {"corpus": sources.corpus, "queries": sources.queries}
    other: dict[Side, Side] = {"corpus": "queries", "queries": "corpus"}
    named = [side for side in other if given[side] == main]
    free = [side for side in other if given[side] is None]
    shown = named or [side for side in other if form.role == side]
    if shown and (named or shown[0] in free):
        return shown[0]
    if shown:
        raise UsageError(
            f"{main} looks like the {shown[0]}, which --{shown[0]} names; leave --{shown[0]} out, or give "
            f"{main} by --{other[shown[0]]}"
        )
    if form.role == "texts" and len(free) == 2:
        raise DataError(
            f"{main} may hold passages or queries; say which: --corpus FILE or --queries FILE in place of "
            "SOURCE"
        )
    if form.role == "texts" and not free:
        raise UsageError(
            f"{main} is one file too many beside --corpus and --queries; leave one of the three out"
        )
    is_table = form.role in ("run", "qrels") and len(free) == 1 and is_row(main, free[0])
    return free[0] if form.role == "texts" or is_table else None


def _opened(sources: Sources) -> Sources:
    folder, own = sources.main, Files.published(sources.main)
    if own.judged and sources.split:
        raise UsageError(f"{folder} has queries of each split; leave --split out")
    for side, file, given in (
        ("corpus", own.corpus, sources.corpus),
        ("queries", own.queries or next(iter(own.judged.values()), None), sources.queries),
    ):
        if file is not None and given is not None:
            raise UsageError(f"{folder} holds {file.name} already; leave --{side} out")
    if both := (own.qrels.keys() | own.judged.keys()) & sources.qrels.keys():
        raise UsageError(
            f"{folder} holds judgements of '{min(both)}' already; give --qrels another split name"
        )
    return replace(
        sources,
        corpus=own.corpus or sources.corpus,
        queries=own.queries or sources.queries,
        qrels={**own.qrels, **sources.qrels},
        judged=own.judged,
    )
