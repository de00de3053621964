"""Reading large runs: blocks of lines scanned by compiled loops on all threads, then joined in file order.

`Scanner.parts` gives the columns of a file block by block; `Gathered` keeps some; `scan_run` keeps all and
makes a run of them; `dretrieve.runs.locate` lets nearly all go as soon as it has looked at them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dretrieve.kernels.hits import find_repeated, rank_hits, sort_hits
from dretrieve.kernels.interning import Interned, empty_table, find_all, intern_all, with_room
from dretrieve.kernels.parse_lines import Scan, Shape, parse_lines, room_for
from dretrieve.runs.build import Column, HashedIds, holds_ranks, score_of_ranks
from dretrieve.runs.lines import (
    LineForm,
    Sniffed,
    line_number,
    parse_line,
    parse_score,
    read_blocks,
    repeated_hit,
)
from dretrieve.store.ids import IdTable
from dretrieve.threads import allotted_threads
from dretrieve.types import Run, offsets_of

Kind = TypeVar("Kind", bound=np.generic)
BLOCK = 1 << 21


@dataclass(frozen=True, slots=True)
class Part:
    """One block of whole lines, in memory that is used again for a later block.

    A stretch is a row of lines with one query id.

    Attributes:
        scan: the columns; ids, hashes and scores of the first ``bounds[-1]`` lines.
        query_ids: [S] of each stretch.
        bounds: [S + 1] int64, where stretches begin.
        fractions: scores that are not written as whole numbers.
        found: [F] int64 lines whose passage is among the ids looked for; ``scan.places`` says where,
            ``scan.ranks`` their ranks in their stretch.
    """

    scan: Scan
    query_ids: list[bytes]
    bounds: NDArray[np.int64]
    fractions: int
    found: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scanner:
    """Scans the blocks of one file.

    Attributes:
        wanted: ids to look for among the passages.
    """

    path: Path
    form: LineForm
    wanted: Interned | None = None

    def scan(self, block: bytes, done: int, out: Scan) -> Part:
        """Return the part of a block that begins at byte ``done`` of the file, its columns in ``out``.

        Raises:
            DataError: a broken line; when ids are looked for also a passage twice in a stretch.
        """
        shape = Shape(self.form.columns, self.form.passage, self.form.score)
        while True:
            rows, changes, unsure, fractions, bad = parse_lines(np.frombuffer(block, np.uint8), shape, out)
            if bad < 0:
                break
            number = line_number(self.path, done + bad)
            if parse_line(block[bad : block.index(b"\n", bad)], self.form, self.path, number) is not None:
                raise AssertionError(f"{self.path}, line {number}: refused by the compiled parser alone")
            block = block[:bad] + b"#" + block[bad + 1 :]  # a header: as good as a comment
        for row, start, stop in out.unsure[:unsure].tolist():
            token = block[start:stop]
            out.scores[row] = value = float(token)
            if not isfinite(value):
                parse_score(token, self.path, line_number(self.path, done + start))
        query_ids = [block[start:stop] for _, start, stop in out.changes[:changes].tolist()]
        bounds = np.append(out.changes[:changes, 0], rows)
        found = np.empty(0, np.int64)
        if self.wanted is not None:
            ids = HashedIds(out.data, out.ends, out.hashes)
            self.refuse_repeated(bounds, ids, query_ids)
            rank_and_find(self.wanted, bounds, (out.order, out.scores), ids, (out.ranks, out.places[:rows]))
            found = np.flatnonzero(out.places[:rows] >= 0)
        return Part(out, query_ids, bounds, fractions, found)

    def refuse_repeated(self, offsets: NDArray[np.int64], ids: HashedIds, query_ids: Sequence[bytes]) -> None:
        """Refuse a passage that a query holds twice.

        Args:
            offsets: [Q + 1] where each query's hits begin.
            ids: [H] the passage of each hit.
            query_ids: [Q].

        Raises:
            DataError: names the lines.
        """
        query, hit = find_repeated(offsets, ids.hashes, ids.data, ids.ends)
        if query >= 0:
            raise repeated_hit(self.path, self.form, query_ids[query], ids[hit].encode())

    def parts(self) -> Iterator[Part]:
        """Yield the parts of the file in order; a part is valid until the next is asked for.

        Up to two blocks a thread are under way; the memory of a part goes to a later block.

        Raises:
            DataError: as `scan`.
        """
        threads = allotted_threads()
        waiting: deque[Future[Part]] = deque()
        spare: list[Scan] = []
        done = 0
        with ThreadPoolExecutor(threads) as pool:
            try:
                for block in read_blocks(self.path, BLOCK):
                    if len(waiting) >= 2 * threads:
                        part = waiting.popleft().result()
                        yield part
                        spare.append(part.scan)
                    room = spare.pop() if spare else None
                    if room is None or len(room.data) < len(block):  # a block is longer by a line cut before
                        room = room_for(max(len(block), BLOCK + BLOCK // 8), self.form.columns)
                    waiting.append(pool.submit(self.scan, block, done, room))
                    done += len(block)
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()


def rank_and_find(
    wanted: Interned,
    offsets: NDArray[np.int64],
    hits: tuple[NDArray[np.int32], NDArray[np.float64]],
    ids: HashedIds,
    out: tuple[NDArray[np.int32], NDArray[np.int32]],
) -> None:
    """Write each hit's rank in its query (from 1) and its place among the ids looked for, -1 for none.

    Args:
        wanted: the ids looked for.
        offsets: [Q + 1] where each query's hits begin.
        hits: [H] row in ``ids`` and score.
        ids: of the passages.
        out: [H] ranks and places.
    """
    rank_hits(offsets, hits, (ids.data, ids.ends), out[0])
    find_all(wanted, ids.data, ids.ends[: len(out[1])], ids.hashes, out[1])


@dataclass(slots=True)
class Gathered:
    """Stretches of blocks, copied one behind the other.

    Attributes:
        query_ids: to their order of first appearance.
        stretches: the query of each stretch.
        lengths: lines of each stretch, by block.
        scores: float64, by block.
        hashes: uint64 of the passage ids, by block.
        ends: int64, where the passage ids' newlines stand among the bytes so far, by block.
        data: uint8, the passage ids, newline-terminated, by block.
        size: bytes of ids so far.
        fractions: scores that are not written as whole numbers.
    """

    query_ids: dict[bytes, int] = field(default_factory=dict)
    stretches: list[int] = field(default_factory=list)
    lengths: list[NDArray[np.int64]] = field(default_factory=lambda: [np.empty(0, np.int64)])
    scores: list[NDArray[np.float64]] = field(default_factory=lambda: [np.empty(0, np.float64)])
    hashes: list[NDArray[np.uint64]] = field(default_factory=lambda: [np.empty(0, np.uint64)])
    ends: list[NDArray[np.int64]] = field(default_factory=lambda: [np.empty(0, np.int64)])
    data: list[NDArray[np.uint8]] = field(default_factory=lambda: [np.empty(0, np.uint8)])
    size: int = 0
    fractions: int = 0

    def add(self, part: Part, first: int = 0, last: int | None = None) -> None:
        """Copy the stretches ``first`` to ``last`` (exclusive) of a block behind those held."""
        bounds = part.bounds[first : None if last is None else last + 1]
        low, high = int(bounds[0]), int(bounds[-1])
        begin, end = (int(part.scan.ends[row - 1]) + 1 if row else 0 for row in (low, high))
        self.scores.append(part.scan.scores[low:high].copy())
        self.hashes.append(part.scan.hashes[low:high].copy())
        self.ends.append(part.scan.ends[low:high] + (self.size - begin))
        self.data.append(part.scan.data[begin:end].copy())
        self.size += end - begin
        names = part.query_ids[first:last]
        self.stretches += [self.query_ids.setdefault(name, len(self.query_ids)) for name in names]
        self.lengths.append(np.diff(bounds))
        self.fractions += part.fractions

    def grouped(self, scanner: Scanner) -> tuple[NDArray[np.int64], NDArray[np.float64], HashedIds]:
        """Return offsets, scores and passage ids by query, in the order of ``query_ids``; nothing stays here.

        Raises:
            DataError: a passage twice for a query; names the line.
        """
        rows, lengths = np.asarray(self.stretches, dtype=np.int64), np.concatenate(self.lengths)
        scores = _joined(self.scores)
        ids = HashedIds(_joined(self.data), _joined(self.ends), _joined(self.hashes))
        if np.any(rows[1:] < rows[:-1]):
            order = np.argsort(np.repeat(rows, lengths), kind="stable")
            scores, ids = scores[order], _reordered(ids, order)
        counts = np.bincount(rows, weights=lengths, minlength=len(self.query_ids))
        offsets = offsets_of(counts.astype(np.int64))
        scanner.refuse_repeated(offsets, ids, list(self.query_ids))
        return offsets, scores, ids


def _joined(pieces: list[NDArray[Kind]]) -> NDArray[Kind]:
    """Return the pieces one behind the other, and forget them: they are never in memory twice for long."""
    whole = np.concatenate(pieces)
    pieces.clear()
    return whole


def _reordered(ids: HashedIds, order: NDArray[np.int64]) -> HashedIds:
    """Return the ids of hits in another order, as a file that is not grouped by query needs it."""
    starts = np.concatenate([[0], ids.ends[:-1] + 1])[order]
    lengths = ids.ends[order] - starts + 1
    ends = np.cumsum(lengths) - 1
    # Where each byte comes from: its id's old start, plus how far it stands from the id's new start.
    positions = np.arange(int(lengths.sum())) - np.repeat(ends + 1 - lengths, lengths)
    return HashedIds(ids.data[positions + np.repeat(starts, lengths)], ends, ids.hashes[order])


def scan_run(path: Path, seen: Sniffed) -> Run:
    """Return the run of a file of lines; errors as `dretrieve.runs.read.read_run`."""
    assert seen.form is not None
    scanner, found = Scanner(path, seen.form), Gathered()
    for part in scanner.parts():
        found.add(part)
    offsets, scores, ids = found.grouped(scanner)
    ranks = holds_ranks(path, seen, Column(offsets, scores, found.fractions), list(found.query_ids))
    if ranks:
        scores = score_of_ranks(scores)
    table = with_room(empty_table(), len(ids), len(ids.data))
    passages = np.empty(len(ids), dtype=np.int32)
    intern_all(table, ids.data, ids.ends, passages)
    held, used = table.counts.tolist()
    distinct = HashedIds(table.data[:used].copy(), table.ends[:held].copy(), table.hashes[:held].copy())
    sort_hits(offsets, (passages, scores), (distinct.data, distinct.ends))
    names = [query_id.decode() for query_id in found.query_ids]
    return Run(names, distinct, offsets, passages, scores, seen.tag, by_rank=ranks)


def interned_ids(ids: Sequence[str]) -> Interned:
    """Return the table of ``ids`` (distinct); each has its place as row."""
    table = IdTable.of(ids)
    interned = with_room(empty_table(), len(table), len(table.data))
    intern_all(interned, table.data, table.ends, np.empty(len(table), dtype=np.int32))
    return interned
