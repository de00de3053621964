"""Runs as lines of text: the known columns, one line parsed in plain Python, and the words of every refusal.

| form     | columns                                   | score                                       |
|----------|-------------------------------------------|---------------------------------------------|
| trec     | query, Q0, passage, rank, score, tag      | column 5; the rank column is ignored        |
| tevatron | query, passage, score                     | column 3                                    |
| msmarco  | query, passage, rank                      | 1 / rank: it orders, and cannot be weighed  |
| colbert  | query, passage, rank, score               | column 4; the rank column is ignored        |

A line with a tab between two columns is cut at tabs only, so that ids with blanks stay whole; other lines are
cut at blanks. A line whose first character that is not blank is ``#`` is a comment, as in trec_eval 10: a
query id cannot begin with ``#``; ids may hold it elsewhere. A line of the field's words alone (``qid docid
score``) is a header; it says what three columns hold. Scores are doubles, as in trec_eval 10.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dretrieve.errors import DataError

BLANKS = re.compile(rb" +")
NUMBER = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
RANK, SCORE = ("rank", "ranking"), ("score", "scores", "sim", "similarity")
HEADER = frozenset(
    "qid query query_id topic topic_id iter q0 docid docno doc_id document_id pid passage_id corpus_id doc "
    "id tag run run_id runid run_name system name".split()
) | {*RANK, *SCORE}
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


FORMS = {
    form.name: form
    for form in (
        LineForm("trec", 6, 2, 4, "query Q0 passage rank score tag"),
        LineForm("tevatron", 3, 1, 2, "query passage score"),
        LineForm("msmarco", 3, 1, 2, "query passage rank"),
        LineForm("colbert", 4, 1, 3, "query passage rank score"),
    )
}


def detect_form(line: bytes, path: Path, number: int) -> LineForm:
    """Return the form of a run by its first line; three columns count as ``tevatron`` until seen whole.

    Raises:
        DataError: another number of columns; four whose third is no first rank (judgements, perhaps); a
            header that names other columns.
    """
    parts, titles = split_line(line), header(line)
    if len(parts) == 4 and parts[2] != b"1" and not titles:
        raise DataError.at(
            path,
            number,
            f"four columns are a run (query passage rank score) when the first rank is 1, found "
            f"{shown(parts[2])}: give judgements as --qrels, or say --run-format colbert",
        )
    for form in FORMS.values():
        words = RANK if form.name == "msmarco" else SCORE
        if form.columns == len(parts) and (not titles or titles[form.score] in words):
            return form
    raise DataError.at(
        path,
        number,
        f"a run has 6 columns (query Q0 passage rank score tag), 3 (query passage score, or rank) "
        f"or 4 (query passage rank score), found {found(line)}",
    )


def split_line(line: bytes) -> list[bytes]:
    """Return the columns of a line, none for a comment or a line of blanks.

    They are parted by tabs if there is one between two columns, else by spaces; other white space belongs to
    ids.
    """
    line = line.strip(b" \t\r")
    if not line or line.startswith(b"#"):
        return []
    return [part.strip(b" ") for part in line.split(b"\t")] if b"\t" in line else BLANKS.split(line)


def header(line: bytes) -> list[str]:
    """Return the words of a line that holds nothing but words of a header, in small letters; else none."""
    words = [part.decode(errors="replace").lower().replace("-", "_") for part in split_line(line)]
    return words if len(words) > 2 and HEADER.issuperset(words) else []


def parse_line(line: bytes, form: LineForm, path: Path, number: int) -> tuple[bytes, bytes, bytes] | None:
    """Return query id, passage id and score of one line (without its newline) as they stand there.

    None stands for a comment, a header or a line of blanks.

    Raises:
        DataError: a wrong number of columns, an empty id, a score that is no finite number.
    """
    parts = split_line(line)
    if not parts:
        return None
    if len(parts) != form.columns or b"\r" in line.strip(b" \t\r"):
        raise DataError.at(
            path, number, f"expected {form.columns} columns ({form.layout}), found {found(line)}"
        )
    if parts[form.score][-1:].isalpha() and header(line):
        return None
    if not all(parts):
        raise DataError.at(
            path, number, f"column {parts.index(b'') + 1} of {form.columns} ({form.layout}) is empty"
        )
    parse_score(parts[form.score], path, number)
    return parts[0], parts[form.passage], parts[form.score]


def found(line: bytes) -> str:
    """Return the number of columns in words, with what may be wrong with the line, and the line."""
    line = line.strip(b" \t\r")
    if b"\r" in line:
        return f"lines that end with a carriage return alone; end them with a newline: {shown(line)}"
    by_tabs, by_blanks = len(line.split(b"\t")), len(line.split())
    if by_tabs > 1 and by_blanks != by_tabs:
        return f"{by_tabs} parted by tabs ({by_blanks} by blanks too; part all by tabs): {shown(line)}"
    commas = " (parted by commas; part them by tabs)" if by_blanks == 1 and b"," in line else ""
    return f"{by_blanks}{commas}: {shown(line)}"


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


def shown(token: bytes, most: int = 80) -> str:
    """Return bytes for a message, cut and made printable."""
    text = token[: 4 * most].decode(errors="backslashreplace").strip()
    return repr(text if len(text) <= most else text[: most - 1] + "…")
