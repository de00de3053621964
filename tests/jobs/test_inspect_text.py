"""Text files of every form are counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from dretrieve.jobs.inspect import InspectConfig, InspectResult, run


def look(path: object, **options: bool) -> InspectResult:
    """Inspect a path."""
    return run(InspectConfig(path=str(path), **options))


def text(path: Path, content: str) -> Path:
    """Write a file."""
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("content", "kind", "facts"),
    [
        (
            "q1 Q0 d1 1 2.5 mine\nq1 Q0 d2 2 1.5 mine\n",
            "run",
            {"hits": 2, "tag": "mine", "scores": "1.5 to 2.5"},
        ),
        ("q1\td1\t2.5\nq1\td2\t1\n", "run", {"hits": 2}),
        ('{"q1": {"d1": 0.5, "d2": 1}}', "run", {"queries": 1, "hits": 2}),
        ('[{"question": "q", "answers": [], "ctxs": [{"id": "d", "score": "1"}]}]', "run", {"hits": 1}),
        (
            "q1 0 d1 2\nq1 0 d2 0\nq2 0 d1 0\n",
            "qrels",
            {"grades": "0: 2, 2: 1", "queries without a relevant passage": 1},
        ),
        (
            '{"_id": "q", "text": "x", "answers": ["a"], "split": "dev"}\n',
            "queries",
            {"with answers": 1, "by field split": "dev 1"},
        ),
        ('{"docid": "1", "text": ""}\n', "corpus", {"passages": 1, "empty": 1, "first ids": "1"}),
        ('{"query": "q", "pos": ["a"], "neg": ["b", "c"]}\n', "training rows with texts", {"negatives": 2}),
        (
            '{"query_id": "q", "query_text": "", "positive_document_ids": ["d"]}\n',
            "training examples by id",
            {"queries": 1, "positives": 1},
        ),
        ("[1, 2, 3]\n", "training triples of ids", {"rows": 1, "passages": 2}),
    ],
)
def test_text_files(tmp_path: Path, content: str, kind: str, facts: dict) -> None:
    found = look(text(tmp_path / "file", content))
    assert found.kind == kind
    assert {name: found.facts[name] for name in facts} == facts
