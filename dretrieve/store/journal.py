"""A folder of growing files with a journal: the chunk is the unit of commit and of resume.

After a chunk's bytes are on disk, one journal line records how long each file is now and the checksum of the
chunk's bytes. Opening a journal again keeps the longest prefix of chunks whose bytes are those recorded and
goes on behind it.

Two processes may write the same files at once (a task that was re-queued while the first still ran): a chunk
stands at a place that its number alone decides, nothing is ever cut off, and `copy` reads what this process
opened, so neither meets more than the other's equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from dretrieve.store.atomic import explained, make_folder, write_json
from dretrieve.store.fingerprint import canonical_json

JOURNAL = "journal.jsonl"
PLAN = "plan.json"
COPY_BYTES = 1 << 24


class Journal:
    """Append-only files under ``folder`` that survive a kill at any moment.

    Its chunks are a function of the plan: a journal of another plan is thrown away.
    """

    def __init__(self, folder: Path, names: tuple[str, ...], plan: Mapping[str, Any]) -> None:
        self.folder, self.names = folder, names
        self.sizes = dict.fromkeys(names, 0)
        self.chunks = self._journal_size = 0
        make_folder(folder)
        resumed = self._same_plan(plan)
        with explained(folder):
            for name in () if resumed else (*names, JOURNAL):
                (folder / name).unlink(missing_ok=True)
            if not resumed:
                write_json(folder / PLAN, dict(plan))
            self._files = {name: os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o666) for name in names}
            self._journal = os.open(folder / JOURNAL, os.O_RDWR | os.O_CREAT, 0o666)
        self._recover()

    def append(self, parts: Mapping[str, bytes | memoryview]) -> None:
        """Write one chunk: its bytes for every file, then, once they are durable, its journal line."""
        digest = hashlib.sha256()
        with explained(self.folder):
            for name in self.names:
                data = memoryview(parts[name]).cast("B") if len(parts[name]) else memoryview(b"")
                digest.update(data)
                _write_at(self._files[name], data, self.sizes[name])
                self.sizes[name] += data.nbytes
            entry = {"chunk": self.chunks, "sha256": digest.hexdigest(), "sizes": self.sizes}
            line = canonical_json(entry) + b"\n"
            _write_at(self._journal, memoryview(line), self._journal_size)
        self._journal_size += len(line)
        self.chunks += 1

    def copy(self, name: str, target: IO[bytes]) -> None:
        """Append the bytes of all chunks of a file to ``target``."""
        for block in self._blocks(name, 0, self.sizes[name]):
            assert block, "the file holds what was written"
            target.write(block)

    def close(self) -> None:
        """Close the files; the journal stays for a later run. A second call does nothing."""
        files = [file for file in (*self._files.values(), self._journal) if file >= 0]
        self._files, self._journal = dict.fromkeys(self._files, -1), -1
        for file in files:
            with suppress(OSError):  # all that counts was made durable chunk by chunk
                os.close(file)

    def discard(self) -> None:
        """Close and remove the folder."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _same_plan(self, plan: Mapping[str, Any]) -> bool:
        try:
            before = json.loads((self.folder / PLAN).read_bytes())
            return bool(before == json.loads(canonical_json(dict(plan))))
        except (OSError, ValueError):
            return False

    def _recover(self) -> None:
        """Take the longest prefix of chunks whose bytes are those recorded."""
        size = os.fstat(self._journal).st_size
        for line in os.pread(self._journal, size, 0).split(b"\n")[:-1]:
            entry = self._entry(line)
            if entry is None:
                break
            digest = hashlib.sha256()
            for name in self.names:
                for block in self._blocks(name, self.sizes[name], entry["sizes"][name]):
                    digest.update(block)
            if digest.hexdigest() != entry["sha256"]:
                break
            self.sizes, self.chunks = entry["sizes"], self.chunks + 1
            self._journal_size += len(line) + 1

    def _blocks(self, name: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield those bytes of a file; an empty block where it ends before them."""
        while start < stop:
            block = os.pread(self._files[name], min(COPY_BYTES, stop - start), start)
            yield block
            start += len(block) or stop

    def _entry(self, line: bytes) -> dict[str, Any] | None:
        try:
            entry = json.loads(line)
            sizes = entry["sizes"]
            grown = all(sizes[name] >= self.sizes[name] for name in self.names)
            legal = grown and set(sizes) == set(self.names) and entry["chunk"] == self.chunks
            return {"sizes": sizes, "sha256": entry["sha256"]} if legal else None
        except (ValueError, KeyError, TypeError):
            return None


def _write_at(file: int, data: memoryview, place: int) -> None:
    """Write all of ``data`` at that place, durably."""
    while len(data):
        written = os.pwrite(file, data, place)
        data, place = data[written:], place + written
    os.fsync(file)
