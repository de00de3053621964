"""From words to postings, compiled: counting a passage's terms, placing postings under their terms."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dretrieve.kernels.compiled import njit


class Postings(NamedTuple):
    """Postings in the order of passages.

    Attributes:
        terms: [P] term number of each.
        frequencies: [P] how often the term stands in the passage.
        offsets: [N + 1] where each passage's begin.
        norms: [N] length byte of each passage.
    """

    terms: NDArray[np.int32]
    frequencies: NDArray[np.int32]
    offsets: NDArray[np.int64]
    norms: NDArray[np.uint8]

    def of_passages(self, rows: slice) -> Postings:
        """Return the postings of some passages."""
        own = self.offsets[rows.start : rows.stop + 1]
        place = slice(int(own[0]), int(own[-1]))
        return Postings(self.terms[place], self.frequencies[place], own - own[0], self.norms[rows])


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
def mark_pairs(postings: Postings, seen: NDArray[np.bool_]) -> None:
    """Set ``seen[norm, frequency]`` for every posting."""
    for passage in range(len(postings.norms)):
        norm = postings.norms[passage]
        for place in range(postings.offsets[passage], postings.offsets[passage + 1]):
            seen[norm, postings.frequencies[place]] = True


@njit(cache=True, nogil=True)
def invert(
    postings: Postings,
    first_passage: int,
    pair_of: NDArray[np.int32],
    row_of: NDArray[np.int32],
    first_term: int,
    free: NDArray[np.int64],
    passages: NDArray[np.int32],
    pairs: NDArray[np.uint16],
) -> None:
    """Place a block of passages' postings under their terms.

    Args:
        postings: of the block.
        first_passage: row of the block's first passage.
        pair_of: [256, F] pair of (length byte, frequency).
        row_of: row of each term number in the index.
        first_term: row of the first term that is placed.
        free: [terms placed] next free place of each in the columns; advanced here.
        passages: filled.
        pairs: filled.
    """
    for passage in range(len(postings.norms)):
        norm = postings.norms[passage]
        for place in range(postings.offsets[passage], postings.offsets[passage + 1]):
            term = row_of[postings.terms[place]] - first_term
            if 0 <= term < len(free):
                at = free[term]
                free[term] = at + 1
                passages[at] = first_passage + passage
                pairs[at] = pair_of[norm, postings.frequencies[place]]


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
