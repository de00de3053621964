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
from dretrieve.text.columns import found, header, shown, split_line
from dretrieve.text.fields import RANKS, SCORES

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
        words = RANKS if form.name == "msmarco" else SCORES
        if form.columns == len(parts) and (not titles or titles[form.score] in words):
            return form
    raise DataError.at(
        path,
        number,
        f"a run has 6 columns (query Q0 passage rank score tag), 3 (query passage score, or rank) "
        f"or 4 (query passage rank score), found {found(line)}",
    )


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
