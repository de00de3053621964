"""The text store: a collection's passages in row order with random access, whatever form they came in.

``texts.bin`` is title and text of every row, one after the other, in UTF-8; ``offsets.npy`` (int64,
[2 rows + 1]) holds where each begins; ``ids.txt`` one id per line; ``id_order.npy`` (int64, [rows]) the rows
sorted by id. All are memory-mapped, so passage-by-id works on 21 million rows within a few megabytes.
The manifest's ``sha256`` is over the canonical records (id, title, text), not over the file they came from.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError, DretrieveError, PreconditionError, VerificationError
from dretrieve.store.atomic import folder_beside, sync, temporary_beside
from dretrieve.store.fingerprint import canonical_json
from dretrieve.store.ids import IdTable
from dretrieve.store.manifest import (
    Manifest,
    commit,
    provenance_path,
    read_manifest,
    verify_files,
)
from dretrieve.store.npy import map_array, write_array
from dretrieve.types import Record

STAGE = "text-store"
FILES = ("texts.bin", "offsets.npy", "ids.txt", "id_order.npy")


def record_bytes(record: Record) -> bytes:
    """Return the canonical form of a record: the JSON array [id, title, text] and a newline."""
    return canonical_json([record.id, record.title, record.text]) + b"\n"


def records_sha256(records: Iterable[Record]) -> str:
    """Return the hash that names a set of texts: SHA-256 over the canonical records in order."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(record_bytes(record))
    return digest.hexdigest()


class TextStore:
    """Passages by row or by id; implements `dretrieve.types.Texts`."""

    hashed = 1 << 24  # up to so many bytes are hashed whenever a store is opened: at most 40 ms
    small = 1 << 17  # up to so many ids are looked up in a table in memory: about 15 MB, made in 50 ms

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest
        self._ids = IdTable.open(folder / "ids.txt")
        self._offsets: NDArray[np.int64] = map_array(folder / "offsets.npy")
        self._order: NDArray[np.int64] = map_array(folder / "id_order.npy")
        self._texts: mmap.mmap | bytes = b""
        if (folder / "texts.bin").stat().st_size:
            with open(folder / "texts.bin", "rb") as file:
                self._texts = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    @classmethod
    def open(cls, folder: Path, *, full: bool = False) -> TextStore:
        """Return the store at ``folder``.

        Raises:
            PreconditionError: there is none.
            VerificationError: its bytes changed.
        """
        path = folder / "manifest.json"
        manifest = read_manifest(path)
        size = sum(int(entry["bytes"]) for entry in manifest.files.values())
        try:
            verify_files(path, manifest, full=full or size <= cls.hashed)
        except (PreconditionError, VerificationError) as error:
            raise VerificationError(
                f"{str(error).rpartition(';')[0]}; remove {folder}, it is made again by the next command"
            ) from error
        return cls(folder, manifest)

    @classmethod
    def build(cls, folder: Path, records: Iterable[Record], source: Mapping[str, Any]) -> TextStore:
        """Write the store of ``records`` at ``folder`` and return it.

        It is built beside its place and renamed, so several processes may build the same one at once: the
        first wins and the others use it. A store of other records or of another source is replaced.
        ``source``, what the records came from (name, size, time, sha256), is kept in the provenance.

        Raises:
            DataError: an id occurs twice.
        """
        with folder_beside(folder) as temporary:
            sha256, rows, empty = _write_texts(temporary, records)
            _write_order(temporary)
            for name in FILES:
                sync(temporary / name)
            manifest = Manifest(
                stage=STAGE,
                version=1,
                inputs={"records": sha256},
                counts={"rows": rows, "empty": empty},
            )
            commit(temporary / "manifest.json", manifest, FILES, {"source": dict(source)})
            return _settle(cls.open(temporary), folder)  # mapped first: whoever replaces it takes nothing

    @property
    def sha256(self) -> str:
        """Hash over the canonical records (id, title, text)."""
        return self.manifest.inputs["records"]

    @property
    def num_empty(self) -> int:
        """How many passages have neither title nor text."""
        return self.manifest.counts["empty"]

    def __len__(self) -> int:
        return len(self._ids)

    def ids(self, start: int = 0, stop: int | None = None) -> list[str]:
        """Return the ids of rows ``start`` to ``stop`` (exclusive)."""
        return self._ids[start:stop]

    def records(self, start: int, stop: int) -> list[Record]:
        """Return the records of rows ``start`` to ``stop`` (exclusive).

        Raises:
            VerificationError: their bytes are no text.
        """
        stop = min(stop, len(self))
        bounds = self._offsets[2 * start : 2 * stop + 1].tolist()
        try:
            texts = [self._texts[low:high].decode() for low, high in pairwise(bounds)]
            ids = self._ids[start:stop]
        except UnicodeDecodeError as error:
            raise VerificationError(
                f"the text store {self.folder} is damaged: its rows {start:,} to {stop:,} are no UTF-8 "
                f"({error.reason}); remove the folder, it is made again by the next command"
            ) from error
        return [Record(ids[row], texts[2 * row], texts[2 * row + 1]) for row in range(len(ids))]

    def record(self, row: int) -> Record:
        """Return the record of one row."""
        return self.records(row, row + 1)[0]

    def row_of(self, passage_id: str) -> int | None:
        """Return the row of that id, or None when the collection has no such passage."""
        if len(self) <= self.small:
            return self._rows.get(passage_id)
        place = bisect_left(self._order, passage_id, key=lambda row: self._ids[int(row)])
        row = int(self._order[place]) if place < len(self) else None
        return row if row is not None and self._ids[row] == passage_id else None

    def find(self, passage_id: str) -> Record | None:
        """Return the record of that id, or None when the collection has no such passage."""
        row = self.row_of(passage_id)
        return None if row is None else self.record(row)

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {passage_id: row for row, passage_id in enumerate(self._ids)}

    def id_ranks(self) -> NDArray[np.int64]:
        """Return each row's position in ascending UTF-8 byte order of the ids."""
        ranks = np.empty(len(self), dtype=np.int64)
        ranks[self._order] = np.arange(len(self), dtype=np.int64)
        return ranks


