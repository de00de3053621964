"""Pyserini's JsonCollection."""

from __future__ import annotations

import json
from pathlib import Path

from dretrieve.text.forms import read_corpus
from dretrieve.types import Record


def lines(path: Path, *rows: object) -> Path:
    """Write each row as JSON (strings as they are) on a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_pyserini_contents_without_newline_are_all_text(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "c.jsonl", {"id": "1", "contents": "only text"}, {"id": "2", "contents": "T\nx\ny"}
    )
    assert list(read_corpus(path)) == [Record("1", "", "only text"), Record("2", "T", "x\ny")]
