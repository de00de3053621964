"""Lines, compression, encodings: what is read is what was written, and every break has its place named."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.errors import DataError, PreconditionError
from dretrieve.text.files import open_text, read_json_lines, read_lines

COMPRESSORS = {
    "plain": lambda data: data,
    "gz": gzip.compress,
    "zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    "zst of two frames": lambda data: (
        zstandard.ZstdCompressor().compress(data[: len(data) // 2])
        + zstandard.ZstdCompressor().compress(data[len(data) // 2 :])
    ),
    "gz of two members": lambda data: gzip.compress(data[:3]) + gzip.compress(data[3:]),
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
    with open_text(path) as file:
        assert file.read() == "".join(line + "\n" for line in expected)


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


@pytest.mark.parametrize("form", ["gz", "zst"])
def test_cut_compression_is_told_not_swallowed(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"corpus.{form}"
    data = COMPRESSORS[form]("".join(f"line {row} {row * 7919}\n" for row in range(5000)).encode())
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"line \d+: the compressed data end in the middle"):
        list(read_lines(path))


@pytest.mark.parametrize("form", ["gz", "zst"])
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
