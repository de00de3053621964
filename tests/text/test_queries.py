"""A set of queries: random access, a hash that knows texts and order only."""

from __future__ import annotations

from pathlib import Path

from dretrieve.store.text_store import records_sha256
from dretrieve.text.beir import Query
from dretrieve.text.queries import QuerySet
from dretrieve.types import Record

QUERIES = [Query("b", "two", ("x",), True, {"split": "dev"}), Query("a", "one"), Query("c", " ")]


def test_access() -> None:
    found = QuerySet(QUERIES, Path("queries.jsonl"))
    assert len(found) == 3
    assert found.ids() == ["b", "a", "c"]
    assert found.ids(1, 2) == ["a"]
    assert found.records(0, 2) == [Record("b", "", "two"), Record("a", "", "one")]
    assert (found.row_of("a"), found.row_of("z")) == (1, None)
    assert found.answers == [("x",), (), ()]
    assert found.answers_are_regex == [True, False, False]
    assert found.fields == [{"split": "dev"}, {}, {}]
    assert found.num_empty == 1
    assert found[0].text == "two"


def test_the_hash_is_over_ids_and_texts_in_order() -> None:
    def sha256(*queries: Query) -> str:
        return QuerySet(queries, Path("q")).sha256

    first, second, _ = QUERIES
    assert sha256(first, second) == records_sha256([Record("b", "", "two"), Record("a", "", "one")])
    assert sha256(first, second) != sha256(second, first)
    assert sha256(first) == sha256(Query("b", "two"))
    assert sha256(first) != sha256(Query("b", "two "))
