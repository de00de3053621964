"""The dot score: one definition for arrays and tensors, independent of batch and place."""

from __future__ import annotations

import numpy as np

from dretrieve.scoring.dot import dot_matrix, dot_pairs, widened


def test_queries_are_rounded_to_float32_first() -> None:
    queries = np.array([[1 + 1e-12, 2.0]])
    assert widened(queries).tolist() == [[1.0, 2.0]]
    assert dot_matrix(queries, np.array([[1.0, 1.0]], dtype=np.float32)).tolist() == [[3.0]]


def test_matrix_is_the_table_of_pairs() -> None:
    chance = np.random.default_rng(2)
    queries, passages = chance.standard_normal((3, 11)), chance.standard_normal((4, 11)).astype(np.float16)
    table = dot_matrix(queries, passages)
    for query in range(3):
        for row in range(4):
            pair = dot_pairs(
                passages, widened(queries[query : query + 1]), np.array([0, 1]), np.array([row], np.int32)
            )
            assert pair[0] == table[query, row]
    assert np.allclose(table, queries @ passages.astype(np.float64).T, rtol=1e-6, atol=1e-6)


def test_empty_sides_give_empty_tables() -> None:
    assert dot_matrix(np.empty((0, 4)), np.ones((3, 4), np.float32)).shape == (0, 3)
    assert dot_matrix(np.ones((2, 4)), np.empty((0, 4), np.float32)).shape == (2, 0)
