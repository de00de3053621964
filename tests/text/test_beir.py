"""BEIR files: what we write is what we read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.errors import DataError
from dretrieve.text import beir
from dretrieve.text.beir import Query, corpus_line, query_line
from dretrieve.text.records import read_corpus, read_queries
from dretrieve.types import Record
from tests.common import lines

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
IDS = st.text(st.characters(exclude_categories=["Cs", "Zs", "Zl", "Zp", "Cc"]), min_size=1, max_size=8)


@given(
    records=st.lists(
        st.builds(Record, IDS, ANY_TEXT, ANY_TEXT), unique_by=lambda record: record.id, min_size=1
    )
)
def test_our_corpus_lines_round_trip(tmp_path: Path, records: list[Record]) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(map(corpus_line, records)), encoding="utf-8", newline="")
    assert list(read_corpus(path)) == records


@given(
    queries=st.lists(
        st.builds(
            Query,
            IDS.filter(lambda name: not name.startswith("#")),
            ANY_TEXT,
            st.lists(ANY_TEXT, max_size=2).map(tuple),
            st.booleans(),
            st.dictionaries(st.sampled_from(["split", "relation"]), ANY_TEXT),
        ),
        unique_by=lambda query: query.id,
        min_size=1,
    )
)
def test_our_query_lines_round_trip(tmp_path: Path, queries: list[Query]) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text("".join(map(query_line, queries)), encoding="utf-8", newline="")
    assert list(read_queries(path)) == queries


def test_two_forms_of_one_file_are_refused(tmp_path: Path) -> None:
    lines(tmp_path / "corpus.jsonl", {"_id": "1", "text": "x"})
    (tmp_path / "corpus.jsonl.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"holds corpus\.jsonl and corpus\.jsonl\.gz; keep one"):
        beir.find_file(tmp_path, "corpus.jsonl")


@pytest.mark.parametrize("name", ["test.jsonl", "test.json", "test.txt.gz", "test.csv"])
def test_judgements_of_a_folder_may_have_other_endings(tmp_path: Path, name: str) -> None:
    lines(tmp_path / "qrels" / name, {"query-id": "q", "corpus-id": "d", "score": 1})
    lines(tmp_path / "qrels/README.txt", "for people")
    lines(tmp_path / "qrels/._test.tsv", "of a Mac")
    assert beir.Files.in_folder(tmp_path).qrels == {"test": tmp_path / "qrels" / name}
    lines(tmp_path / "qrels/test.tsv", "q 0 d 1")
    assert beir.Files.in_folder(tmp_path).qrels == {"test": tmp_path / "qrels/test.tsv"}
    lines(tmp_path / "qrels/test.tsv.gz", "q 0 d 1")
    with pytest.raises(DataError, match=r"qrels holds test\.tsv and test\.tsv\.gz; keep one"):
        beir.Files.in_folder(tmp_path)


def test_a_folder_is_read_whole_or_refused(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    for number, name in enumerate(("a.jsonl", "b.ndjson", "deep/c.json")):
        lines(folder / name, {"id": str(number), "text": "x"})
    for name in ("README.md", "LICENSE", "_SUCCESS", ".a.jsonl.crc", ".git/config"):
        lines(folder / name, "no passages")
    assert [record.id for record in read_corpus(folder)] == ["0", "1", "2"]
    for name in ("part_01.gz", "d.tsv", "deep/e.JSONL"):
        lines(folder / name, {"id": "9", "text": "y"})
        with pytest.raises(
            DataError,
            match=rf"parts would be read without {name}, which is no \.json, .*; rename it, or move",
        ):
            list(read_corpus(folder))
        (folder / name).unlink()
    lines(folder / "data.arrow", "")
    with pytest.raises(DataError, match=rf"would be read without data.arrow, .*; give hf:{folder}$"):
        list(read_corpus(folder))


@pytest.mark.parametrize(
    "name", ["queries.jsonl", "a/queries/part.json", "qrels/test.tsv", "topics.jsonl.gz"]
)
def test_queries_of_a_folder_are_no_passages_of_it(tmp_path: Path, name: str) -> None:
    """CQADupStack's folder of collections, shards of a corpus beside a folder of queries."""
    folder = tmp_path / "sets"
    for part in ("a/corpus.jsonl", "b/corpus.jsonl"):
        lines(folder / part, {"id": part[0], "text": "x"})
    assert [record.id for record in read_corpus(folder)] == ["a", "b"]
    lines(folder / "c" / name, {"id": "q", "text": "x"})
    with pytest.raises(
        DataError,
        match=rf"sets holds c/{name} beside a/corpus\.jsonl, which are not of one kind; name one col",
    ):
        list(read_corpus(folder))
    only = lines(tmp_path / "only/queries/part.json", {"id": "q", "text": "x"})
    assert beir.collection_files(tmp_path / "only") == [only]
