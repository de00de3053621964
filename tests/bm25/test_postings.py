"""Counting and inverting against dictionaries."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.bm25.postings import Postings, count_terms, invert, mark_pairs, strongest

passages_of_terms = st.lists(st.lists(st.integers(-2, 5), max_size=9), max_size=12)


def counted(passages: list[list[int]]) -> tuple:
    words = np.asarray([term for passage in passages for term in passage], dtype=np.int32)
    offsets = np.cumsum([0, *map(len, passages)])
    return count_terms(words, offsets, np.full(6, -1, np.int64))


@given(passages_of_terms)
def test_terms_are_counted_and_negative_words_are_not(passages: list[list[int]]) -> None:
    terms, frequencies, offsets, lengths = counted(passages)
    for row, passage in enumerate(passages):
        span = slice(offsets[row], offsets[row + 1])
        expected = Counter(term for term in passage if term >= 0)
        assert dict(zip(terms[span].tolist(), frequencies[span].tolist(), strict=True)) == expected
        assert lengths[row] == sum(expected.values())


@given(passages_of_terms, st.integers(0, 6))
def test_postings_stand_under_their_terms_in_passage_order(passages: list[list[int]], border: int) -> None:
    terms, frequencies, bounds, lengths = counted(passages)
    norms = np.minimum(lengths, 3).astype(np.uint8)
    seen = np.zeros((256, 10), dtype=np.bool_)
    postings = Postings(terms, frequencies, bounds, norms)
    mark_pairs(postings, seen)
    codes = np.full(seen.shape, -1, np.int32)
    codes[seen] = np.arange(seen.sum())
    offsets = np.cumsum([0, *np.bincount(terms, minlength=6)])
    rows, pairs = np.full(len(terms), -1, np.int32), np.zeros(len(terms), np.uint16)
    for low, high in ((0, border), (border, 6)):  # two passes place what one would
        free = offsets[low:high].copy()
        invert(postings, 100, codes, np.arange(6, dtype=np.int32), low, free, rows, pairs)
    for term in range(6):
        span = slice(offsets[term], offsets[term + 1])
        expected = [
            (100 + row, passage.count(term)) for row, passage in enumerate(passages) if term in passage
        ]
        assert rows[span].tolist() == [row for row, _ in expected]
        assert pairs[span].tolist() == [codes[norms[row - 100], count] for row, count in expected]


def test_the_strongest_posting_of_each_term() -> None:
    factors = np.asarray([1.5, 3.0, 2.0], np.float32)
    pairs = np.asarray([0, 2, 1], np.uint16)
    assert strongest(np.asarray([0, 2, 2, 3]), pairs, factors).tolist() == [2.0, 0.0, 3.0]
