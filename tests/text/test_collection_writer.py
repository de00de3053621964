"""Writing a collection: each passage once, contradictions counted or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from dretrieve.errors import DataError
from dretrieve.store.stage import Stage
from dretrieve.text.beir import Query
from dretrieve.text.collection import Collection
from dretrieve.text.collection_writer import CollectionWriter
from dretrieve.types import Record
from tests.common import lines, prepared


def test_two_texts_under_one_id_are_counted_and_the_first_stays(tmp_path: Path) -> None:
    row = {
        "query_id": "1",
        "query": "q",
        "positive_passages": [{"docid": "d", "text": "first"}],
        "negative_passages": [],
    }
    other = row | {"query_id": "2", "positive_passages": [{"docid": "d", "text": "second"}]}
    made = prepared(lines(tmp_path / "t.jsonl", row, other), tmp_path / "out")
    assert made["counts"]["passages_of_two_texts"] == 1
    assert Collection(tmp_path / "out").corpus().record(0).text == "first"
    assert "the id 'd' has two texts; the first is kept" in made["notes"][0]


def test_two_texts_under_one_query_id_are_refused(tmp_path: Path) -> None:
    row = {
        "query_id": "1",
        "query": "q",
        "positive_passages": [],
        "negative_passages": [{"docid": "d", "text": "x"}],
    }
    with pytest.raises(DataError, match=r"the query id '1' has two texts \('q', 'other'\); rename one"):
        prepared(lines(tmp_path / "t.jsonl", row, row | {"query": "other"}), tmp_path / "out")
    assert not (tmp_path / "out" / "corpus.jsonl").exists()


def test_a_writer_that_fails_leaves_no_file(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "out", "folder", "prepare")

    def fill() -> None:
        with CollectionWriter(stage) as writer:
            writer.passage(Record("1", "", "x"))
            writer.query(Query("q", "what"))
            writer.judge("test", "q", "1", 2)
            writer.judge("test", "q", "1", 1)

    with pytest.raises(DataError, match=r"passage '1' is judged 2 and 1 for query 'q' \(test\)"):
        fill()
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["state.json"]


def test_the_same_thing_again_is_written_once(tmp_path: Path) -> None:
    with CollectionWriter(Stage(tmp_path, "folder", "prepare")) as writer:
        for _ in range(2):
            writer.passage_once(Record("1", "T", "x"))
            writer.query(Query("q", "what"))
            writer.judge("dev", "q", "1")
        assert writer.splits == ["dev"]
        assert writer.query_text("q") == "what"
    assert dict(writer.counts)["judgements"] == 1
    assert (tmp_path / "corpus.jsonl").read_text(encoding="utf-8").count("\n") == 1
    assert (tmp_path / "qrels" / "dev.tsv").read_text(encoding="utf-8").splitlines()[1:] == ["q\t1\t1"]
