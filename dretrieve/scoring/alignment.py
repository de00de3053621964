"""Alignments: which passage tokens a query token is compared with, and the score over them.

Source: Qian et al., Multi-Vector Retrieval as Sparse Alignment (ALIGNER), 2022. Equation 1: the score is
Σ S ⊙ A / Z with Z = Σ A, S the dots of the query's tokens with the passage's; here 0 where Z is 0. By
equation 2 A is the alignment, found from S alone, times both tokens' salience. Top-k takes each query token's
min(k, m) largest dots of m, equal ones in the passage's order; top-p takes max(floor(p m), 1); the
differentiable alignment (appendix A.2) takes all in soft shares that sum to k, solved exactly where
equation 9 iterates.

Top-1 without salience is `scoring.maxsim`'s mean, bit for bit, and salience of ones changes no bit. A dot is
that of `scoring.dot`; aligned ones are added in float64, the largest first, then query token by query token,
and the result is rounded once, to float32.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import UsageError
from dretrieve.kernels.alignment import ROUGH, aligned_sums, near_sums
from dretrieve.kernels.dot import SMALLEST
from dretrieve.scoring.dot import widened
from dretrieve.scoring.maxsim import Products, borders_of
from dretrieve.types import Vectors, offsets_of

DEFAULT = "top1"
MOST = 1 << 20  # tokens that a query token can be aligned with
FAINTEST = 1e-250  # Z in which shares were lost below the smallest numbers
GRAMMAR = "top1, top4 … (tokens for each query token), p1.5 (percent of a passage's) or da,k=1,eps=0.05"


@dataclass(frozen=True, slots=True)
class Alignment:
    """One alignment; two that align alike are equal and have one spelling, ``str``.

    Attributes:
        k: tokens for each query token; 0 where ``percent`` says it.
        percent: of the passage's tokens.
        epsilon: of the soft alignment; 0: a hard one.
    """

    k: int = 0
    percent: Fraction = Fraction(0)
    epsilon: float = 0.0

    def __str__(self) -> str:
        if self.epsilon:
            return f"da,k={self.k},eps={self.epsilon!r}"
        percent = f"{float(self.percent):.6f}".rstrip("0").rstrip(".")
        return f"top{self.k}" if self.k else f"p{percent}"

    def counts(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return with how many tokens each query token is aligned, of passages of those many tokens."""
        if self.percent:
            shares = lengths * self.percent.numerator // (100 * self.percent.denominator)
            return np.maximum(shares, 1)
        return np.minimum(self.k, lengths)

    def is_top1(self, lengths: NDArray[np.int64]) -> bool:
        """Return whether it is a percentage, too small for two tokens of any such passage."""
        return bool(self.percent) and self.counts(lengths).max(initial=1) == 1


def parse_alignment(word: str) -> Alignment:
    """Return the alignment that a word names.

    Raises:
        UsageError: another grammar, a number out of range.
    """
    if found := re.fullmatch(r"top([0-9]{1,7})", word):
        if 1 <= int(found[1]) <= MOST:
            return Alignment(k=int(found[1]))
        raise UsageError(f"alignment {word}: expected from 1 to {MOST:,} tokens for each query token")
    if found := re.fullmatch(r"p([0-9]{1,3}(\.[0-9]{1,6})?|\.[0-9]{1,6})%?", word):
        percent = Fraction(found[1])
        if 0 < percent <= 100:
            return Alignment(percent=percent)
        raise UsageError(f"alignment {word}: expected a percentage above 0 and at most 100")
    if found := re.fullmatch(r"da,k=([0-9]{1,7}),eps=([0-9]*\.?[0-9]+(e[+-]?[0-9]{1,3})?)", word):
        k, epsilon = int(found[1]), float(found[2])
        if 1 <= k <= MOST and 0 < epsilon < np.inf:
            return Alignment(k=k, epsilon=epsilon)
        raise UsageError(f"alignment {word}: expected k from 1 to {MOST:,} and eps above 0")
    raise UsageError(f"alignment '{word}' is none; expected {GRAMMAR}")


