"""Collections by name: splits, the text store and where it stands, what does not fit."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from dretrieve.errors import DataError, Interrupted, PreconditionError, UsageError
from dretrieve.store import text_store
from dretrieve.store.text_store import TextStore
from dretrieve.text.collection import Collection, parse_spec, store_folders
from dretrieve.types import Record
from tests.common import Told


def test_the_tiny_collection(tiny_collection: Path) -> None:
    collection = Collection.open(f"{tiny_collection}:dev")
    assert (collection.name, collection.split, collection.splits) == ("tiny", "dev", ["dev", "test", "train"])
    queries, qrels = collection.queries(), collection.qrels()
    assert queries.ids() == list(qrels.query_ids)
    assert len(queries) == 6
    assert len(collection.queries("train")) == 6
    assert len(Collection.open(tiny_collection).queries()) == 18
    store = collection.corpus()
    assert len(store) == 30
    assert store.record(0) == Record("bees-0", "bees 0", store.record(0).text)
    assert collection.unknown_passages(qrels) == []
    assert collection.sha256 == store.sha256


def test_queries_keep_the_order_of_their_file(tiny_collection: Path) -> None:
    qrels = tiny_collection / "qrels" / "test.tsv"
    head, *rows = qrels.read_text(encoding="utf-8").splitlines()
    before = Collection.open(f"{tiny_collection}:test").queries().ids()
    qrels.write_text("\n".join([head, *reversed(rows)]) + "\n", encoding="utf-8")
    assert Collection.open(f"{tiny_collection}:test").queries().ids() == before


def test_the_last_colon_splits_and_an_existing_path_wins(tiny_collection: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a:b"
    shutil.copytree(tiny_collection, odd)
    assert parse_spec(odd) == (odd, None)
    assert parse_spec(f"{odd}:test") == (odd, "test")
    with pytest.raises(
        PreconditionError, match=r"'.*:c' does not exist; give the folder .* DIR or DIR:split"
    ):
        parse_spec(f"{tmp_path / 'nothing'}:c")
    with pytest.raises(UsageError, match="names no split after the colon"):
        parse_spec(f"{odd}:")


def test_unknown_splits_are_listed(tiny_collection: Path) -> None:
    with pytest.raises(UsageError, match="has no split 'tset'; it has: dev, test, train"):
        Collection.open(f"{tiny_collection}:tset")
    with pytest.raises(UsageError, match=r"several splits; write .*:SPLIT \(dev, test, train\)"):
        Collection.open(tiny_collection).qrels()


def test_a_split_by_field(tmp_path: Path) -> None:
    rows = [
        {"_id": "1", "text": "a", "split": "dev", "answers": ["x"]},
        {"_id": "2", "text": "b", "split": "test"},
    ]
    path = tmp_path / "queries.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    collection = Collection.open(f"{tmp_path}:dev")
    assert collection.queries().ids() == ["1"]
    assert collection.queries("test").ids() == ["2"]
    assert collection.queries().answers == [("x",)]
    assert collection.queries().fields == [{"split": "dev"}]
    with pytest.raises(UsageError, match="has no judgements for split 'dev'; splits with judgements: none"):
        collection.qrels()
    with pytest.raises(PreconditionError, match="has queries but no passages"):
        collection.corpus()
    assert collection.sha256 == collection.queries().sha256


def test_a_split_without_qrels_or_field(tmp_path: Path) -> None:
    (tmp_path / "queries.jsonl").write_text('{"_id": "1", "text": "a"}\n', encoding="utf-8")
    with pytest.raises(UsageError, match=r"has no split 'dev'; it has: none \(use it without a split\)"):
        Collection.open(f"{tmp_path}:dev")


def test_judged_queries_without_text_are_refused(tiny_collection: Path) -> None:
    with open(tiny_collection / "qrels" / "test.tsv", "a", encoding="utf-8") as file:
        file.write("lost\tbees-0\t1\n")
    with pytest.raises(DataError, match=r"judges 1 queries that are not in queries\.jsonl \(first: 'lost'\)"):
        Collection.open(f"{tiny_collection}:test").queries()


def test_judged_passages_that_do_not_exist_are_named(tiny_collection: Path) -> None:
    with open(tiny_collection / "qrels" / "test.tsv", "a", encoding="utf-8") as file:
        file.write("q-bees-2\tbees-99\t1\nq-bees-2\tants-1\t0\n")
    collection = Collection.open(f"{tiny_collection}:test")
    assert collection.unknown_passages(collection.qrels()) == ["ants-1", "bees-99"]


def test_single_files_are_collections_of_one_side(tmp_path: Path) -> None:
    passages = tmp_path / "psgs.tsv"
    passages.write_text('id\ttext\ttitle\n1\t"x"\tT\n', encoding="utf-8")
    assert Collection.open(passages).corpus().records(0, 1) == [Record("1", "T", "x")]
    with pytest.raises(PreconditionError, match="has no queries"):
        Collection.open(passages).queries()
    questions = tmp_path / "test.qa.csv"
    questions.write_text("who\t['x']\n", encoding="utf-8")
    assert Collection.open(questions).queries().answers == [("x",)]
    plain = tmp_path / "lines.tsv"
    plain.write_text("1\tone\n2\ttwo\n", encoding="utf-8")
    assert len(Collection.open(plain).corpus()) == 2
    assert Collection.open(plain).queries().ids() == ["1", "2"]


def test_what_is_no_collection(tmp_path: Path) -> None:
    run = tmp_path / "run.trec"
    run.write_text("q1 Q0 d1 1 0.5 t\n", encoding="utf-8")
    with pytest.raises(
        DataError, match=r"holds run \(run\), not a collection; turn it into one: dretrieve prepare"
    ):
        Collection.open(run)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many times a corpus was read."""
    from dretrieve.text import collection as module

    real, calls = module.read_corpus, []

    def reading(path: Path) -> object:
        calls.append(path)
        return real(path)

    monkeypatch.setattr(module, "read_corpus", reading)
    return lambda: len(calls)


