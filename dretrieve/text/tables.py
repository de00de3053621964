"""Texts in columns, parted by tabs or commas: MS MARCO, ColBERT, DPR, Anserini's topics, tables of anyone.

A first line that names an id and a text by the words of `dretrieve.text.fields` is a header: it says what
each column holds, and cells may be quoted as in CSV (tabs, newlines, doubled quotes inside). Without a header
the columns are parted by tabs, quotes are text, and the number of columns says what they hold.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from io import StringIO
from itertools import chain, pairwise
from pathlib import Path
from tokenize import NL, STRING, generate_tokens
from typing import Literal

from dretrieve.errors import DataError, quoted
from dretrieve.text.columns import MARKS
from dretrieve.text.fields import (
    ANCHORS,
    ANSWERS,
    PASSAGE_IDS,
    PASSAGE_TEXTS,
    POSITIVES,
    QUERY_IDS,
    QUERY_TEXTS,
    TITLES,
    Fields,
    word_of,
)
from dretrieve.text.files import read_lines

Table = Literal["corpus", "queries", "training"]
WORDS: dict[Table, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "corpus": (PASSAGE_IDS, PASSAGE_TEXTS),
    "queries": (QUERY_IDS, QUERY_TEXTS),
    "training": (POSITIVES, ANCHORS),
}
QUOTED = re.compile(r'"((?:[^"]++|"")*+)"')
QUOTING = (
    "below a header a cell that begins with a quote is quoted as in CSV: double the quotes inside, or take "
    "the header away, so that quotes are text"
)
UNQUOTED = (
    "take them away, or write a header (id⇥text) above, below which cells may be quoted as in CSV; without "
    "one quotes are text"
)
# a list, or Python's tuple, set or dict: of strings, whole
SEVERAL = re.compile(r"""[ "]*(\[|[({]\s*['"].*['"\])}]\s*,?\s*[)}][ "]*$)""", re.DOTALL)
SIDE_BY_SIDE = re.compile(r"""['"]\s*['"]""")
LONGEST_CELL = 1 << 27  # characters between two quotes; beyond it one of them is missing


def header_of(line: str, *tables: Table) -> tuple[str, list[str]] | None:
    """Return what parts the columns and their names, when the line is a header of one of those tables.

    A question needs no id where its answers stand beside it.
    """
    for mark in "\t" if "\t" in line else ",":
        cells = [cell.strip().removeprefix('"').removesuffix('"') for cell in line.split(mark)]
        words = {word_of(cell) for cell in cells}
        if len(words) < 2:
            continue
        for ids, texts in map(WORDS.__getitem__, tables):
            text = next((word for word in texts if word in words), None)
            if text and (words - {text} & {*ids, *(ANSWERS if ids is QUERY_IDS else ())}):
                return mark, cells
    return None


def bare_columns(line: str, table: Table) -> list[str] | None:
    """Return what the columns of a line hold in a file without header, None where they say nothing."""
    cells = line.split("\t")
    if table == "training":
        return ["query", "positive", "negative"] if len(cells) == 3 else None
    if table == "queries":
        if len(cells) in (2, 3) and parse_answers(cells[-1]) is not None:
            return ["id", "question", "answers"][3 - len(cells) :]
        return ["id", "text"] if len(cells) == 2 else None
    if len(cells) == 4 and cells[1].startswith(("http://", "https://")):
        return ["id", "url", "title", "text"]
    return {2: ["id", "text"], 3: ["id", "text", "title"]}.get(len(cells))


def parted(line: str, *tables: Table) -> str | None:
    """Return what to say of a line that would be a row or a header of one of those tables, parted by tabs."""
    for mark, name in MARKS.items() if "\t" not in line else ():
        cells = line.replace(mark, "\t")
        if mark in line and any(header_of(cells, table) or bare_columns(cells, table) for table in tables):
            cure = "part them by tabs, or by commas below a header that names an id and a text"
            return f"its columns seem to be parted by {name}; {cure}: {quoted(line)}"
    return None


def read_rows(path: Path, table: Table) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield ``(line, cells by the names of their columns)``.

    Raises:
        DataError: a first line that is neither a header nor a known row; another number of columns than it
            has; quotes that are not closed.
    """
    lines = read_lines(path)
    number, line = next((row for row in lines if row[1]), (1, ""))
    header = header_of(line, table)
    if header is not None:
        mark, names = header
        if len(set(names)) < len(names):
            raise DataError.at(path, number, f"the header names a column twice: {quoted(line)}")
        for number, cells in _quoted_rows(path, lines, mark):
            yield number, _named(names, cells, path, number, "as in the header")
        return
    columns = bare_columns(line, table)
    if columns is None or _half_header(line):
        raise DataError.at(path, number, _no_columns(line, table))
    for place, row in chain([(number, line)], lines):
        if row:
            cells = row.split("\t")
            if row[0] == '"' and columns[0] == "id" and unquote(cells[0]) != cells[0]:
                raise DataError.at(path, place, f"the id {quoted(cells[0])} stands in quotes; {UNQUOTED}")
            if "answers" in columns and len(cells) > 1:
                cells[-2] = unquote(cells[-2])
            yield place, _named(columns, cells, path, place, "as in the first line")


def _named(names: list[str], cells: list[str], path: Path, number: int, why: str) -> Mapping[str, str]:
    if len(cells) != len(names):
        raise DataError.at(
            path,
            number,
            f"found {len(cells)} columns, expected {len(names)} {why} ({', '.join(map(quoted, names))}): "
            f"{quoted(' | '.join(cells))}",
        )
    return dict(zip(names, cells, strict=True))


def _half_header(line: str) -> bool:
    """Return whether a first line that is no header of its side has the words of one."""
    first, *others = map(word_of, line.split("\t"))
    is_word = not any(map(str.isdigit, first)) and not {*PASSAGE_TEXTS, *QUERY_TEXTS, *TITLES}.isdisjoint(
        others
    )
    return first in PASSAGE_IDS or first in QUERY_IDS or is_word


def _no_columns(line: str, table: Table) -> str:
    if (other := parted(line, table)) is not None:
        return other
    ids, texts = WORDS[table]
    what, of, forms = {
        "corpus": ("passages", "an id", "id⇥text, id⇥text⇥title, id⇥url⇥title⇥body"),
        "queries": ("queries", "an id", "id⇥text, question⇥['answer'], id⇥question⇥['answer']"),
        "training": ("triples", "a positive", "query⇥positive⇥negative"),
    }[table]
    names = f"{of} ({', '.join(ids)}) and a text ({', '.join(texts)})"
    return f"the first line is no row of {what} ({forms}) and no header that names {names}: {quoted(line)}"


def _quoted_rows(path: Path, lines: Iterator[tuple[int, str]], mark: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in lines:
        if not line:
            continue
        parts, size = [line], len(line)
        cells = _cells(line, mark, path, number)
        while cells is None:
            after = next(lines, None)
            if after is None or size > LONGEST_CELL:
                raise DataError.at(
                    path, number, f"a quote that opens here is never closed; {QUOTING}: {quoted(line)}"
                )
            parts.append(after[1])
            size += len(after[1])
            if '"' in after[1]:
                parts = ["\n".join(parts)]
                cells = _cells(parts[0], mark, path, number)
        yield number, cells


def _cells(line: str, mark: str, path: Path, number: int) -> list[str] | None:
    """Return the cells of a line; None where a quote is still open at its end."""
    if '"' not in line:
        return line.split(mark)
    cells, place = [], 0
    while True:
        if line.startswith('"', place):
            match = QUOTED.match(line, place)
            if match is None:
                return None
            cells.append(match[1].replace('""', '"'))
            place = match.end()
            if place < len(line) and line[place] != mark:
                raise DataError.at(
                    path, number, f"text follows a closing quote; {QUOTING}: {quoted(line[place - 1 :])}"
                )
        else:
            end = line.find(mark, place)
            end = len(line) if end < 0 else end
            cells.append(line[place:end])
            place = end
        if place == len(line):
            return cells
        place += 1


def unquote(cell: str) -> str:
    """Return the cell without CSV quoting, if it is quoted as a whole; inner doubled quotes become one."""
    inner = cell[1:-1]
    if len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return cell


def parse_answers(cell: str) -> tuple[str, ...] | None:
    """Return the answers of a list in JSON or as a Python literal, None for any other text.

    JSON comes first: its escapes (a slash, an emoji in two halves) are not Python's. Whole numbers beside
    strings are answers as they are written; numbers alone may be an interval.
    """
    if "[" not in cell:
        return None
    for text in (cell, unquote(cell), cell.replace('""', '"')):
        value = _literal(text.strip())
        if not isinstance(value, list) or {*map(type, value)} not in ({str, int}, {str}, set()):
            continue
        if all(str(item) in text for item in value if type(item) is int):
            joined = SIDE_BY_SIDE.search(text) and _are_joined(text.strip())
            broken = any("\ud800" <= character <= "\udfff" for item in value for character in str(item))
            return None if joined or broken else tuple(map(str, value))
    return None


def _literal(text: str) -> object:
    for read in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            return read(text)
    return None


def answers_of(fields: Fields, key: str) -> tuple[str, ...]:
    """Return answers of a list, a list written in a cell, SQuAD's or KILT's objects, a text or a number.

    Raises:
        DataError: other values; a number with a fraction, whose text is not known; an object that holds none
            (KILT's ``output`` may: some hold a source alone).
    """
    value = fields.record[key]
    if isinstance(value, str):
        found = parse_answers(value)
        if found is None and SEVERAL.match(value):
            raise fields.refuse(f"the answers are no list of strings: {quoted(value[:60])}")
        return (value,) if found is None else found
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        inner = [_answer_in(Fields(fields.path, fields.line, item), key) for item in value]
        return tuple(dict.fromkeys([fields.words(item, key) for item in inner if item is not None]))
    if value is None:
        return ()
    return tuple([fields.words(item, key) for item in (value if isinstance(value, list) else [value])])


def _answer_in(fields: Fields, key: str) -> object:
    """Return the answer of an object in a list of them; None where it has none and need not."""
    values = (fields.record.get(name) for name in ("answer", "text"))
    found = next((value for value in values if value is not None), None)
    if found is None and key != "output":
        raise fields.lacks(f"answer in an object of '{key}'", ("answer", "text"))
    return found


def _are_joined(literal: str) -> bool:
    """Return whether two strings stand side by side without a comma (numpy's arrays): Python makes one."""
    kinds = [token.type for token in generate_tokens(StringIO(literal).readline) if token.type != NL]
    return any(first == second == STRING for first, second in pairwise(kinds))
