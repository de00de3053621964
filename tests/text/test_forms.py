"""Every form is told by its content and read as the same passages and queries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dretrieve.errors import DataError, PreconditionError
from dretrieve.text import forms
from dretrieve.text.forms import detect
from dretrieve.text.records import read_corpus, read_queries
from dretrieve.types import Record
from tests.common import lines

FINE = [
    Record("001", "Dune", "A novel.\nWith lines,\ttabs and a \x00."),
    Record("1", "", "Second"),
    Record("x:2", "T", ""),
]


def quoted(text: str) -> str:
    """Return the text as a quoted CSV cell."""
    return '"' + text.replace('"', '""') + '"'


def write_form(folder: Path, name: str) -> Path:
    """Write `FINE` in one of the foreign forms."""
    path = folder / "given.data"
    if name == "tevatron-corpus":
        return lines(path, *({"docid": r.id, "title": r.title, "text": r.text} for r in FINE))
    if name == "pyserini-json":
        return lines(path, *({"id": r.id, "contents": f"{r.title}\n{r.text}", "vector": {}} for r in FINE))
    if name == "pyserini-array":
        return lines(path, [{"id": r.id, "contents": f"{r.title}\n{r.text}"} for r in FINE])
    if name == "pyserini-folder":
        for row, record in enumerate(FINE):
            value = {"id": record.id, "contents": f"{record.title}\n{record.text}"}
            (folder / "parts").mkdir(exist_ok=True)
            (folder / "parts" / f"{row}.json").write_text(
                json.dumps(value, indent=row or None), encoding="utf-8"
            )
        return folder / "parts"
    if name == "dpr-passages":
        rows = (f"{r.id}\t{quoted(r.text)}\t{quoted(r.title) if r.title else ''}" for r in FINE)
        return lines(path, "id\ttext\ttitle", *rows)
    return lines(path, *({"_id": r.id, "title": r.title, "text": r.text, "metadata": {}} for r in FINE))


@pytest.mark.parametrize(
    "name",
    ["beir-corpus", "tevatron-corpus", "pyserini-json", "pyserini-array", "pyserini-folder", "dpr-passages"],
)
def test_every_corpus_form_gives_the_same_passages(tmp_path: Path, name: str) -> None:
    """Ids stay text (``001``), newline, tab and NUL stay in the text, empty texts are legal."""
    path = write_form(tmp_path, name)
    assert list(read_corpus(path)) == FINE
    assert detect(path).name == ("passage-columns" if name == "dpr-passages" else "json-passages")


def test_duplicate_ids_are_found_with_both_lines(tmp_path: Path) -> None:
    rows = [{"_id": str(row), "title": "", "text": "x"} for row in range(50)]
    path = lines(tmp_path / "corpus.jsonl", *rows, {"_id": 7, "title": "", "text": "y"})
    with pytest.raises(DataError, match=r"line 51: the id '7' stands on line 8 already; ids must be unique"):
        list(read_corpus(path))
    folder = tmp_path / "parts"
    lines(folder / "a.jsonl", {"id": "1", "contents": "x"})
    lines(folder / "b.jsonl", {"id": "1", "contents": "y"})
    with pytest.raises(DataError, match=r"b\.jsonl, line 1: the id '1' stands on .*a\.jsonl, line 1 already"):
        list(read_corpus(folder))


def test_equal_hashes_of_different_ids_are_no_duplicates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exact check after a collision compares the ids themselves."""
    monkeypatch.setattr(forms, "hash", lambda text: len(text), raising=False)
    path = lines(
        tmp_path / "corpus.jsonl", *({"_id": name, "title": "", "text": ""} for name in ("a", "b", "cc"))
    )
    assert [record.id for record in read_corpus(path)] == ["a", "b", "cc"]
    path = lines(
        tmp_path / "corpus.jsonl", *({"_id": name, "title": "", "text": ""} for name in ("a", "b", "a"))
    )
    with pytest.raises(DataError, match="line 3: the id 'a' stands on line 1"):
        list(read_corpus(path))


def test_query_ids_must_be_unique_too(tmp_path: Path) -> None:
    path = lines(tmp_path / "queries.jsonl", {"_id": "q", "text": "a"}, {"_id": "q", "text": "b"})
    with pytest.raises(DataError, match="line 2: the query id 'q' stands on line 1 already"):
        list(read_queries(path))


