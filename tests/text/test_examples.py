"""Our training examples by id."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.errors import DataError
from dretrieve.text.examples import Example, example_line, read_examples, read_triples
from tests.common import lines

IDS = st.text(st.characters(exclude_categories=["Cs", "Zs", "Zl", "Zp", "Cc"]), min_size=1, max_size=6)
SCORES = st.floats(allow_nan=False, allow_infinity=False)
ROW = {"query_id": "7", "query_text": "who", "positive_document_ids": ["p1"]}


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """Any legal example."""
    ids = draw(st.lists(IDS, unique=True, min_size=1, max_size=6))
    cut = draw(st.integers(0, len(ids)))
    scores = [
        tuple(draw(SCORES) for _ in part) if draw(st.booleans()) else None for part in (ids[:cut], ids[cut:])
    ]
    text = draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
    return Example(draw(IDS), text, tuple(ids[:cut]), tuple(ids[cut:]), scores[0], scores[1])


@given(given_examples=st.lists(examples(), max_size=5))
def test_examples_round_trip(tmp_path: Path, given_examples: list[Example]) -> None:
    path = tmp_path / "ex.jsonl"
    path.write_text("".join(map(example_line, given_examples)), encoding="utf-8", newline="")
    assert list(read_examples(path)) == given_examples


def test_tevatrons_id_form_is_ours(tmp_path: Path) -> None:
    value = ROW | {"negative_document_ids": [9]}
    path = lines(tmp_path / "t.jsonl", value | {"query_image": None})
    assert list(read_examples(path)) == [Example("7", "who", ("p1",), ("9",))]
    assert json.loads(example_line(Example("7", "who", ("p1",), ("9",)))) == value | {
        "negative_document_ids": ["9"]
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positive_document_ids": "p1"}, r"'positive_document_ids' is a string, expected an array"),
        ({"positive_document_ids": ["p 1"]}, "holds white space"),
        ({"negative_document_ids": ["p1"]}, "'p1' is a positive and a negative of the same query; drop one"),
        ({"positive_scores": [1, 2]}, "'positive_scores' must hold 1 numbers, one for each passage"),
        ({"positive_scores": ["1"]}, "'positive_scores' must hold 1 numbers"),
        ({"query_text": None}, "'query_text' is null, expected a string"),
    ],
)
def test_broken_examples(tmp_path: Path, change: dict, message: str) -> None:
    value = ROW | {"negative_document_ids": []}
    path = lines(tmp_path / "t.jsonl", value, value | change)
    with pytest.raises(DataError, match=f"line 2: .*{message}"):
        list(read_examples(path))


def test_colbert_triples(tmp_path: Path) -> None:
    path = lines(tmp_path / "triples.jsonl", [7, 12, 9], ["8", ["3", 8.1], [4, 1]])
    assert list(read_triples(path)) == [
        Example("7", "", ("12",), ("9",)),
        Example("8", "", ("3",), ("4",), (8.1,), (1.0,)),
    ]
    with pytest.raises(DataError, match=r"line 2: expected \[qid, pid\+, pid-, …\], found an object"):
        list(read_triples(lines(tmp_path / "b.jsonl", [1, 2], {"a": 1})))
    with pytest.raises(DataError, match=r"line 1: expected every passage as \[pid, score\]"):
        list(read_triples(lines(tmp_path / "b.jsonl", [1, [2, 1.0], 3])))
