"""Tab-separated texts: MS MARCO and ColBERT collections and queries, DPR's ``psgs_w100.tsv`` and QA files."""

from __future__ import annotations

import ast
import csv
from collections.abc import Iterator
from pathlib import Path

from dretrieve.errors import DataError
from dretrieve.text.beir import Query
from dretrieve.text.fields import check_id
from dretrieve.text.files import read_lines
from dretrieve.text.foreign.rows import row_id
from dretrieve.types import Record

ID_NAMES = ("id", "_id", "pid", "docid", "passage_id")
TEXT_NAMES = ("text", "passage", "contents")
TITLE_NAMES = ("title",)


def header_columns(line: str) -> tuple[int, int, int | None] | None:
    """Return the positions of id, text and title when the line is a header that names them, else None."""
    names = [name.strip().strip('"').lower() for name in line.split("\t")]
    positions = [
        next((names.index(name) for name in known if name in names), None)
        for known in (ID_NAMES, TEXT_NAMES, TITLE_NAMES)
    ]
    if positions[0] is None or positions[1] is None:
        return None
    return positions[0], positions[1], positions[2]


def read_passages_with_header(path: Path) -> Iterator[tuple[int, Record]]:
    """Yield ``(line, passage)`` of a file like DPR's ``psgs_w100.tsv``: header, cells quoted as in CSV.

    A quoted cell may hold tabs, newlines and doubled quotes, as Python's ``csv`` reads them (DPR's own way).
    """
    lines = read_lines(path)
    _, header = next(lines, (1, ""))
    columns = header_columns(header)
    if columns is None:
        raise DataError.at(
            path, 1, f"expected a header that names the columns id, text and title, found {header!r}"
        )
    width = len(header.split("\t"))
    rows = csv.reader((line + "\n" for _, line in lines), delimiter="\t")
    start = 2
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError.at(
                path, start, f"a quote that opens here is never closed ({error}); fix the quoting"
            ) from None
        if cells:
            if len(cells) != width:
                raise DataError.at(path, start, f"expected {width} tab-separated columns, found {len(cells)}")
            title = cells[columns[2]] if columns[2] is not None else ""
            yield start, Record(check_id(cells[columns[0]], path, start), title, cells[columns[1]])
        start = rows.line_num + 2


def read_passages(path: Path) -> Iterator[tuple[int, Record]]:
    """Yield ``(line, passage)`` of ``pid⇥text[⇥title]`` without header; quotes are text (MS MARCO, ColBERT).

    The first line decides whether there is a third column; ids need not be line numbers here.
    """
    width = 0
    for number, line in read_lines(path):
        if not line:
            continue
        cells = line.split("\t")
        width = width or len(cells)
        if len(cells) != width or width not in (2, 3):
            expected = f"{width} as in the first line" if width in (2, 3) else "2 or 3 (id, text[, title])"
            raise DataError.at(path, number, f"found {len(cells)} tab-separated columns, expected {expected}")
        yield number, Record(check_id(cells[0], path, number), cells[2] if width == 3 else "", cells[1])


def read_queries(path: Path) -> Iterator[tuple[int, Query]]:
    """Yield ``(line, query)`` of ``qid⇥text`` without header."""
    for number, line in read_lines(path):
        if not line:
            continue
        query_id, tab, text = line.partition("\t")
        if not tab:
            raise DataError.at(path, number, "expected query id, TAB, text")
        yield number, Query(check_id(query_id, path, number), text)


def unquote(cell: str) -> str:
    """Return the cell without CSV quoting, if it is quoted as a whole; inner doubled quotes become one."""
    inner = cell[1:-1]
    if len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return cell


def parse_answers(cell: str) -> tuple[str, ...] | None:
    """Return the answers of a Python list literal, None for any other text; nothing is evaluated."""
    for text in (cell, unquote(cell), cell.replace('""', '"')):
        try:
            value = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
    return None


def read_dpr_questions(path: Path) -> Iterator[tuple[int, Query]]:
    """Yield ``(line, query)`` of a DPR QA file: ``question⇥['answer', …]``; ids are made from row numbers."""
    row = 0
    for number, line in read_lines(path):
        if not line:
            continue
        cells = line.split("\t")
        if len(cells) != 2:
            raise DataError.at(
                path, number, f"expected question, TAB, list of answers; found {len(cells)} columns"
            )
        answers = parse_answers(cells[1])
        if answers is None:
            raise DataError.at(path, number, f"the answers are no Python list of strings: {cells[1][:60]}")
        yield number, Query(row_id(row), unquote(cells[0]), answers)
        row += 1
