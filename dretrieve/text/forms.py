"""The forms of text files, told by what stands in them: a guess, for where nobody says what a file holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from dretrieve.errors import DataError, PreconditionError, quoted
from dretrieve.text.beir import Files, collection_files
from dretrieve.text.columns import header, hit_places, split_line
from dretrieve.text.fields import (
    ONLY_PASSAGES,
    ONLY_QUERIES,
    PASSAGE_TEXTS,
    QUERY_TEXTS,
    RANKS,
    SCORES,
    named,
    word_of,
)
from dretrieve.text.files import exists, first_line, read_lines
from dretrieve.text.json_files import by_id, parse_json, read_json_array, read_objects
from dretrieve.text.markup import is_markup
from dretrieve.text.qrels import judgement_header
from dretrieve.text.tables import Table, bare_columns, header_of, parted

Role = Literal["collection", "corpus", "queries", "texts", "training", "examples", "triples", "qrels", "run"]


@dataclass(frozen=True, slots=True)
class Form:
    """A file form: its name, what it holds, and how one looks (shown in errors)."""

    name: str
    role: Role
    shape: str


SHAPES: dict[Role, dict[str, str]] = {
    "collection": {
        "beir": "folder with corpus.jsonl, queries.jsonl, qrels/<split>.tsv (also compressed)",
        "multi-domain": "folder with collection.jsonl, {train,val,test}/queries.jsonl that name rel_doc_ids",
    },
    "corpus": {
        "json-passages": '{"docid": "d1", "title": "…", "text": "…"} (lines, an array, a folder of them)',
        "passage-columns": "id⇥text⇥title, or a header (docid, title, text) over TSV or CSV",
        "trec-documents": "<DOC><DOCNO>d1</DOCNO><TEXT>…",
    },
    "queries": {
        "json-queries": '{"qid": "q1", "query": "…"[, "answers": ["…", 1969, …]]}',
        "query-columns": "question⇥['answer', …], or a header (qid, query) over TSV or CSV",
        "trec-topics": '<top><num>1<title>…, <topic number="1"><query>…',
    },
    "texts": {
        "json-texts": '{"_id": "1", "text": "…"}, passages or queries',
        "text-columns": "id⇥text, passages or queries",
    },
    "training": {
        "dpr-training": '[{"question", "answers", "positive_ctxs", "hard_negative_ctxs", …}]',
        "tevatron-training": '{"query_id", "query", "positive_passages", "negative_passages"}',
        "flag-embedding": '{"query": "…", "pos": ["…"], "neg": ["…"]}',
        "triplets": '{"anchor": "…", "positive": "…", "negative": "…"}',
        "triples-of-texts": "query⇥positive⇥negative (a query with a blank), or a header over TSV or CSV",
        "arrays-of-texts": '["query", "positive"[, "negative"]] (with a blank in one of them)',
    },
    "examples": {"examples": '{"query_id", "query_text", "positive_document_ids", "negative_document_ids"}'},
    "triples": {
        "colbert-triples": "[qid, pid+, pid-, …] or [qid, [pid, score], …]",
        "triples": "qid⇥pid+⇥pid- (MS MARCO), with --corpus and --queries beside it",
    },
    "qrels": {"qrels": "qid 0 pid grade (TREC), or query-id⇥corpus-id⇥score (BEIR)"},
    "run": {
        "run": "qid Q0 pid rank score tag (TREC), qid⇥pid⇥rank (MS MARCO), {qid: {pid: score}}, "
        '{"qid", "docno", "score"}',
        "dpr-results": '[{"question", "answers", "ctxs": […]}]',
    },
}
FORMS = {name: Form(name, role, shape) for role, shapes in SHAPES.items() for name, shape in shapes.items()}
OBJECT_KEYS = (
    (("query_id", "positive_passages"), "tevatron-training"),
    (("query_id", "positive_document_ids"), "examples"),
    (("question", "positive_ctxs"), "dpr-training"),
    (("question", "ctxs"), "dpr-results"),
    (("query_id", "results"), "run"),
    (("query", "pos"), "flag-embedding"),
    (("anchor", "positive"), "triplets"),
    (("query", "positive"), "triplets"),
    (("question", "positive"), "triplets"),
    (("sentence1", "sentence2"), "triplets"),
)
FIRST_ROWS = 1000  # in which triples have a query of more than one word
MARKUP = (
    ("<doc>", "trec-documents"),
    ("<doc ", "trec-documents"),
    ("<top", "trec-topics"),
    ("<query", "trec-topics"),
)


def detect(path: Path) -> Form:
    """Return the form of a file or folder, told by its first record, not by its name.

    The role ``texts`` stands for passages or queries.

    Raises:
        PreconditionError: nothing stands there.
        DataError: empty, or no known form; the message names the keys that are there.
    """
    if not exists(path):
        raise PreconditionError(f"{path} does not exist; correct the path")
    if path.is_dir():
        folder = Files.published(path)
        if folder.judged:
            return FORMS["multi-domain"]
        return FORMS["beir"] if folder.corpus or folder.queries else detect(collection_files(path)[0])
    line = first_line(path)
    head = line.lstrip()
    value = _first_value(path) if head[0] in "{[" else None
    if head[0] in "{[" and (value is None or value == {}):
        raise DataError(f"{path} holds no records, only an empty {head[0]}; name the file that holds them")
    if isinstance(value, Mapping):
        name = _of_object(value)
        seen = f": its first record has the keys {quoted(', '.join(value))}"
    elif head[0] in "{[":
        name, seen = _of_arrays(path), ""
    else:
        name, seen = _of_line(path, line), f": its first line is {quoted(line)}"
    other = parted(line, "corpus", "queries", "training") if name is None and value is None else None
    if other is not None:
        raise DataError.at(path, 1, other)
    if name is None:
        cure = (
            "say what it holds (--corpus FILE, --queries FILE, --qrels FILE), and what it lacks will be named"
        )
        raise DataError(f"{path} has none of the known forms{seen}; {cure}")
    return FORMS[name]


def _first_value(path: Path) -> object:
    """Return the first element of an array, or the first object."""
    is_array = first_line(path).lstrip().startswith("[")
    rows = read_json_array(path) if is_array else read_objects(path, split=False)
    return next(iter(rows), (1, None))[1]


def _of_arrays(path: Path) -> str:
    with suppress(DataError):  # whoever reads them says it
        some = islice(((line, row) for line, row in read_lines(path) if row.strip()), FIRST_ROWS)
        rows = (parse_json(row, path, line) for line, row in some)
        items = chain.from_iterable(row for row in rows if isinstance(row, list))
        if any(isinstance(item, str) and " " in item.strip() for item in items):  # an id has no blank
            return "arrays-of-texts"
    return "colbert-triples"


def _of_line(path: Path, line: str) -> str | None:
    if is_markup(line):
        lines = (line.lower() for _, line in read_lines(path))
        return next((name for line in lines for tag, name in MARKUP if tag in line), None)
    name = _of_columns(line)
    if name == "passage-columns" and bare_columns(line, "training") and not header_of(line, "corpus"):
        rows = islice((row for _, row in read_lines(path) if row), FIRST_ROWS)
        if any(" " in row.split("\t")[0].strip() for row in rows):  # an id has no blank, a query may
            return "triples-of-texts"
    if line.lstrip().startswith("#"):  # a comment of judgements or of a run, or an id
        rest = (line for _, line in read_lines(path) if line.strip() and not line.lstrip().startswith("#"))
        commented = _of_columns(next(rest, ""))
        return commented if commented in ("run", "qrels") else name
    return name


def _of_object(value: Mapping[str, Any]) -> str | None:
    for keys, name in OBJECT_KEYS:
        if all(key in value for key in keys):
            return name
    inner = next(iter(value.values()), None)
    if isinstance(inner, dict) and "contexts" in inner:
        return "dpr-results"
    if isinstance(inner, dict) and inner and all(isinstance(score, int | float) for score in inner.values()):
        return "run"
    if by_id(value) and isinstance(inner, dict):
        if named(inner, PASSAGE_TEXTS) is None:  # a topic's title is its query
            return "json-queries" if named(inner, QUERY_TEXTS) else None
        value = inner
    is_hit = all(hit_places(value)[0]) and not named(value, PASSAGE_TEXTS + QUERY_TEXTS)
    return "run" if is_hit else _of_words(value, "json-passages", "json-queries", "json-texts")


def _of_words(keys: Iterable[str], passages: str, queries: str, either: str) -> str | None:
    """Return the form that keys or a header's cells show: of one side where only that side's are there."""
    words = set(map(word_of, keys))
    if not words.intersection((*PASSAGE_TEXTS, *QUERY_TEXTS)):
        return None
    of_passages, of_queries = words & ONLY_PASSAGES, words & ONLY_QUERIES
    if bool(of_passages) == bool(of_queries):
        return either
    return passages if of_passages else queries


def _of_columns(line: str) -> str | None:
    words = [part.decode() for part in split_line(line.encode())]
    titles = header(line.encode())
    if judgement_header(words) and not {*RANKS}.intersection(titles) and "corpus_id" in map(word_of, words):
        return "qrels"
    if {*RANKS, *SCORES}.intersection(titles):
        return "run"
    if named := header_of(line, "corpus", "queries"):
        return _of_words(named[1], "passage-columns", "query-columns", "text-columns")
    if len(words) == 6 and words[1].upper() == "Q0" and _is_number(words[4]):
        return "run"
    if len(words) == 4 and words[1] in ("0", "Q0", "1") and _is_number(words[3]):
        return "qrels"
    if len(words) in (3, 4) and all(map(_is_number, words[2:])):
        return "run"
    columns = bare_columns(line, "queries") or []
    if "answers" in columns:
        return "query-columns"
    if columns:
        return "text-columns"
    if header_of(line, "training"):
        return "triples-of-texts"
    return "passage-columns" if bare_columns(line, "corpus") else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def headerless(path: Path, table: Table) -> str | None:
    """Return what to say of a file without header: what its columns are taken for; None for other forms."""
    if path.is_dir():
        return None
    line = first_line(path)
    is_other = line.lstrip()[0] in "{[" or is_markup(line) or header_of(line, table)
    columns = None if is_other else bare_columns(line, table)
    return f"{path.name} has no header, so its columns are {', '.join(columns)}" if columns else None
