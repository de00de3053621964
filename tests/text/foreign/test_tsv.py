"""Tab-separated passages and questions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dretrieve.errors import DataError
from dretrieve.text import forms
from dretrieve.text.beir import Query
from dretrieve.text.forms import detect, read_corpus, read_queries
from dretrieve.types import Record


def lines(path: Path, *rows: object) -> Path:
    """Write each row as JSON (strings as they are) on a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_tab_separated_passages(tmp_path: Path) -> None:
    two = lines(tmp_path / "a.tsv", '7\tHe said "no', '007\t"quotes" are text')
    assert list(read_corpus(two)) == [Record("7", "", 'He said "no'), Record("007", "", '"quotes" are text')]
    three = lines(tmp_path / "b.tsv", "0\tDune is a novel\tDune", "1\t\t")
    assert list(read_corpus(three)) == [Record("0", "Dune", "Dune is a novel"), Record("1", "", "")]
    assert detect(two).name == detect(three).name == "tsv-passages"
    assert next(iter(read_queries(two))) == Query("7", 'He said "no')


def test_dpr_cells_over_several_lines_keep_their_line_numbers(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "p.tsv", "id\ttext\ttitle", '1\t"two\nlines ""here"""\tA', "2\tplain\tB", "3\tplain"
    )
    rows = beir_rows(path)
    assert rows[:2] == [(2, Record("1", "A", 'two\nlines "here"')), (4, Record("2", "B", "plain"))]
    assert rows[2] == "line 5: expected 3 tab-separated columns, found 2"


def beir_rows(path: Path) -> list[object]:
    """Return the rows that come before an error, and its message after the path."""
    found: list[object] = []
    try:
        found += ((line, record) for _, line, record in forms.corpus_rows(path))
    except DataError as error:
        found.append(str(error).partition(", ")[2])
    return found


def test_an_unclosed_quote_is_found(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "p.tsv",
        "id\ttext\ttitle",
        '1\t"open\tA',
        *(f"{row}\t{'word ' * 50}\tB" for row in range(2, 900)),
    )
    with pytest.raises(DataError, match="line 2: a quote that opens here is never closed"):
        list(read_corpus(path))


def test_dpr_questions(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "test.qa.csv",
        "who wrote dune\t['Frank Herbert']",
        '"who said ""yes"""\t"[""it\'s me"", \'a ""b""\']"',
        "who\t[]",
    )
    assert detect(path).name == "dpr-questions"
    assert list(read_queries(path)) == [
        Query("q000000", "who wrote dune", ("Frank Herbert",)),
        Query("q000001", 'who said "yes"', ("it's me", 'a "b"')),
        Query("q000002", "who", ()),
    ]


def test_answers_are_never_evaluated(tmp_path: Path) -> None:
    path = lines(tmp_path / "q.csv", "who\t['a']", "bad\t[__import__('os').getcwd()]")
    with pytest.raises(DataError, match=r"line 2: the answers are no Python list of strings: \[__import__"):
        list(read_queries(path))
    path = lines(tmp_path / "q.csv", "who\t['a']", "a\tb\tc")
    with pytest.raises(DataError, match="line 2: expected question, TAB, list of answers; found 3 columns"):
        list(read_queries(path))


def test_tab_separated_lines_keep_their_width(tmp_path: Path) -> None:
    path = lines(tmp_path / "c.tsv", "0\ttext one", "1\ttext\ttwo")
    with pytest.raises(
        DataError, match="line 2: found 3 tab-separated columns, expected 2 as in the first line"
    ):
        list(read_corpus(path))
