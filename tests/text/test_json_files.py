"""Large JSON arrays are read element by element as the library would read them whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.errors import DataError
from dretrieve.text.forms import detect, headerless
from dretrieve.text.json_files import read_json_array
from dretrieve.text.records import read_corpus

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('ab]}[{,"\\', max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    value=st.lists(JSON_VALUES, max_size=6),
    indent=st.sampled_from([None, 1]),
    block=st.sampled_from([1, 7, 1 << 20]),
)
def test_arrays_are_read_as_the_library_reads_them(
    tmp_path: Path, value: list, indent: int | None, block: int
) -> None:
    path = tmp_path / "file.json"
    path.write_text(json.dumps(value, indent=indent), encoding="utf-8")
    patch = pytest.MonkeyPatch()
    patch.setattr("dretrieve.text.json_files.BUFFER", block)
    try:
        assert [element for _, element in read_json_array(path)] == value
    finally:
        patch.undo()


def test_array_elements_know_their_line(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text('[\n {"a":\n 1},\n\n {"b": 2}\n]\n', encoding="utf-8")
    assert list(read_json_array(path)) == [(2, {"a": 1}), (5, {"b": 2})]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('{"a": 1}', 1, r"expected a JSON array \[…\], found an object"),
        ('[\n{"a": 1}\n{"b": 2}]', 3, "not valid JSON .*after array element, I expect ',' or ']'"),
        ('[{"a": 1},\n{"a": ', 2, "not valid JSON .*premature EOF"),
        ('[{"a": 1}', 1, "not valid JSON .*premature EOF"),
        ("[1]\nrest", 2, "not valid JSON .*trailing garbage"),
        ("[1,\nNaN]", 2, "not valid JSON"),
        ("", 1, "not valid JSON .*premature EOF"),
        ('[1,\n{"a": [{"b": 1, "c": 2, "b": 3}]}]', 2, "the key 'b' stands twice in one object; keep one"),
        ("[1,\n" + "9" * 5000 + "]", 2, "a number of more than 4,300 digits"),
        ("[\n" + '[{"a":' * 300, 2, "JSON nested too deeply"),
        ("[" * 300_000, 1, "JSON nested too deeply"),
        (r'["\ud83d\ude00",' + "\n" + r'"\ud83d\\ude00"]', 2, r"half a surrogate pair \(\\ud83d\)"),
        ('["😀",\n"' + r"\\\ude00" + '"]', 2, r"half a surrogate pair \(\\ude00\)"),
    ],
)
def test_broken_arrays(tmp_path: Path, text: str, line: int, message: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=rf"line {line}: {message}"):
        list(read_json_array(path))


def test_arrays_that_are_no_utf8(tmp_path: Path) -> None:
    for broken in (b'[1,\n"\xff"]', b'[1,\n"\xed\xa0\xbd"]'):
        (tmp_path / "file.json").write_bytes(broken)
        with pytest.raises(DataError, match="line 2: not UTF-8; convert the file to UTF-8"):
            list(read_json_array(tmp_path / "file.json"))


@pytest.mark.parametrize("block", [1, 5, 6, 7, 11, 64])
def test_pieces_of_a_long_line_never_part_an_escape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    text = ["😀 \\ud83d é漢 " + chr(92) + "x", "漢字" * 9 + "😀😀"]
    (tmp_path / "file.json").write_text(json.dumps(text), encoding="utf-8")
    monkeypatch.setattr("dretrieve.text.json_files.BUFFER", block)
    if block < 64:  # so many escapes in a row that a piece of one byte cannot hold them back
        monkeypatch.setattr("dretrieve.text.json_files.HELD_BACK", 1 << 10)
    assert [element for _, element in read_json_array(tmp_path / "file.json")] == text


def test_an_array_on_one_line_may_be_longer_than_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an array only each element is bounded; a line of JSON lines is."""
    for name in ("files.LONGEST_LINE", "json_files.LONGEST_LINE"):
        monkeypatch.setattr(f"dretrieve.text.{name}", 100)
    monkeypatch.setattr("dretrieve.text.json_files.BUFFER", 10)
    (tmp_path / "file.json").write_text(json.dumps(["x" * 50] * 9), encoding="utf-8")
    assert [element for _, element in read_json_array(tmp_path / "file.json")] == ["x" * 50] * 9
    (tmp_path / "file.json").write_text(json.dumps([1, "x" * 500]), encoding="utf-8")
    with pytest.raises(DataError, match="line 1: an element of the array is longer than 0 MB"):
        list(read_json_array(tmp_path / "file.json"))
    rows = [{"_id": str(row), "title": "", "text": "x"} for row in range(9)]
    (tmp_path / "file.json").write_text(json.dumps(rows), encoding="utf-8")
    assert detect(tmp_path / "file.json").name == "json-passages"
    assert headerless(tmp_path / "file.json", "corpus") is None
    assert len(list(read_corpus(tmp_path / "file.json"))) == 9