def _write_texts(folder: Path, records: Iterable[Record]) -> tuple[str, int, int]:
    digest, position, rows, empty = hashlib.sha256(), 0, 0, 0
    offsets = array("q", [0])
    with open(folder / "texts.bin", "wb") as texts, open(folder / "ids.txt", "wb") as ids:
        for record in records:
            digest.update(record_bytes(record))
            title, text = record.title.encode(), record.text.encode()
            texts.write(title + text)
            ids.write(record.id.encode() + b"\n")
            offsets.append(position + len(title))
            position += len(title) + len(text)
            offsets.append(position)
            empty += not (title.strip() or text.strip())
            rows += 1
    with open(folder / "offsets.npy", "wb") as file:
        write_array(file, np.frombuffer(offsets, dtype=np.int64))
    return digest.hexdigest(), rows, empty


def _write_order(folder: Path) -> None:
    ids = list(IdTable.open(folder / "ids.txt"))
    order = sorted(range(len(ids)), key=ids.__getitem__)
    for before, after in pairwise(order):
        if ids[before] == ids[after]:
            raise DataError(
                f"id {ids[before]!r} stands at passages {before + 1:,} and {after + 1:,} of the corpus; "
                "ids must be unique: rename or remove one of them"
            )
    with open(folder / "id_order.npy", "wb") as file:
        write_array(file, np.asarray(order, dtype=np.int64))


def source_of(folder: Path) -> object:
    """Return what the store there says that it was made from; None where no store says so."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return json.loads(provenance_path(folder / "manifest.json").read_bytes())["details"]["source"]
    return None


def _settle(made: TextStore, folder: Path) -> TextStore:
    """Move the store to its place and return it, or a whole one of the same that another put there first."""
    while True:  # a second turn only where another process has put its own there between
        try:
            os.rename(made.folder, folder)
            break
        except OSError:
            if not folder.exists():
                raise
        with suppress(DretrieveError, OSError):
            same = read_manifest(folder / "manifest.json") == made.manifest  # before gigabytes are hashed
            if same and source_of(folder) == source_of(made.folder):
                return TextStore.open(folder, full=True)
        aside = temporary_beside(folder)
        with suppress(FileNotFoundError):
            os.rename(folder, aside)
        shutil.rmtree(aside, ignore_errors=True)
    made.folder = folder
    sync(folder.parent)
    return made
