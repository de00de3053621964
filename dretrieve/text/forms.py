"""The table of file forms: told by content, and read, whichever it is, as a corpus or as queries."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dretrieve.errors import DataError, PreconditionError
from dretrieve.text import beir
from dretrieve.text.beir import Query, find_file
from dretrieve.text.files import exists, parse_json, read_json, read_lines
from dretrieve.text.foreign import dpr, pyserini, tevatron, triplets, tsv
from dretrieve.text.foreign.rows import TrainingRow
from dretrieve.text.json_array import read_json_array
from dretrieve.text.run_lines import RANK, SCORE, header, split_line
from dretrieve.types import Record

Role = Literal["collection", "corpus", "queries", "training", "examples", "triples", "qrels", "run"]
Place = tuple[Path, int, Record]


@dataclass(frozen=True, slots=True)
class Form:
    """A file form: its name, what it holds, and how one looks (shown in errors)."""

    name: str
    role: Role
    shape: str


FORMS = {
    form.name: form
    for form in (
        Form("beir", "collection", "folder with corpus.jsonl, queries.jsonl, qrels/<split>.tsv (.gz, .zst)"),
        Form("beir-corpus", "corpus", '{"_id": "d1", "title": "…", "text": "…"}'),
        Form("tevatron-corpus", "corpus", '{"docid": "d1", "title": "…", "text": "…"}'),
        Form(
            "pyserini-json", "corpus", '{"id": "d1", "contents": "title\\ntext"}, a folder of such files too'
        ),
        Form("dpr-passages", "corpus", "header id⇥text⇥title, cells quoted as in CSV"),
        Form("tsv-passages", "corpus", "id⇥text[⇥title], MS MARCO and ColBERT; also id⇥text of queries"),
        Form("beir-queries", "queries", '{"_id": "q1", "text": "…"[, "answers": […]]}'),
        Form("tevatron-queries", "queries", '{"query_id": "q1", "query": "…"}'),
        Form("dpr-questions", "queries", "question⇥['answer', …]"),
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
    (("_id", "answers"), "beir-queries"),
    (("_id", "title"), "beir-corpus"),
    (("docid",), "tevatron-corpus"),
    (("id", "contents"), "pyserini-json"),
    (("query_id", "positive_passages"), "tevatron-training"),
    (("query_id", "positive_document_ids"), "examples"),
    (("question", "positive_ctxs"), "dpr-training"),
    (("question", "ctxs"), "dpr-results"),
    (("query_id", "results"), "run"),
    (("query", "pos"), "flag-embedding"),
    (("anchor", "positive"), "triplets"),
    (("query", "positive"), "triplets"),
    (("query_id", "query"), "tevatron-queries"),
    (("query_id", "query_text"), "tevatron-queries"),
)
CORPUS_READERS: dict[str, Callable[[Path], Iterator[tuple[int, Record]]]] = {
    "beir-corpus": beir.read_corpus,
    "tevatron-corpus": tevatron.read_corpus,
    "dpr-passages": tsv.read_passages_with_header,
    "tsv-passages": tsv.read_passages,
}
QUERY_READERS: dict[str, Callable[[Path], Iterator[tuple[int, Query]]]] = {
    "beir-queries": beir.read_queries,
    "tevatron-queries": tevatron.read_queries,
    "dpr-questions": tsv.read_dpr_questions,
    "tsv-passages": tsv.read_queries,
}
TRAINING_READERS: dict[str, Callable[[Path], Iterator[tuple[int, TrainingRow]]]] = {
    "dpr-training": dpr.read_training,
    "tevatron-training": tevatron.read_training,
    "flag-embedding": triplets.read_flag_embedding,
    "triplets": triplets.read_triplets,
}


def known_forms(role: Role | None = None) -> str:
    """Return the known forms (of one role) in one sentence for an error."""
    return "; ".join(f"{form.name} {form.shape}" for form in FORMS.values() if role in (None, form.role))


def detect(path: Path) -> Form:
    """Return the form of a file or folder, told by its first record, not by its name.

    Raises:
        PreconditionError: nothing stands there.
        DataError: empty, or no known form; the message lists the known ones.
    """
    if not exists(path):
        raise PreconditionError(f"{path} does not exist; correct the path")
    if path.is_dir():
        if find_file(path, "corpus.jsonl") or find_file(path, "queries.jsonl"):
            return FORMS["beir"]
        return detect(pyserini.collection_files(path)[0])
    lines = (line for _, line in read_lines(path) if line.strip())
    first = list(islice(lines, 2))
    name = _detect_text(path, first)
    if first[0].lstrip().startswith("#"):  # a comment of judgements or of a run, or an id
        line = next((line for line in chain(first, lines) if not line.lstrip().startswith("#")), "")
        commented = _detect_columns(line)
        name = commented if commented in ("run", "qrels") else name
    if name is None:
        raise DataError(f"{path} has none of the known forms: {known_forms()}")
    return FORMS[name]


def _detect_text(path: Path, lines: list[str]) -> str | None:
    if not lines:
        raise DataError(f"{path} is empty; write it again, or name the file that holds the records")
    first = lines[0].lstrip()
    if first[0] == "{":
        return _detect_object(_first_object(path, first), path)
    if first[0] == "[":
        _, element = next(read_json_array(path), (1, None))
        return _detect_object(element, path) if isinstance(element, dict) else "colbert-triples"
    return _detect_columns(lines[0])


def _first_object(path: Path, first: str) -> Any:
    try:
        return json.loads(first)
    except ValueError:
        if first.rstrip().endswith("}") or len(first) > 1000:
            return parse_json(first, path, 1)
        return read_json(path)


def _detect_object(value: Any, path: Path) -> str | None:
    if not isinstance(value, dict):
        return None
    for keys, name in OBJECT_KEYS:
        if all(key in value for key in keys):
            return name
    inner = next(iter(value.values()), None)
    if isinstance(inner, dict) and "contexts" in inner:
        return "dpr-results"
    if isinstance(inner, dict) and inner and all(isinstance(score, int | float) for score in inner.values()):
        return "run"
    if "_id" in value and "text" in value:
        return "beir-corpus" if path.name.startswith("corpus") else "beir-queries"
    return None


def _detect_columns(line: str) -> str | None:
    cells, words = line.split("\t"), [part.decode() for part in split_line(line.encode())]
    if "\t".join(cells[:3]) == beir.QRELS_HEADER:
        return "qrels"
    if {*RANK, *SCORE}.intersection(header(line.encode())):
        return "run"
    if tsv.header_columns(line):
        return "dpr-passages"
    if len(words) == 6 and words[1].upper() == "Q0" and _is_number(words[4]):
        return "run"
    if len(words) == 4 and words[1] in ("0", "Q0", "1") and _is_number(words[3]):
        return "qrels"
    if len(words) in (3, 4) and all(map(_is_number, words[2:])):
        return "run"
    if len(cells) == 2 and cells[1].lstrip(' "').startswith("[") and tsv.parse_answers(cells[1]) is not None:
        return "dpr-questions"
    return "tsv-passages" if len(cells) in (2, 3) else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def corpus_rows(path: Path) -> Iterator[Place]:
    """Yield ``(file, line, passage)`` of a corpus in any form; ids are not yet known to be unique.

    Raises:
        DataError: the file is no corpus.
    """
    form = detect(path)
    if form.name == "beir":
        file = find_file(path, "corpus.jsonl")
        if file is None:
            raise PreconditionError(
                f"{path} has queries but no corpus.jsonl; name the collection that holds the passages"
            )
        path, form = file, FORMS["beir-corpus"]
    if form.name == "pyserini-json":
        yield from pyserini.read_corpus(path)
        return
    name = "beir-corpus" if form.name == "beir-queries" else form.name
    if name not in CORPUS_READERS:
        raise DataError(
            f"{path} holds {form.role} ({form.name}), not a corpus; known forms: {known_forms('corpus')}"
        )
    for line, record in CORPUS_READERS[name](path):
        yield path, line, record


def read_corpus(path: Path) -> Iterator[Record]:
    """Yield the passages of a corpus in any known form, in file order, with unique ids.

    Memory is eight bytes a passage: ids are remembered as hashes; when two hashes are equal at the end, the
    file is read again to compare the ids themselves.

    Raises:
        DataError: broken lines; an id that occurs twice (found at the end, with both lines).
    """
    hashes = array("q")
    for _, _, record in corpus_rows(path):
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


def read_queries(path: Path) -> Iterator[Query]:
    """Yield the queries of a file (or BEIR folder) in any known form, in file order, with unique ids.

    Raises:
        DataError: broken lines; an id that occurs twice; the file holds no queries.
    """
    form = detect(path)
    if form.name == "beir":
        file = find_file(path, "queries.jsonl")
        if file is None:
            raise PreconditionError(f"{path} has no queries.jsonl; name a collection with queries")
        path, form = file, FORMS["beir-queries"]
    name = "beir-queries" if form.name == "beir-corpus" else form.name
    if name not in QUERY_READERS:
        raise DataError(
            f"{path} holds {form.role} ({form.name}), not queries; known forms: {known_forms('queries')}"
        )
    seen: dict[str, int] = {}
    for line, query in QUERY_READERS[name](path):
        if query.id in seen:
            raise DataError.at(
                path,
                line,
                f"the query id {query.id!r} stands on line {seen[query.id]} already; ids must be unique",
            )
        seen[query.id] = line
        yield query
