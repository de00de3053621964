"""Texts tokenised once, before the first step: flat token ids and where each text begins.

Nothing is tokenised in the loop (peers.md, complaint 24), and a text that stands in many examples is
tokenised once. The table is a pair of memory-mapped files when a folder is given, so that several processes
share one copy and a resumed run does not tokenise again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dretrieve.models.base import TokenBatch
from dretrieve.store.atomic import replacing
from dretrieve.store.npy import write_array
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

    def batch(self, rows: NDArray[np.int64], *, pad: int, padding_side: str = "right") -> TokenBatch:
        """Return those texts padded to the longest of them."""
        lengths = self.lengths(rows)
        width = int(lengths.max(initial=0))
        ids = np.full((len(rows), width), pad, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=bool)
        for position, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            place = slice(0, length) if padding_side == "right" else slice(width - length, width)
            ids[position, place] = self.ids[self.offsets[row] : self.offsets[row + 1]]
            mask[position, place] = True
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
    """Write ``<stem>.ids.npy`` and then ``<stem>.offsets.npy``, whose presence says that both are whole."""
    for name, array in (("ids", table.ids), ("offsets", table.offsets)):
        with replacing(stem.with_name(f"{stem.name}.{name}.npy")) as file:
            write_array(file, array)


def open_table(stem: Path) -> TokenTable | None:
    """Return the table saved under ``stem`` as memory maps, or None when it is not there whole."""
    paths = [stem.with_name(f"{stem.name}.{name}.npy") for name in ("ids", "offsets")]
    if not all(path.exists() for path in paths):
        return None
    ids, offsets = (np.load(path, mmap_mode="r", allow_pickle=False) for path in paths)
    return TokenTable(ids, np.asarray(offsets))
