"""The rule of ties, restated by hand."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.order import best_first, id_ranks, top_k

hits = st.lists(
    st.tuples(st.text(st.characters(exclude_categories=("Cs",)), max_size=3), st.integers(-2, 2)),
    unique_by=lambda hit: hit[0],
    max_size=30,
)


@given(hits, st.integers(0, 35))
def test_score_descending_then_utf8_bytes_descending(pairs: list[tuple[str, int]], k: int) -> None:
    ids = [text_id for text_id, _ in pairs]
    scores = np.array([score for _, score in pairs], dtype=np.float32)
    by_bytes = sorted(range(len(ids)), key=lambda row: ids[row].encode(), reverse=True)
    expected = sorted(by_bytes, key=lambda row: -scores[row])
    assert best_first(scores, id_ranks(ids)).tolist() == expected
    assert top_k(scores, id_ranks(ids), k).tolist() == expected[:k]


def test_ranks_over_a_superset_give_the_same_order() -> None:
    everything = ["b", "001", "a", "1", "ä", "z"]
    ranks = id_ranks(everything)
    chosen = [0, 2, 4]
    order = best_first(np.zeros(3, np.float32), ranks[chosen])
    assert [everything[chosen[row]] for row in order] == ["ä", "b", "a"]


def test_negative_zero_ties_with_zero() -> None:
    scores = np.array([-0.0, 0.0], dtype=np.float32)
    assert best_first(scores, np.array([1, 0])).tolist() == [0, 1]
    assert best_first(scores, np.array([0, 1])).tolist() == [1, 0]
