"""Id columns as bytes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.errors import VerificationError
from dretrieve.store.ids import IdTable

legal_ids = st.text(st.characters(exclude_characters="\n", exclude_categories=("Cs",)))


@given(st.lists(legal_ids), st.slices(20))
def test_a_table_is_the_list_it_was_made_of(ids: list[str], part: slice) -> None:
    table = IdTable.of(ids)
    assert list(table) == ids
    assert len(table) == len(ids)
    assert table[part] == ids[part]
    assert [table[row] for row in range(-len(ids), len(ids))] == ids + ids


def test_outside_is_an_index_error() -> None:
    with pytest.raises(IndexError):
        IdTable.of(["a"])[1]


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_bytes(b"a\nbc")
    with pytest.raises(VerificationError, match="does not end with a newline"):
        IdTable.open(tmp_path / "ids.txt")
    (tmp_path / "ids.txt").write_bytes(b"")
    assert list(IdTable.open(tmp_path / "ids.txt")) == []
