"""The table of file forms: told by content, and read, whichever it is, as a corpus or as queries."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from dretrieve.errors import DataError, PreconditionError, quoted
from dretrieve.text.beir import Query, find_file
from dretrieve.text.columns import header, split_line
from dretrieve.text.fields import (
    ONLY_PASSAGES,
    ONLY_QUERIES,
    PASSAGE_TEXTS,
    QUERY_TEXTS,
    RANKS,
    SCORES,
    word_of,
)
from dretrieve.text.files import exists, read_lines
from dretrieve.text.foreign import dpr, pyserini, tevatron, triplets
from dretrieve.text.foreign.columns import Side, bare_columns, header_of
from dretrieve.text.foreign.markup import is_markup
from dretrieve.text.foreign.rows import TrainingRow
from dretrieve.text.json_array import read_json_array
from dretrieve.text.qrels import judgement_header
from dretrieve.text.records import by_id, read_objects, read_passages, read_questions
from dretrieve.types import Record

Role = Literal["collection", "corpus", "queries", "texts", "training", "examples", "triples", "qrels", "run"]
Place = tuple[Path, int, Record]
Row = TypeVar("Row")
UNSAID = "may hold passages or queries; say which: --corpus FILE or --queries FILE"


@dataclass(frozen=True, slots=True)
class Form:
    """A file form: its name, what it holds, and how one looks (shown in errors)."""

    name: str
    role: Role
    shape: str


FORMS = {
    form.name: form
    for form in (
        Form(
            "beir",
            "collection",
            "folder with corpus.jsonl, queries.jsonl, qrels/<split>.tsv (also compressed)",
        ),
        Form(
            "json-passages",
            "corpus",
            '{"docid": "d1", "title": "…", "text": "…"} (lines, an array, a folder of them)',
        ),
        Form("passage-columns", "corpus", "id⇥text⇥title, or a header (docid, title, text) over TSV or CSV"),
        Form("trec-documents", "corpus", "<DOC><DOCNO>d1</DOCNO><TEXT>…"),
        Form("json-queries", "queries", '{"qid": "q1", "query": "…"[, "answers": […]]}'),
        Form("query-columns", "queries", "question⇥['answer', …], or a header (qid, query) over TSV or CSV"),
        Form("trec-topics", "queries", '<top><num>1<title>…, <topic number="1"><query>…'),
        Form("json-texts", "texts", '{"_id": "1", "text": "…"}, passages or queries'),
        Form("text-columns", "texts", "id⇥text, passages or queries"),
        Form(
            "dpr-training", "training", '[{"question", "answers", "positive_ctxs", "hard_negative_ctxs", …}]'
        ),
        Form(
            "tevatron-training", "training", '{"query_id", "query", "positive_passages", "negative_passages"}'
        ),
        Form("flag-embedding", "training", '{"query": "…", "pos": ["…"], "neg": ["…"]}'),
        Form("triplets", "training", '{"anchor": "…", "positive": "…", "negative": "…"}'),
        Form(
            "examples",
            "examples",
            '{"query_id", "query_text", "positive_document_ids", "negative_document_ids"}',
        ),
        Form("colbert-triples", "triples", "[qid, pid+, pid-, …] or [qid, [pid, score], …]"),
        Form("qrels", "qrels", "qid 0 pid grade (TREC), or query-id⇥corpus-id⇥score (BEIR)"),
        Form("run", "run", "qid Q0 pid rank score tag (TREC), qid⇥pid⇥rank (MS MARCO), {qid: {pid: score}}"),
        Form("dpr-results", "run", '[{"question", "answers", "ctxs": […]}]'),
    )
}
OBJECT_KEYS = (
    (("query_id", "positive_passages"), "tevatron-training"),
    (("query_id", "positive_document_ids"), "examples"),
    (("question", "positive_ctxs"), "dpr-training"),
    (("question", "ctxs"), "dpr-results"),
    (("query_id", "results"), "run"),
    (("query", "pos"), "flag-embedding"),
    (("anchor", "positive"), "triplets"),
    (("query", "positive"), "triplets"),
)
MARKUP = (
    ("<doc>", "trec-documents"),
    ("<doc ", "trec-documents"),
    ("<top", "trec-topics"),
    ("<query", "trec-topics"),
)
LOOKS = {"corpus": "passages", "training": "training rows", "run": "a run", "qrels": "judgements"}
TRAINING_READERS: dict[str, Callable[[Path], Iterator[tuple[int, TrainingRow]]]] = {
    "dpr-training": dpr.read_training,
    "tevatron-training": tevatron.read_training,
    "flag-embedding": triplets.read_flag_embedding,
    "triplets": triplets.read_triplets,
}


def detect(path: Path) -> Form:
    """Return the form of a file or folder, told by its first record, not by its name.

    It is a guess at what a file holds, for where nobody says it; the role ``texts`` stands for either side.

    Raises:
        PreconditionError: nothing stands there.
        DataError: empty, or no known form; the message names the keys that are there.
    """
    if not exists(path):
        raise PreconditionError(f"{path} does not exist; correct the path")
    if path.is_dir():
        if find_file(path, "corpus.jsonl") or find_file(path, "queries.jsonl"):
            return FORMS["beir"]
        return detect(pyserini.collection_files(path)[0])
    lines = (line for _, line in read_lines(path) if line.strip())
    first = next(lines, None)
    if first is None:
        raise DataError(f"{path} is empty; write it again, or name the file that holds the records")
    name = _detect_text(path, first)
    if first.lstrip().startswith("#"):  # a comment of judgements or of a run, or an id
        line = next((line for line in chain([first], lines) if not line.lstrip().startswith("#")), "")
        commented = _detect_columns(line)
        name = commented if commented in ("run", "qrels") else name
    if name is None:
        cure = (
            "say what it holds (--corpus FILE, --queries FILE, --qrels FILE), and what it lacks will be named"
        )
        raise DataError(f"{path} has none of the known forms{_seen(path, first)}; {cure}")
    return FORMS[name]


def _seen(path: Path, line: str) -> str:
    """Return what the first record has, for an error: its keys, or its cells."""
    head = line.lstrip()
    if head[0] not in "{[":
        return f": its first line is {quoted(line)}"
    records = read_objects(path, head, split=False) if head[0] == "{" else read_json_array(path)
    _, value = next(iter(records), (1, None))
    return f": its first record has the keys {quoted(', '.join(value))}" if isinstance(value, Mapping) else ""


def _detect_text(path: Path, line: str) -> str | None:
    head = line.lstrip()
    if head[0] == "[":
        _, element = next(read_json_array(path), (1, None))
        return _detect_object(element) if isinstance(element, dict) else "colbert-triples"
    if head[0] == "{":
        _, value = next(read_objects(path, head, split=False))
        return _detect_object(value)
    if is_markup(head):
        lines = (line.lower() for _, line in read_lines(path))
        return next((name for line in lines for tag, name in MARKUP if tag in line), None)
    return _detect_columns(line)


def _detect_object(value: Mapping[str, Any]) -> str | None:
    for keys, name in OBJECT_KEYS:
        if all(key in value for key in keys):
            return name
    inner = next(iter(value.values()), None)
    if isinstance(inner, dict) and "contexts" in inner:
        return "dpr-results"
    if isinstance(inner, dict) and inner and all(isinstance(score, int | float) for score in inner.values()):
        return "run"
    if by_id(value) and isinstance(inner, dict):
        return "json-queries" if {*map(word_of, inner)}.intersection(QUERY_TEXTS) else None
    return _of_words(value, "json-passages", "json-queries", "json-texts")


def _of_words(keys: Iterable[str], passages: str, queries: str, either: str) -> str | None:
    """Return the form that keys or a header's cells show: of one side where only that side's are there."""
    words = set(map(word_of, keys))
    if not words.intersection((*PASSAGE_TEXTS, *QUERY_TEXTS)):
        return None
    of_passages, of_queries = words & ONLY_PASSAGES, words & ONLY_QUERIES
    if bool(of_passages) == bool(of_queries):
        return either
    return passages if of_passages else queries


def _detect_columns(line: str) -> str | None:
    words = [part.decode() for part in split_line(line.encode())]
    titles = header(line.encode())
    if judgement_header(words) and not {*RANKS}.intersection(titles) and "corpus_id" in map(word_of, words):
        return "qrels"
    if {*RANKS, *SCORES}.intersection(titles):
        return "run"
    if named := header_of(line):
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
    return "passage-columns" if bare_columns(line, "corpus") else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def headerless(path: Path, side: Side) -> list[str]:
    """Return what the columns of a file without header are taken for; none for other forms."""
    if path.is_dir():
        return []
    line = next((line for _, line in read_lines(path) if line), "")
    is_other = line.lstrip()[:1] in ("{", "[", "") or is_markup(line) or header_of(line, side)
    return [] if is_other else bare_columns(line, side) or []


def is_row(path: Path, side: Side) -> bool:
    """Return whether the first record of a file can be read as one of that side."""
    with suppress(DataError):
        return next(iter(corpus_rows(path) if side == "corpus" else read_queries(path)), None) is not None
    return False


def side_file(path: Path, side: Side) -> Path:
    """Return the file of that side: of a BEIR folder its own, else what is given.

    Raises:
        PreconditionError: nothing stands there, or the folder lacks that side.
    """
    if not exists(path):
        raise PreconditionError(f"{path} does not exist; correct the path")
    names = {"corpus": "corpus.jsonl", "queries": "queries.jsonl"}
    found = {name: find_file(path, file) for name, file in names.items()} if path.is_dir() else {}
    if not any(found.values()):
        return path
    file = found[side]
    if file is None:
        what = "passages" if side == "corpus" else "queries"
        raise PreconditionError(f"{path} has no {names[side]}; name the collection that holds the {what}")
    return file


def corpus_rows(path: Path, left: dict[str, None] | None = None) -> Iterator[Place]:
    """Yield ``(file, line, passage)`` of a corpus in any form; ids are not yet known to be unique.

    Args:
        path: the file or folder.
        left: takes the keys of the records that a passage does not keep.

    Raises:
        DataError: the file is no corpus.
    """
    path = side_file(path, "corpus")
    for file in pyserini.collection_files(path) if path.is_dir() else [path]:
        for line, record, others in _hinted(read_passages(file), file, "corpus"):
            if others and left is not None:
                left.update(dict.fromkeys(others))
            yield file, line, record


def _hinted(rows: Iterator[Row], file: Path, side: Side) -> Iterator[Row]:
    """Yield the rows; where already the first one fails, say what the file looks like."""
    try:
        first = next(rows)
    except StopIteration:
        return
    except DataError as error:
        role: str = side
        with suppress(DataError):
            role = detect(file).role
        if role in (side, "texts"):
            raise
        raise DataError(f"{error}; the file looks like {LOOKS.get(role, role)}") from None
    yield first
    yield from rows


def read_corpus(path: Path, left: dict[str, None] | None = None) -> Iterator[Record]:
    """Yield the passages of a corpus in any known form, in file order, with unique ids.

    Memory is eight bytes a passage: ids are remembered as hashes; when two hashes are equal at the end, the
    file is read again to compare the ids themselves.

    Raises:
        DataError: broken lines; an id that occurs twice (found at the end, with both lines).
    """
    hashes = array("q")
    for _, _, record in corpus_rows(path, left):
        hashes.append(hash(record.id))
        yield record
    suspects = _repeated(hashes)
    if not suspects:
        return
    seen: dict[str, tuple[Path, int]] = {}
    for file, line, record in corpus_rows(path):
        if hash(record.id) in suspects:
            if record.id in seen:
                before = seen[record.id]
                place = f"line {before[1]}" if before[0] == file else f"{before[0]}, line {before[1]}"
                raise DataError.at(
                    file, line, f"the id {record.id!r} stands on {place} already; ids must be unique"
                )
            seen[record.id] = (file, line)


def _repeated(hashes: array[int]) -> set[int]:
    ordered = np.sort(np.frombuffer(hashes, dtype=np.int64)) if hashes else np.empty(0, np.int64)
    return set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())


def read_queries(path: Path, topic_field: str | None = None) -> Iterator[Query]:
    """Yield the queries of a file (or BEIR folder) in any known form, in file order, with unique ids.

    Args:
        path: the file or folder.
        topic_field: what of a topic is searched, as `dretrieve.text.records.read_questions` takes it.

    Raises:
        DataError: broken lines; an id that occurs twice; the file holds no queries.
    """
    path = side_file(path, "queries")
    seen: dict[str, tuple[Path, int]] = {}
    for file in pyserini.collection_files(path) if path.is_dir() else [path]:
        for line, query in _hinted(read_questions(file, topic_field), file, "queries"):
            if query.id in seen:
                before, at = seen[query.id]
                place = f"line {at}" if before == file else f"{before}, line {at}"
                raise DataError.at(
                    file,
                    line,
                    f"the query id {quoted(query.id)} stands on {place} already; ids must be unique",
                )
            seen[query.id] = file, line
            yield query
