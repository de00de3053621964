"""Tevatron's corpus, queries and classic training rows."""

from __future__ import annotations

import json
from pathlib import Path

from dretrieve.text.beir import Query
from dretrieve.text.forms import TRAINING_READERS, detect, read_corpus, read_queries
from dretrieve.types import Record


def lines(path: Path, *rows: object) -> Path:
    """Write each row as JSON (strings as they are) on a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_tevatrons_readme_key_is_read(tmp_path: Path) -> None:
    path = lines(tmp_path / "c.jsonl", {"docid": "1", "document_text": "found"})
    assert list(read_corpus(path)) == [Record("1", "", "found")]


def test_tevatron_queries(tmp_path: Path) -> None:
    path = lines(tmp_path / "q.jsonl", {"query_id": "1", "query": "a"}, {"query_id": 2, "query_text": "b"})
    assert list(read_queries(path)) == [Query("1", "a"), Query("2", "b")]


def write(path: Path, *rows: object) -> Path:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def rows_of(path: Path) -> list:
    """Return the training rows by the detected form."""
    return [row for _, row in TRAINING_READERS[detect(path).name](path)]


def test_tevatron_classic(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.jsonl",
        {
            "query_id": "7",
            "query": "who wrote dune",
            "answers": ["Frank Herbert"],
            "positive_passages": [{"docid": "p12", "title": "Dune", "text": "Dune is", "score": 3}],
            "negative_passages": [
                {"docid": "p9", "text": "Arrakis"},
                {"docid": "p8", "title": "", "text": ""},
            ],
        },
    )
    (row,) = rows_of(path)
    assert (row.query.id, row.query.answers) == ("7", ("Frank Herbert",))
    assert row.positives == (Record("p12", "Dune", "Dune is"),)
    assert row.negatives == (Record("p9", "", "Arrakis"), Record("p8", "", ""))
    assert (row.positive_scores, row.negative_scores) == ((3.0,), None)
