"""Keys of every tool, ids of those who give none, what a record cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dretrieve.errors import DataError
from dretrieve.text.beir import Query
from dretrieve.text.records import read_corpus, read_queries
from dretrieve.types import Record
from tests.common import lines


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"docid": "a", "contents": "x\ny", "title": "H"}, Record("a", "H", "x\ny")),
        ({"docid": "a", "contents": "H\ny", "title": "H"}, Record("a", "H", "y")),
        ({"id": "a", "contents": "H\ny\nz"}, Record("a", "H", "y\nz")),
        ({"id": "7#0", "contents": "H\n\ny\n\nz"}, Record("7#0", "H", "y\n\nz")),  # Mr. TyDi
        ({"pid": "a", "passage": "x", "spans": "(0,1)", "docid": "D"}, Record("a", "", "x")),
        ({"docid": "a", "url": "u", "title": "H", "headings": "h", "segment": "x"}, Record("a", "H", "x")),
        ({"Doc_ID": 7, "Text": "x"}, Record("7", "", "x")),
    ],
)
def test_passages_of_other_tools(tmp_path: Path, row: dict[str, Any], expected: Record) -> None:
    assert list(read_corpus(lines(tmp_path / "c.jsonl", row))) == [expected]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"qid": 3, "query": "x"}, Query("3", "x")),
        ({"id": "a", "contents": "x"}, Query("a", "x")),
        ({"_id": "a", "text": 42}, Query("a", "42")),
        ({"_id": "a", "text": "", "metadata": {}}, Query("a", "", fields={"metadata": {}})),
        ({"question": "x", "answer": ["y"]}, Query("0", "x", ("y",))),
        ({"question": "x", "answers": "y", "ctxs": [1]}, Query("0", "x", ("y",))),
        ({"id": "k", "input": "x", "output": [{"answer": "y"}, {"provenance": []}]}, Query("k", "x", ("y",))),
        ({"id": "k", "input": "x", "output": [{"answer": 1969}]}, Query("k", "x", ("1969",))),
        ({"question": "x", "answers": [1969, "1969"]}, Query("0", "x", ("1969", "1969"))),
        ({"question": "x", "answer": -7}, Query("0", "x", ("-7",))),
        ({"question": "x", "answer": None}, Query("0", "x")),
        (
            {
                "question": "x",
                "answers": [{"text": "y", "answer_start": 3}, {"text": "y", "answer_start": 9}],
            },
            Query("0", "x", ("y",)),
        ),
        ({"id": "k", "input": "x", "output": [{"answer": 7}, {"answer": "7"}]}, Query("k", "x", ("7",))),
        (
            {"query_id": "a", "query": "x", "positive_passages": [], "split": "dev"},
            Query("a", "x", fields={"split": "dev"}),
        ),
    ],
)
def test_queries_of_other_tools(tmp_path: Path, row: dict[str, Any], expected: Query) -> None:
    assert list(read_queries(lines(tmp_path / "q.jsonl", row))) == [expected]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([3.50], "'answers' is the number 3.5, whose text is not known; write it in quotes"),
        (1e3, "is the number 1000.0"),
        ([True], "'answers' is a boolean, expected a string"),
        ([["x"]], "'answers' is an array, expected a string"),
        ([None], "'answers' is null, expected a string"),
        ([{"answer": 2.5}], "is the number 2.5"),
        ([{"answer": ["a", "b"]}], "'answers' is an array, expected a string"),
        (
            [{"answer": "a"}, {"value": "b"}],
            r"no answer in an object of 'answers' \(answer, text\) among its keys 'value'",
        ),
    ],
)
def test_what_is_no_answer(tmp_path: Path, answers: object, message: str) -> None:
    path = lines(tmp_path / "q.jsonl", {"question": "x", "answers": answers})
    with pytest.raises(DataError, match=f"line 1: .*{message}"):
        list(read_queries(path))


def test_questions_without_ids_are_counted_from_0(tmp_path: Path) -> None:
    rows = [{"question": f"what is {row}", "answers": ["x"]} for row in range(12)]
    (tmp_path / "q.json").write_text(json.dumps(rows), encoding="utf-8")
    for path in (tmp_path / "q.json", lines(tmp_path / "q.jsonl", *rows)):
        assert [query.id for query in read_queries(path)] == [str(row) for row in range(12)]
    with pytest.raises(DataError, match="line 2: some queries have an id and some have none"):
        list(read_queries(lines(tmp_path / "q.jsonl", rows[0], {"id": "7", **rows[1]})))


def test_an_unknown_record_names_the_keys_that_are_there(tmp_path: Path) -> None:
    path = lines(tmp_path / "q.jsonl", {"utt": "x", "number": 1})
    with pytest.raises(
        DataError, match=r"line 1: no text \(text, query, .*\) among its keys 'utt', 'number'"
    ):
        list(read_queries(path))
    path = lines(tmp_path / "t.jsonl", {"query_id": "1", "query": "x", "positive_passages": []})
    with pytest.raises(DataError, match="no id .*; the file looks like training rows"):
        list(read_corpus(path))


@pytest.mark.parametrize("form", ["lines", "array", "by id"])
def test_a_key_that_stands_twice_in_a_record_is_refused(tmp_path: Path, form: str) -> None:
    row = '{"_id": "2", "text": "b", "text": "c"}'
    text = {
        "lines": f'{{"_id": "1", "text": "a"}}\n{row}\n',
        "array": f'[{{"_id": "1", "text": "a"}},\n{row}]',
        "by id": f'{{"1": {{"text": "a"}},\n"2": {row}}}',
    }[form]
    (tmp_path / "t").write_text(text, encoding="utf-8")
    for read in (read_corpus, read_queries):
        with pytest.raises(DataError, match=r"line \d: the key 'text' stands twice in one object; keep one"):
            list(read(tmp_path / "t"))


def test_an_object_by_id_that_says_another_id_is_refused(tmp_path: Path) -> None:
    """As pandas writes a table by its rows' numbers; before, the ids were 0, 1 … without a word."""
    for ours, read in (("docid", read_corpus), ("_id", read_corpus), ("qid", read_queries)):
        path = lines(tmp_path / "t.json", {"0": {ours: "a", "text": "x"}, "1": {ours: "b", "text": "y"}})
        with pytest.raises(DataError, match=rf"the object '0' says another id, .*'{ours}': 'a'.*records"):
            list(read(path))
        path = lines(tmp_path / "t.json", {"7": {ours: 7, "text": "x"}, "b": {ours: "b", "text": "y"}})
        assert [record.id for record in read(path)] == ["7", "b"]
    path = lines(tmp_path / "t.json", {"31_1": {"number": 1, "title": "x", "docid": "d"}})
    assert list(read_queries(path)) == [Query("31_1", "x", fields={"docid": "d"})]


