"""Files appear whole or not at all."""

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dretrieve.errors import PreconditionError
from dretrieve.store.atomic import (
    explain_os_error,
    explained,
    filling,
    make_folder,
    replacing,
    write_bytes,
    write_json,
)


def test_a_failed_block_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "run.trec"
    write_bytes(target, b"old")
    with pytest.raises(TypeError), replacing(target) as file:
        file.writelines([b"half of the n", None])
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["run.trec"]


def test_the_new_file_is_not_visible_before_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.txt"
    with replacing(target, text=True) as file:
        file.write("ü\n")
        file.flush()
        assert not target.exists()
    assert target.read_bytes() == "ü\n".encode()


def test_json_is_sorted_and_refuses_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": "é"})
    assert (tmp_path / "a.json").read_text() == '{\n "a": "é",\n "b": 1\n}\n'
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "b.json", float("nan"))
    assert not (tmp_path / "b.json").exists()


def test_a_full_disk_is_one_sentence_and_keeps_the_old_file(tmp_path: Path, monkeypatch) -> None:
    target = tmp_path / "x"
    write_bytes(target, b"old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PreconditionError, match=r"cannot write .*x: the disk is full; free space"):
        write_bytes(target, b"new")
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_dev_full_is_reported_as_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space") as caught, open("/dev/full", "wb", buffering=0) as file:
        file.write(b"x")
    assert "the disk is full" in str(explain_os_error(caught.value, tmp_path))


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EROFS, "read-only"), (errno.EACCES, "permission denied"), (errno.EDQUOT, "quota")],
)
def test_each_reason_has_its_cure(number: int, words: str) -> None:
    message = str(explain_os_error(OSError(number, "x"), Path("/out")))
    assert words in message
    assert message.startswith("cannot write /out: ")


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(PreconditionError, match="a file stands where a folder is to be made"):
        make_folder(tmp_path / "out")
    with pytest.raises(PreconditionError, match="a parent of this path is a file"):
        write_bytes(tmp_path / "out" / "deep" / "x", b"")


def test_a_read_only_file_system_is_one_sentence(tmp_path: Path, monkeypatch) -> None:
    def refused(*_words: object, **_options: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("builtins.open", refused)
    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(PreconditionError, match=r"cannot write .*x: the file system is read-only; choose"):
        write_bytes(tmp_path / "x", b"new")


def test_numpys_short_write_means_a_full_disk(tmp_path: Path) -> None:
    error = explain_os_error(OSError("19466 requested and 15360 written"), tmp_path / "x")
    assert "the disk is full" in str(error)


def _faiss(path: str) -> None:
    faiss = pytest.importorskip("faiss")
    with open(path, "wb") as file:
        faiss.write_index(faiss.IndexFlatIP(4), faiss.PyCallbackIOWriter(file.write))


def _safetensors(path: str) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1 << 16)}, path)


def _tokenizers(path: str) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece

    Tokenizer(WordPiece({f"[{row}]": row for row in range(5000)}, unk_token="[0]")).save(path)


@contextmanager
def small_files() -> Iterator[None]:
    """Let no file grow beyond 16 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


WRITERS = pytest.mark.parametrize("writer", [_faiss, _safetensors, _tokenizers])


@WRITERS
def test_what_the_disk_says_to_a_librarys_writer_is_one_sentence(
    writer: Callable[[str], None], tmp_path: Path
) -> None:
    place = tmp_path / "x"
    with (
        pytest.raises(PreconditionError, match=r"^cannot write .*/x: the file would be larger than"),
        explained(place),
        small_files(),
    ):
        writer(str(place))


@WRITERS
def test_a_folder_that_is_not_there_is_one_sentence(writer: Callable[[str], None], tmp_path: Path) -> None:
    place = tmp_path / "none" / "x"
    with pytest.raises(PreconditionError, match=f"^cannot write {place}: "), explained(place):
        writer(str(place))


def test_a_librarys_files_take_their_places_together(tmp_path: Path) -> None:
    write_bytes(tmp_path / "config.json", b"old")
    with filling(tmp_path) as folder:
        _safetensors(str(folder / "model.safetensors"))
        write_bytes(folder / "1_Pooling" / "config.json", b"{}")
        write_bytes(folder / "config.json", b"new")
        assert (tmp_path / "config.json").read_bytes() == b"old"
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert names == ["1_Pooling/config.json", "config.json", "model.safetensors"]
    assert (tmp_path / "config.json").read_bytes() == b"new"
    assert len({path.stat().st_mode & 0o777 for path in tmp_path.iterdir() if path.is_file()}) == 1
    refused = pytest.raises(PreconditionError, match="would be larger")
    with refused, small_files(), filling(tmp_path) as folder:
        _safetensors(str(folder / "model.safetensors"))
    assert (tmp_path / "config.json").read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 3


def test_an_error_that_is_no_disks_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="shapes"), explained(Path("x")):
        raise RuntimeError("shapes (3, 4) and (5,) do not fit")
