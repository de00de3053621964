"""Runs as lines of text: what a file's beginning tells, its blocks, the columns of one line, every refusal.

| form     | columns                                   | score                                       |
|----------|-------------------------------------------|---------------------------------------------|
| trec     | query, Q0, passage, rank, score, tag      | column 5; the rank column is ignored        |
| tevatron | query, passage, score                     | column 3                                    |
| msmarco  | query, passage, rank                      | 1 / rank: it orders, and cannot be weighed  |
| colbert  | query, passage, rank, score               | column 4; the rank column is ignored        |

A line with a tab between two columns is cut at tabs only, so that ids with blanks stay whole; other lines are
cut at blanks. A line whose first character that is not blank is ``#`` is a comment, as in trec_eval 10: a
query id cannot begin with ``#``; ids may hold it elsewhere. A line of the field's words alone (``qid docid
score``) is a header; it says what the columns hold. Scores are doubles, as in trec_eval 10.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from dretrieve.errors import DataError, PreconditionError, UsageError, quoted
from dretrieve.text.beir import QRELS_HEADER
from dretrieve.text.columns import found, header, hit_places, shown, split_line
from dretrieve.text.fields import QUERY_COLUMNS
from dretrieve.text.files import BYTE_ORDER_MARK, LONGEST_LINE, is_array, open_bytes, too_long

BLOCK = 1 << 22
SMALL = 1 << 21  # bytes; below it, importing numba would take longer than parsing
NUMBER = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
WHOLE = re.compile(rb"\+?\d+")


@dataclass(frozen=True, slots=True)
class LineForm:
    """Which column of a line holds what, counted from 0; the query always stands in column 0.

    Attributes:
        name: how the form is asked for.
        columns: how many there are.
        passage: the column of the passage id.
        score: the column of the score or, in ``msmarco``, of the rank.
        layout: the columns in words.
    """

    name: str
    columns: int
    passage: int
    score: int
    layout: str

    @property
    def is_ranks(self) -> bool:
        """Whether the column of the score holds ranks."""
        return self.name == "msmarco"


FORMS = {
    form.name: form
    for form in (
        LineForm("trec", 6, 2, 4, "query Q0 passage rank score tag"),
        LineForm("tevatron", 3, 1, 2, "query passage score"),
        LineForm("msmarco", 3, 1, 2, "query passage rank"),
        LineForm("colbert", 4, 1, 3, "query passage rank score"),
    )
}
RUN_FORMATS = ("auto", *FORMS, "dpr", "pyserini-json", "ranx")
RANKS_TAG = "dretrieve-ranks"  # of a TREC file whose scores are 1 / rank, made of a file of ranks


def forms_for(given: Sequence[str], runs: int) -> list[str]:
    """Return the form of each of some runs: ``auto`` when none is given, one for all, or one for each.

    Raises:
        UsageError: another number of forms.
    """
    if len(given) not in (0, 1, runs):
        raise UsageError(
            f"--run-format is given {len(given)} times for {runs} run{'s' * (runs != 1)}; give one for all, "
            "or one for each"
        )
    return list(given) if len(given) == runs else list(given or ["auto"]) * runs


@dataclass(frozen=True, slots=True)
class Sniffed:
    """What the beginning of a run's file tells.

    Attributes:
        form: of its lines; None for JSON and for a file without lines.
        ranks: whether the score column holds ranks; None if that shows only in the whole file.
        judged: whether the header is that of BEIR's judgements.
        is_large: whether compiled loops pay.
    """

    first: bytes
    form: LineForm | None = None
    ranks: bool | None = False
    judged: bool = False
    tag: str = "dretrieve"
    is_json: bool = False
    is_large: bool = False


def sniff(path: Path, form: str = "auto") -> Sniffed:
    """Return what the beginning of the file tells; arguments and errors as `dretrieve.runs.read.read_run`."""
    if form not in FORMS and is_array(path):
        return Sniffed(b"", is_json=True)
    blocks = read_blocks(path)
    first = next(blocks, b"")
    head, number = _first_line(chain([first], blocks))
    if not head:
        return Sniffed(first)
    if form not in FORMS and (form != "auto" or head[:1] in (b"{", b"[")):
        return Sniffed(first, is_json=True)
    known = detect_form(head, path, number) if form == "auto" else FORMS[form]
    cells, titles = split_line(head), header(head)
    ranks: bool | None = known.is_ranks
    if form == "auto" and known.columns == 3 and not titles:
        ranks = None if WHOLE.fullmatch(cells[2]) or parse_score(cells[2], path, number) == 1 else False
    tag = cells[5].decode() if known.name == "trec" and len(cells) > 5 and not titles else "dretrieve"
    small = SMALL >> 5 if "numba" in sys.modules else SMALL
    large = len(first) >= small or number > first.count(b"\n") or next(blocks, None) is not None
    judged = form == "auto" and titles == header(QRELS_HEADER.encode())
    return Sniffed(first, known, ranks, judged, tag, is_large=large)


def _first_line(blocks: Iterable[bytes]) -> tuple[bytes, int]:
    """Return the first line with columns, b"" if there is none, and its number."""
    number = 0
    for number, line in numbered_lines(blocks):
        line = line.strip(b" \t\r")
        if line and not line.startswith(b"#"):
            return line, number
    return b"", number


def detect_form(line: bytes, path: Path, number: int) -> LineForm:
    """Return the form of a run by its first line; three columns count as ``tevatron`` until seen whole.

    Raises:
        DataError: another number of columns; four whose third is no first rank (judgements, perhaps); a
            header that does not name them, the query first.
    """
    parts, titles = split_line(line), header(line)
    if titles:
        return _named_form(titles, path, number)
    if len(parts) == 4 and parts[2] != b"1":
        raise DataError.at(
            path,
            number,
            f"four columns are a run (query passage rank score) when the first rank is 1, found "
            f"{shown(parts[2])}: give judgements as --qrels, or say --run-format colbert",
        )
    for form in FORMS.values():
        if form.columns == len(parts):
            return form
    raise DataError.at(
        path,
        number,
        f"a run has 6 columns (query Q0 passage rank score tag), 3 (query passage score, or rank) "
        f"or 4 (query passage rank score), found {found(line)}",
    )


def _named_form(titles: list[str], path: Path, number: int) -> LineForm:
    (_, passages, columns), is_ranks = hit_places(titles)
    if len(passages) != 1 or len(columns) != 1 or titles[0] not in {*QUERY_COLUMNS, "_id", "id"}:
        raise DataError.at(
            path,
            number,
            "the header of a run names the query first, then one passage and one score or rank (query_id "
            f"doc_id score), found {quoted(' '.join(titles))}; name and order the columns so",
        )
    name = "msmarco" if is_ranks else "tevatron"
    return LineForm(name, len(titles), passages[0], columns[0], " ".join(titles))


def parse_line(line: bytes, form: LineForm, path: Path, number: int) -> tuple[bytes, bytes, bytes] | None:
    """Return query id, passage id and score of one line (without its newline) as they stand there.

    None stands for a comment, a header or a line of blanks.

    Raises:
        DataError: a wrong number of columns, an empty id, a score that is no finite number, a header of other
            columns than the form's.
    """
    parts = split_line(line)
    if not parts:
        return None
    if len(parts) != form.columns or b"\r" in line.strip(b" \t\r"):
        raise DataError.at(
            path, number, f"expected {form.columns} columns ({form.layout}), found {found(line)}"
        )
    if parts[form.score][-1:].isalpha() and (titles := header(line)):
        named = _named_form(titles, path, number)
        if (named.passage, named.score, named.is_ranks) != (form.passage, form.score, form.is_ranks):
            raise DataError.at(
                path,
                number,
                f"the header {quoted(' '.join(titles))} does not fit the form {form.name} ({form.layout}); "
                "leave --run-format out, or correct the header",
            )
        return None
    if not all(parts):
        raise DataError.at(
            path, number, f"column {parts.index(b'') + 1} of {form.columns} ({form.layout}) is empty"
        )
    parse_score(parts[form.score], path, number)
    return parts[0], parts[form.passage], parts[form.score]


def parse_score(token: bytes, path: Path, number: int) -> float:
    """Return the score.

    Raises:
        DataError: not a finite decimal number.
    """
    if NUMBER.fullmatch(token):
        value = float(token)
        if abs(value) != float("inf"):
            return value
        raise DataError.at(path, number, f"the score {shown(token)} is larger than a 64-bit float can hold")
    if token.lower().lstrip(b"+-") in (b"nan", b"inf", b"infinity"):
        raise DataError.at(
            path,
            number,
            f"the score is {shown(token)}; scores must be finite: search again with sound vectors",
        )
    raise DataError.at(path, number, f"the score {shown(token)} is not a number")


def read_blocks(path: Path, size: int = BLOCK) -> Iterator[bytes]:
    """Yield the decompressed file in blocks of whole lines, each ending with a newline; UTF-8 is checked."""
    rest, done = b"", 0
    with open_bytes(path) as file:
        while True:
            try:
                data = file.read(size)
            except OSError as error:
                raise PreconditionError(f"{path} cannot be read: {error.strerror or error}") from error
            if not done and not rest:
                data = data.removeprefix(BYTE_ORDER_MARK)
            if not data and rest:
                data = b"\n"  # the last line of the file has no end
            if not data:
                return
            cut = data.rfind(b"\n") + 1
            block, rest = (rest + data[:cut], data[cut:]) if cut else (b"", rest + data)
            if len(rest) > LONGEST_LINE:
                raise too_long(path, None)
            if block:
                check_utf8(block, done, path)
                yield block
                done += len(block)


def numbered_lines(blocks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Return the lines of blocks, as `read_blocks` has them, with their numbers."""
    return enumerate((line for block in blocks for line in block.split(b"\n")[:-1]), 1)


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


def repeated_hit(path: Path, form: LineForm, query: bytes, passage: bytes) -> DataError:
    """Return the error for a passage that stands twice for a query; reads the file once more."""
    lines: list[int] = []
    for number, line in numbered_lines(read_blocks(path)):
        if passage in line and (parsed := parse_line(line, form, path, number)) is not None:
            lines += [number] if parsed[:2] == (query, passage) else []
    return DataError.at(
        path,
        lines[1],
        f"passage {quoted(passage.decode())} stands twice for query {quoted(query.decode())} "
        f"(first on line {lines[0]}); remove one of the two lines",
    )
