r"""Opening text files, plain or compressed, and reading them line by line with places in every error.

Compression is told by the first bytes, not by the name. A line ends at ``\n`` or ``\r\n`` and nowhere
else (not at U+2028, form feed or a lone ``\r``, which are text). A byte-order mark at the start is dropped.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from dretrieve.errors import DataError, PreconditionError

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LONE_SURROGATE = re.compile(r"\\u[dD][89abAB]|\\u[dD][c-fC-F]")
BUFFER = 1 << 20


class _ZstdStream(io.RawIOBase):
    """Raw decompressing stream over all frames of a file; raises `EOFError` where the last one is cut."""

    def __init__(self, file: IO[bytes]) -> None:
        import zstandard

        self._decompressor = zstandard.ZstdDecompressor()
        self._error = zstandard.ZstdError
        self._file, self._frame = file, self._decompressor.decompressobj()
        self._pending, self._begun = memoryview(b""), False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not len(self._pending):
            if self._frame.eof:
                data = self._frame.unused_data
                self._frame, self._begun = self._decompressor.decompressobj(), False
            else:
                data = b""
            data = data or self._file.read(1 << 17)
            if not data:
                if self._begun:
                    raise EOFError("compressed data end in the middle of a frame")
                return 0
            self._begun = True
            try:
                self._pending = memoryview(self._frame.decompress(data))
            except self._error as error:
                raise OSError(f"damaged zstd data ({error})") from error
        count = min(len(buffer), len(self._pending))
        buffer[:count] = self._pending[:count]
        self._pending = self._pending[count:]
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def open_bytes(path: Path) -> IO[bytes]:
    """Return the file's decompressed bytes as a buffered stream (gzip and zstd by their first bytes).

    Raises:
        PreconditionError: the file does not exist, is a folder, may not be read, or needs a missing extra.
    """
    try:
        file = io.BufferedReader(io.FileIO(path), buffer_size=BUFFER)
    except FileNotFoundError:
        raise PreconditionError(f"{path} does not exist; correct the path or make the file first") from None
    except IsADirectoryError:
        raise PreconditionError(f"{path} is a folder where a file is expected; name the file in it") from None
    except OSError as error:
        raise PreconditionError(f"{path} cannot be read: {error.strerror or error}") from error
    head = file.peek(4)[:4]
    if head[:2] == GZIP_MAGIC:
        file.close()
        return io.BufferedReader(cast(io.RawIOBase, gzip.open(path)), buffer_size=BUFFER)
    if head == ZSTD_MAGIC:
        try:
            return io.BufferedReader(_ZstdStream(file), buffer_size=BUFFER)
        except ImportError:
            file.close()
            raise PreconditionError(
                f"{path} is zstd-compressed; install the package 'zstandard' or decompress the file"
            ) from None
    return file


def open_text(path: Path) -> IO[str]:
    r"""Return the file as decompressed UTF-8 text without byte-order mark; lines end at ``\n`` only.

    Use `read_lines` for line formats: it names the line of a broken byte.
    """
    return io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig", newline="\n")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield ``(line number from 1, line without its end)``; empty lines included.

    Raises:
        DataError: bytes that are not UTF-8, compressed data that are damaged or cut; names the line.
    """
    number = 0
    with open_bytes(path) as file:
        try:
            for raw in file:
                number += 1
                if number == 1 and raw.startswith(BYTE_ORDER_MARK):
                    raw = raw[3:]
                line = raw.decode()
                if line.endswith("\n"):
                    line = line[:-2] if line.endswith("\r\n") else line[:-1]
                yield number, line
        except UnicodeDecodeError as error:
            raise DataError.at(
                path,
                number,
                f"not UTF-8 (byte 0x{error.object[error.start]:02x} at position {error.start}); "
                "convert the file to UTF-8",
            ) from error
        except EOFError as error:
            raise DataError.at(
                path,
                number + 1,
                "the compressed data end in the middle (cut download?); fetch the file again",
            ) from error
        except (OSError, zlib.error) as error:
            raise DataError.at(
                path, number + 1, f"the compressed data are damaged ({error}); fetch the file again"
            ) from error


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield ``(line number, object)`` of a JSONL file; lines of white space are skipped.

    Raises:
        DataError: a line is not JSON (cut lines included) or not an object.
    """
    for number, line in read_lines(path):
        if not line or line.isspace():
            continue
        value = parse_object(line, path, number)
        if "\\u" in line and LONE_SURROGATE.search(line):
            check_encodable(value, path, number)
        yield number, value


def check_encodable(value: object, path: Path, line: int) -> None:
    """Refuse half a surrogate pair (``d83d`` alone): it has no UTF-8 form and breaks every tokenizer."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise DataError.at(
            path,
            line,
            f"half a surrogate pair (\\u{ord(half):04x}) has no character; replace it, e.g. by \\ufffd",
        ) from None


def parse_json(text: str, path: Path, line: int, decoder: json.JSONDecoder | None = None) -> Any:
    """Return the JSON value of ``text``; NaN and infinity are no JSON."""
    try:
        return (decoder or DECODER).decode(text)
    except ValueError as error:
        shown = text if len(text) <= 60 else text[:57] + "..."
        raise DataError.at(path, line, f"not valid JSON ({error}): {shown}") from None
    except RecursionError:
        raise DataError.at(path, line, "JSON nested too deeply to be a record") from None


def parse_object(text: str, path: Path, line: int) -> dict[str, Any]:
    """Return the JSON object of ``text``."""
    value = parse_json(text, path, line)
    if not isinstance(value, dict):
        raise DataError.at(path, line, f"expected a JSON object {{…}}, found {json_type(value)}")
    return value


def json_type(value: object) -> str:
    """Return what JSON calls the value's type, with an article, for messages."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", int: "a number"}
    return names.get(type(value), "null" if value is None else "a number")


def refuse_constant(name: str) -> float:
    """Refuse ``NaN``, ``Infinity`` and ``-Infinity``, which Python's parser would take."""
    raise ValueError(f"{name} is not JSON")


DECODER = json.JSONDecoder(parse_constant=refuse_constant)
