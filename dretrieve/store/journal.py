"""A folder of growing files with a journal: the chunk is the unit of commit and of resume.

Every file only grows. After a chunk's bytes are on disk, one journal line records how long each file is
now and the checksum of the chunk's bytes. Opening a journal again keeps the longest prefix of chunks
whose bytes are those recorded, cuts the rest off, and goes on there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dretrieve.store.atomic import explained, make_folder, write_json
from dretrieve.store.fingerprint import canonical_json

JOURNAL = "journal.jsonl"
PLAN = "plan.json"


class Journal:
    """Append-only files under ``folder`` that survive a kill at any moment.

    Args:
        folder: where the files grow; removed by `discard`.
        names: the files.
        plan: what the chunks are a function of; a journal of another plan is thrown away.
    """

    def __init__(self, folder: Path, names: tuple[str, ...], plan: Mapping[str, Any]) -> None:
        self.folder, self.names = folder, names
        make_folder(folder)
        self.sizes = dict.fromkeys(names, 0)
        self.chunks = 0
        if self._same_plan(plan):
            self._recover()
        else:
            for name in (*names, JOURNAL):
                (folder / name).unlink(missing_ok=True)
            write_json(folder / PLAN, dict(plan))
        with explained(folder):
            self._files = {name: open(folder / name, "ab") for name in names}
            for name, file in self._files.items():
                file.truncate(self.sizes[name])
                file.seek(0, os.SEEK_END)
            self._journal = open(folder / JOURNAL, "ab")

    def append(self, parts: Mapping[str, bytes | memoryview]) -> None:
        """Write one chunk: its bytes for every file, then, once they are durable, its journal line."""
        digest = hashlib.sha256()
        with explained(self.folder):
            for name in self.names:
                data = memoryview(parts[name]).cast("B") if len(parts[name]) else memoryview(b"")
                digest.update(data)
                self._files[name].write(data)
                self._files[name].flush()
                os.fsync(self._files[name].fileno())
                self.sizes[name] += data.nbytes
            line = {"chunk": self.chunks, "sha256": digest.hexdigest(), "sizes": self.sizes}
            self._journal.write(canonical_json(line) + b"\n")
            self._journal.flush()
            os.fsync(self._journal.fileno())
        self.chunks += 1

    def close(self) -> None:
        """Close the files; the journal stays for a later run."""
        for file in (*self._files.values(), self._journal):
            file.close()

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
        try:
            raw = (self.folder / JOURNAL).read_bytes()
        except OSError:
            return
        handles = {}
        for name in self.names:
            (self.folder / name).touch()
            handles[name] = open(self.folder / name, "rb")
        kept = 0
        try:
            for line in raw.split(b"\n")[:-1]:
                entry = self._entry(line)
                if entry is None:
                    break
                digest = hashlib.sha256()
                for name in self.names:
                    digest.update(handles[name].read(entry["sizes"][name] - self.sizes[name]))
                if digest.hexdigest() != entry["sha256"]:
                    break
                self.sizes, self.chunks = entry["sizes"], self.chunks + 1
                kept += len(line) + 1
        finally:
            for handle in handles.values():
                handle.close()
        with explained(self.folder):
            os.truncate(self.folder / JOURNAL, kept)

    def _entry(self, line: bytes) -> dict[str, Any] | None:
        try:
            entry = json.loads(line)
            sizes = entry["sizes"]
            grown = all(sizes[name] >= self.sizes[name] for name in self.names)
            legal = grown and set(sizes) == set(self.names) and entry["chunk"] == self.chunks
            return {"sizes": sizes, "sha256": entry["sha256"]} if legal else None
        except (ValueError, KeyError, TypeError):
            return None
