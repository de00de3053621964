"""Texts in columns, parted by tabs or commas: MS MARCO, ColBERT, DPR, Anserini's topics, tables of anyone.

A first line that names an id and a text by the words of `dretrieve.text.fields` is a header: it says what
each column holds, and cells may be quoted as in CSV (tabs, newlines, doubled quotes inside). Without a header
the columns are parted by tabs, quotes are text, and the number of columns says what they hold.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from io import StringIO
from itertools import chain, pairwise
from pathlib import Path
from tokenize import NL, STRING, generate_tokens

from dretrieve.errors import DataError, quoted
from dretrieve.text.fields import (
    ANSWERS,
    PASSAGE_IDS,
    PASSAGE_TEXTS,
    QUERY_IDS,
    QUERY_TEXTS,
    TITLES,
    Side,
    word_of,
)
from dretrieve.text.files import read_lines

WORDS = {"corpus": (PASSAGE_IDS, PASSAGE_TEXTS), "queries": (QUERY_IDS, QUERY_TEXTS)}
QUOTED = re.compile(r'"((?:[^"]++|"")*+)"')
QUOTING = (
    "below a header a cell that begins with a quote is quoted as in CSV: double the quotes inside, or take "
    "the header away, so that quotes are text"
)
SIDE_BY_SIDE = re.compile(r"""['"]\s*['"]""")
LONGEST_CELL = 1 << 27  # characters between two quotes; beyond it one of them is missing


def header_of(line: str, side: Side | None = None) -> tuple[str, list[str]] | None:
    """Return what parts the columns and their names, when the line is a header of that side (or of any).

    A question needs no id where its answers stand beside it.
    """
    for mark in "\t,":
        cells = [cell.strip().removeprefix('"').removesuffix('"') for cell in line.split(mark)]
        words = {word_of(cell) for cell in cells}
        if len(words) < 2:
            continue
        for ids, texts in (WORDS[side],) if side else WORDS.values():
            text = next((word for word in texts if word in words), None)
            if text and (words - {text} & {*ids, *(ANSWERS if ids is QUERY_IDS else ())}):
                return mark, cells
    return None


def bare_columns(line: str, side: Side) -> list[str] | None:
    """Return what the columns of a line hold in a file without header, None where they say nothing."""
    cells = line.split("\t")
    if side == "queries":
        if len(cells) in (2, 3) and parse_answers(cells[-1]) is not None:
            return ["id", "question", "answers"][3 - len(cells) :]
        return ["id", "text"] if len(cells) == 2 else None
    if len(cells) == 4 and cells[1].startswith(("http://", "https://")):
        return ["id", "url", "title", "text"]
    return {2: ["id", "text"], 3: ["id", "text", "title"]}.get(len(cells))


def read_rows(path: Path, side: Side) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield ``(line, cells by the names of their columns)``.

    Raises:
        DataError: a first line that is neither a header nor a known row; another number of columns than it
            has; quotes that are not closed.
    """
    lines = read_lines(path)
    number, line = next((row for row in lines if row[1]), (1, ""))
    header = header_of(line, side)
    if header is not None:
        mark, names = header
        if len(set(names)) < len(names):
            raise DataError.at(path, number, f"the header names a column twice: {quoted(line)}")
        for number, cells in _quoted_rows(path, lines, mark):
            yield number, _named(names, cells, path, number, "as in the header")
        return
    columns = bare_columns(line, side)
    if columns is None or _half_header(line):
        raise DataError.at(path, number, _no_columns(line, side))
    for place, row in chain([(number, line)], lines):
        if row:
            cells = row.split("\t")
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


def _no_columns(line: str, side: Side) -> str:
    ids, texts = WORDS[side]
    forms = {
        "corpus": "id⇥text, id⇥text⇥title, id⇥url⇥title⇥body",
        "queries": "id⇥text, question⇥['answer'], id⇥question⇥['answer']",
    }[side]
    names = f"an id ({', '.join(ids)}) and a text ({', '.join(texts)})"
    return (
        f"the first line is no row of {'passages' if side == 'corpus' else 'queries'} ({forms}) and no "
        f"header that names {names}: {quoted(line)}"
    )


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
    """Return the answers of a Python list literal, None for any other text; nothing is evaluated."""
    if "[" not in cell:
        return None
    for text in (cell, unquote(cell), cell.replace('""', '"')):
        try:
            value = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return None if SIDE_BY_SIDE.search(text) and _are_joined(text.strip()) else tuple(value)
    return None


def _are_joined(literal: str) -> bool:
    """Return whether two strings stand side by side without a comma (numpy's arrays): Python makes one."""
    kinds = [token.type for token in generate_tokens(StringIO(literal).readline) if token.type != NL]
    return any(first == second == STRING for first, second in pairwise(kinds))
