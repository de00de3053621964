"""MaxSim: of each query token the best dot with a passage's tokens, added up or averaged over the query.

Source: Khattab and Zaharia, ColBERT, SIGIR 2020, equation 3 (``maxsim_sum``); ReAtt averages over the query's
tokens (``maxsim_mean``). The token score is the dot of `dretrieve.scoring.dot`; the best ones are added in
float64 in the order of the query's tokens and the result is rounded once, to float32. So a run's numbers
depend on nothing but the two texts' stored vectors, and MaxSim of one token is its dot, bit for bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dretrieve.kernels.dot import SMALLEST, rounding_margin
from dretrieve.kernels.maxsim import near_sums_of_best, sums_of_best
from dretrieve.scoring.dot import widened
from dretrieve.types import Vectors

OVERFLOWS = 1e38  # product of lengths below which no sum of float32 products overflows


def maxsim_pairs(
    passages: Vectors, queries: Vectors, offsets: NDArray[np.int64], rows: NDArray[np.int32], *, mean: bool
) -> NDArray[np.float32]:
    """Return [H] scores: query q with the passages ``rows[offsets[q]:offsets[q + 1]]``.

    Args:
        passages: N texts, each with at least one vector; taken as stored.
        queries: Q texts, each with at least one vector; rounded to float32 first.
        offsets: [Q + 1] int64.
        rows: [H] int32.
        mean: divide by the number of the query's tokens.
    """
    borders, query_borders = borders_of(passages), borders_of(queries)
    sums = sums_of_best(passages.values, borders, widened(queries.values), query_borders, offsets, rows)
    return maxsim_of_sums(sums, np.repeat(np.diff(query_borders), np.diff(offsets)), mean=mean)


def maxsim_of_sums(
    sums: NDArray[np.float64], counts: NDArray[np.int64] | int, *, mean: bool
) -> NDArray[np.float32]:
    """Return [H] scores of [H] canonical sums of best dots, for queries of so many tokens."""
    if mean:
        sums = sums / counts
    with np.errstate(over="ignore"):  # the search refuses infinite scores by a sentence
        return sums.astype(np.float32)


def maxsim_near(
    passages: Vectors, queries: Vectors, *, mean: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return [Q, N] scores by one float32 matrix product, and [Q] how far they may be from `maxsim_pairs`.

    Args:
        passages: N texts, each with at least one vector.
        queries: Q texts, each with at least one vector.
        mean: as there.
    """
    borders, query_borders = borders_of(passages), borders_of(queries)
    asked = np.asarray(queries.values, dtype=np.float32)
    stored = np.asarray(passages.values, dtype=np.float32)
    longest = lengths_of(stored).max(initial=0.0)
    reach = np.add.reduceat(lengths_of(asked), query_borders[:-1]) * longest
    if not reach.max(initial=0.0) < OVERFLOWS:  # then every canonical score is asked
        return np.zeros((len(queries), len(passages))), np.full(len(queries), np.inf)
    near = near_sums_of_best(stored @ asked.T, borders, query_borders)
    # each token's best is off by at most what one of its dots is; 2^-24 of the sum for the last rounding
    counts = np.diff(query_borders)
    margins = reach * (rounding_margin(passages.dim) + 2.0**-23) + (counts + 1) * SMALLEST
    return (near / counts[:, None], margins / counts + SMALLEST) if mean else (near, margins)


def borders_of(vectors: Vectors) -> NDArray[np.int64]:
    """Return the offsets of texts that have at least one vector each."""
    assert vectors.offsets is not None
    assert (np.diff(vectors.offsets) > 0).all()
    return vectors.offsets


def lengths_of(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return [N], the Euclidean lengths of [N, dim]."""
    lengths: NDArray[np.float64] = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    return lengths
