"""Rows of bare texts and of bare ids."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dretrieve.errors import DataError
from dretrieve.text.foreign.rows import content_id
from dretrieve.text.foreign.triplets import read_colbert_triples
from dretrieve.text.forms import TRAINING_READERS, detect


def write(path: Path, *rows: object) -> Path:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def rows_of(path: Path) -> list:
    """Return the training rows by the detected form."""
    return [row for _, row in TRAINING_READERS[detect(path).name](path)]


def test_bare_texts_get_ids_by_content(tmp_path: Path) -> None:
    flag = write(
        tmp_path / "flag.jsonl",
        {
            "query": "q",
            "pos": ["a"],
            "neg": ["b", "a"],
            "pos_scores": [0.9],
            "neg_scores": [0.2, 0.1],
            "prompt": "x",
        },
    )
    (row,) = rows_of(flag)
    assert row.positives[0].id == row.negatives[1].id == content_id("", "a")
    assert row.negative_scores == (0.2, 0.1)
    triplets = write(
        tmp_path / "st.jsonl",
        {"anchor": "q", "positive": "a", "negative_1": "b", "negative_2": "c", "label": [3, 2.5, 1]},
    )
    (row,) = rows_of(triplets)
    assert [record.text for record in (*row.positives, *row.negatives)] == ["a", "b", "c"]
    assert (row.positive_scores, row.negative_scores) == ((3.0,), (2.5, 1.0))


@pytest.mark.parametrize(
    ("given", "scores"),
    [
        ({"negative": "b"}, (None, None)),
        ({"negative": "b", "score": 2.5}, ((0.0,), (-2.5,))),  # the margin of MarginMSELoss
        ({"negative1": "b", "negative2": "c", "scores": [2.5, -1]}, ((0.0,), (-2.5, 1.0))),
        ({"negative": "b", "scores": [9, 2]}, ((9.0,), (2.0,))),
    ],
)
def test_a_teachers_scores_of_triplets(tmp_path: Path, given: dict, scores: tuple) -> None:
    (row,) = rows_of(write(tmp_path / "st.jsonl", {"anchor": "q", "positive": "a", **given}))
    assert (row.positive_scores, row.negative_scores) == scores
    assert len(row.negatives) == len(scores[1] or "1")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"score": 0.8}, "'score' is a grade of a pair, which is not learned here; drop the key"),
        ({"negative": "b", "scores": [1, 2, 3]}, "'scores' must hold a teacher's 2 scores .* or 1 margins"),
        ({"negative": "b", "negative_2": "c", "label": 1}, "'label' must hold a teacher's 3 scores"),
        ({"negative": "b", "scores": [1, None]}, "'scores' must hold"),
        ({"negative": "b", "scores": [True, 2]}, "'scores' must hold"),
    ],
)
def test_scores_that_are_not_one_for_each_passage(tmp_path: Path, given: dict, message: str) -> None:
    path = write(tmp_path / "st.jsonl", {"anchor": "q", "positive": "a", **given})
    with pytest.raises(DataError, match=f"line 1: .*{message}"):
        rows_of(path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query": "q", "neg": []}, "none"),
        ({"query": "q", "pos": ["a"], "neg": "b"}, "'neg' is a string, expected an array"),
        ({"query": "q", "pos": ["a"], "pos_scores": [1, 2]}, "'pos_scores' must hold 1 numbers"),
        ({"query": "q", "pos": [1]}, "'pos' is a number, expected a string"),
    ],
)
def test_broken_flag_embedding(tmp_path: Path, row: dict, message: str) -> None:
    path = write(tmp_path / "flag.jsonl", {"query": "q", "pos": ["a"]}, row)
    message = "lacks the key 'pos'" if message == "none" else message
    with pytest.raises(DataError, match=f"line 2: .*{message}"):
        rows_of(path)


def test_colbert_triples(tmp_path: Path) -> None:
    path = write(tmp_path / "triples.jsonl", [7, 12, 9], ["8", ["3", 8.1], [4, 1]])
    assert [row for _, row in read_colbert_triples(path)] == [
        ("7", ("12", "9"), None),
        ("8", ("3", "4"), (8.1, 1.0)),
    ]
    with pytest.raises(DataError, match=r"line 2: expected \[qid, pid\+, pid-, …\], found an object"):
        list(read_colbert_triples(write(tmp_path / "b.jsonl", [1, 2], {"a": 1})))
    with pytest.raises(DataError, match=r"line 1: expected every passage as \[pid, score\]"):
        list(read_colbert_triples(write(tmp_path / "b.jsonl", [1, [2, 1.0], 3])))
