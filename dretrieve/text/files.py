r"""Opening text files, plain or compressed, and reading them line by line with places in every error.

Compression is told by the first bytes, not by the name. A line ends at ``\n`` or ``\r\n`` and nowhere
else (not at U+2028 or form feed, which are text); in a file without any ``\n`` it ends at ``\r``.
A byte-order mark at the start is dropped.

An input that is no regular file (``-``, ``/dev/stdin``, ``<(…)``, a named pipe) can be read only once: its
bytes are kept at the first reading, and all later ones read what was kept.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from hashlib import file_digest
from pathlib import Path
from typing import IO, Any, cast

from dretrieve.errors import DataError, PreconditionError, UsageError, quoted
from dretrieve.text.compression import BUFFER, Damaged, unpacked

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LONE_SURROGATE = re.compile(r"\\u[dD][89abAB]|\\u[dD][c-fC-F]")
LONGEST_LINE = 1 << 28  # bytes
LARGEST_VALUE = 1 << 30  # bytes of a file that is one JSON value
IN_MEMORY = 1 << 26  # bytes of a stream; what goes beyond is kept in an unlinked temporary file
STDIN = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")


class _Kept:
    """All bytes of a stream; each reader has a place of its own.

    Args:
        source: read to its end.
        path: as the user wrote it.
    """

    def __init__(self, source: IO[bytes], path: Path) -> None:
        self.file: IO[bytes] | None = None
        try:
            self.data = source.read(IN_MEMORY)
            if more := source.read(BUFFER):
                self.file = tempfile.TemporaryFile()  # lives as long as this
                self.file.write(self.data)
                self.data = b""
                while more:
                    self.file.write(more)
                    more = source.read(BUFFER)
                self.file.flush()
        except OSError as error:
            if error.errno == errno.EBADF and str(path) in STDIN:
                raise PreconditionError(f"{path} is standard input, which is closed; name a file") from None
            place = f" (kept in {tempfile.gettempdir()}; TMPDIR names another place)" if self.file else ""
            raise PreconditionError(f"{path} cannot be read to its end: {error.strerror}{place}") from error

    def open(self) -> io.BufferedReader:
        """Return a new reader from the start."""
        raw = _At(self.file.fileno()) if self.file else io.BytesIO(self.data)
        return io.BufferedReader(cast(io.RawIOBase, raw), buffer_size=BUFFER)


class _At(io.RawIOBase):
    """A reader of an open file with a place of its own."""

    def __init__(self, handle: int) -> None:
        self._handle, self._place = handle, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = os.pread(self._handle, len(buffer), self._place)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


_kept: dict[tuple[int, int], _Kept] = {}


def stream_identity(path: str | Path) -> tuple[int, int] | None:
    """Return what names a stream, however it is spelled; None for files, folders and what does not exist.

    Raises:
        PreconditionError: standard input is meant and is closed.
    """
    is_stdin = str(path) in STDIN
    try:
        status = os.fstat(0) if is_stdin else os.stat(path)
    except (OSError, ValueError):
        if is_stdin:
            raise PreconditionError(f"{path} is standard input, which is closed; name a file") from None
        return None
    if not is_stdin and (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return None
    return status.st_dev, status.st_ino


def is_stream(path: str | Path) -> bool:
    """Return whether the path is no regular file or folder, but a stream that can be read once."""
    return stream_identity(path) is not None


def exists(path: Path) -> bool:
    """Return whether something stands at the path; standard input and other streams do."""
    return is_stream(path) or path.exists()


def is_file(path: Path) -> bool:
    """Return whether the path can be read as a file; standard input and other streams can."""
    return is_stream(path) or path.is_file()


def refuse_shared(words: Iterable[str]) -> None:
    """Refuse a stream that is given for two inputs: the second would find nothing.

    Raises:
        UsageError: names both spellings.
    """
    seen: dict[tuple[int, int], str] = {}
    for word in words:
        name = stream_identity(word)
        if name is not None and name in seen:
            raise UsageError(
                f"{seen[name]} and {word} are one stream, which is read only once; give a file for one"
            )
        if name is not None:
            seen[name] = word


def forget_streams() -> None:
    """Drop what was kept of streams: a command has ended."""
    while _kept:
        _, kept = _kept.popitem()
        if kept.file:
            kept.file.close()


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of the bytes of a file or stream, as they stand (compressed or not)."""
    with open_stored(path) as file:
        return file_digest(file, "sha256").hexdigest()


