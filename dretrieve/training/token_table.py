"""Texts tokenised once, before the first step: flat token ids and where each text begins.

Nothing is tokenised in the loop (peers.md, complaint 24), and a text that stands in many examples is
tokenised once. The table is a pair of memory-mapped files when a folder is given, so that several processes
share one copy and a resumed run does not tokenise again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dretrieve.errors import DretrieveError
from dretrieve.models.base import TokenBatch
from dretrieve.store.atomic import replacing
from dretrieve.store.manifest import Manifest, describe_files, read_manifest, verify_files, write_manifest
from dretrieve.store.npy import map_array, write_array
from dretrieve.types import Record

Tokenize = Callable[[Sequence[Record]], Sequence[Sequence[int]]]
BLOCK = 4096


@dataclass(frozen=True, slots=True)
class TokenTable:
    """Token ids of many texts, special tokens included, already cut to the side's length.

    Attributes:
        ids: [total] int32, all texts one after the other.
        offsets: [texts + 1] int64.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def lengths(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of tokens of those texts."""
        return self.offsets[rows + 1] - self.offsets[rows]

    def batch(self, rows: NDArray[np.int64], *, pad: int) -> TokenBatch:
        """Return those texts, padded on the right to the longest of them."""
        lengths = self.lengths(rows)
        width = int(lengths.max(initial=0))
        ids = np.full((len(rows), width), pad, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=bool)
        for position, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            ids[position, :length] = self.ids[self.offsets[row] : self.offsets[row + 1]]
            mask[position, :length] = True
        return TokenBatch(torch.from_numpy(ids), torch.from_numpy(mask))


def tokenise(records: Iterable[Record], tokenize: Tokenize) -> TokenTable:
    """Return the table of those records, in order."""
    parts: list[NDArray[np.int32]] = []
    lengths: list[int] = []
    block: list[Record] = []
    for record in records:
        block.append(record)
        if len(block) == BLOCK:
            _extend(parts, lengths, tokenize(block))
            block = []
    if block:
        _extend(parts, lengths, tokenize(block))
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
    return TokenTable(np.concatenate(parts) if parts else np.empty(0, dtype=np.int32), offsets)


def _extend(parts: list[NDArray[np.int32]], lengths: list[int], tokens: Sequence[Sequence[int]]) -> None:
    lengths += [len(row) for row in tokens]
    parts.append(np.fromiter((token for row in tokens for token in row), dtype=np.int32))


def save_table(table: TokenTable, stem: Path) -> None:
    """Write ``<stem>.ids.npy`` and ``<stem>.offsets.npy``, and last their manifest with the checksums."""
    arrays: dict[str, NDArray[Any]] = {
        f"{stem.name}.ids.npy": table.ids,
        f"{stem.name}.offsets.npy": table.offsets,
    }
    for name, array in arrays.items():
        with replacing(stem.with_name(name)) as file:
            write_array(file, array)
    manifest = Manifest(stage="tokens", version=1, files=describe_files(stem.parent, arrays))
    write_manifest(stem.with_name(f"{stem.name}.manifest.json"), manifest)


def open_table(stem: Path) -> TokenTable | None:
    """Return the table saved under ``stem`` as memory maps, or None when it is not there as it was saved."""
    path = stem.with_name(f"{stem.name}.manifest.json")
    try:
        verify_files(path, read_manifest(path), full=True)
    except DretrieveError:
        return None
    ids, offsets = (map_array(stem.with_name(f"{stem.name}.{name}.npy")) for name in ("ids", "offsets"))
    return TokenTable(ids, np.asarray(offsets))
