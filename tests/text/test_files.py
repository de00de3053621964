"""Lines, compression, encodings: what is read is what was written, and every break has its place named."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import tarfile
import threading
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.errors import DataError, PreconditionError
from dretrieve.text import files, json_files
from dretrieve.text.files import (
    exists,
    is_file,
    open_bytes,
    read_lines,
    sha256_of,
)
from dretrieve.text.json_files import read_json, read_json_lines

COMPRESSORS = {
    "plain": lambda data: data,
    "gz": gzip.compress,
    "zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    "zst of two frames": lambda data: (
        zstandard.ZstdCompressor().compress(data[: len(data) // 2])
        + zstandard.ZstdCompressor().compress(data[len(data) // 2 :])
    ),
    "gz of two members": lambda data: gzip.compress(data[:3]) + gzip.compress(data[3:]),
    "gz with padding": lambda data: gzip.compress(data) + bytes(512),
    "bz2": bz2.compress,
    "bz2 of two streams": lambda data: bz2.compress(data[:3]) + bz2.compress(data[3:]),
    "xz": lzma.compress,
    "xz of two streams": lambda data: lzma.compress(data[:3]) + bytes(8) + lzma.compress(data[3:]),
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    "zst after a skippable frame": lambda data: (
        b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstandard.ZstdCompressor().compress(data)
    ),
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r"), max_size=30)


@pytest.mark.parametrize("form", COMPRESSORS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_are_the_same_however_compressed_and_ended(tmp_path: Path, form: str, end: str) -> None:
    lines = ["eins", "", "zwei\ttab\x00nul", "drei\u2028\x0b\x85no break", "ä" * 1000]
    path = tmp_path / "any-name"
    path.write_bytes(COMPRESSORS[form](end.join(lines).encode() + end.encode()))
    assert list(read_lines(path)) == list(enumerate(lines, 1))


@given(lines=st.lists(TEXTS, min_size=1), form=st.sampled_from(sorted(COMPRESSORS)))
def test_round_trip(tmp_path: Path, lines: list[str], form: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(COMPRESSORS[form]("".join(line + "\n" for line in lines).encode()))
    expected = [lines[0].removeprefix("\ufeff"), *lines[1:]]
    assert [line for _, line in read_lines(path)] == expected
    with open_bytes(path) as file:
        assert file.read().decode("utf-8-sig") == "".join(line + "\n" for line in expected)


def test_byte_order_mark_is_dropped_and_a_last_line_needs_no_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\xef\xbb\xbf{}\nlast")
    assert list(read_lines(path)) == [(1, "{}"), (2, "last")]


def test_utf8_error_names_line_and_byte(tmp_path: Path) -> None:
    path = tmp_path / "latin.tsv"
    path.write_bytes(b"good\nGr\xfc\xdfe\n")
    with pytest.raises(
        DataError, match=r"latin\.tsv, line 2: not UTF-8 \(byte 0xfc at position 2\); convert"
    ):
        list(read_lines(path))


@pytest.mark.parametrize("form", ["gz", "zst", "bz2", "xz"])
def test_cut_compression_is_told_not_swallowed(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"corpus.{form}"
    data = COMPRESSORS[form]("".join(f"line {row} {row * 7919}\n" for row in range(5000)).encode())
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"line \d+: the compressed data end in the middle"):
        list(read_lines(path))


@pytest.mark.parametrize("form", ["gz", "zst", "bz2", "xz"])
def test_damaged_compression_is_told(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"corpus.{form}"
    data = bytearray(COMPRESSORS[form]("".join(f"line {row * 7919}\n" for row in range(5000)).encode()))
    for position in range(len(data) // 2, len(data) // 2 + 40):
        data[position] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"line \d+: (the compressed data|not UTF-8)"):
        list(read_lines(path))


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(PreconditionError, match=r"nothing\.jsonl does not exist; correct the path"):
        list(read_lines(tmp_path / "nothing.jsonl"))
    with pytest.raises(PreconditionError, match="is a folder where a file is expected"):
        list(read_lines(tmp_path))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"a": 1', "not valid JSON"),
        ("[1]", "expected a JSON object {…}, found an array"),
        ('"text"', "found a string"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": "\\ud83d"}', r"half a surrogate pair \(\\ud83d\) has no character"),
        ("{" * 1, "not valid JSON"),
    ],
)
def test_broken_json_names_its_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "file.jsonl"
    path.write_text('{"a": 1}\n\n' + line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"file\.jsonl, line 3: .*{message}"):
        list(read_json_lines(path))


def test_a_whole_surrogate_pair_is_a_character(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    path.write_text('{"a": "\\ud83d\\ude00"}\n', encoding="utf-8")
    assert [value for _, value in read_json_lines(path)] == [{"a": "\U0001f600"}]


def test_zstd_is_read_as_a_stream(tmp_path: Path) -> None:
    """A long file comes in pieces: the first line is there before the last frame is."""
    data = "".join(f"{row}\n" for row in range(200_000)).encode()
    stream = io.BytesIO()
    with zstandard.ZstdCompressor().stream_writer(stream, closefd=False) as writer:
        writer.write(data)
    path = tmp_path / "long.zst"
    path.write_bytes(stream.getvalue())
    rows = read_lines(path)
    assert next(rows) == (1, "0")
    assert sum(1 for _ in rows) == 199_999


@pytest.mark.parametrize("form", ["gz", "bz2", "xz", "zst"])
def test_what_follows_compressed_data_is_never_dropped_in_silence(tmp_path: Path, form: str) -> None:
    """The second stream's head is broken: Python's own bz2 reader ends there without a word."""
    path = tmp_path / "corpus"
    path.write_bytes(COMPRESSORS[form](b"one\n") + b"X" + COMPRESSORS[form](b"two\n"))
    with pytest.raises(DataError, match="the compressed data are damaged"):
        list(read_lines(path))


def tar_of(name: str, data: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def zip_of(name: str, data: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, data)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (zip_of("corpus.jsonl", b"{}\n"), "is a zip archive.*unpack it"),
        (zip_of("xl/workbook.xml", b"<x>"), "is a spreadsheet or .*save its table as CSV in UTF-8"),
        (zip_of("[Content_Types].xml", b"<x>"), "is a spreadsheet or a document of an office program"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1" + bytes(100), "is a spreadsheet or .*save its table as CSV"),
        (tar_of("corpus.jsonl", b"{}\n"), "is a tar archive.*unpack it"),
        (gzip.compress(tar_of("collection.tsv", b"0\ttext\n")), "holds, compressed, a tar archive.*unpack"),
        (gzip.compress(gzip.compress(b"q1 0 d1 1\n", mtime=0), mtime=0), "is compressed twice"),
        (b"IxFI\x00\x03\x00\x00\x80\x00", "is an index of faiss.*name the file of text"),
        (pickle.dumps({"q1": {"d1": 1}}), "is a pickle.*write it as JSON"),
        (b"PAR1" + bytes(100), "is a Parquet file.*prepare hf:FILE.parquet, or write it"),
        (b"PAR1\x15\x04\x15" + bytes(100), "is a Parquet file"),
        (b"ARROW1" + bytes(100), "is an Arrow file.*prepare the folder of a saved data set as hf:FOLDER"),
        (b"\xff\xff\xff\xff\x10\x01" + bytes(100), "is an Arrow file"),
        (b"\x04\x22\x4d\x18" + bytes(20), "compressed with LZ4.*decompress it"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(20), "is a 7z archive"),
        ("q1 0 d1 1\n".encode("utf-16"), "is UTF-16 text.*convert it to UTF-8"),
        ("q1 0 d1 1\n".encode("utf-16-le"), "is UTF-16 text without mark"),
        ("q1 0 d1 1\n".encode("utf-16-be"), "is UTF-16 text without mark"),
        ("q1 0 d1 1\n".encode("utf-32"), "is UTF-32 text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a pointer of git-lfs"),
        (b"<!DOCTYPE html>\n<html><body>404</body></html>", "is a web page"),
    ],
)
def test_what_is_no_text_is_named_for_what_it_is(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"corpus\.jsonl {words}|corpus\.jsonl is {words}"):
        list(read_lines(path))


def test_lines_that_end_in_cr_alone_are_lines(tmp_path: Path) -> None:
    path = tmp_path / "old"
    path.write_bytes(b"q1 Q0 d1 1 3.5 t\rq1 Q0 d2 2 2.5 t\r")
    assert list(read_lines(path)) == [(1, "q1 Q0 d1 1 3.5 t"), (2, "q1 Q0 d2 2 2.5 t")]
    path.write_bytes(gzip.compress(b"a\rb\rc"))
    assert [line for _, line in read_lines(path)] == ["a", "b", "c"]
    path.write_bytes(b"x" * (3 << 20) + b"\ry")
    assert [len(line) for _, line in read_lines(path)] == [3 << 20, 1]


def test_a_cr_within_a_line_is_text(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * (3 << 20) + b"\ry\nlast\n")
    assert [len(line) for _, line in read_lines(path)] == [(3 << 20) + 2, 4]


@pytest.mark.parametrize("form", ["plain", "gz"])
def test_a_line_without_end_is_refused_at_a_stated_size(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LONGEST_LINE", 1 << 20)
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(COMPRESSORS[form](b"{}\n" + bytes(1 << 22)))
    with pytest.raises(DataError, match="line 2: the line is longer than 1 MB, the most that is read"):
        list(read_lines(path))


def pipe_of(data: bytes) -> int:
    """Return the reading end of a pipe that another thread fills."""
    reader, writer = os.pipe()

    def fill() -> None:
        with os.fdopen(writer, "wb") as file:
            file.write(data)

    threading.Thread(target=fill).start()
    return reader


def test_a_pipe_is_read_once_and_kept() -> None:
    data = "".join(f"line {row}\n" for row in range(50_000)).encode()
    packed = gzip.compress(data)
    handle = pipe_of(packed)
    path = Path(f"/dev/fd/{handle}")
    assert exists(path)
    assert is_file(path)
    first, second = read_lines(path), read_lines(path)
    assert next(first) == next(second) == (1, "line 0")
    assert sum(1 for _ in first) == sum(1 for _ in second) == 49_999
    assert sha256_of(path) == sha256(packed).hexdigest()
    files.forget_streams()
    os.close(handle)


def test_a_named_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=(b'{"a": 1}\n',)).start()
    assert [list(read_json_lines(path)) for _ in range(2)] == [[(1, {"a": 1})]] * 2
    files.forget_streams()


def test_a_device_without_end_is_refused() -> None:
    with pytest.raises(PreconditionError, match="/dev/zero is a device, which holds no text"):
        list(read_lines(Path("/dev/zero")))
    assert list(read_lines(Path(os.devnull))) == []


def test_a_whole_file_of_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(b'\xef\xbb\xbf{"q1":\r\n{"d1": 1.5}}\n')
    assert read_json(path) == {"q1": {"d1": 1.5}}
    path.write_bytes(b'{"q1":\n"\xff"}')
    with pytest.raises(DataError, match=r"run\.json, line 2: not UTF-8 \(byte 0xff at position 8\)"):
        read_json(path)
    monkeypatch.setattr(json_files, "LARGEST_VALUE", 1 << 20)
    path.write_text(json.dumps(["x" * (1 << 21)]), encoding="utf-8")
    with pytest.raises(DataError, match="one JSON value of more than 1 MB"):
        read_json(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000 + "]" * 100_000, "JSON nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "a number of more than 4,300 digits"),
    ],
)
def test_json_beyond_all_measure(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(text, encoding="utf-8")
    for read in (read_json, lambda path: list(read_json_lines(path))):
        with pytest.raises(DataError, match=words) as caught:
            read(path)
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "text",
    [
        "PAR1\tx",
        "PAR1 0 d 1",
        "PAR12\tx",
        "ARROW1\tx",
        "FEA1\tx",
        "x" * 256 + "mustard\t",
        "m" * 257 + "ustar",
    ],
)
def test_a_text_may_begin_with_the_name_of_a_form(tmp_path: Path, text: str) -> None:
    (tmp_path / "t").write_text(text, encoding="utf-8")
    assert list(read_lines(tmp_path / "t")) == [(1, text)]
