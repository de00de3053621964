"""Runs as lines of text: the known columns, one line parsed in plain Python, and the words of every refusal.

| form     | columns                                   | score                                       |
|----------|-------------------------------------------|---------------------------------------------|
| trec     | query, Q0, passage, rank, score, tag      | column 5; the rank column is ignored        |
| tevatron | query, passage, score                     | column 3                                    |
| msmarco  | query, passage, rank                      | 1 / rank, as Pyserini converts it           |
| colbert  | query, passage, rank, score               | column 4; the rank column is ignored        |
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dretrieve.errors import DataError, UsageError

BLANKS = re.compile(rb"[ \t\r]+")
NUMBER = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class LineForm:
    """Which column of a line holds what, counted from 0; the query always stands in column 0.

    Attributes:
        name: how the form is asked for.
        columns: how many there are.
        exact: whether a further column is an error (in TREC files it belongs to the tag).
        passage: the column of the passage id.
        score: the column of the score or, in ``msmarco``, of the rank.
        layout: the columns in words.
    """

    name: str
    columns: int
    exact: bool
    passage: int
    score: int
    layout: str


FORMS = {
    form.name: form
    for form in (
        LineForm("trec", 6, False, 2, 4, "query Q0 passage rank score tag"),
        LineForm("tevatron", 3, True, 1, 2, "query passage score"),
        LineForm("msmarco", 3, True, 1, 2, "query passage rank"),
        LineForm("colbert", 4, True, 1, 3, "query passage rank score"),
    )
}


def detect_form(line: bytes, path: Path, number: int) -> LineForm:
    """Return the form of a run by its first line; three columns count as ``tevatron`` until seen whole."""
    columns = len(split_line(line))
    if columns >= 6:
        return FORMS["trec"]
    if columns in (3, 4):
        return FORMS["tevatron" if columns == 3 else "colbert"]
    raise DataError.at(
        path,
        number,
        f"a run has 6 columns (query Q0 passage rank score tag), 3 (query passage score, or rank) "
        f"or 4 (query passage rank score), found {columns}: {shown(line)}",
    )


def form_named(name: str) -> LineForm:
    """Return the form of that name."""
    if name not in FORMS:
        raise UsageError(f"unknown form of run '{name}'; the forms are auto, {', '.join(FORMS)}")
    return FORMS[name]


def split_line(line: bytes) -> list[bytes]:
    """Return the columns of a line: parted by spaces and tabs only, other white space belongs to ids."""
    return [part for part in BLANKS.split(line) if part]


def parse_line(
    line: bytes, form: LineForm, path: Path, number: int
) -> tuple[bytes, bytes, np.float32] | None:
    """Return query id, passage id and score of one line (without its newline), None for a blank line.

    Raises:
        DataError: a wrong number of columns, or a score that is no finite number.
    """
    parts = split_line(line)
    if not parts:
        return None
    if len(parts) < form.columns or (form.exact and len(parts) > form.columns):
        raise DataError.at(
            path,
            number,
            f"expected {form.columns} columns ({form.layout}), found {len(parts)}: {shown(line)}",
        )
    return parts[0], parts[form.passage], parse_score(parts[form.score], path, number)


def parse_score(token: bytes, path: Path, number: int) -> np.float32:
    """Return the score, read in double precision and rounded to float32 as trec_eval does."""
    if NUMBER.fullmatch(token):
        value = float(token)
        if abs(value) < 3.4028235677973366e38:  # from here on it rounds to infinity
            return np.float32(value)
        raise DataError.at(path, number, f"the score {shown(token)} is larger than a 32-bit float can hold")
    if token.lower().lstrip(b"+-") in (b"nan", b"inf", b"infinity"):
        raise DataError.at(
            path,
            number,
            f"the score is {shown(token)}; scores must be finite: search again with sound vectors",
        )
    raise DataError.at(path, number, f"the score {shown(token)} is not a number")


def shown(token: bytes, most: int = 80) -> str:
    """Return bytes for a message, cut and made printable."""
    text = token.decode(errors="backslashreplace").strip()
    return repr(text if len(text) <= most else text[: most - 1] + "…")
