"""Reading large runs: the columns of all blocks, joined in file order, grouped and sorted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dretrieve.kernels.hits import find_repeated, sort_hits
from dretrieve.kernels.interning import Interned, empty_table, intern_all, with_room
from dretrieve.runs.blocks import Part, repeated_lines, scanned
from dretrieve.runs.build import Column, score_of_ranks
from dretrieve.runs.hashed_ids import HashedIds
from dretrieve.runs.lines import LineForm
from dretrieve.runs.read import Sniffed, holds_ranks
from dretrieve.store.ids import IdTable
from dretrieve.types import Run

Kind = TypeVar("Kind", bound=np.generic)


@dataclass(slots=True)
class Gathered:
    """The columns of all blocks so far, in arrays with room to spare.

    Attributes:
        rows: lines held.
        size: bytes of ids held.
        scores: float64.
        hashes: uint64 of the passage ids.
        ends: int64, where each passage id's newline stands.
        data: uint8, the passage ids, newline-terminated.
        query_ids: to their order of first appearance.
        stretches: the query of each stretch of lines with one query id.
        lengths: lines in each stretch, by block.
        fractions: scores that are not written as whole numbers.
    """

    rows: int = 0
    size: int = 0
    scores: NDArray[np.float64] = field(default_factory=lambda: np.empty(0, np.float64))
    hashes: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    ends: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    data: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))
    query_ids: dict[bytes, int] = field(default_factory=dict)
    stretches: list[int] = field(default_factory=list)
    lengths: list[NDArray[np.int64]] = field(default_factory=list)
    fractions: int = 0

    def add(self, part: Part, first: int = 0, last: int | None = None) -> None:
        """Copy the stretches ``first`` to ``last`` (exclusive) of a block behind those held."""
        bounds = part.bounds[first : None if last is None else last + 1]
        low, high = int(bounds[0]), int(bounds[-1])
        begin = int(part.scan.ends[low - 1]) + 1 if low else 0
        end = int(part.scan.ends[high - 1]) + 1 if high else 0
        stop, size = self.rows + high - low, self.size + end - begin
        share = part.share if last is None else 0.0
        self.scores = _with_room(self.scores, self.rows, stop, share)
        self.hashes = _with_room(self.hashes, self.rows, stop, share)
        self.ends = _with_room(self.ends, self.rows, stop, share)
        self.data = _with_room(self.data, self.size, size, share)
        self.scores[self.rows : stop] = part.scan.scores[low:high]
        self.hashes[self.rows : stop] = part.scan.hashes[low:high]
        np.add(part.scan.ends[low:high], self.size - begin, out=self.ends[self.rows : stop])
        self.data[self.size : size] = part.scan.data[begin:end]
        names = part.query_ids[first:last]
        self.stretches += [self.query_ids.setdefault(name, len(self.query_ids)) for name in names]
        self.lengths.append(np.diff(bounds))
        self.rows, self.size = stop, size
        self.fractions += part.fractions

    def grouped(self, path: Path, form: LineForm) -> tuple[NDArray[np.int64], NDArray[np.float64], HashedIds]:
        """Return offsets, scores and passage ids by query, in the order of ``query_ids``.

        Raises:
            DataError: a passage twice for a query; names the line.
        """
        rows = np.asarray(self.stretches, dtype=np.int64)
        lengths = np.concatenate([np.empty(0, np.int64), *self.lengths])
        scores = self.scores[: self.rows]
        ids = HashedIds(self.data[: self.size], self.ends[: self.rows], self.hashes[: self.rows])
        if np.any(rows[1:] < rows[:-1]):
            order = np.argsort(np.repeat(rows, lengths), kind="stable")
            scores, ids = scores[order], _reordered(ids, order)
        offsets = np.zeros(len(self.query_ids) + 1, dtype=np.int64)
        counts = np.bincount(rows, weights=lengths, minlength=len(self.query_ids))
        np.cumsum(counts.astype(np.int64), out=offsets[1:])
        query, hit = find_repeated(offsets, ids.hashes, ids.data, ids.ends)
        if query >= 0:
            raise repeated_lines(path, form, list(self.query_ids)[query], ids[hit].encode())
        return offsets, scores, ids


def scan_run(path: Path, seen: Sniffed) -> Run:
    """Return the run of a file of lines; errors as `dretrieve.runs.read.read_run`."""
    found = Gathered()
    assert seen.form is not None
    for part in scanned(path, seen.form):
        found.add(part)
    offsets, scores, ids = found.grouped(path, seen.form)
    ranks = holds_ranks(path, seen, Column(offsets, scores, found.fractions), list(found.query_ids))
    if ranks:
        scores = score_of_ranks(scores)
    distinct, passages = _interned(ids)
    sort_hits(offsets, passages, scores, distinct.data, distinct.ends)
    names = [query_id.decode() for query_id in found.query_ids]
    return Run(names, distinct, offsets, passages, scores, seen.tag, by_rank=ranks)


def interned_ids(ids: Sequence[str]) -> Interned:
    """Return the table of ``ids`` (distinct); each has its place as row."""
    table = IdTable.of(ids)
    interned = with_room(empty_table(), len(table), len(table.data))
    intern_all(interned, table.data, table.ends, np.empty(len(table), dtype=np.int32))
    return interned


def _with_room(array: NDArray[Kind], held: int, needed: int, share: float) -> NDArray[Kind]:
    """Return the array, or a longer one with its first ``held`` elements: as long as the file will need."""
    if needed <= len(array):
        return array
    longer = np.empty(int(needed / share * 1.05) + 64 if share else 2 * needed, dtype=array.dtype)
    longer[:held] = array[:held]
    return longer


def _reordered(ids: HashedIds, order: NDArray[np.int64]) -> HashedIds:
    """Return the ids of hits in another order, as a file that is not grouped by query needs it."""
    starts = np.concatenate([[0], ids.ends[:-1] + 1])[order]
    lengths = ids.ends[order] - starts + 1
    ends = np.cumsum(lengths) - 1
    positions = np.arange(int(lengths.sum())) - np.repeat(ends + 1 - lengths, lengths)
    return HashedIds(ids.data[positions + np.repeat(starts, lengths)], ends, ids.hashes[order])


def _interned(ids: HashedIds) -> tuple[HashedIds, NDArray[np.int32]]:
    """Return the distinct ids in order of first appearance, and each hit's row of them."""
    table = with_room(empty_table(), len(ids), len(ids.data))
    rows = np.empty(len(ids), dtype=np.int32)
    intern_all(table, ids.data, ids.ends, rows)
    held, used = table.counts.tolist()
    distinct = HashedIds(table.data[:used].copy(), table.ends[:held].copy(), table.hashes[:held].copy())
    return distinct, rows
