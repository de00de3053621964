"""Large JSON arrays are read element by element as the library would read them whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.errors import DataError
from dretrieve.text.json_array import read_json_array

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
    patch.setattr("dretrieve.text.json_array.BUFFER", block)
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
        ('{"a": 1}', 1, r"expected a JSON array that starts with '\[', found '{'"),
        ('[\n{"a": 1}\n{"b": 2}]', 3, "expected ',' or ']' after an element of the array, found '{'"),
        ('[{"a": 1},\n{"a": ', 2, "not valid JSON in the array element that starts here"),
        (
            '[{"a": 1}',
            1,
            "expected ',' or ']' after an element of the array, but the file ends; fetch it again",
        ),
        ("[1]\nrest", 2, "text after the end of the array: 'r'"),
        ("", 1, r"expected a JSON array that starts with '\[', but the file ends"),
    ],
)
def test_broken_arrays(tmp_path: Path, text: str, line: int, message: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=rf"line {line}: {message}"):
        list(read_json_array(path))
