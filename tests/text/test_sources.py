"""Local files of every form become one collection."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dretrieve.errors import DataError, UsageError
from dretrieve.text.collection import Collection
from dretrieve.text.examples import Example, read_examples
from tests.common import lines, prepared


def test_ms_marco_files(tmp_path: Path) -> None:
    corpus = lines(tmp_path / "collection.tsv", "0\tbees make honey", "1\ttides come and go")
    queries = lines(tmp_path / "queries.tsv", "9\twho makes honey", "10\twhat is a tide")
    qrels = lines(tmp_path / "qrels.tsv", "9\t0\t0\t1", "10\t0\t77\t1")
    made = prepared(corpus, tmp_path / "out", queries=queries, qrels=(f"dev={qrels}",))
    assert made["splits"] == {"dev": 2}
    assert made["counts"]["judged_passages_not_in_corpus"] == 1
    assert made["notes"] == [
        "collection.tsv has no header, so its columns are id, text",
        "queries.tsv has no header, so its columns are id, text",
        "dev: 1 judged passages are not in the corpus (first: 77)",
    ]
    collection = Collection.open(f"{tmp_path / 'out'}:dev")
    assert collection.queries().ids() == ["9", "10"]
    assert collection.unknown_passages(collection.qrels()) == ["77"]


def test_files_of_a_folder_that_are_not_read_are_said(tmp_path: Path) -> None:
    folder = tmp_path / "mteb"
    lines(folder / "corpus.jsonl", {"_id": "d", "text": "x"})
    lines(folder / "queries.jsonl", {"_id": "q", "text": "x"})
    judged = {"query-id": "q", "corpus-id": "d", "score": 1}
    for name in ("qrels/test.jsonl", "dev.jsonl", "old.tsv.gz", "README.txt", "r.trec", "a.manifest.json"):
        lines(folder / name, judged)
    made = prepared(folder, tmp_path / "out", qrels=(f"dev={folder / 'dev.jsonl'}",))
    assert (made["splits"], made["notes"]) == (
        {"dev": 1, "test": 1},
        ["not read of the folder: 'old.tsv.gz'"],
    )
    lines(folder / "queries/more.jsonl", {"_id": "q2", "text": "x"})
    (folder / "corpus.jsonl").replace(lines(folder / "corpus/part.jsonl"))
    made = prepared(folder, tmp_path / "shards", corpus=folder / "corpus")
    assert made["notes"] == ["not read of the folder: 'dev.jsonl', 'old.tsv.gz', 'queries/'"]


def test_queries_that_are_counted_beside_what_may_be_their_ids_are_said(tmp_path: Path) -> None:
    corpus = lines(tmp_path / "c.jsonl", {"_id": "d", "text": "x"})
    queries = lines(tmp_path / "q.jsonl", {"example_id": "a7", "question": "who"})
    made = prepared(corpus, tmp_path / "out", queries=queries)
    said = "queries: counted from 0; rename 'example_id' to query_id if it holds their ids"
    assert made["notes"] == [said, "queries: kept as fields 'example_id'"]
    queries = lines(tmp_path / "q.jsonl", {"q_id": "a7", "questionText": "who", "guid": "b"})
    assert prepared(corpus, tmp_path / "known", queries=queries)["notes"] == [
        "queries: kept as fields 'guid'"
    ]
    assert Collection.open(tmp_path / "known").queries().ids() == ["a7"]


def test_a_spreadsheet_is_no_archive_to_unpack(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "passages.xlsx", "w") as bundle:
        bundle.writestr("[Content_Types].xml", "<x>")
    with pytest.raises(DataError, match="passages.xlsx is a spreadsheet .*save its table as CSV in UTF-8"):
        prepared(tmp_path / "passages.xlsx", tmp_path / "out")


def test_training_rows_with_texts(dpr_file: Callable[[Path], Path], tmp_path: Path) -> None:
    made = prepared(dpr_file(tmp_path / "train.json.gz"), tmp_path / "out")
    assert made["splits"] == {"train": 2}
    counts = made["counts"]
    assert (counts["passages"], counts["queries"], counts["examples"]) == (2, 3, 2)
    assert (counts["rows_without_positive"], counts["negatives_that_are_positives"]) == (1, 1)
    assert list(read_examples(tmp_path / "out" / "examples.jsonl")) == [
        Example("0", "who", ("1",), ("2",)),
        Example("1", "what", ("2",), ("1",)),
    ]
    collection = Collection.open(f"{tmp_path / 'out'}:train")
    assert collection.queries().answers == [("F",), ()]
    assert collection.corpus().record(0).title == "Dune"


def test_examples_and_triples_of_ids(tmp_path: Path) -> None:
    corpus = lines(tmp_path / "c.tsv", "0\tbees", "1\ttides", "2\tbread")
    queries = lines(tmp_path / "q.tsv", "7\thoney")
    triples = lines(tmp_path / "triples.jsonl", [7, 0, 2, 1, 2])
    prepared(triples, tmp_path / "a", corpus=corpus, queries=queries)
    assert list(read_examples(tmp_path / "a" / "examples.jsonl")) == [
        Example("7", "honey", ("0",), ("2", "1"))
    ]
    scored = lines(tmp_path / "scored.jsonl", [7, [0, 8.0], [2, 1.5]])
    prepared(scored, tmp_path / "b", corpus=corpus, queries=queries)
    assert list(read_examples(tmp_path / "b" / "examples.jsonl")) == [
        Example("7", "honey", ("0",), ("2",), (8.0,), (1.5,))
    ]
    made = prepared(tmp_path / "a" / "examples.jsonl", tmp_path / "c", corpus=corpus, split="dev")
    assert made["splits"] == {"dev": 1}
    with pytest.raises(UsageError, match="holds ids only; give --corpus and --queries"):
        prepared(triples, tmp_path / "d")
    marco = lines(tmp_path / "qidpidtriples.tsv", "7\t0\t2", "7\t0\t1")
    prepared(marco, tmp_path / "f", corpus=corpus, queries=queries)
    assert list(read_examples(tmp_path / "f" / "examples.jsonl")) == [
        Example("7", "honey", ("0",), ("2",)),
        Example("7", "honey", ("0",), ("1",)),
    ]
    lost = lines(tmp_path / "lost.jsonl", [8, 0, 2])
    with pytest.raises(DataError, match=r"lost\.jsonl, line 1: the query '8' is not in .*q\.tsv"):
        prepared(lost, tmp_path / "e", corpus=corpus, queries=queries)


def test_the_options_say_what_a_file_holds(tmp_path: Path) -> None:
    texts = lines(tmp_path / "passages.jsonl", {"_id": "d1", "text": "harbour"})
    asked = lines(tmp_path / "q.tsv", "5\t0 to 60", "6\t42")
    with pytest.raises(
        DataError, match="may hold passages or queries; say which: --corpus FILE or --queries"
    ):
        prepared(texts, tmp_path / "a")
    for number, options in enumerate(({"queries": asked}, {"corpus": texts, "queries": asked}), 1):
        made = prepared(texts, tmp_path / f"out{number}", **options)
        assert (made["counts"]["passages"], made["counts"]["queries"]) == (1, 2)
    made = prepared(asked, tmp_path / "out3", corpus=texts)
    assert (made["counts"]["passages"], made["counts"]["queries"]) == (1, 2)


def test_what_is_kept_and_left_is_said(tmp_path: Path) -> None:
    corpus = lines(tmp_path / "c.jsonl", {"docid": "1", "segment": "x", "url": "u"})
    asked = lines(tmp_path / "q.jsonl", {"qid": "1", "query": "x", "relation": "P1"})
    assert prepared(corpus, tmp_path / "out", queries=asked)["notes"] == [
        "passages: left out 'url'",
        "queries: kept as fields 'relation'",
    ]


@pytest.mark.parametrize(
    ("row", "note"),
    [
        ({"query": "x", "pos": ["a"], "negs": ["b"], "prompt": "y"}, "left out 'negs', 'prompt'"),
        ({"question": "x", "answer": "y", "positive_ctxs": []}, "left out 'answer'"),
        ({"anchor": "x", "positive": "a", "neg_1": "b", "label": [2, 1], "query": "y"}, "left out 'query'"),
        ("Query\tPositive\tmy note\nx y\ta\t \nx z\ta\tn", "left out 'my_note'"),
        ({"query_id": "1", "query_text": "x", "positive_document_ids": ["a"], "kind": 2}, "left out 'kind'"),
    ],
)
def test_what_no_training_row_is_read_for_is_said(tmp_path: Path, row: object, note: str) -> None:
    corpus = lines(tmp_path / "c.jsonl", {"docid": "a", "text": "x"}) if "kind" in row else None
    made = prepared(lines(tmp_path / "train", row), tmp_path / "out", corpus=corpus)
    assert made["notes"] == [f"training rows: {note}"]


def test_answers_that_may_be_passages_to_train_on_are_said_unless_the_options_tell(tmp_path: Path) -> None:
    """Pairs of sentence-transformers are such rows."""
    path = lines(tmp_path / "pairs.jsonl", {"query": "x", "answer": "a passage"})
    note = "queries: taken for answers, not for passages to train on (those are called 'positive'): 'answer'"
    assert prepared(path, tmp_path / "out")["notes"] == [note]
    assert prepared(path, tmp_path / "told", queries=path)["notes"] == []
    for number, row in enumerate(('{"query": "x", "answer": ["a"]}', "query\tanswer\nx\t['a', 'b']")):
        assert prepared(lines(tmp_path / f"{number}", row), tmp_path / f"out{number}")["notes"] == []


def test_a_local_archive(tmp_path: Path, cache: Path) -> None:
    for folder in ("nf/", ""):
        path = tmp_path / f"a{len(folder)}.zip"
        with zipfile.ZipFile(path, "w") as bundle:
            bundle.writestr(f"{folder}corpus.jsonl", '{"_id": "1", "text": "x"}\n')
            bundle.writestr(f"{folder}queries.jsonl", '{"_id": "q", "text": "y"}\n')
            bundle.writestr(f"{folder}qrels/test.tsv", "query-id\tcorpus-id\tscore\nq\t1\t1\n")
        assert prepared(path, tmp_path / f"out{len(folder)}")["splits"] == {"test": 1}
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as bundle:
        for name in ("x", "y"):
            bundle.writestr(f"{name}/corpus.jsonl", "")
    with pytest.raises(DataError, match=r"b\.zip holds x, y; one collection is read at a time"):
        prepared(tmp_path / "b.zip", tmp_path / "out")
