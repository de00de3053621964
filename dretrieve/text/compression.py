"""What a file is by its first bytes: compressed in a known way, or something that is no text."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

from dretrieve.errors import DataError, PreconditionError

BUFFER = 1 << 20
STEP = 1 << 12  # compressed bytes at once: even a file made to swell gives about 100 MB for them
COMPRESSED = (
    ("gzip", re.compile(rb"\x1f\x8b")),
    ("zstandard", re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")),
    ("bz2", re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")),
    ("xz", re.compile(rb"\xfd7zXZ\x00|\x5d\x00\x00[\x00-\xff]{10}")),
)
CONVERT, UNPACK = "convert it to UTF-8 text, e.g. with iconv", "unpack it and name the file in it"
NO_ID = rb"(?![\t \w])"  # what follows does not make a word or a cell of it
OFFICE = re.compile(
    rb"PK\x03\x04[\x00-\xff]{26}(?:\[Content_Types\]\.xml|_rels/|docProps/|xl/|word/|mimetypeapplication/vnd\.)"
    rb"|\xd0\xcf\x11\xe0"
)
FOREIGN = (
    ("a spreadsheet or a document of an office program", OFFICE, "save its table as CSV in UTF-8"),
    ("a zip archive", re.compile(rb"PK(?:\x03\x04|\x05\x06|\x07\x08)"), UNPACK),
    ("a 7z archive", re.compile(rb"7z\xbc\xaf\x27\x1c"), UNPACK),
    ("a rar archive", re.compile(rb"Rar!\x1a\x07"), UNPACK),
    ("a tar archive", re.compile(rb"[\x00-\xff]{257}ustar(?:\x00|  \x00)"), UNPACK),
    ("compressed with LZ4", re.compile(rb"\x04\x22\x4d\x18|\x02\x21\x4c\x18"), "decompress it"),
    ("compressed with snappy", re.compile(rb"\xff\x06\x00\x00sNaPpY"), "decompress it"),
    ("compressed with lzip", re.compile(rb"LZIP[\x00\x01]"), "decompress it"),
    ("compressed with compress (.Z)", re.compile(rb"\x1f\x9d"), "decompress it"),
    ("a Parquet file", re.compile(rb"PAR1" + NO_ID), "prepare hf:FILE.parquet, or write it as JSON lines"),
    (
        "an Arrow file",
        re.compile(rb"(?:ARROW1|FEA1)" + NO_ID + rb"|\xff{4}"),
        "prepare the folder of a saved data set as hf:FOLDER, or write it as JSON lines",
    ),
    ("an Avro file", re.compile(rb"Obj\x01"), "write it as JSON lines"),
    ("an array of numpy", re.compile(rb"\x93NUMPY"), "name the file of text"),
    ("an index of faiss", re.compile(rb"I[A-Za-z0-9]{3}[\x00-\xff]{2}\x00\x00"), "name the file of text"),
    ("an HDF5 file", re.compile(rb"\x89HDF\r\n"), "name the file of text"),
    ("a database of SQLite", re.compile(rb"SQLite format 3\x00"), "write its table as JSON lines"),
    ("a PDF", re.compile(rb"%PDF-"), "write its text as JSON lines"),
    ("a pickle", re.compile(rb"\x80[\x02-\x05]"), "write it as JSON: pickles can run code"),
    ("a file of safetensors", re.compile(rb"[\x00-\xff]{5}\x00{3}\{\""), "name the file of text"),
    ("UTF-32 text", re.compile(rb"\xff\xfe\x00\x00|\x00\x00\xfe\xff"), CONVERT),
    ("UTF-16 text", re.compile(rb"\xff\xfe|\xfe\xff"), CONVERT),
    ("UTF-16 text without mark", re.compile(rb"(?:[\x01-\xff]\x00){8}|(?:\x00[\x01-\xff]){8}"), CONVERT),
    ("a pointer of git-lfs", re.compile(rb"version https://git-lfs"), "fetch the file itself: git lfs pull"),
    ("a web page", re.compile(rb"\s*<(?:!doctype html|html)[\s>]", re.IGNORECASE), "fetch the file itself"),
)


class Damaged(DataError):
    """Compressed data that are cut or damaged.

    Attributes:
        reason: the sentence without its place.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


def reader_of(blocks: Iterator[bytes], file: IO[bytes]) -> io.BufferedReader:
    """Return the blocks as one file; closing it closes the file that they are made from."""
    return io.BufferedReader(_Blocks(blocks, file), buffer_size=BUFFER)


class _Blocks(io.RawIOBase):
    def __init__(self, blocks: Iterator[bytes], file: IO[bytes]) -> None:
        self._blocks, self._file, self._pending = blocks, file, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._pending:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._pending = memoryview(block)
        count = min(len(buffer), len(self._pending))
        buffer[:count] = self._pending[:count]
        self._pending = self._pending[count:]
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _decompressed(kind: str, file: IO[bytes], path: Path) -> Iterator[bytes]:
    """Yield the decompressed bytes of all streams that a file holds."""
    fresh, errors = _decompressor(kind, path)
    stream, begun, rest = fresh(), False, b""
    while data := rest or file.read(STEP):
        data, rest = data if begun else data.lstrip(b"\0"), b""  # padding between streams
        if not data:
            continue
        try:
            block = stream.decompress(data)
        except errors as error:
            reason = f"the compressed data are damaged ({kind}: {error}); fetch the file again"
            raise Damaged(path, reason) from error
        begun = not stream.eof
        if stream.eof:
            rest, stream = stream.unused_data, fresh()
        yield block
    if begun:
        raise Damaged(path, "the compressed data end in the middle (cut download?); fetch the file again")


def _decompressor(kind: str, path: Path) -> tuple[Callable[[], Any], tuple[type[Exception], ...]]:
    """Return what makes the object for one stream, and the errors that it raises."""
    try:
        if kind == "gzip":
            import zlib

            return partial(zlib.decompressobj, 31), (zlib.error,)
        if kind == "bz2":
            import bz2

            return bz2.BZ2Decompressor, (OSError, ValueError)
        if kind == "xz":
            import lzma

            return partial(lzma.LZMADecompressor, memlimit=1 << 30), (lzma.LZMAError,)
        import zstandard
    except ImportError as error:
        reason = f"{path} is compressed ({kind}); install the package '{error.name}', or decompress the file"
        raise PreconditionError(reason) from None
    unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 31)
    return unpacker.decompressobj, (zstandard.ZstdError,)


def unpacked(file: io.BufferedReader, path: Path) -> io.BufferedReader:
    """Return the file, or its decompressed bytes where it is compressed; closing it closes the file.

    Raises:
        DataError: the first bytes are those of something else: an archive, a table, UTF-16 …
        PreconditionError: it cannot be read, or a library is missing.
    """
    try:
        head = file.peek(1)
        kind = next((name for name, magic in COMPRESSED if magic.match(head)), None)
        if kind is not None:
            file = reader_of(_decompressed(kind, file, path), file)
            head = file.peek(1)
            if any(magic.match(head) for _, magic in COMPRESSED):
                raise DataError(f"{path} is compressed twice; decompress it once")
        for name, magic, cure in FOREIGN:
            if magic.match(head):
                inside = f"holds, compressed, {name}" if kind else f"is {name}"
                raise DataError(f"{path} {inside}, not a file of UTF-8 text; {cure}")
    except OSError as error:
        file.close()
        raise PreconditionError(f"{path} cannot be read: {error.strerror or error}") from error
    except BaseException:  # an interrupt too must not leave it open
        file.close()
        raise
    return file
