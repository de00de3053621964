"""Where the cache is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dretrieve.errors import SpokenWarning, VerificationError
from dretrieve.store.fingerprint import sha256_file
from dretrieve.text import collection as of_collections
from dretrieve.text.cache import cache_folder, read_once, reading_once, remember
from dretrieve.text.collection import Collection
from tests.common import flip


def test_the_variable_wins_over_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DRETRIEVE_CACHE", str(tmp_path / "elsewhere"))
    assert cache_folder() == tmp_path / "elsewhere"
    monkeypatch.setenv("DRETRIEVE_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "dretrieve"
    assert not (tmp_path / ".cache").exists()


def use(path: Path) -> None:
    """Remember the file as it is."""
    remember({path: sha256_file(path)})


def test_bytes_that_nobody_wrote_are_refused_until_the_record_goes(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"weights of a model")
    use(path)
    use(path)
    flip(path)
    for _ in range(2):
        with pytest.raises(VerificationError, match="remove .*json") as told:
            use(path)
    Path(str(told.value).rpartition("remove ")[2].removesuffix(")")).unlink()
    use(path)


def test_a_file_that_was_written_since_is_said_once(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"weights of a model")
    use(path)
    flip(path, dated=True)
    with pytest.warns(SpokenWarning, match="is not the file that was used here before"):
        use(path)
    use(path)
    flip(path, dated=True)
    remember({path: sha256_file(path)}, said=False)
    os.utime(path)  # touched, the same bytes
    use(path)


def test_a_reading_is_shared_inside_and_as_long_as_the_file_does_not_change(tmp_path: Path) -> None:
    path, read = tmp_path / "file", []
    path.write_bytes(b"text of a file")

    def ask(name: str = "file") -> int:
        return read_once(name, [path], lambda: read.append(name) or len(read))

    assert [ask(), ask()] == [1, 2]
    with reading_once():
        assert [ask(), ask(), ask("other"), ask()] == [3, 3, 4, 3]
        flip(path, dated=True)
        assert [ask(), ask()] == [5, 5]
    assert ask() == 6


def test_a_report_reads_queries_and_judgements_once(
    tiny_collection: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    for name in ("read_queries", "read_qrels"):
        own = getattr(of_collections, name)
        monkeypatch.setattr(
            of_collections, name, lambda *given, own=own: read.append(given[0].name) or own(*given)
        )

    def ask() -> int:
        return len(Collection.open(f"{tiny_collection}:test").queries().queries)

    assert [ask(), ask()] == [6, 6]
    assert read == ["queries.jsonl", "test.tsv"] * 2
    with reading_once():
        assert [ask(), ask()] == [6, 6]
        assert len(read) == 6
        with (tiny_collection / "queries.jsonl").open("a") as file:
            file.write('{"_id": "more", "text": "of them"}\n')
        assert ask() == 6
    assert read[6:] == ["queries.jsonl"]


def test_a_cache_that_cannot_be_written_remembers_nothing(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_bytes(b"x")
    monkeypatch.setenv("DRETRIEVE_CACHE", str(tmp_path / "file" / "cache"))
    use(tmp_path / "file")


@pytest.mark.parametrize("record", ["{", "[]", '{"files": 3}'])
def test_a_record_that_cannot_be_read_is_made_again(tmp_path: Path, record: str) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"weights of a model")
    use(path)
    (kept,) = [file for file in (cache_folder() / "first-use").iterdir() if str(tmp_path) in file.read_text()]
    kept.write_text(record)
    use(path)
    flip(path)
    with pytest.raises(VerificationError):
        use(path)
