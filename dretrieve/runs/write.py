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

from dretrieve.errors import DataError, quoted
from dretrieve.runs.build import used_ids
from dretrieve.runs.lines import RANKS_TAG
from dretrieve.store.atomic import replacing
from dretrieve.store.ids import IdTable
from dretrieve.types import Run

FEW = 100_000  # hits; below it, importing numba would take longer than writing
HITS_PER_BLOCK = 200_000


# A form is its columns; those with a tab are always parted by tabs.
WRITTEN_FORMS = {
    "trec": "query Q0 passage rank score tag",
    "msmarco": "query\tpassage\trank",
    "tevatron": "query\tpassage\tscore",
}


def write_run(target: Path | IO[bytes], run: Run, *, form: str = "trec", name: str = "") -> int:
    """Write the run, queries in their order, hits best first, ranks from 1; return the number of lines.

    A score has the digits of `score_texts`; a Tevatron run of whole scores alone gets ``.0``, so that none is
    taken for a rank. TREC columns are parted by blanks, or by tabs where an id or the tag holds a blank; the
    tag of a run made of ranks says so, and is read back. A ``.gz`` holds no time and no name, so that equal
    runs give equal files. A path is written atomically; of a binary file ``name`` says whether it is
    compressed (``.gz``, ``.zst``).

    Raises:
        DataError: an id that no line can carry: empty, with a tab, with a line's end, with a blank first or
            last; a query id that begins with ``#``, as comments do.
    """
    if isinstance(target, Path):
        with replacing(target) as file:
            return write_run(file, run, form=form, name=target.name)
    layout = WRITTEN_FORMS[form]
    ids = run.passage_ids
    if isinstance(ids, IdTable) and len(ids) <= len(run.passages):
        has_blanks = _check_ids(ids, "passage")
    else:
        ids, passages = used_ids(run)
        has_blanks = _check_ids(ids, "passage")  # before a newline in one makes two of it
        run = replace(run, passage_ids=IdTable.of(ids), passages=passages)
    tag = RANKS_TAG if run.by_rank else run.tag
    has_blanks |= _check_ids(run.query_ids, "query") | (" " in tag)
    blank = "\t" if "\t" in layout or has_blanks else " "
    point = ".0" if form == "tevatron" and np.array_equal(run.scores, np.floor(run.scores)) else ""
    lines = _Lines(run, layout.split(), blank, tag, point)
    with compressed(target, name) as file:
        for block in lines.plain() if len(run.passages) < FEW else lines.compiled():
            file.write(block)
    return len(run.passages)


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


@dataclass(frozen=True, slots=True)
class _Lines:
    """The lines of a run, written in two ways that give the same bytes.

    Attributes:
        run: the hits, their ids in an `IdTable`.
        columns: what a line holds, from ``query`` to ``score`` or ``tag``.
        blank: stands between columns.
        point: follows a score without a decimal point.
    """

    run: Run
    columns: list[str]
    blank: str
    tag: str
    point: str

    def before(self, query_id: str) -> str:
        """Return what stands before the passage."""
        return query_id + self.blank + f"Q0{self.blank}" * ("Q0" in self.columns)

    @property
    def tail(self) -> str:
        """What stands after rank and score."""
        return f"{self.blank}{self.tag}\n" if "tag" in self.columns else "\n"

    def scores(self, scores: NDArray[np.floating[Any]]) -> Iterator[str]:
        """Yield the scores as they are written."""
        for text in score_texts(scores):
            yield text + self.point if self.point and text.lstrip("-").isdigit() else text

    def plain(self) -> Iterator[bytes]:
        """Yield the lines of each query."""
        run, has_rank, has_score = self.run, "rank" in self.columns, "score" in self.columns
        for query_id, start, stop in zip(run.query_ids, run.offsets[:-1], run.offsets[1:], strict=True):
            before, lines = self.before(query_id), []
            hits = zip(run.passages[start:stop].tolist(), self.scores(run.scores[start:stop]), strict=True)
            for rank, (passage, score) in enumerate(hits, 1):
                fields = [run.passage_ids[passage], *[str(rank)] * has_rank, *[score] * has_score]
                lines.append(before + self.blank.join(fields) + self.tail)
            yield "".join(lines).encode()

    def compiled(self) -> Iterator[bytes]:
        """Yield the lines of some queries at a time."""
        from dretrieve.kernels.write_lines import LONGEST_SCORE, Pieces, Strings, mark_unusual, write_lines

        run, table, tail = self.run, self.run.passage_ids, np.frombuffer(self.tail.encode(), np.uint8)
        assert isinstance(table, IdTable)
        exactly = run.scores.dtype == np.float64
        marks = mark_unusual(run.scores, exactly) | bool(self.point)
        longest = int(np.diff(table.ends, prepend=-1).max(initial=0))
        start = 0
        while start < len(run):
            until = run.offsets[start] + HITS_PER_BLOCK
            stop = max(start + 1, int(np.searchsorted(run.offsets, until)))
            offsets = run.offsets[start : stop + 1]
            before = IdTable.of(self.before(query_id) for query_id in run.query_ids[start:stop])
            odd = np.flatnonzero(marks[offsets[0] : offsets[-1]]) + offsets[0]
            unusual = IdTable.of(self.scores(run.scores[odd]))
            pieces = Pieces(
                Strings(before.data, before.ends),
                Strings(table.data, table.ends),
                Strings(unusual.data, unusual.ends),
                tail,
                "rank" in self.columns,
                "score" in self.columns,
                ord(self.blank),
            )
            width = np.diff(before.ends, prepend=-1) + longest + LONGEST_SCORE + len(tail) + 24
            out = np.empty(int((np.diff(offsets) * width).sum()), dtype=np.uint8)
            size = write_lines(out, pieces, offsets, run.passages, run.scores, exactly, marks)
            yield out[:size].tobytes()
            start = stop
