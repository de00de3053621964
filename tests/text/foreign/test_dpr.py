"""DPR's training file, as array, pretty-printed, and as lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dretrieve.text.foreign.rows import content_id
from dretrieve.text.forms import TRAINING_READERS, detect
from dretrieve.types import Record


def write(path: Path, *rows: object) -> Path:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def rows_of(path: Path) -> list:
    """Return the training rows by the detected form."""
    return [row for _, row in TRAINING_READERS[detect(path).name](path)]


def dpr_rows() -> list[dict]:
    """Two questions, the second without positives."""
    return [
        {
            "question": "who wrote dune",
            "answers": ["Frank Herbert"],
            "positive_ctxs": [
                {"title": "Dune", "text": "Dune is", "passage_id": "12"},
                {"title": "H", "text": "F"},
            ],
            "negative_ctxs": [{"title": "", "text": "easy", "psg_id": 5}],
            "hard_negative_ctxs": [{"title": "A", "text": "hard", "score": 1000, "passage_id": ""}],
        },
        {
            "question": "none",
            "answers": [],
            "positive_ctxs": [],
            "negative_ctxs": [],
            "hard_negative_ctxs": [],
        },
    ]


@pytest.mark.parametrize("form", ["array", "pretty", "jsonl"])
def test_dpr_training(tmp_path: Path, form: str) -> None:
    path = tmp_path / "train.json"
    if form == "jsonl":
        write(path, *dpr_rows())
    else:
        path.write_text(json.dumps(dpr_rows(), indent=4 if form == "pretty" else None), encoding="utf-8")
    first, second = rows_of(path)
    assert first.query.id == "0"
    assert first.positives == (Record("12", "Dune", "Dune is"), Record(content_id("H", "F"), "H", "F"))
    assert first.negatives == (Record(content_id("A", "hard"), "A", "hard"),)
    assert first.others == (Record("5", "", "easy"),)
    assert second.positives == ()


def test_easy_negatives_serve_where_there_are_no_hard_ones(tmp_path: Path) -> None:
    row = {**dpr_rows()[0], "hard_negative_ctxs": []}
    (found,) = rows_of(write(tmp_path / "train.json", row))
    assert found.negatives == (Record("5", "", "easy"),)
    assert found.others == ()