def open_stored(path: Path) -> io.BufferedReader:
    """Return the bytes of a file or stream as they stand, compressed or not.

    Raises:
        PreconditionError: it does not exist, is a folder, or may not be read.
    """
    name = stream_identity(path)
    try:
        if name is None:
            return io.BufferedReader(io.FileIO(path), buffer_size=BUFFER)
        if name not in _kept:
            raw = io.FileIO(0, closefd=False) if str(path) in STDIN else io.FileIO(path)
            with io.BufferedReader(raw, BUFFER) as source:
                _refuse_device(source.fileno(), path)
                _kept[name] = _Kept(source, path)
        return _kept[name].open()
    except FileNotFoundError:
        raise PreconditionError(f"{path} does not exist; correct the path or make the file first") from None
    except IsADirectoryError:
        raise PreconditionError(f"{path} is a folder where a file is expected; name the file in it") from None
    except OSError as error:
        raise PreconditionError(f"{path} cannot be read: {error.strerror or error}") from error


def _refuse_device(handle: int, path: Path) -> None:
    status = os.fstat(handle)
    has_end = os.isatty(handle) or status.st_rdev == os.stat(os.devnull).st_rdev
    if stat.S_ISBLK(status.st_mode) or (stat.S_ISCHR(status.st_mode) and not has_end):
        raise PreconditionError(f"{path} is a device, which holds no text; name a file")


def open_bytes(path: Path) -> io.BufferedReader:
    r"""Return the decompressed bytes of a file or stream; lines that end in ``\r`` alone get ``\n``.

    Reading on may raise `Damaged`.

    Raises:
        PreconditionError: as `open_stored`, or a missing extra.
        DataError: the first bytes are those of something else: an archive, a table, UTF-16 …
    """
    file = unpacked(open_stored(path), path)
    if b"\n" not in (head := file.peek(1)) and head and _ends_in_cr(path):
        return io.BufferedReader(_CrLines(file), buffer_size=BUFFER)
    return file


def is_mappable(path: Path) -> bool:
    """Return whether the stored bytes of the file are the lines that `open_bytes` gives."""
    if is_stream(path):
        return False
    with open_bytes(path) as file:
        as_stored = isinstance(file.raw, io.FileIO)
        return as_stored and not file.peek(1).startswith(BYTE_ORDER_MARK)


def _ends_in_cr(path: Path) -> bool:
    r"""Return whether the text has ``\r`` and no ``\n``, as far as one line may go."""
    seen = read = 0
    with unpacked(open_stored(path), path) as file:
        while read < LONGEST_LINE and (block := file.read(BUFFER)):
            if b"\n" in block:
                return False
            seen, read = seen + block.count(b"\r"), read + len(block)
    return seen > 0


