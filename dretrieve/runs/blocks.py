"""Large runs block by block: scanned by compiled loops on all threads, given out in file order."""

from __future__ import annotations

import mmap
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError
from dretrieve.kernels.hits import find_repeated, rank_hits
from dretrieve.kernels.interning import NEWLINE, Interned, find_all
from dretrieve.kernels.trec import Scan, Shape, parse_lines, room_for
from dretrieve.runs.lines import LineForm, parse_line, parse_score
from dretrieve.runs.read import check_utf8, line_number, read_blocks, repeated_hit
from dretrieve.text.files import LONGEST_LINE, is_mappable, too_long

BLOCK = 1 << 21


@dataclass(frozen=True, slots=True)
class Part:
    """One block of whole lines, in memory that is used again for a later block.

    A stretch is a row of lines with one query id.

    Attributes:
        scan: the columns; ids, hashes and scores of the first ``rows`` lines.
        query_ids: [S] of each stretch.
        bounds: [S + 1] int64, where stretches begin.
        share: which share of the file ends with this block; 0 if unknown.
        fractions: scores that are not written as whole numbers.
        found: [F] int64 lines whose passage is among the ids looked for; ``scan.places`` says where,
            ``scan.ranks`` their ranks in their stretch.
    """

    scan: Scan
    query_ids: list[bytes]
    bounds: NDArray[np.int64]
    share: float
    fractions: int
    found: NDArray[np.int64]


def scanned(path: Path, form: LineForm, wanted: Interned | None = None) -> Iterator[Part]:
    """Yield the parts of a file in order; a part is valid until the next is asked for.

    Args:
        path: plain or compressed.
        form: of its lines.
        wanted: ids to look for among the passages.

    Raises:
        DataError: a broken line, a passage twice in a stretch; names the line.
    """
    size, threads = path.stat().st_size if is_mappable(path) else 0, _threads()
    waiting: deque[Future[Part]] = deque()
    spare: list[Scan] = []
    done = 0
    with ThreadPoolExecutor(threads) as pool:
        try:
            for block in _mapped_blocks(path) if size else read_blocks(path, BLOCK):
                if len(waiting) >= 2 * threads:
                    part = waiting.popleft().result()
                    yield part
                    spare.append(part.scan)
                room = spare.pop() if spare else room_for(BLOCK, form.columns)
                if len(room.data) < len(block):
                    room = room_for(len(block), form.columns)
                job = _Job(path, form, block, done, size, wanted)
                waiting.append(pool.submit(_scan, job, room))
                done += len(block)
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _threads() -> int:
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _mapped_blocks(path: Path) -> Iterator[memoryview | bytes]:
    """Yield what `dretrieve.runs.read.read_blocks` yields, without copying the file."""
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # closed with its last block
    view, start = memoryview(mapped), 0
    while start < len(mapped):
        stop = mapped.rfind(b"\n", start, start + BLOCK) + 1
        stop = stop or mapped.find(b"\n", start + BLOCK) + 1 or len(mapped)
        if stop - start > LONGEST_LINE:
            raise too_long(path, line_number(path, start))
        block: memoryview | bytes = view[start:stop]
        if stop == len(mapped) and mapped[stop - 1] != NEWLINE:
            block = bytes(block) + b"\n"
        if np.frombuffer(block, np.uint8).max() > 127:
            check_utf8(bytes(block), start, path)
        yield block
        start = stop


@dataclass(frozen=True, slots=True)
class _Job:
    path: Path
    form: LineForm
    block: memoryview | bytes
    done: int
    size: int
    wanted: Interned | None


def _scan(job: _Job, out: Scan) -> Part:
    form, block = job.form, job.block
    shape = Shape(form.columns, form.passage, form.score)
    rows, changes, unsure, fractions, bad = parse_lines(np.frombuffer(block, np.uint8), shape, out)
    while bad >= 0:
        block = bytes(block)
        number = line_number(job.path, job.done + bad)
        if parse_line(block[bad : block.index(b"\n", bad)], form, job.path, number) is not None:
            raise AssertionError(f"{job.path}, line {number}: refused by the compiled parser alone")
        block = block[:bad] + b"#" + block[bad + 1 :]  # a header: as good as a comment
        rows, changes, unsure, fractions, bad = parse_lines(np.frombuffer(block, np.uint8), shape, out)
    if unsure:
        block = bytes(block)
        for row, start, stop in out.unsure[:unsure].tolist():
            out.scores[row] = _score_of(job, block[start:stop], start)
    query_ids = [bytes(block[start:stop]) for _, start, stop in out.changes[:changes].tolist()]
    bounds = np.append(out.changes[:changes, 0], rows)
    share = (job.done + len(block)) / job.size if job.size else 0.0
    found = np.empty(0, np.int64)
    if job.wanted is not None:
        stretch, hit = find_repeated(bounds, out.hashes, out.data, out.ends)
        if stretch >= 0:
            start = out.ends[hit - 1] + 1 if hit else 0
            raise repeated_lines(
                job.path, form, query_ids[stretch], out.data[start : out.ends[hit]].tobytes()
            )
        rank_hits(bounds, (out.order, out.scores), (out.data, out.ends), out.ranks)
        find_all(job.wanted, out.data, out.ends[:rows], out.hashes, out.places)
        found = np.flatnonzero(out.places[:rows] >= 0)
    return Part(out, query_ids, bounds, share, fractions, found)


def _score_of(job: _Job, token: bytes, start: int) -> float:
    value = float(token)
    return value if isfinite(value) else parse_score(token, job.path, line_number(job.path, job.done + start))


def repeated_lines(path: Path, form: LineForm, query: bytes, passage: bytes) -> DataError:
    """Return the error for a passage twice; reads the file once more for the two lines."""
    lines: list[int] = []
    number = 0
    for block in read_blocks(path):
        for line in block.split(b"\n")[:-1]:
            number += 1
            if passage in line:
                parsed = parse_line(line, form, path, number)
                if parsed is not None and parsed[:2] == (query, passage):
                    lines.append(number)
    return repeated_hit(path, query.decode(), passage.decode(), (lines[0], lines[1]))
