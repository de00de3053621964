"""The text store gives every record back, by row and by id, whatever is in it."""

import multiprocessing
import os
import resource
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.errors import DataError, PreconditionError, VerificationError
from dretrieve.order import id_ranks
from dretrieve.store import text_store
from dretrieve.store.text_store import TextStore, records_sha256
from dretrieve.types import Record

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
ids = st.text(st.characters(exclude_categories=("Cs", "Zs", "Zl", "Zp", "Cc")), min_size=1, max_size=6)
collections = st.lists(st.builds(Record, ids, texts, texts), max_size=30, unique_by=lambda record: record.id)


@pytest.mark.parametrize("small", [0, 1 << 17], ids=["searched", "in a table"])
@given(records=collections)
def test_what_goes_in_comes_out(small: int, tmp_path_factory, records: list[Record]) -> None:
    folder = tmp_path_factory.mktemp("texts") / "store"
    store = TextStore.build(folder, records, {})
    store.small = small
    assert store.records(0, len(store)) == records
    assert store.ids() == [record.id for record in records]
    for row, record in enumerate(records):
        assert store.row_of(record.id) == row
        assert store.record(row) == record
    assert store.row_of("no such id") is None
    np.testing.assert_array_equal(store.id_ranks(), id_ranks(store.ids()))
    assert store.sha256 == records_sha256(records)


def test_the_hash_depends_on_every_field_and_on_their_borders() -> None:
    base = [Record("1", "ab", "c")]
    others = [[Record("1", "a", "bc")], [Record("2", "ab", "c")], [Record("1", "ab", "d")], base + base]
    hashes = {records_sha256(records) for records in [base, *others]}
    assert len(hashes) == 5


def test_a_duplicate_id_is_named_with_both_places(tmp_path: Path) -> None:
    records = [Record("001", "", "a"), Record("1", "", "b"), Record("001", "", "c")]
    with pytest.raises(DataError, match="id '001' stands at passages 1 and 3"):
        TextStore.build(tmp_path / "store", records, {})
    assert os.listdir(tmp_path) == []


def test_empty_passages_are_counted(tmp_path: Path) -> None:
    store = TextStore.build(tmp_path / "s", [Record("a", "", " "), Record("b", "t", "")], {})
    assert store.num_empty == 1


def test_a_damaged_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PreconditionError):
        TextStore.open(tmp_path / "none")
    TextStore.build(tmp_path / "s", [Record("a", "t", "text")], {})
    (tmp_path / "s" / "texts.bin").write_bytes(b"ttexX")
    with pytest.raises(VerificationError, match="bytes were changed"):
        TextStore.open(tmp_path / "s")


def _build(folder: Path) -> None:
    TextStore.build(folder, (Record(str(row), "t", "x" * 50) for row in range(3000)), {})


@pytest.mark.parametrize("size", [16, 128, 150, 180])
def test_a_store_that_finds_no_room_is_not_there(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = text_store._write_texts

    def in_little_room(folder: Path, records: Iterable[Record]) -> tuple[str, int, int]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))  # 150 cuts into the numbers of an array
        try:
            return write(folder, records)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    monkeypatch.setattr(text_store, "_write_texts", in_little_room)
    with pytest.raises(PreconditionError, match="cannot write"):
        TextStore.build(tmp_path / "s", [Record(str(row), "", "text") for row in range(3)], {})
    assert not os.listdir(tmp_path)


def test_stores_that_others_put_there_meanwhile_are_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "s"
    TextStore.build(folder, [Record("old", "", "text")], {})
    shutil.copytree(folder, tmp_path / "other")
    rename, others = os.rename, [1, 2, 3]

    def rename_after_another(source: Path, target: Path) -> None:
        if target == folder and not folder.exists() and others:
            shutil.copytree(tmp_path / "other", folder)
            others.pop()
        rename(source, target)

    monkeypatch.setattr(os, "rename", rename_after_another)
    assert TextStore.build(folder, [Record("new", "", "text")], {}).ids() == ["new"]
    assert not others
    assert sorted(os.listdir(tmp_path)) == ["other", "s"]


@pytest.mark.parametrize("theirs", ["the same", "other records", "another source", "damaged"])
def test_the_first_of_two_equal_stores_stays_and_every_other_is_replaced(tmp_path: Path, theirs: str) -> None:
    folder, records = tmp_path / "s", [Record("a", "t", "text")]

    def while_another_builds() -> Iterator[Record]:
        yield from records
        others = [Record("a", "t", "other")] if theirs == "other records" else records
        TextStore.build(folder, others, {"name": "b" if theirs == "another source" else "a"})
        if theirs == "damaged":
            (folder / "texts.bin").write_bytes(b"ttexX")
        built.append(folder.stat().st_ino)

    built: list[int] = []
    store = TextStore.build(folder, while_another_builds(), {"name": "a"})
    assert (folder.stat().st_ino == built[0]) == (theirs == "the same")
    assert store.records(0, 2) == records
    assert TextStore.open(folder, full=True).records(0, 2) == records
    assert text_store.source_of(folder) == {"name": "a"}
    assert os.listdir(tmp_path) == ["s"]


def test_a_store_is_read_though_another_process_takes_its_place_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def taken_away(source: Path, target: Path) -> None:
        rename(source, target)
        shutil.rmtree(target)  # as it is between the two renames of one that replaces it

    monkeypatch.setattr(os, "rename", taken_away)
    store = TextStore.build(tmp_path / "s", [Record("a", "t", "text")], {})
    assert store.folder == tmp_path / "s"
    assert store.record(0) == Record("a", "t", "text")


def test_four_processes_may_build_it_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_build, args=(tmp_path / "s",)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len(TextStore.open(tmp_path / "s", full=True)) == 3000
    assert os.listdir(tmp_path) == ["s"]