def parse_grid(word: str) -> list[Alignment]:
    """Return the alignments of a grid such as ``k=1,2,4 p=0.5,1 da,k=1,eps=0.05``, each once, in its order.

    Raises:
        UsageError: another grammar, a number out of range.
    """
    words: list[str] = []
    for part in word.split():
        name, _, values = part.partition("=")
        kind = {"k": "top", "p": "p"}.get(name)
        words += [part] if kind is None else [kind + value for value in values.split(",")]
    if not words:
        raise UsageError("the grid is empty; give for example k=1,2,4 p=0.5,1")
    return list(dict.fromkeys(map(parse_alignment, words)))


def doubts(alignment: Alignment, lengths: NDArray[np.int64]) -> str:
    """Return what is to be said of an alignment of passages of those many tokens; empty: nothing.

    Args:
        alignment: which tokens are compared.
        lengths: [N]; passages without tokens are not counted.
    """
    lengths = lengths[lengths > 0]
    if len(lengths) and alignment.is_top1(lengths):
        most = f"{lengths.max():,}"
        return f"alignment {alignment} is top1 here: the longest passage has {most} tokens, too few for two"
    short = np.count_nonzero(lengths < alignment.k)
    if 2 * short > len(lengths):
        share = f"{short / len(lengths):.0%}"
        return (
            f"alignment {alignment}: {share} of the passages have fewer than {alignment.k} tokens and are "
            "compared whole"
        )
    return ""


def aligned_pairs(
    passages: Vectors,
    queries: Vectors,
    offsets: NDArray[np.int64],
    rows: NDArray[np.int32],
    products: Products | None = None,
    *,
    alignment: Alignment,
) -> NDArray[np.float32]:
    """Return [H] scores: query q with the passages ``rows[offsets[q]:offsets[q + 1]]``.

    Args:
        passages: N texts, each with at least one vector; taken as stored, their salience too. A share of a
            passage's tokens is one of all that it had before some were left out.
        queries: Q texts, the same; their vectors are rounded to float32 first.
        offsets: [Q + 1] int64.
        rows: [H] int32.
        products: theirs, where they are known: the same bits, sooner.
        alignment: which tokens are compared.
    """
    only = [alignment]
    scores: NDArray[np.float32] = aligned_grid(passages, queries, offsets, rows, products, alignments=only)[0]
    return scores


def aligned_grid(
    passages: Vectors,
    queries: Vectors,
    offsets: NDArray[np.int64],
    rows: NDArray[np.int32],
    products: Products | None = None,
    *,
    alignments: Sequence[Alignment],
) -> NDArray[np.float32]:
    """Return [A, H], the scores by several alignments, bit for bit as by each alone, from one pass.

    The arguments are those of `aligned_pairs`; soft alignments ask for every canonical dot.
    """
    borders, query_borders = borders_of(passages), borders_of(queries)
    soft, columns, widths = _columns(alignments, passages.lengths[rows], np.diff(borders)[rows])
    sums, totals = aligned_sums(
        (passages.values, _weights(passages), borders),
        (widened(queries.values), _weights(queries), query_borders),
        (offsets, rows, widths),
        _soft(soft),
        None if products is None or soft else products.near,
    )
    every = np.arange(len(rows))
    return np.stack([score_of_sums(sums[every, column], totals[every, column]) for column in columns])


