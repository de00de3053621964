"""Writing runs: TREC, MS MARCO and Tevatron lines, plain or compressed; equal runs give equal bytes."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError, UsageError, quoted
from dretrieve.store.atomic import replacing
from dretrieve.store.ids import IdTable
from dretrieve.types import Run

FEW = 100_000  # hits; below it, importing numba would take longer than writing
HITS_PER_BLOCK = 200_000


@dataclass(frozen=True, slots=True)
class WrittenForm:
    """A line's layout: what stands after the query id, whether rank and score follow, the separator.

    ``point`` follows a score without a decimal point.
    """

    after_query: str
    has_rank: bool
    has_score: bool
    blank: str
    has_tag: bool
    point: str = ""


WRITTEN_FORMS = {
    "trec": WrittenForm(" Q0 ", True, True, " ", True),
    "msmarco": WrittenForm("\t", True, False, "\t", False),
    "tevatron": WrittenForm("\t", False, True, "\t", False),
}


def write_run(
    target: Path | IO[bytes],
    run: Run,
    depth: int | None = None,
    *,
    form: str = "trec",
    name: str | None = None,
) -> int:
    """Write the run, queries in their order, hits best first, ranks from 1; return the number of lines.

    A score has the digits of `score_texts`; a Tevatron run of whole scores alone gets ``.0``, so that none is
    taken for a rank. TREC columns are parted by blanks, or by tabs where an id or the tag holds a blank. A
    ``.gz`` holds no time and no name, so that equal runs give equal files.

    Args:
        target: a path (written atomically) or a binary file.
        run: sorted, as every `Run` is.
        depth: hits per query at most.
        form: a name of `WRITTEN_FORMS`.
        name: the name that a binary file will have; ``.gz`` and ``.zst`` are compressed.

    Raises:
        UsageError: no such form.
        DataError: an id that no line can carry: empty, with a tab, with a line's end, with a blank first or
            last; a query id that begins with ``#``, as comments do.
    """
    if form not in WRITTEN_FORMS:
        raise UsageError(f"unknown form of run '{form}'; written are {', '.join(WRITTEN_FORMS)}")
    if isinstance(target, Path):
        with replacing(target) as file:
            return write_run(file, run, depth, form=form, name=target.name)
    layout = WRITTEN_FORMS[form]
    bounds = _bounds(run, depth)
    lines = int((bounds[:, 1] - bounds[:, 0]).sum())
    table, passages = _table_of(run, bounds)
    blanks = [_check_ids(run.query_ids, "query"), _check_ids(table, "passage"), " " in run.tag]
    if layout.has_tag and any(blanks):
        layout = replace(layout, after_query="\tQ0\t", blank="\t")
    if form == "tevatron" and np.array_equal(run.scores, np.floor(run.scores)):
        layout = replace(layout, point=".0")
    blocks = _plain_blocks if lines < FEW else _compiled_blocks
    with compressed(target, name or "") as file:
        for block in blocks(run, layout, bounds, table, passages):
            file.write(block)
    return lines


def compression(path: Path) -> str:
    """Return the ending that asks for compression, empty where none does."""
    return path.suffix if path.suffix in (".gz", ".zst", ".bz2", ".xz") else ""


@contextmanager
def compressed(file: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    """Yield a file that compresses into ``file`` as the ending of ``name`` asks; no time or name inside."""
    if name.endswith(".gz"):
        with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as inner:
            yield cast(IO[bytes], inner)
    elif name.endswith((".bz2", ".xz")):
        with (bz2.BZ2File if name.endswith(".bz2") else lzma.LZMAFile)(file, "wb") as inner:
            yield cast(IO[bytes], inner)
    elif name.endswith(".zst"):
        import zstandard

        with zstandard.ZstdCompressor(level=3).stream_writer(file, closefd=False) as inner:
            yield cast(IO[bytes], inner)
    else:
        yield file


def _bounds(run: Run, depth: int | None) -> NDArray[np.int64]:
    starts, stops = run.offsets[:-1], run.offsets[1:]
    if depth is not None:
        stops = np.minimum(stops, starts + depth)
    return np.stack([starts, stops], axis=1)


def _table_of(run: Run, bounds: NDArray[np.int64]) -> tuple[IdTable, NDArray[np.int32]]:
    """Return the ids that are written, and the passages as rows of that table."""
    if isinstance(run.passage_ids, IdTable) and len(run.passage_ids) <= len(run.passages):
        return run.passage_ids, run.passages
    lengths = bounds[:, 1] - bounds[:, 0]
    first = np.cumsum(lengths) - lengths
    written = np.arange(int(lengths.sum())) + np.repeat(bounds[:, 0] - first, lengths)
    used, rows = np.unique(run.passages[written], return_inverse=True)
    ids = [run.passage_ids[row] for row in used.tolist()]
    passages = np.zeros(len(run.passages), dtype=np.int32)
    passages[written] = rows
    _check_ids(ids, "passage")  # before a newline in one makes two of it
    return IdTable.of(ids), passages


def _check_ids(ids: Any, what: str) -> bool:
    """Refuse ids that would break a line; return whether one holds a blank. A table is scanned at once."""
    if isinstance(ids, IdTable) and what == "passage":
        blanks = np.isin(ids.data, np.asarray([32, 9, 13], dtype=np.uint8))
        lengths = np.diff(ids.ends, prepend=-1)
        if not blanks.any() and (not len(lengths) or lengths.min() > 1):
            return False
    for text_id in ids:
        reason = "is empty" if not text_id else ""
        if any(blank in text_id for blank in "\t\r\n"):
            reason = "holds a tab or the end of a line"
        elif text_id != text_id.strip(" "):
            reason = "begins or ends with a blank"
        elif what == "query" and text_id.startswith("#"):
            reason = "begins with #, as a comment does"
        if reason:
            raise DataError(
                f"the {what} id {quoted(text_id)} {reason}, so no line of a run can carry it; rename it"
            )
    return any(" " in text_id for text_id in ids)


def score_texts(scores: NDArray[np.floating[Any]]) -> Iterator[str]:
    """Yield nine significant digits of each, which tell any float32; of a float64 as many as it needs."""
    exactly = scores.dtype == np.float64
    for score in scores.tolist():
        short = f"{score:.9g}"
        yield repr(score) if exactly and float(short) != score else short


def _plain_blocks(
    run: Run, layout: WrittenForm, bounds: NDArray[np.int64], table: IdTable, passages: NDArray[np.int32]
) -> Iterator[bytes]:
    tail = f"{layout.blank}{run.tag}\n" if layout.has_tag else "\n"
    for query_id, (start, stop) in zip(run.query_ids, bounds.tolist(), strict=True):
        lines = []
        for rank, score in enumerate(score_texts(run.scores[start:stop]), 1):
            fields = [table[int(passages[start + rank - 1])]]
            fields += [str(rank)] * layout.has_rank
            fields += [_pointed(score, layout)] * layout.has_score
            lines.append(query_id + layout.after_query + layout.blank.join(fields) + tail)
        yield "".join(lines).encode()


def _pointed(score: str, layout: WrittenForm) -> str:
    return score + layout.point if layout.point and score.lstrip("-").isdigit() else score


def _compiled_blocks(
    run: Run, layout: WrittenForm, bounds: NDArray[np.int64], table: IdTable, passages: NDArray[np.int32]
) -> Iterator[bytes]:
    from dretrieve.kernels.run_lines import LONGEST_SCORE, Pieces, Strings, mark_unusual, write_lines

    tail = f"{layout.blank}{run.tag}\n" if layout.has_tag else "\n"
    marks = np.zeros(len(run.scores), dtype=np.bool_)
    mark_unusual(run.scores, run.scores.dtype == np.float64, marks)
    marks |= bool(layout.point)
    longest = int(np.diff(table.ends, prepend=-1).max()) if len(table) else 0
    start = 0
    while start < len(bounds):
        stop = start + max(1, int(np.searchsorted(bounds[start:, 1], bounds[start, 0] + HITS_PER_BLOCK)))
        some = bounds[start:stop]
        before = IdTable.of(query_id + layout.after_query for query_id in run.query_ids[start:stop])
        odd = np.concatenate([np.flatnonzero(marks[low:high]) + low for low, high in some.tolist()])
        unusual = IdTable.of(_pointed(score, layout) for score in score_texts(run.scores[odd]))
        fixed = longest + LONGEST_SCORE + len(tail.encode()) + 24
        widths = np.diff(before.ends, prepend=-1) + fixed
        out = np.empty(int(((some[:, 1] - some[:, 0]) * widths).sum()), dtype=np.uint8)
        pieces = Pieces(
            Strings(before.data, before.ends),
            Strings(table.data, table.ends),
            np.frombuffer(tail.encode(), np.uint8),
            layout.has_rank,
            layout.has_score,
            ord(layout.blank),
        )
        odd_strings = Strings(unusual.data, unusual.ends)
        size = write_lines(out, pieces, some, passages, run.scores, marks, odd_strings)
        yield out[:size].tobytes()
        start = stop
