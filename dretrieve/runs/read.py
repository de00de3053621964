"""Reading runs: TREC, MS MARCO, Tevatron and ColBERT lines, plain or compressed, and the JSON forms.

The rank column is ignored (BEIR writes 0 everywhere, others leave gaps): hits are sorted by
`dretrieve.order`. Files beyond `SMALL` bytes go through compiled loops, smaller ones through plain Python
that needs no numba.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dretrieve.errors import DataError, PreconditionError, UsageError, quoted
from dretrieve.runs.build import Column, HitColumns, build_run, query_offsets
from dretrieve.runs.lines import FORMS, WHOLE, LineForm, detect_form, parse_line, parse_score
from dretrieve.text.columns import header, split_line
from dretrieve.text.files import BYTE_ORDER_MARK, LONGEST_LINE, open_bytes, too_long
from dretrieve.types import Run

SMALL = 1 << 21  # bytes; below it, importing numba would take longer than parsing
BLOCK = 1 << 22
RUN_FORMATS = ("auto", *FORMS, "dpr", "pyserini-json", "ranx")


def read_run(path: Path, form: str = "auto") -> Run:
    """Return the run at ``path``; a file without hits is a run without queries.

    Args:
        path: plain or compressed.
        form: a name of `RUN_FORMATS`. ``auto`` tells lines by their columns and JSON by its shape; three
            columns hold scores when one is no whole number, ranks when they rise from 1 in every query.

    Raises:
        UsageError: no such form.
        DataError: a line that breaks the form, a score that is not finite, a passage twice for a query,
            bytes that are not UTF-8, cut or damaged compression, three columns of which ``auto`` cannot tell
            whether they hold ranks or scores; names the line.
        PreconditionError: no such file.
    """
    seen = sniff(path, form)
    if seen.is_json:
        from dretrieve.runs.json_forms import read_json_run

        return read_json_run(path, form)
    if seen.form is None:
        return empty_run()
    if not seen.is_large:
        return _read_plain(path, seen)
    from dretrieve.runs.scan import scan_run

    return scan_run(path, seen)


def forms_for(given: Sequence[str], runs: int) -> list[str]:
    """Return the form of each of some runs: ``auto`` when none is given, one for all, or one for each.

    Raises:
        UsageError: another number of forms, an unknown form.
    """
    for name in given:
        if name not in RUN_FORMATS:
            raise UsageError(f"unknown --run-format {quoted(name)}; the forms are {', '.join(RUN_FORMATS)}")
    if len(given) not in (0, 1, runs):
        raise UsageError(
            f"--run-format is given {len(given)} times for {runs} run{'s' * (runs != 1)}; give one for all, "
            "or one for each"
        )
    return list(given) if len(given) == runs else list(given or ["auto"]) * runs


def refuse_ranks(run: Run, path: Path, why: str, cure: str) -> Run:
    """Return the run if it holds scores.

    Raises:
        DataError: it holds ranks; the sentence says ``why`` they do not do, and the ``cure``.
    """
    if run.by_rank:
        raise DataError.at(
            path, None, f"the run holds ranks and no scores, and {why}; {cure}, or give a run with scores"
        )
    return run


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
    """Return what the beginning of the file tells; arguments and errors as `read_run`."""
    (form,) = forms_for([form], 1)
    blocks = read_blocks(path)
    first = block = next(blocks, b"")
    head, number = _first_line(first)
    while not head and block:
        block, before = next(blocks, b""), block.count(b"\n")
        head, number = _first_line(block, number + before)
    if not head:
        return Sniffed(first)
    if form not in FORMS and (form != "auto" or head[:1] in (b"{", b"[")):
        return Sniffed(first, is_json=True)
    known = detect_form(head, path, number) if form == "auto" else FORMS[form]
    ranks: bool | None = known.name == "msmarco"
    if form == "auto" and known.columns == 3 and not header(head):
        token = split_line(head)[2]
        ranks = None if WHOLE.fullmatch(token) or parse_score(token, path, number) == 1 else False
    large = block is not first or len(first) >= SMALL or next(blocks, None) is not None
    return Sniffed(first, known, ranks, _tag(head, known), is_large=large)


def empty_run(tag: str = "dretrieve") -> Run:
    """Return the run without queries."""
    none = np.empty(0, np.int32)
    return Run([], [], np.zeros(1, np.int64), none, none.astype(np.float64), tag)


def read_blocks(path: Path, size: int = BLOCK) -> Iterator[bytes]:
    """Yield the decompressed file in blocks of whole lines, each ending with a newline; UTF-8 is checked."""
    rest, done, begun = b"", 0, False
    with open_bytes(path) as file:
        while True:
            try:
                data = file.read(size)
            except OSError as error:
                raise PreconditionError(f"{path} cannot be read: {error.strerror or error}") from error
            if not begun and data.startswith(BYTE_ORDER_MARK):
                data = data[len(BYTE_ORDER_MARK) :]
            begun = True
            cut = data.rfind(b"\n") + 1 if data else 0
            block = rest + data[:cut] if data else rest + (b"\n" if rest else b"")
            rest = data[cut:] if cut or not data else rest + data
            if len(rest) > LONGEST_LINE:
                raise too_long(path, None)
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


def _first_line(block: bytes, number: int = 1) -> tuple[bytes, int]:
    """Return the first line with columns and its number, the block's first being ``number``; or b"", that."""
    start, first = 0, number
    while start < len(block):
        stop = block.index(b"\n", start)
        line = block[start:stop].strip(b" \t\r")
        if line and not line.startswith(b"#"):
            return line, number
        start, number = stop + 1, number + 1
    return b"", first


