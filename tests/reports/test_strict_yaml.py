"""Strict reading of YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import pytest

from dretrieve.errors import DataError
from dretrieve.reports.strict_yaml import WrongError, described, load_yaml, read


@dataclass(frozen=True, kw_only=True)
class Pet:
    """What a file says of a pet."""

    SHORT: ClassVar[str] = "kind"
    name: str
    kind: Literal["cat", "dog"]
    weight: float | None = None
    born: int = field(default=0, metadata={"key": "year"})
    likes: tuple[str, ...] = ()
    trips: tuple[tuple[str, str], ...] = ()


def test_dates_stay_text_and_keys_are_text(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("date: 2026-11-20\n1: {2: on}\n")
    assert load_yaml(path) == {"date": "2026-11-20", "1": {"2": True}}


def test_a_key_twice_is_found_at_any_depth(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a:\n  b: 1\n  c: 2\n  b: 3\n")
    with pytest.raises(DataError, match="x.yaml, line 4: the key 'b' stands twice"):
        load_yaml(path)


def test_nothing_but_plain_values_is_made(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(DataError, match="not YAML"):
        load_yaml(path)


def test_a_file_that_is_not_text(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read"):
        load_yaml(path)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({}, "pets.rex.kind is missing"),
        ("cow", "pets.rex.kind must be one of cat, dog, not the text 'cow'"),
        ({"kind": "dog", "weight": True}, "pets.rex.weight must be a number, not the truth value 'True'"),
        ({"kind": "dog", "year": 1.5}, "pets.rex.year must be a whole number, not the number '1.5'"),
        ({"kind": "dog", "likes": "x"}, "pets.rex.likes must be a list of texts, not the text 'x'"),
        ({"kind": "dog", "likes": []}, "pets.rex.likes must be a list of texts, not an empty list"),
        ({"kind": "dog", "likes": [3]}, "pets.rex.likes.0 must be a text, not the number '3'"),
        ({"kind": "dog", "trips": "x"}, "pets.rex.trips must be a list of pairs of texts, not the text 'x'"),
        ({"kind": "dog", "trips": [["a"]]}, "pets.rex.trips.0 must be a pair of texts, not a list"),
        ({"kind": "dog", "born": 3}, "pets.rex.born is not a key that is known here (kind, weight, year, "),
    ],
)
def test_wrong_types(value, sentence):
    with pytest.raises(WrongError, match=re.escape(sentence)):
        read(Mapping[str, Pet], {"rex": value}, "pets")


def test_what_is_there_comes_back():
    full = {"kind": "cat", "weight": 3, "year": 2020, "likes": ["x"], "trips": [["a", "b"]]}
    found = read(Mapping[str, Pet], {"tom": full, "rex": "dog"}, "pets")
    assert found["tom"] == Pet(
        name="tom", kind="cat", weight=3.0, born=2020, likes=("x",), trips=(("a", "b"),)
    )
    assert found["rex"] == Pet(name="rex", kind="dog")
    assert read(Mapping[str, Pet], None, "pets") == {}


def test_descriptions():
    assert [described(value) for value in (None, {}, [], [1], "x", 2, False)] == [
        "nothing",
        "a mapping",
        "an empty list",
        "a list",
        "the text 'x'",
        "the number '2'",
        "the truth value 'False'",
    ]
