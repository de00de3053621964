import numpy as np

from dretrieve.kernels.interning import hash_all
from dretrieve.runs.hashed_ids import HashedIds
from dretrieve.store.ids import IdTable


def test_it_is_the_table_of_its_bytes_and_keeps_the_hashes():
    plain = IdTable.of(["a", "é", "001"])
    hashes = np.empty(3, np.uint64)
    hash_all(plain.data, plain.ends, hashes)
    table = HashedIds(plain.data, plain.ends, hashes)
    assert list(table) == ["a", "é", "001"]
    assert table[1] == "é"
    assert table[1:] == ["é", "001"]
    assert table.hashes is hashes
