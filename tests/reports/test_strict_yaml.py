"""Strict reading of YAML."""

from __future__ import annotations

import pytest

from dretrieve.errors import DataError
from dretrieve.reports.strict_yaml import Node, described, load_yaml


def node(value):
    from pathlib import Path

    return Node(Path("x.yaml"), "top", value)


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
    ("take", "sentence"),
    [
        (lambda top: top.text("number"), "x.yaml: top.number must be text, not the number '3'"),
        (lambda top: top.number("flag"), "top.flag must be a number, not the truth value 'True'"),
        (lambda top: top.number("absent"), "top.absent is missing"),
        (lambda top: top.choice("name", ("a", "b")), "top.name must be one of a, b, not the text 'c'"),
        (
            lambda top: top.whole_numbers("flags", (1,)),
            "top.flags must be a list of whole numbers, not a list",
        ),
        (lambda top: top.items("name"), "top.name must be a list, not the text 'c'"),
        (lambda top: top.node("name"), "top.name must be a mapping, not the text 'c'"),
        (lambda top: top.only(("number", "flag", "flags")), "top.name is not a key that is known here"),
    ],
)
def test_wrong_types(take, sentence):
    with pytest.raises(DataError, match=sentence):
        take(node({"number": 3, "flag": True, "flags": [True], "name": "c"}))


def test_what_is_there_comes_back():
    top = node({"n": 3, "t": "x", "l": [1, 2], "m": {"k": {}}, "none": None})
    assert (top.number("n"), top.text("t"), top.whole_numbers("l", (9,)), top.text("u", "d")) == (
        3.0,
        "x",
        (1, 2),
        "d",
    )
    assert list(top.children("m")) == ["k"]
    assert (top.maybe_number("none"), top.maybe_number("n"), top.items("i")) == (None, 3.0, [])
    assert top.node("none").value == {}
    assert ("n" in top, "z" in top) == (True, False)


def test_descriptions():
    assert [described(value) for value in (None, {}, [], "x", 2, False)] == [
        "nothing",
        "a mapping",
        "a list",
        "the text 'x'",
        "the number '2'",
        "the truth value 'False'",
    ]
