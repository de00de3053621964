"""Reading runs: TREC, MS MARCO, Tevatron and ColBERT lines, plain or compressed, and the JSON forms.

The rank column is ignored (BEIR writes 0 everywhere, others leave gaps): hits are sorted by
`dretrieve.order`. Files beyond `SMALL` bytes go through compiled loops, smaller ones through plain Python
that needs no numba.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError
from dretrieve.text.files import BYTE_ORDER_MARK, open_bytes
from dretrieve.text.run_build import HitColumns, build_run
from dretrieve.text.run_lines import LineForm, detect_form, form_named, parse_line, split_line
from dretrieve.types import Run

SMALL = 1 << 21  # bytes; below it, importing numba would take longer than parsing
BLOCK = 1 << 22


def read_run(path: Path, form: str = "auto", *, allow_empty: bool = False) -> Run:
    """Return the run at ``path``.

    Args:
        path: plain, gzip or zstd.
        form: ``auto`` (by the first line), or a name of `dretrieve.text.run_lines.FORMS`. With ``auto`` three
            columns are ranks (MS MARCO) when they look like ranks everywhere, else scores.
        allow_empty: return a run without queries for a file without lines instead of refusing it.

    Raises:
        DataError: a line that breaks the form, a score that is not finite, a passage twice for a query,
            bytes that are not UTF-8, cut or damaged compression, no lines at all; names the line.
        PreconditionError: no such file.
    """
    seen = sniff(path, form)
    if seen.is_json:
        from dretrieve.text.run_json import read_json_run

        return read_json_run(path)
    if seen.form is None:
        if allow_empty:
            return empty_run()
        raise DataError.at(path, None, "the run holds no hits; search again, or remove it from the command")
    if not seen.is_large:
        return _read_plain(path, seen.form, seen.ranks, seen.tag, seen.first)
    from dretrieve.text.run_scan import scan_run

    return scan_run(path, seen.form, seen.ranks, seen.tag)


@dataclass(frozen=True, slots=True)
class Sniffed:
    """What the beginning of a run's file tells.

    Attributes:
        first: its first block.
        form: of its lines; None for JSON and for a file without lines.
        ranks: whether the score column holds ranks; None if that shows only in the whole file.
        tag: the run's name.
        is_json: whether it is JSON.
        is_large: whether compiled loops pay.
    """

    first: bytes
    form: LineForm | None = None
    ranks: bool | None = False
    tag: str = "dretrieve"
    is_json: bool = False
    is_large: bool = False


def sniff(path: Path, form: str = "auto") -> Sniffed:
    """Return what the beginning of the file tells; arguments as `read_run`."""
    blocks = read_blocks(path)
    first = next(blocks, b"")
    head, number = _first_line(first)
    if form == "auto" and head[:1] in (b"{", b"["):
        return Sniffed(first, is_json=True)
    if not head:
        return Sniffed(first)
    known = detect_form(head, path, number) if form == "auto" else form_named(form)
    ranks = {"msmarco": True, "tevatron": None if form == "auto" else False}.get(known.name, False)
    large = len(first) >= SMALL or next(blocks, None) is not None
    return Sniffed(first, known, ranks, _tag(head, known), is_large=large)


def empty_run(tag: str = "dretrieve") -> Run:
    """Return the run without queries."""
    none = np.empty(0, np.int32)
    return Run([], [], np.zeros(1, np.int64), none, none.astype(np.float32), tag)


def read_blocks(path: Path, size: int = BLOCK) -> Iterator[bytes]:
    """Yield the decompressed file in blocks of whole lines, each ending with a newline; UTF-8 is checked."""
    rest, done, begun = b"", 0, False
    with open_bytes(path) as file:
        while True:
            try:
                data = file.read(size)
            except EOFError as error:
                raise DataError.at(
                    path, None, "the compressed data end in the middle (cut download?); fetch the file again"
                ) from error
            except (OSError, zlib.error) as error:
                raise DataError.at(
                    path, None, f"the compressed data are damaged ({error}); fetch the file again"
                ) from error
            if not begun and data.startswith(BYTE_ORDER_MARK):
                data = data[len(BYTE_ORDER_MARK) :]
            begun = True
            cut = data.rfind(b"\n") + 1 if data else 0
            block = rest + data[:cut] if data else rest + (b"\n" if rest else b"")
            rest = data[cut:] if cut or not data else rest + data
            if cut or (not data and block):
                check_utf8(block, done, path)
                yield block
                done += len(block)
            if not data:
                return


def line_number(path: Path, offset: int) -> int:
    """Return the number of the line that holds byte ``offset`` of the blocks; reads the file once more."""
    number = 1
    for block in read_blocks(path):
        if offset < len(block):
            return number + block.count(b"\n", 0, offset)
        number += block.count(b"\n")
        offset -= len(block)
    return number


def check_utf8(block: bytes, done: int, path: Path) -> None:
    """Refuse bytes that are not UTF-8 in a block that begins at byte ``done`` of the file."""
    if block.isascii():
        return
    try:
        block.decode()
    except UnicodeDecodeError as error:
        before = line_number(path, done - 1) if done else 0
        number = before + block.count(b"\n", 0, error.start) + 1
        raise DataError.at(
            path, number, f"not UTF-8 (byte 0x{block[error.start]:02x}); convert the file to UTF-8"
        ) from error


def _first_line(block: bytes) -> tuple[bytes, int]:
    """Return the first line that is not blank, and its number; (b"", 0) when there is none."""
    start, number = 0, 1
    while start < len(block):
        stop = block.index(b"\n", start)
        line = block[start:stop].strip(b" \t\r")
        if line:
            return line, number
        start, number = stop + 1, number + 1
    return b"", 0


def _tag(head: bytes, form: LineForm) -> str:
    parts = split_line(head)
    return parts[5].decode() if form.name == "trec" and len(parts) > 5 else "dretrieve"


def _read_plain(path: Path, form: LineForm, ranks: bool | None, tag: str, block: bytes) -> Run:
    queries: dict[bytes, int] = {}
    passages: dict[bytes, int] = {}
    rows: list[tuple[int, int, np.float32]] = []
    lines: list[int] = []
    for number, line in enumerate(block.split(b"\n"), 1):
        parsed = parse_line(line, form, path, number)
        if parsed is not None:
            query, passage, score = parsed
            rows.append(
                (queries.setdefault(query, len(queries)), passages.setdefault(passage, len(passages)), score)
            )
            lines.append(number)
    query_rows, passage_rows, scores = zip(*rows, strict=True)
    hits = HitColumns(
        query_ids=[query.decode() for query in queries],
        passage_ids=[passage.decode() for passage in passages],
        queries=np.asarray(query_rows, dtype=np.int32),
        passages=np.asarray(passage_rows, dtype=np.int32),
        scores=np.asarray(scores, dtype=np.float32),
        tag=tag,
    )
    refuse_bad_ranks(path, ranks, hits.scores)
    return build_run(
        hits,
        ranks=ranks,
        repeated=lambda first, second: repeated_hit(
            path,
            hits.query_ids[query_rows[second]],
            hits.passage_ids[passage_rows[second]],
            (lines[first], lines[second]),
        ),
    )


def refuse_bad_ranks(path: Path, ranks: bool | None, scores: NDArray[np.float32]) -> None:
    """Refuse a run that was asked for as ranks and holds other numbers."""
    if ranks and len(scores) and (scores.min() < 1 or not np.array_equal(scores, np.floor(scores))):
        raise DataError.at(
            path, None, "the third column of an MS MARCO run is a rank (1, 2, 3 …), found others"
        )


def repeated_hit(path: Path, query: str, passage: str, lines: tuple[int, int]) -> DataError:
    """Return the error for a passage that stands twice for a query."""
    return DataError.at(
        path,
        lines[1],
        f"passage {passage!r} stands twice for query {query!r} (first on line {lines[0]}); "
        "remove one of the two lines",
    )