def test_the_text_store_is_made_once_and_again_when_the_file_or_its_reading_changes(
    tiny_collection: Path, counted: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Collection(tiny_collection).corpus().sha256
    assert Collection(tiny_collection).corpus().sha256 == before
    assert counted() == 1
    assert (tiny_collection / ".dretrieve").is_dir()
    corpus = tiny_collection / "corpus.jsonl"
    text = corpus.read_text(encoding="utf-8")
    corpus.write_text(text.replace("honey", "money"), encoding="utf-8")
    os.utime(corpus, ns=(1, 1))
    assert Collection(tiny_collection).corpus().sha256 != before
    assert counted() == 2
    monkeypatch.setattr("dretrieve.text.collection.READING", -1)
    for _ in range(2):
        Collection(tiny_collection).corpus()
    assert counted() == 3


def test_a_damaged_store_is_made_again(tiny_collection: Path, counted: Callable[[], int]) -> None:
    store = Collection(tiny_collection).corpus()
    texts = store.folder / "texts.bin"
    sha256 = store.sha256
    texts.write_bytes(texts.read_bytes()[:-5])
    again = Collection(tiny_collection).corpus()
    assert again.sha256 == sha256
    assert counted() == 2
    assert len(again.records(0, 30)) == 30


def test_a_store_that_another_process_replaces_just_now_is_made_again(
    tiny_collection: Path, monkeypatch
) -> None:
    before = Collection(tiny_collection).corpus().sha256

    def gone(folder: Path, *, full: bool) -> TextStore:
        monkeypatch.undo()
        raise FileNotFoundError(2, "No such file or directory", str(folder / "ids.txt"))

    monkeypatch.setattr(TextStore, "open", gone)
    assert Collection(tiny_collection).corpus().sha256 == before


def test_the_form_of_the_file_does_not_change_the_hash(tiny_collection: Path) -> None:
    before = Collection(tiny_collection).sha256
    corpus = tiny_collection / "corpus.jsonl"
    (tiny_collection / "corpus.jsonl.gz").write_bytes(gzip.compress(corpus.read_bytes()))
    corpus.unlink()
    assert Collection(tiny_collection).sha256 == before


def test_a_read_only_folder_uses_the_cache(tiny_collection: Path, cache: Path) -> None:
    tiny_collection.chmod(0o555)
    try:
        store = Collection(tiny_collection).corpus()
        assert store.folder.is_relative_to(cache)
        assert not (tiny_collection / ".dretrieve").exists()
        assert store_folders(tiny_collection / "corpus.jsonl") == [store.folder]
    finally:
        tiny_collection.chmod(0o755)


def test_a_folder_that_refuses_falls_back_to_the_cache(tiny_collection: Path, cache: Path) -> None:
    (tiny_collection / ".dretrieve").write_text("a file in the way", encoding="utf-8")
    assert Collection(tiny_collection).corpus().folder.is_relative_to(cache)


def test_a_signal_stops_the_store_and_leaves_nothing_half(tmp_path: Path) -> None:
    rows = "".join(f'{{"_id": "d{row}", "title": "", "text": "x"}}\n' for row in range(30_000))
    (tmp_path / "corpus.jsonl").write_text(rows, encoding="utf-8")

    with pytest.raises(Interrupted, match="stopped by SIGTERM"):
        Collection(tmp_path).corpus(Told(1))
    assert list((tmp_path / ".dretrieve").iterdir()) == []
    assert len(Collection(tmp_path).corpus()) == 30_000


def test_a_signal_after_the_last_passage_is_heard_and_the_store_stands(
    tiny_collection: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = text_store._write_order

    def signal_then_order(folder: Path) -> None:
        signal.raise_signal(signal.SIGTERM)
        order(folder)

    with monkeypatch.context() as patch:
        patch.setattr(text_store, "_write_order", signal_then_order)
        with pytest.raises(Interrupted, match="stopped by SIGTERM"):
            Collection(tiny_collection).corpus()
    monkeypatch.setattr(text_store.TextStore, "build", lambda *words: pytest.fail("it is built again"))
    assert len(Collection(tiny_collection).corpus()) == 30


def test_duplicates_stop_the_store(tiny_collection: Path) -> None:
    with open(tiny_collection / "corpus.jsonl", "a", encoding="utf-8") as file:
        file.write('{"_id": "bees-3", "title": "", "text": "again"}\n')
    with pytest.raises(DataError, match=r"corpus\.jsonl, line 31: the id 'bees-3' stands on line 4 already"):
        Collection(tiny_collection).corpus()


EXPECTED = {  # folder: passages, empty ones, judged passages that do not exist, queries of each split
    "arguana": (8674, 0, 5, {"test": 1406}),
    "cranfield": (1400, 2, 0, {"test": 225}),
    "nfcorpus": (3633, 0, 0, {"train": 2590, "dev": 324, "test": 323}),
    "scifact": (5183, 0, 0, {"train": 809, "test": 300}),
    "squad": (20958, 0, 0, {"train": 82726, "dev": 4873, "test": 10570}),
}


@pytest.mark.realdata
@pytest.mark.parametrize("name", EXPECTED)
def test_real_collections(data_dir: Path, name: str) -> None:
    passages, empty, unknown, splits = EXPECTED[name]
    collection = Collection.open(data_dir / name)
    store = collection.corpus()
    assert (len(store), store.num_empty) == (passages, empty)
    assert {split: len(collection.queries(split)) for split in splits} == splits
    assert sum(len(collection.unknown_passages(collection.qrels(split))) for split in splits) == unknown


def test_a_cache_that_cannot_be_written_is_named_with_its_cure(tmp_path: Path, monkeypatch) -> None:
    """There is no --output here to choose another of."""
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d1", "text": "harbour"}\n', encoding="utf-8")
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("DRETRIEVE_CACHE", str(tmp_path / "file" / "cache"))
    place = tmp_path / "file" / "cache" / "texts" / "0"
    monkeypatch.setattr("dretrieve.text.collection.store_folders", lambda corpus: [place])
    with pytest.raises(
        PreconditionError, match="cannot be written to the cache .* set DRETRIEVE_CACHE"
    ) as caught:
        Collection(tmp_path / "corpus.jsonl").corpus()
    assert "--output" not in str(caught.value)


@pytest.mark.parametrize("split", ["test", "no-such-split"])
def test_a_split_of_passages_is_refused_with_what_to_type(tiny_collection, split):
    with pytest.raises(UsageError, match="passages have no splits, all of them are taken; write") as found:
        Collection.open(f"{tiny_collection}:{split}", "corpus")
    assert str(found.value).endswith(f"write --corpus {tiny_collection}")


def test_a_colon_in_a_name_is_no_split(tiny_collection, tmp_path):
    (tmp_path / "a:test").symlink_to(tiny_collection)
    (tmp_path / "a").symlink_to(tiny_collection)
    assert Collection.open(str(tmp_path / "a:test"), "corpus").path == tmp_path / "a:test"


def test_what_columns_without_header_are_taken_for_is_said(tmp_path):
    (tmp_path / "c.tsv").write_text("1\tMill\tAn old mill.\n", encoding="utf-8")
    told = Told()
    assert Collection(tmp_path / "c.tsv").corpus(told).record(0) == Record("1", "An old mill.", "Mill")
    assert told.lines == ["c.tsv has no header, so its columns are id, text, title"]
    (tmp_path / "d.tsv").write_text("id\ttitle\ttext\n1\tMill\tAn old mill.\n", encoding="utf-8")
    told = Told()
    assert Collection(tmp_path / "d.tsv").corpus(told).record(0) == Record("1", "Mill", "An old mill.")
    assert told.lines == []
