"""Passages by row: blocks and gathered rows are what stands in the embeddings, whatever the shards."""

from __future__ import annotations

import numpy as np
import pytest

from dretrieve.errors import VerificationError
from dretrieve.index.base import Passages
from dretrieve.store.embeddings import Embeddings
from dretrieve.types import Vectors, offsets_of

ROWS = 2500
IDS = [f"p{row}" for row in range(ROWS)]
LENGTHS = np.arange(1, ROWS + 1) % 3
TOKENS = Vectors(
    np.arange(2.0, 2 * LENGTHS.sum() + 2).reshape(-1, 2) % 2039 + 1,
    offsets_of(LENGTHS),
    np.ones(LENGTHS.sum()),
)
ONE = Vectors(TOKENS.values[:ROWS])


def same(found: Vectors, expected: Vectors) -> None:
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    np.testing.assert_array_equal(found.weights, expected.weights)


@pytest.mark.parametrize("vectors", [ONE, TOKENS], ids=["one", "many"])
@pytest.mark.parametrize("shards", [1, 3])
def test_blocks_and_gathered_rows_are_those_asked_for(write_embeddings, vectors, shards) -> None:
    folder = write_embeddings("emb", IDS, vectors, shards=shards)
    passages = Passages(Embeddings.open(folder), many=vectors.many)
    chance = np.random.default_rng(0)
    for start, stop in [(0, ROWS), (ROWS - 1, ROWS), *np.sort(chance.integers(0, ROWS, (20, 2))).tolist()]:
        row = start
        while row < stop:
            block = passages.block(row, stop)
            assert len(block)
            same(block, vectors[row : row + len(block)])
            row += len(block)
        rows = np.unique(chance.integers(start, ROWS, 20))
        same(passages.gather(rows), vectors.take(rows))
        assert passages.ids(rows) == [IDS[row] for row in rows]


@pytest.mark.parametrize(("vectors", "kind"), [(ONE, "flat"), (TOKENS, "token")], ids=["one", "many"])
def test_vectors_of_the_other_kind_name_the_type_that_takes_them(write_embeddings, vectors, kind) -> None:
    embeddings = Embeddings.open(write_embeddings("emb", IDS, vectors))
    with pytest.raises(VerificationError, match=f"index it with --type {kind}"):
        Passages(embeddings, many=not vectors.many)
