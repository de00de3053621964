"""MaxSim: of each query token the best dot with a passage's tokens, added up or averaged over the query.

Source: Khattab and Zaharia, ColBERT, SIGIR 2020, equation 3 (``maxsim_sum``); ReAtt averages over the query's
tokens (``maxsim_mean``). The token score is the dot of `dretrieve.scoring.dot`; the best ones are added in
float64 in the order of the query's tokens and the result is rounded once, to float32. So a run's numbers
depend on nothing but the two texts' stored vectors, and MaxSim of one token is its dot, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dretrieve.kernels.dot import SMALLEST, rounding_margin
from dretrieve.kernels.maxsim import Near, near_sums_of_best, sums_of_best
from dretrieve.scoring.dot import widened
from dretrieve.types import Vectors

OVERFLOWS = 1e38  # product of lengths below which no sum of float32 products overflows


@dataclass(frozen=True, slots=True)
class Products:
    """The dots of some passages' tokens with some queries', by one float32 matrix product.

    Attributes:
        dots: [T, S].
        reach: [S] what no dot of a query's token exceeds.
        off: [S] how far they may be from the canonical ones.
    """

    dots: NDArray[np.float32]
    reach: NDArray[np.float64]
    off: NDArray[np.float64]

    @property
    def near(self) -> Near:
        """What the compiled loops need of it to leave tokens out."""
        return self.dots, 3 * self.off  # each of two by one; a third is more than rounding to float32 takes


def products_of(passages: Vectors, queries: Vectors) -> Products | None:
    """Return the products of texts with at least one vector each; None where they may overflow."""
    asked = np.asarray(queries.values, dtype=np.float32)
    stored = np.asarray(passages.values, dtype=np.float32)
    reach = lengths_of(asked) * lengths_of(stored).max(initial=0.0)
    if not reach.max(initial=0.0) < OVERFLOWS:
        return None
    off = reach * (rounding_margin(passages.dim) + 2.0**-23) + SMALLEST
    return Products(stored @ asked.T, reach, off)


def maxsim_pairs(
    passages: Vectors,
    queries: Vectors,
    offsets: NDArray[np.int64],
    rows: NDArray[np.int32],
    products: Products | None = None,
    *,
    mean: bool,
) -> NDArray[np.float32]:
    """Return [H] scores: query q with the passages ``rows[offsets[q]:offsets[q + 1]]``.

    Args:
        passages: N texts, each with at least one vector; taken as stored.
        queries: Q texts, each with at least one vector; rounded to float32 first.
        offsets: [Q + 1] int64.
        rows: [H] int32.
        products: theirs, where they are known: the same bits, sooner.
        mean: divide by the number of the query's tokens.
    """
    borders, query_borders = borders_of(passages), borders_of(queries)
    asked, near = widened(queries.values), None if products is None else products.near
    sums = sums_of_best(passages.values, borders, asked, query_borders, offsets, rows, near)
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
    passages: Vectors, queries: Vectors, products: Products | None, *, mean: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return [Q, N] scores by float32 products, and [Q] how far they may be from `maxsim_pairs`.

    Each text has a vector at least. Without products every canonical score is asked.
    """
    borders, query_borders = borders_of(passages), borders_of(queries)

    def added(of: NDArray[np.float64]) -> NDArray[np.float64]:
        sums: NDArray[np.float64] = np.add.reduceat(of, query_borders[:-1])
        return sums

    if products is None or not added(products.reach).max(initial=0.0) < OVERFLOWS:
        return np.zeros((len(queries), len(passages))), np.full(len(queries), np.inf)
    near = near_sums_of_best(products.dots, borders, query_borders)
    # each token's best is off by at most what one of its dots is, which has room for the sum's last rounding
    counts, margins = np.diff(query_borders), added(products.off) + SMALLEST
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
