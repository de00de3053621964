r"""Opening text files, plain or compressed, and reading them line by line with places in every error.

Compression is told by the first bytes, not by the name. A line ends at ``\n`` or ``\r\n`` and nowhere
else (not at U+2028 or form feed, which are text); in a file without any ``\n`` it ends at ``\r``.
A byte-order mark at the start is dropped.

An input that is no regular file (``-``, ``/dev/stdin``, ``<(…)``, a named pipe) can be read only once: its
bytes are kept at the first reading, and all later ones read what was kept.
"""

from __future__ import annotations

import atexit
import errno
import io
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from hashlib import file_digest
from pathlib import Path
from typing import IO

from dretrieve.errors import DataError, PreconditionError, UsageError
from dretrieve.text.compression import BUFFER, Damaged, reader_of, unpacked

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LONGEST_LINE = 1 << 28  # bytes
STDIN = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")


_kept: dict[tuple[int, int], IO[bytes]] = {}  # stream to its bytes, in an unlinked temporary file


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
        kept.close()


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
            _kept[name] = _keep(path)
        # Opened anew, so that each reader has a place of its own.
        return io.BufferedReader(io.FileIO(f"/proc/self/fd/{_kept[name].fileno()}"), buffer_size=BUFFER)
    except FileNotFoundError:
        raise PreconditionError(f"{path} does not exist; correct the path or make the file first") from None
    except IsADirectoryError:
        raise PreconditionError(f"{path} is a folder where a file is expected; name the file in it") from None
    except OSError as error:
        raise PreconditionError(f"{path} cannot be read: {error.strerror or error}") from error


def _keep(path: Path) -> IO[bytes]:
    source = io.FileIO(0, closefd=False) if str(path) in STDIN else io.FileIO(path)
    with source, ExitStack() as undo:
        status = os.fstat(source.fileno())
        has_end = source.isatty() or status.st_rdev == os.stat(os.devnull).st_rdev
        if stat.S_ISBLK(status.st_mode) or (stat.S_ISCHR(status.st_mode) and not has_end):
            raise PreconditionError(f"{path} is a device, which holds no text; name a file")
        kept = undo.enter_context(tempfile.TemporaryFile())
        try:
            shutil.copyfileobj(source, kept, BUFFER)
            kept.flush()
        except OSError as error:
            if error.errno == errno.EBADF and str(path) in STDIN:
                raise PreconditionError(f"{path} is standard input, which is closed; name a file") from None
            raise PreconditionError(
                f"{path} cannot be read to its end: {error.strerror} (kept in {tempfile.gettempdir()}; "
                "TMPDIR names another place)"
            ) from error
        undo.pop_all()
    atexit.register(kept.close)
    return kept


def open_bytes(path: Path) -> io.BufferedReader:
    r"""Return the decompressed bytes of a file or stream; lines that end in ``\r`` alone get ``\n``.

    Reading on may raise `Damaged`.

    Raises:
        PreconditionError: as `open_stored`, or a missing extra.
        DataError: the first bytes are those of something else: an archive, a table, UTF-16 …
    """
    file = unpacked(open_stored(path), path)
    if b"\n" not in (head := file.peek(1)) and head and _ends_in_cr(path):
        blocks = (block.replace(b"\r", b"\n") for block in iter(partial(file.read, BUFFER), b""))
        return reader_of(blocks, file)
    return file


def _ends_in_cr(path: Path) -> bool:
    r"""Return whether the text has ``\r`` and no ``\n``, as far as one line may go."""
    seen = read = 0
    with unpacked(open_stored(path), path) as file:
        while read < LONGEST_LINE and (block := file.read(BUFFER)):
            if b"\n" in block:
                return False
            seen, read = seen + block.count(b"\r"), read + len(block)
    return seen > 0


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


def is_array(path: Path) -> bool:
    """Return whether the text begins as a JSON array, whose first line may have any length."""
    start = next((piece.lstrip() for _, piece in read_pieces(path, BUFFER) if not piece.isspace()), b"")
    return start.startswith(b"[")


def first_line(path: Path) -> str:
    """Return the first line that is not blank; of a JSON array the bracket alone.

    Raises:
        DataError: there is none; as `read_lines`.
    """
    if is_array(path):
        return "["
    line = next((line for _, line in read_lines(path) if line.strip()), None)
    if line is None:
        raise DataError(f"{path} is empty; write it again, or name the file that holds the records")
    return line


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
