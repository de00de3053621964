"""The command `prepare`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.common import lines


def test_the_command_line(cli: Callable, tmp_path: Path) -> None:
    lines(tmp_path / "c.tsv", "0\tbees", "1\ttides")
    asked = cli("prepare", "c.tsv", "--output", "out", code=4)
    assert "c.tsv may hold passages or queries; say which: --corpus FILE or --queries FILE" in asked.err
    out = cli("prepare", "--corpus", "c.tsv", "--output", "out", "--json").json()
    assert (out["state"], out["counts"]["passages"]) == ("written", 2)
    assert "up to date" in cli("prepare", "c.tsv", "--corpus", "c.tsv", "--output", "out").out
    lines(tmp_path / "bad.tsv", "0\tbees", "0\ttides")
    failed = cli("prepare", "--corpus", "bad.tsv", "--output", "out2", code=4)
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
    words = "prepare a b eq --equal letters --entities eq --output joined --json"
    out = cli(*words.split()).json()
    assert (out["counts"]["passages"], out["splits"]) == (1, {"eq": 1})
    failed = cli("prepare", "a", "eq", "--entities", "nq", "--output", "other", code=2)
    assert "--entities nq: there is no such set; there are a, eq" in failed.err


def test_the_help_shows_entityquestions_and_entities(cli: Callable) -> None:
    examples = [line for line in cli("prepare", "--help").out.splitlines() if "dretrieve prepare " in line]
    assert any("prepare entityquestions:" in line for line in examples)
    assert any("--entities eq" in line for line in examples)


def test_topics_by_their_field(cli: Callable, tmp_path: Path) -> None:
    """`prepare` keeps and `search` reads the field asked for; one that is not there is refused."""
    lines(tmp_path / "c.tsv", "docno\ttext", "d1\tharbour lights", "d2\told mill")
    lines(tmp_path / "t.txt", "<top><num> Number: 301 <title> mill <desc> Description: harbour </top>")
    cli("prepare", "c.tsv", "--queries", "t.txt", "--topic-field", "description", "--output", "out")
    assert json.loads((tmp_path / "out/queries.jsonl").read_text())["text"] == "harbour"
    cli("index", "--corpus", "c.tsv", "--type", "bm25", "--output", "i")
    for field, best in (("title", "d2"), ("description", "d1")):
        cli("search", "--index", "i", "--topics", "t.txt", "--topic-field", field, "--output", f"{field}.run")
        assert (tmp_path / f"{field}.run").read_text().split()[2] == best
    failed = cli("search", "--index", "i", "--topics", "t.txt", "--topic-field", "x", "--output", "r", code=4)
    assert "no field 'x' for --topic-field (x) among its keys 'id', 'title', 'description'" in failed.err
