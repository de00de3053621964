from __future__ import annotations

import numpy as np
import pytest

from dretrieve.training.sets import open_table, save_table, tokenise
from dretrieve.types import Record
from tests.common import flip

RECORDS = [Record(str(row), "", "x" * row) for row in (3, 1, 5)]


def tokens(records):
    return [list(range(1, len(record.text) + 1)) for record in records]


def test_padding_stands_right():
    table = tokenise(RECORDS, tokens)
    rows = np.asarray([1, 0])
    right = table.batch(rows, pad=9)
    assert right.input_ids.tolist() == [[1, 9, 9], [1, 2, 3]]
    assert right.mask.tolist() == [[True, False, False], [True, True, True]]
    assert table.lengths(rows).tolist() == [1, 3]


def test_saved_and_opened_is_equal(tmp_path):
    assert open_table(tmp_path / "t") is None
    table = tokenise(RECORDS, tokens)
    save_table(table, tmp_path / "t")
    opened = open_table(tmp_path / "t")
    np.testing.assert_array_equal(opened.ids, table.ids)
    np.testing.assert_array_equal(opened.offsets, table.offsets)


@pytest.mark.parametrize("name", ["ids.npy", "offsets.npy", "manifest.json"])
def test_a_flipped_bit_in_a_table_is_none(tmp_path, name):
    save_table(tokenise(RECORDS, tokens), tmp_path / "t")
    path = tmp_path / f"t.{name}"
    flip(path, -9, dated=True)
    assert open_table(tmp_path / "t") is None


def test_no_records():
    table = tokenise([], tokens)
    assert len(table) == 0