def score_of_sums(sums: NDArray[np.float64], totals: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return [H] scores of [H] canonical Σ A S and Σ A."""
    with np.errstate(over="ignore"):  # the search refuses infinite scores by a sentence
        return _divided(sums, totals).astype(np.float32)


def aligned_near(
    passages: Vectors, queries: Vectors, products: Products | None, *, alignment: Alignment
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return [Q, N] scores by float32 products, and [Q] how far they may be from `aligned_pairs`.

    Where salience weighs the tokens and rounding could change which are aligned, the canonical score stands.
    Without products every canonical score is asked.
    """
    return next(near_grid(passages, queries, products, alignments=[alignment]))


def near_grid(
    passages: Vectors, queries: Vectors, products: Products | None, *, alignments: Sequence[Alignment]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield what `aligned_near` returns for each of the alignments, from one pass."""
    if products is None:
        for _ in alignments:
            yield np.zeros((len(queries), len(passages))), np.full(len(queries), np.inf)
        return
    borders, query_borders = borders_of(passages), borders_of(queries)
    weighted = passages.weights is not None or queries.weights is not None
    lengths = np.diff(borders)
    soft, counts, widths = _columns(alignments, passages.lengths, lengths)
    sums, totals, doubtful = near_sums(
        products.dots,
        (_weights(queries), _weights(passages)),
        (query_borders, borders),
        widths,
        _soft(soft),
        2 * products.off if weighted else np.zeros_like(products.off),
    )
    every, shape = np.arange(len(sums)), (len(queries), len(passages))
    for place, alignment in enumerate(alignments):
        column = np.resize(counts[place], len(sums))
        total = totals[every, column]
        near = _divided(sums[every, column], total).reshape(shape)
        faint = total < (FAINTEST if alignment.epsilon else 0.0)
        again = (doubtful[every, column] | faint).reshape(shape)
        offsets = offsets_of(np.count_nonzero(again, axis=1))
        rows = np.nonzero(again)[1].astype(np.int32)
        near[again] = aligned_pairs(passages, queries, offsets, rows, products, alignment=alignment)
        yield near, _margins(alignment, products, query_borders, int(lengths.max(initial=1)), weighted)


def _columns(
    alignments: Sequence[Alignment], lengths: NDArray[np.int64], present: NDArray[np.int64]
) -> tuple[list[Alignment], list[NDArray[np.int64]], NDArray[np.int64]]:
    """Return the soft alignments, each alignment's column of the sums of passages [H], and widths [H].

    Args:
        alignments: which tokens are compared.
        lengths: of the passages, before tokens were left out.
        present: how many tokens are there.
    """
    soft = [of for of in alignments if of.epsilon]
    counts = [
        np.zeros_like(lengths) if of.epsilon else np.minimum(of.counts(lengths), present) for of in alignments
    ]
    widths = np.maximum.reduce(counts) if counts else np.zeros_like(lengths)
    first = int(widths.max(initial=0))
    places = [
        np.full_like(count, first + soft.index(of)) if of.epsilon else count - 1
        for of, count in zip(alignments, counts, strict=True)
    ]
    return soft, places, widths


def _margins(
    alignment: Alignment,
    products: Products,
    borders: NDArray[np.int64],
    longest: int,
    weighted: bool,
) -> NDArray[np.float64]:
    """Return [Q] how far a score may be off when each dot of a query token [S] may be.

    Hard: a mean of c-th largest dots moves no further than the dots. Soft: a token's Σ λ S moves by at most
    1 + Σ λ |S - S̄| / (k ε) as much, S̄ the mean over the shares below 1; that sum is at most 2 k ε ln m, since
    the largest S is at most ε ln m above S̄ (their entropy is at most ln m). With salience the shares' own
    change counts, by a factor of at most exp(2 off / ε) each, and so may their sum's. Terms that are off by
    a share of themselves move λ by twice that, and a mean of S by four times that of the largest |S|.
    """
    off = products.off + (4 * ROUGH * products.reach if alignment.epsilon else 0.0)
    if not weighted:
        moved = off * (1 + 2 * np.log(longest)) if alignment.epsilon else off
        means: NDArray[np.float64] = np.add.reduceat(moved, borders[:-1]) / np.diff(borders)
        return means + SMALLEST
    most = np.maximum.reduceat(off, borders[:-1])
    if alignment.epsilon:
        with np.errstate(over="ignore"):  # then every passage is asked for its canonical score
            most += np.maximum.reduceat(products.reach, borders[:-1]) * np.expm1(4 * most / alignment.epsilon)
    return most + SMALLEST


def _divided(sums: NDArray[np.float64], totals: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(sums, totals, out=np.zeros_like(sums), where=totals != 0)


def _weights(texts: Vectors) -> NDArray[np.float32]:
    if texts.weights is None:
        return np.ones(len(texts.values), dtype=np.float32)
    return np.ascontiguousarray(texts.weights, dtype=np.float32)


def _soft(alignments: Sequence[Alignment]) -> NDArray[np.float64]:
    return np.array([(of.k, of.epsilon) for of in alignments], dtype=np.float64).reshape(-1, 2)
