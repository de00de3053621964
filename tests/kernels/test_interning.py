import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.kernels.interning import (
    empty_table,
    find_all,
    hash_all,
    hash_bytes,
    intern_all,
    refill,
    same_bytes,
    with_room,
)
from dretrieve.store.ids import IdTable

IDS = st.lists(
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\n"), max_size=5), max_size=60
)


def hashed(ids):
    table = IdTable.of(ids)
    return table.data, table.ends, hash_all(table.data, table.ends)


def find(table, ids):
    rows = np.empty(len(ids), dtype=np.int32)
    find_all(table, *hashed(ids), rows)
    return rows.tolist()


def interned(batches):
    """Intern batch after batch, growing as the reader does; return the table and the rows given."""
    table, rows = empty_table(), []
    for batch in batches:
        columns = hashed(batch)
        table = with_room(table, len(batch), len(columns[0]))
        found = np.empty(len(batch), dtype=np.int32)
        intern_all(table, *columns[:2], found)
        rows += found.tolist()
    return table, rows


@given(st.lists(IDS, max_size=5))
def test_rows_are_those_of_a_dict(batches):
    table, rows = interned(batches)
    twin: dict[str, int] = {}
    assert rows == [twin.setdefault(text_id, len(twin)) for batch in batches for text_id in batch]
    assert list(IdTable(table.data[: table.counts[1]])) == list(twin)
    assert table.counts[0] == len(twin)


@given(IDS, IDS)
def test_finding_is_the_dicts_get(held, wanted):
    table, _ = interned([held, ["one more"]])
    twin: dict[str, int] = {}
    for text_id in [*held, "one more"]:
        twin.setdefault(text_id, len(twin))
    assert find(table, wanted) == [twin.get(text_id, -1) for text_id in wanted]


def test_many_ids_survive_growth():
    batches = [[f"{number:x}" for number in range(start, start + 997)] for start in range(0, 20_000, 500)]
    table, rows = interned(batches)
    twin: dict[str, int] = {}
    assert rows == [twin.setdefault(text_id, len(twin)) for batch in batches for text_id in batch]
    assert len(table.slots) >= 2 * len(twin)


def test_equal_hashes_are_told_apart_by_bytes():
    table = with_room(empty_table(), 3, 100)
    data, ends, hashes = hashed(["a", "b", "ab"])
    rows = np.empty(3, np.int32)
    intern_all(table, data, ends, rows)
    assert rows.tolist() == [0, 1, 2]
    assert table.hashes[:3].tolist() == hashes.tolist()
    assert hashes[0] == hash_bytes(data, 0, 1)
    table.hashes[:3] = hashes[:] = hashes[0]
    table.slots[:] = np.uint64(0xFFFFFFFFFFFFFFFF)
    refill(table.slots, table.hashes, 3)
    find_all(table, data, ends, hashes, rows)
    assert rows.tolist() == [0, 1, 2]


def test_a_prefix_is_not_the_id():
    data = IdTable.of(["abc"]).data
    for word, expected in ((b"abc", True), (b"ab", False), (b"abcd", False), (b"", False)):
        assert same_bytes(np.frombuffer(word, np.uint8), 0, len(word), data, 0) is expected