@pytest.mark.parametrize(
    ("first", "name"),
    [
        ('{"_id": "d", "title": "", "text": ""}', "json-passages"),
        ('{"_id": "q", "text": "", "answers": ["x"]}', "json-queries"),
        ('{"_id": "q", "text": ""}', "json-texts"),
        (
            '{"query_id": "q", "query": "", "positive_passages": [], "negative_passages": []}',
            "tevatron-training",
        ),
        ('{"query_id": "q", "query_text": "", "positive_document_ids": ["d"]}', "examples"),
        ('{"query": "q", "pos": ["a"], "neg": []}', "flag-embedding"),
        ('{"anchor": "q", "positive": "a", "negative": "b"}', "triplets"),
        ('[{"question": "q", "answers": [], "positive_ctxs": []}]', "dpr-training"),
        ('[{"question": "q", "answers": [], "ctxs": []}]', "dpr-results"),
        ("[7, 12, 9]", "colbert-triples"),
        ("[7, [12, 8.1], [9, 1.3]]", "colbert-triples"),
        ('["q7", "d12", "d9"]', "colbert-triples"),
        ('["what is rust", "Rust", "iron"]', "arrays-of-texts"),
        ('{"question": "q", "positive": "a", "negative": "b"}', "triplets"),
        ('{"sentence1": "q", "sentence2": "a"}', "triplets"),
        ('{"qid": "q1", "docno": "d1", "score": 2.5}', "run"),
        ("what is rust\tRust is a language\tRust is iron oxide", "triples-of-texts"),
        ("Anchor,positive,negative_1", "triples-of-texts"),
        ("query\tpos\tneg", "triples-of-texts"),
        ("rust\tRust is a language\tRust is iron oxide", "passage-columns"),
        ("q1 0 d1 1", "qrels"),
        ("query-id\tcorpus-id\tscore", "qrels"),
        ("q1 Q0 d12 1 27.4812 mytag", "run"),
        ("q1\td12\t1", "run"),
        ("0\tsome text\tSome title", "passage-columns"),
        ("id\ttext\ttitle", "passage-columns"),
        ("id\ttext", "text-columns"),
        ("docno,text", "passage-columns"),
        ("qid\tquery", "query-columns"),
        ("question\tanswers", "query-columns"),
        ('{"1": {"title": "harbour"}}', "json-queries"),
        ('{"1": {"title": "Harbour", "text": "lights"}}', "json-passages"),
        ('{"1": {"text": "harbour lights"}}', "json-texts"),
        ("[0, 12, 9]", "colbert-triples"),
        ('{"question": "q", "answer": ["a"]}', "json-queries"),
        ("<top><num>1", "trec-topics"),
        ('<?xml version="1.0"?><topics><topic number="1">', "trec-topics"),
        ("<DOC>", "trec-documents"),
    ],
)
def test_forms_are_told_by_content(tmp_path: Path, first: str, name: str) -> None:
    assert detect(lines(tmp_path / "file.txt", first)).name == name


def test_of_an_unknown_form_the_keys_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"known forms: its first line is 'just some words'; say what"):
        detect(lines(tmp_path / "a.txt", "just some words"))
    with pytest.raises(DataError, match="a.csv, line 1: its columns seem to be parted by semicolons; part"):
        detect(lines(tmp_path / "a.csv", "anchor;positive;negative", "a;b;c"))
    with pytest.raises(DataError, match="known forms: its first record has the keys 'unknown'; say what"):
        detect(lines(tmp_path / "a.jsonl", {"unknown": 1}))
    with pytest.raises(DataError, match=r"empty\.txt is empty; write it again"):
        detect(lines(tmp_path / "empty.txt"))
    for nothing in ("[]", "{}", "[\n]"):
        with pytest.raises(
            DataError, match="holds no records, only an empty .; name the file that holds them"
        ):
            detect(lines(tmp_path / "nothing.json", nothing))
    with pytest.raises(PreconditionError, match="does not exist"):
        detect(tmp_path / "nothing")
    (tmp_path / "folder").mkdir()
    with pytest.raises(
        PreconditionError, match=r"holds no \.json, \.jsonl or \.ndjson file; .* name a file of"
    ):
        detect(tmp_path / "folder")


def test_a_run_is_no_corpus(tmp_path: Path) -> None:
    path = lines(tmp_path / "run", "q1 Q0 d12 1 27.4812 tag")
    with pytest.raises(
        DataError, match=r"run, line 1: the first line is no row of passages .*; the file looks like a run"
    ):
        list(read_corpus(path))
    with pytest.raises(DataError, match="no row of queries .*; the file looks like a run"):
        list(read_queries(path))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("# system: demo\nq1 Q0 d1 1 3.5 t\n", "run"),
        ("# pool A\n\n#\nq1 0 d1 1\n", "qrels"),
        ("qid\tdocno\trank\nq1\td1\t1\n", "run"),
        ("qid docno rank score\nq1 d1 1 2.5\n", "run"),
        ("q1\tQ0\tOld Harbour\t1\t30.5\tmy run\n", "run"),
        ("q1\tOld Harbour\t30.5\n", "run"),
        ("query-id\tcorpus-id\tscore\nq1\td1\t1\n", "qrels"),
        ("#1\tsome text\n#2\tother text\n", "text-columns"),
        ("rust\tRust is a language\tRust is iron oxide\nold mill\tb\tc\n", "triples-of-texts"),
        ("rust\tRust is a language\tRust\nmill\tb\tc d\n", "passage-columns"),
    ],
)
def test_comments_headers_and_ids_with_blanks_of_runs_and_judgements(tmp_path, text, name):
    (tmp_path / "file").write_text(text)
    assert detect(tmp_path / "file").name == name
