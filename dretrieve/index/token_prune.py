"""Pruning: an index keeps a share of each passage's tokens, a search asks with a share of a query's.

Source: Qian et al., Multi-Vector Retrieval as Sparse Alignment (ALIGNER), 2022: the tokens of
highest salience are kept, and what they find is scored with all tokens. A share of m tokens is the whole part
of share · m, one at least; of equal saliences the first is kept. Nothing of it is stored: it is a function of
the embeddings. What a salience is worth show two rules of ours, which need none: tokens drawn by chance, and
those that stand least often in all passages.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError
from dretrieve.index.base import Passages
from dretrieve.kernels.salient import mark_largest
from dretrieve.types import Vectors, offsets_of

BLOCK_TOKENS = 1 << 16
COUNTED_AT_ONCE = 1 << 24
FINEST = 10**6  # parts of a whole, so that whole numbers stay exact
SALIENCE, RANDOM, RAREST = "salience", "random", "rarest"


class Keep(NamedTuple):
    """Which tokens of each passage an index holds.

    Attributes:
        share: of them, above 0, below 1.
        by: `SALIENCE`, the highest; `RANDOM`, drawn by chance; `RAREST`, which all passages have least often.
    """

    share: float
    by: str = SALIENCE

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Keep | None:
        """Return what the options of an index's manifest say; None: it holds all."""
        return cls(options["keep"], options.get("keep_by", SALIENCE)) if "keep" in options else None

    @property
    def options(self) -> dict[str, Any]:
        """The same for a manifest."""
        return {"keep": self.share} | ({} if self.by == SALIENCE else {"keep_by": self.by})


class Pruned(Passages):
    """Passages with a share of their tokens.

    Attributes:
        whole: the same passages with all their tokens, which have a salience where it is asked for.
    """

    def __init__(self, whole: Passages, keep: Keep) -> None:
        vars(self).update(vars(whole))  # rows, ids and their order are the same
        self.whole, self.keep = whole, keep

    def lengths(self) -> NDArray[np.int64]:
        """Return [rows], how many of each passage's tokens are kept."""
        return kept_counts(self.whole.lengths(), self.keep.share)

    def vectors(self, shard: int) -> Vectors:
        """Return all that is kept of that shard, in memory."""
        return self._kept(self.whole.vectors(shard))

    def block(self, start: int, stop: int) -> Vectors:
        """Return rows ``start`` to ``stop``, or as many as had 65,536 tokens together, one at least."""
        texts = self.whole.block(start, stop)
        assert texts.offsets is not None
        fitting = int(np.searchsorted(texts.offsets, BLOCK_TOKENS, side="right")) - 1
        return self._kept(texts[: max(1, fitting)])

    def gather(self, rows: NDArray[np.int64]) -> Vectors:
        """Return what is kept of ascending rows, in memory."""
        return self._kept(self.whole.gather(rows))

    def _kept(self, texts: Vectors) -> Vectors:
        wanted = drawn(texts) if self.keep.by == RANDOM else None
        if self.keep.by == RAREST:
            assert texts.tokens is not None
            wanted = -self._often[texts.tokens]
        return pruned(texts, self.keep.share, wanted)

    @cached_property
    def _often(self) -> NDArray[np.float32]:
        """[vocabulary], how many tokens of all passages are each one; from 2²⁴ on in round numbers."""
        found = np.zeros(0, np.int64)
        for shard in range(len(self._pieces)):
            tokens = self.whole.vectors(shard).tokens
            assert tokens is not None
            for start in range(0, len(tokens), COUNTED_AT_ONCE):
                counts = np.bincount(tokens[start : start + COUNTED_AT_ONCE], minlength=len(found))
                counts[: len(found)] += found
                found = counts
        return found.astype(np.float32)

    def described(self, bits: int | None) -> dict[str, Any]:
        """Return for the manifest what a passage takes with all of its tokens and with those kept."""
        token = self.dim * (4 if self.embeddings.dtype == "float32" else 2)
        salience = 4 if self.embeddings.dtype == "float32" else 2
        if bits is not None:  # centroid, residual; with 8 bits a bound of the error
            token = 2 + -(-self.dim * bits // 8) + (4 if bits == 8 else 0)
        token += salience if self.embeddings.salience else 0
        every = self.whole.lengths(), self.lengths()
        before, after = (round(token * int(of.sum()) / max(1, self.rows), 1) for of in every)
        by = {} if self.keep.by == SALIENCE else {"by": self.keep.by}
        return {"share": self.keep.share, **by, "bytes_a_passage": {"before": before, "after": after}}


def seen_by(passages: Passages, keep: Keep | None) -> Passages:
    """Return the passages as an index that keeps these tokens sees them; None: all."""
    return passages if keep is None else Pruned(passages, keep)


def kept_counts(lengths: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """Return how many tokens are kept of texts of those lengths."""
    exact = Fraction(repr(share)).limit_denominator(FINEST)
    return np.minimum(np.maximum(lengths * exact.numerator // exact.denominator, 1), lengths)


def pruned(texts: Vectors, share: float, wanted: NDArray[np.float32] | None = None) -> Vectors:
    """Return the texts with their share of tokens, in their order.

    Args:
        texts: with a salience where nothing else is wanted.
        share: above 0, at most 1.
        wanted: [T], the largest of each text are kept; None: the salience.

    Raises:
        DataError: a salience that is negative, NaN or infinity.
    """
    assert texts.offsets is not None
    check_salience(texts)
    if wanted is None:
        assert texts.weights is not None
        wanted = np.asarray(texts.weights, dtype=np.float32)
    counts = kept_counts(np.diff(texts.offsets), share)
    places = np.flatnonzero(mark_largest(wanted, texts.offsets, counts))
    return Vectors(
        texts.values[places],
        offsets_of(counts),
        None if texts.weights is None else texts.weights[places],
        None if texts.tokens is None else texts.tokens[places],
        texts.lengths,
    )


def drawn(texts: Vectors) -> NDArray[np.float32]:
    """Return [T], a number by chance for each token: a function of its place and of its text's tokens alone.

    So neither batch nor shard nor other texts move it; texts with the same tokens draw the same numbers.
    """
    assert texts.offsets is not None
    assert texts.tokens is not None
    lengths = np.diff(texts.offsets)
    places = (np.arange(len(texts.tokens)) - np.repeat(texts.offsets[:-1], lengths)).astype(np.uint64)
    sums = np.zeros(len(places) + 1, dtype=np.uint64)
    np.cumsum(_mixed(texts.tokens.astype(np.uint64) << np.uint64(32) | places), out=sums[1:])
    of_text = sums[texts.offsets[1:]] - sums[texts.offsets[:-1]]
    return (_mixed(np.repeat(of_text, lengths) + places) >> np.uint64(40)).astype(np.float32)


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return numbers whose bits depend on all of the given ones' (SplitMix64: Steele et al., OOPSLA 2014)."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ numbers >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ numbers >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return numbers ^ numbers >> np.uint64(31)


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