def test_pyserini_contents_without_newline_are_all_text(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "c.jsonl", {"id": "1", "contents": "only text"}, {"id": "2", "contents": "T\nx\ny"}
    )
    assert list(read_corpus(path)) == [Record("1", "", "only text"), Record("2", "T", "x\ny")]


def test_tevatrons_readme_key_is_read(tmp_path: Path) -> None:
    path = lines(tmp_path / "c.jsonl", {"docid": "1", "document_text": "found"})
    assert list(read_corpus(path)) == [Record("1", "", "found")]


def test_tevatron_queries(tmp_path: Path) -> None:
    path = lines(tmp_path / "q.jsonl", {"query_id": "1", "query": "a"}, {"query_id": 2, "query_text": "b"})
    assert list(read_queries(path)) == [Query("1", "a"), Query("2", "b")]


@pytest.mark.parametrize("text", ["[]", "[\n]", "id\ttext\n", "id,text\n"])
def test_a_file_without_any_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "t").write_text(text, encoding="utf-8")
    for read, what in ((read_corpus, "passages"), (read_queries, "queries")):
        with pytest.raises(DataError, match=f"t holds no {what}, only a header or an empty list; name the"):
            list(read(tmp_path / "t"))


def test_one_file_of_a_folder_may_hold_no_record(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", {"id": "1", "text": "x"})
    (tmp_path / "b.json").write_text("[]", encoding="utf-8")
    assert list(read_corpus(tmp_path)) == [Record("1", "", "x")]