class _CrLines(io.RawIOBase):
    r"""The bytes of a file with ``\n`` for ``\r``."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer)).replace(b"\r", b"\n")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def read_pieces(path: Path, most: int) -> Iterator[tuple[int, bytes]]:
    """Yield ``(line number from 1, bytes)`` of lines with their ends; those beyond ``most`` bytes in pieces.

    Raises:
        DataError: compressed data that are damaged or cut; names the line.
        PreconditionError: it cannot be read.
    """
    number, ended = 0, True
    try:
        with open_bytes(path) as file:
            for piece in iter(partial(file.readline, most), b""):
                if not number:
                    piece = piece.removeprefix(BYTE_ORDER_MARK)
                number += ended
                ended = piece.endswith(b"\n")
                yield number, piece
    except Damaged as error:
        raise DataError.at(path, number + 1, error.reason) from error
    except OSError as error:
        raise PreconditionError(f"{path} cannot be read: {error.strerror or error}") from error


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield ``(line number from 1, line without its end)``; empty lines included.

    Raises:
        DataError: as `read_pieces`; bytes that are not UTF-8, a line beyond `LONGEST_LINE`; names the line.
        PreconditionError: it cannot be read.
    """
    for number, raw in read_pieces(path, LONGEST_LINE + 1):
        if len(raw) > LONGEST_LINE:
            raise too_long(path, number)
        try:
            line = raw.decode()
        except UnicodeDecodeError as error:
            raise not_utf8(path, number, error) from error
        if line.endswith("\n"):
            line = line[:-2] if line.endswith("\r\n") else line[:-1]
        yield number, line


def not_utf8(path: Path, line: int, error: UnicodeDecodeError) -> DataError:
    """Return the error for bytes that are no text."""
    byte, place = error.object[error.start], error.start
    return DataError.at(
        path, line, f"not UTF-8 (byte 0x{byte:02x} at position {place}); convert the file to UTF-8"
    )


def too_long(path: Path, line: int | None) -> DataError:
    """Return the error for a line that no record can need."""
    most = f"{LONGEST_LINE >> 20} MB"
    return DataError.at(
        path, line, f"the line is longer than {most}, the most that is read; part it into lines"
    )


def read_json(path: Path, decoder: json.JSONDecoder | None = None) -> Any:
    """Return the JSON value that the whole file is; `UNIQUE` as ``decoder`` refuses a key that stands twice.

    Raises:
        DataError: no JSON, or more than `LARGEST_VALUE` bytes.
    """
    parts, size = [], 0
    with open_bytes(path) as file:
        while data := file.read(BUFFER):
            parts.append(data)
            size += len(data)
            if size > LARGEST_VALUE:
                most = f"{LARGEST_VALUE >> 20} MB"
                raise DataError(f"{path} is one JSON value of more than {most}; write its records one a line")
    try:
        text = b"".join(parts).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_utf8(path, error.object.count(b"\n", 0, error.start) + 1, error) from error
    return parse_json(text, path, 1, decoder)


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
    except RecursionError:
        raise DataError.at(path, line, json_fault(RecursionError())) from None
    except UnicodeEncodeError as error:
        raise half_a_pair(path, line, f"{ord(error.object[error.start]):04x}") from None


def half_a_pair(path: Path, line: int, code: str) -> DataError:
    """Return the error for a surrogate that stands alone; ``code`` in hexadecimal."""
    return DataError.at(
        path, line, f"half a surrogate pair (\\u{code}) has no character; replace it, e.g. by \\ufffd"
    )


def parse_json(text: str, path: Path, line: int, decoder: json.JSONDecoder | None = None) -> Any:
    """Return the JSON value of ``text``; NaN and infinity are no JSON."""
    try:
        return (decoder or DECODER).decode(text)
    except (ValueError, RecursionError) as error:
        shown = text if len(text) <= 60 else text[:57] + "..."
        raise DataError.at(path, line, f"{json_fault(error)}: {shown}") from None


def json_fault(error: BaseException) -> str:
    """Return what is wrong with a text that a parser refused."""
    reason = str(error).partition("\n")[0]
    if isinstance(error, RecursionError):
        return "JSON nested too deeply to be a record"
    if "set_int_max_str_digits" in reason:
        return f"a number of more than {sys.get_int_max_str_digits():,} digits, which no record needs"
    if isinstance(error, UnicodeDecodeError) or "UTF8" in reason:
        return "not UTF-8; convert the file to UTF-8"
    return f"not valid JSON ({reason})"


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


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {quoted(twice)} stands twice in one object")
    return found


DECODER = json.JSONDecoder(parse_constant=refuse_constant)
UNIQUE = json.JSONDecoder(parse_constant=refuse_constant, object_pairs_hook=_refuse_twice)