def _tag(head: bytes, form: LineForm) -> str:
    parts = split_line(head)
    return parts[5].decode() if form.name == "trec" and len(parts) > 5 and not header(head) else "dretrieve"


def _read_plain(path: Path, seen: Sniffed) -> Run:
    queries: dict[bytes, int] = {}
    passages: dict[bytes, int] = {}
    rows: list[tuple[int, int, float]] = []
    lines: list[int] = []
    fractions = 0
    form = seen.form
    assert form is not None
    for number, line in enumerate(seen.first.split(b"\n"), 1):
        parsed = parse_line(line, form, path, number)
        if parsed is not None:
            query, passage, score = parsed
            rows.append(
                (
                    queries.setdefault(query, len(queries)),
                    passages.setdefault(passage, len(passages)),
                    float(score),
                )
            )
            lines.append(number)
            fractions += WHOLE.fullmatch(score) is None
    if not rows:
        return empty_run()
    query_rows, passage_rows, scores = zip(*rows, strict=True)
    hits = HitColumns(
        query_ids=[query.decode() for query in queries],
        passage_ids=[passage.decode() for passage in passages],
        queries=np.asarray(query_rows, dtype=np.int32),
        passages=np.asarray(passage_rows, dtype=np.int32),
        scores=np.asarray(scores, dtype=np.float64),
        tag=seen.tag,
    )
    order = np.argsort(hits.queries, kind="stable")
    column = Column(query_offsets(hits.queries, len(queries)), hits.scores[order], fractions)
    return build_run(
        hits,
        ranks=holds_ranks(path, seen, column, list(queries)),
        repeated=lambda first, second: repeated_hit(
            path,
            hits.query_ids[query_rows[second]],
            hits.passage_ids[passage_rows[second]],
            (lines[first], lines[second]),
        ),
    )


def holds_ranks(path: Path, seen: Sniffed, column: Column, query_ids: Sequence[bytes]) -> bool:
    """Return whether the scores of a file are ranks.

    Raises:
        DataError: ranks were asked for and there are other numbers; or three columns may be either.
    """
    assert seen.form is not None
    if seen.ranks:
        hit = column.no_rank()
        if hit is None:
            return True
        raise DataError.at(
            path,
            _line_of(path, seen.form, column, query_ids, hit),
            f"the third column of an MS MARCO run is a rank (1, 2, 3 …), found {column.scores[hit]:.9g}",
        )
    if seen.ranks is False:
        return False
    hit = column.not_next_rank()
    if column.fractions == 0 and hit is None:
        return True
    if column.fractions and (hit is not None or len(column.scores) == len(query_ids)):
        return False
    if hit is None:
        place, speaks = None, "they rise by one from 1 in every query, as ranks do, but have a decimal point"
    else:
        place = _line_of(path, seen.form, column, query_ids, hit)
        rank = hit - int(column.offsets[np.searchsorted(column.offsets, hit, side="right") - 1]) + 1
        speaks = (
            f"all are whole numbers, as ranks are, but here is {column.scores[hit]:.9g} where the query's "
            f"rank {rank} was due"
        )
    raise DataError.at(
        path,
        place,
        f"the third of three columns may hold ranks or scores: {speaks}; say which: --run-format msmarco "
        "(ranks, the lowest is best) or --run-format tevatron (scores, the highest is best)",
    )


def _line_of(path: Path, form: LineForm, column: Column, query_ids: Sequence[bytes], hit: int) -> int:
    """Return the line of a hit, counted among the hits by query; reads the file once more."""
    query = int(np.searchsorted(column.offsets, hit, side="right")) - 1
    left, number = hit - int(column.offsets[query]), 0
    for block in read_blocks(path):
        for line in block.split(b"\n")[:-1]:
            number += 1
            parsed = parse_line(line, form, path, number)
            if parsed is not None and parsed[0] == query_ids[query]:
                if left == 0:
                    return number
                left -= 1
    raise AssertionError(f"{path} changed while it was read")


def repeated_hit(path: Path, query: str, passage: str, lines: tuple[int, int]) -> DataError:
    """Return the error for a passage that stands twice for a query."""
    return DataError.at(
        path,
        lines[1],
        f"passage {quoted(passage)} stands twice for query {quoted(query)} (first on line {lines[0]}); "
        "remove one of the two lines",
    )
