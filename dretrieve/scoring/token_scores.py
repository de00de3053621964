"""The scores over token vectors, by the name that a model's card gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import UsageError, VerificationError
from dretrieve.scoring.alignment import (
    DEFAULT,
    Alignment,
    aligned_grid,
    aligned_near,
    aligned_pairs,
    near_grid,
    parse_alignment,
)
from dretrieve.scoring.maxsim import Products, maxsim_near, maxsim_pairs
from dretrieve.types import Vectors


@dataclass(frozen=True, slots=True)
class TokenScore:
    """One score; all texts that it is given have at least one vector.

    Attributes:
        pairs: ``pairs(passages, queries, offsets, rows, products)`` returns the canonical scores, [H]
            float32, of each query with ``rows[offsets[q]:offsets[q + 1]]`` of the passages; the products
            may be left out.
        near: ``near(passages, queries, products)`` returns [Q, N] float64, fast, and [Q] how far off they
            may be.
        weighted: whether the tokens' weights are part of it.
        alignment: which tokens it compares, where that can be chosen; empty where it cannot.
        soft: whether it compares all in soft shares, where ``near`` is no cheaper than ``pairs``.
        mean: of a MaxSim (which the alignment top1 is without weights), whether it is averaged; None for
            another score.
    """

    pairs: Callable[..., NDArray[np.float32]]
    near: Callable[[Vectors, Vectors, Products | None], tuple[NDArray[np.float64], NDArray[np.float64]]]
    weighted: bool = False
    alignment: str = ""
    soft: bool = False
    mean: bool | None = None


def _aligned(word: str) -> TokenScore:
    alignment = parse_alignment(word)
    return TokenScore(
        partial(aligned_pairs, alignment=alignment),
        partial(aligned_near, alignment=alignment),
        weighted=True,
        alignment=str(alignment),
        soft=alignment.epsilon > 0,
    )


TOKEN_SCORES: dict[str, TokenScore] = {
    "maxsim_sum": TokenScore(partial(maxsim_pairs, mean=False), partial(maxsim_near, mean=False), mean=False),
    "maxsim_mean": TokenScore(partial(maxsim_pairs, mean=True), partial(maxsim_near, mean=True), mean=True),
    "alignment": _aligned(DEFAULT),
}


@dataclass(frozen=True, slots=True)
class TokenGrid:
    """Several scores that are searched by in one pass.

    Attributes:
        near: yields what each score's ``near`` returns, in their order.
        pairs: returns what each score's ``pairs`` returns, [S, H], bit for bit.
    """

    near: Callable[
        [Vectors, Vectors, Products | None], Iterable[tuple[NDArray[np.float64], NDArray[np.float64]]]
    ]
    pairs: Callable[
        [Vectors, Vectors, NDArray[np.int64], NDArray[np.int32], Products | None], NDArray[np.float32]
    ]


def grid_of(alignments: Sequence[Alignment]) -> TokenGrid:
    """Return the scores by these alignments."""
    return TokenGrid(partial(near_grid, alignments=alignments), partial(aligned_grid, alignments=alignments))


def token_score(name: str, *, weighted: bool, alignment: str = "") -> TokenScore:
    """Return the score of that name.

    Raises:
        VerificationError: there is none of that name, or it would not look at the weights.
        UsageError: an alignment for a score that has none, or one of another grammar.
    """
    if name not in TOKEN_SCORES:
        raise VerificationError(
            f"vectors per token cannot be compared by the score '{name}'; there are {', '.join(TOKEN_SCORES)}"
        )
    found = TOKEN_SCORES[name]
    if alignment and not found.alignment:
        raise UsageError(
            f"--set alignment={alignment}: these vectors are compared by {name}, which aligns tokens in one "
            "way only; leave it out"
        )
    found = _aligned(alignment) if alignment else found
    if found.alignment == DEFAULT and not weighted:
        found = replace(found, mean=True)
    if weighted and not found.weighted:
        raise VerificationError(
            f"the tokens have a salience and the score '{name}' has no place for it; encode with the score "
            "that the method was trained with"
        )
    return found
