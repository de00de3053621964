"""From words to postings, compiled: counting a passage's terms, placing postings under their terms."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def count_terms(
    words: NDArray[np.int32], word_offsets: NDArray[np.int64], last_seen: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Count each passage's terms.

    Args:
        words: [W] term numbers, negative for a word that is not indexed.
        word_offsets: [D + 1] where each passage's words begin.
        last_seen: [T] scratch, any negative values.

    Returns:
        terms [P] and frequencies [P] in order of first occurrence, posting offsets [D + 1],
        lengths [D] (words that are indexed).
    """
    passages = len(word_offsets) - 1
    terms = np.empty(len(words), dtype=np.int32)
    frequencies = np.empty(len(words), dtype=np.int32)
    offsets = np.zeros(passages + 1, dtype=np.int64)
    lengths = np.zeros(passages, dtype=np.int64)
    count = 0
    for passage in range(passages):
        start = count
        for position in range(word_offsets[passage], word_offsets[passage + 1]):
            term = words[position]
            if term < 0:
                continue
            lengths[passage] += 1
            place = last_seen[term]
            if place >= start:
                frequencies[place] += 1
            else:
                last_seen[term] = count
                terms[count] = term
                frequencies[count] = 1
                count += 1
        offsets[passage + 1] = count
    for place in range(count):
        last_seen[terms[place]] = -1
    return terms[:count], frequencies[:count], offsets, lengths


@njit(cache=True, nogil=True)
def mark_pairs(
    frequencies: NDArray[np.int32],
    offsets: NDArray[np.int64],
    norms: NDArray[np.uint8],
    seen: NDArray[np.bool_],
) -> None:
    """Set ``seen[norm, frequency]`` for every posting of the passages ``offsets`` bounds."""
    for passage in range(len(offsets) - 1):
        norm = norms[passage]
        for place in range(offsets[passage], offsets[passage + 1]):
            seen[norm, frequencies[place]] = True


@njit(cache=True, nogil=True)
def invert(
    postings: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]],
    first_passage: int,
    norms: NDArray[np.uint8],
    codes: NDArray[np.int32],
    final_terms: NDArray[np.int32],
    target: tuple[int, int, NDArray[np.int64]],
    columns: tuple[NDArray[np.int32], NDArray[np.uint16]],
) -> None:
    """Place a block of passages' postings under their terms.

    Args:
        postings: terms, frequencies, offsets by passage.
        first_passage: row of the block's first passage.
        norms: length byte of each of its passages.
        codes: [256, F] pair of (norm, frequency).
        final_terms: row of each term number in the index.
        target: first and last (exclusive) term row to place, and the next free place of each term row of
            these, counted from the columns' start; advanced here.
        columns: passages and pairs to fill.
    """
    terms, frequencies, offsets = postings
    low, high, free = target
    for passage in range(len(offsets) - 1):
        norm = norms[passage]
        for place in range(offsets[passage], offsets[passage + 1]):
            term = final_terms[terms[place]]
            if low <= term < high:
                at = free[term - low]
                free[term - low] = at + 1
                columns[0][at] = first_passage + passage
                columns[1][at] = codes[norm, frequencies[place]]


@njit(cache=True, nogil=True)
def strongest(
    offsets: NDArray[np.int64], pairs: NDArray[np.uint16], factors: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the largest factor among each term's postings."""
    best = np.zeros(len(offsets) - 1, dtype=np.float32)
    for term in range(len(best)):
        for place in range(offsets[term], offsets[term + 1]):
            best[term] = max(best[term], factors[pairs[place]])
    return best
