"""Pruning by salience: an index keeps a share of each passage's tokens, a search asks with one of a query's.

Source: Qian et al., Multi-Vector Retrieval as Sparse Alignment (ALIGNER), 2022: the tokens of
highest salience are kept, and what they find is scored with all tokens. A share of m tokens is the whole part
of share · m, one at least; of equal saliences the first is kept. Nothing of it is stored: it is a function of
the embeddings.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError
from dretrieve.index.base import Passages
from dretrieve.kernels.salient import mark_largest
from dretrieve.types import Vectors, offsets_of

BLOCK_TOKENS = 1 << 16
FINEST = 10**6  # parts of a whole, so that whole numbers stay exact


class Pruned(Passages):
    """Passages with a share of their tokens, those of highest salience.

    Attributes:
        whole: the same passages with all their tokens, which have a salience.
        share: above 0, below 1.
    """

    def __init__(self, whole: Passages, share: float) -> None:
        vars(self).update(vars(whole))  # rows, ids and their order are the same
        self.whole, self.share = whole, share

    def lengths(self) -> NDArray[np.int64]:
        """Return [rows], how many of each passage's tokens are kept."""
        return kept_counts(self.whole.lengths(), self.share)

    def vectors(self, shard: int) -> Vectors:
        """Return all that is kept of that shard, in memory."""
        return pruned(self.whole.vectors(shard), self.share)

    def block(self, start: int, stop: int) -> Vectors:
        """Return rows ``start`` to ``stop``, or as many as had 65,536 tokens together, one at least."""
        texts = self.whole.block(start, stop)
        assert texts.offsets is not None
        fitting = int(np.searchsorted(texts.offsets, BLOCK_TOKENS, side="right")) - 1
        return pruned(texts[: max(1, fitting)], self.share)

    def gather(self, rows: NDArray[np.int64]) -> Vectors:
        """Return what is kept of ascending rows, in memory."""
        return pruned(self.whole.gather(rows), self.share)

    def described(self, bits: int | None) -> dict[str, Any]:
        """Return for the manifest what a passage takes with all of its tokens and with those kept.

        Args:
            bits: of a dimension in the codes; None counts the stored vectors.
        """
        token = self.dim * (4 if self.embeddings.dtype == "float32" else 2)
        salience = 4 if self.embeddings.dtype == "float32" else 2
        if bits is not None:  # centroid, residual; with 8 bits a bound of the error
            token = 2 + -(-self.dim * bits // 8) + (4 if bits == 8 else 0)
        token += salience
        every = self.whole.lengths(), self.lengths()
        before, after = (round(token * int(of.sum()) / max(1, self.rows), 1) for of in every)
        return {"share": self.share, "bytes_a_passage": {"before": before, "after": after}}


def seen_by(passages: Passages, share: float | None) -> Passages:
    """Return the passages as an index that keeps that share sees them; None: all of their tokens."""
    return passages if share is None else Pruned(passages, share)


def kept_counts(lengths: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """Return how many tokens are kept of texts of those lengths."""
    exact = Fraction(repr(share)).limit_denominator(FINEST)
    return np.minimum(np.maximum(lengths * exact.numerator // exact.denominator, 1), lengths)


def pruned(texts: Vectors, share: float) -> Vectors:
    """Return the texts with their share of tokens, in their order.

    Raises:
        DataError: a salience that is negative, NaN or infinity.
    """
    assert texts.offsets is not None
    assert texts.weights is not None
    check_salience(texts)
    counts = kept_counts(np.diff(texts.offsets), share)
    weights = np.asarray(texts.weights, dtype=np.float32)
    places = np.flatnonzero(mark_largest(weights, texts.offsets, counts))
    return Vectors(
        texts.values[places],
        offsets_of(counts),
        texts.weights[places],
        None if texts.tokens is None else texts.tokens[places],
        texts.lengths,
    )


def check_salience(texts: Vectors) -> None:
    """Refuse weights that cannot be a salience.

    Raises:
        DataError: one is negative, NaN or infinity.
    """
    if texts.weights is None:
        return
    bad = ~(np.isfinite(texts.weights) & (texts.weights >= 0))
    if bad.any():
        raise DataError(
            f"{np.count_nonzero(bad):,} of {len(bad):,} tokens have a salience that is negative, NaN or "
            "infinity; encode again"
        )
