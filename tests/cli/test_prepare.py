"""The command `prepare`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path


def lines(path: Path, *rows: object) -> Path:
    """Write JSON lines (strings as they are)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def test_the_command_line(cli: Callable, tmp_path: Path) -> None:
    lines(tmp_path / "c.tsv", "0\tbees", "1\ttides")
    out = cli("prepare", "c.tsv", "--output", "out", "--json").json()
    assert (out["state"], out["counts"]["passages"]) == ("written", 2)
    assert "up to date" in cli("prepare", "c.tsv", "--output", "out").out
    lines(tmp_path / "bad.tsv", "0\tbees", "0\ttides")
    failed = cli("prepare", "bad.tsv", "--output", "out2", code=4)
    assert "bad.tsv, line 2: the id '0' stands on line 1 already; ids must be unique" in failed.err
    assert failed.out == ""


def test_several_folders_are_joined(cli: Callable, tmp_path: Path) -> None:
    lines(tmp_path / "a" / "corpus.jsonl", {"_id": "1", "title": "Bo Stone", "text": "Bo, born in Rome."})
    lines(tmp_path / "b" / "corpus.jsonl", {"_id": "1", "title": "Bo Stone", "text": "Bo , born in Rome ."})
    names = {"q1": "Bo Stone", "q2": "Al Reed"}
    rows = [
        {"_id": key, "text": f"Where was {name} born?", "answers": ["Rome"], "relation": "P19"}
        for key, name in names.items()
    ]
    lines(tmp_path / "eq" / "queries.jsonl", *rows)
    words = (
        "prepare",
        "a",
        "b",
        "eq",
        "--equal",
        "letters",
        "--entities",
        "eq",
        "--output",
        "joined",
        "--json",
    )
    out = cli(*words).json()
    assert (out["counts"]["passages"], out["splits"]) == (1, {"eq": 1})
    failed = cli("prepare", "a", "eq", "--entities", "nq", "--output", "other", code=2)
    assert "--entities nq: there is no such set; there are a, eq" in failed.err
