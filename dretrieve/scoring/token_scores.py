"""The scores over token vectors, by the name that a model's card gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import VerificationError
from dretrieve.scoring.maxsim import maxsim_near, maxsim_pairs
from dretrieve.types import Vectors


@dataclass(frozen=True, slots=True)
class TokenScore:
    """One score; all texts that it is given have at least one vector.

    Attributes:
        pairs: ``pairs(passages, queries, offsets, rows)`` returns the canonical scores, [H] float32, of each
            query with ``rows[offsets[q]:offsets[q + 1]]`` of the passages.
        near: ``near(passages, queries)`` returns [Q, N] float64, fast, and [Q] how far off they may be.
        weighted: whether the tokens' weights are part of it.
    """

    pairs: Callable[[Vectors, Vectors, NDArray[np.int64], NDArray[np.int32]], NDArray[np.float32]]
    near: Callable[[Vectors, Vectors], tuple[NDArray[np.float64], NDArray[np.float64]]]
    weighted: bool = False


TOKEN_SCORES: dict[str, TokenScore] = {
    "maxsim_sum": TokenScore(partial(maxsim_pairs, mean=False), partial(maxsim_near, mean=False)),
    "maxsim_mean": TokenScore(partial(maxsim_pairs, mean=True), partial(maxsim_near, mean=True)),
}


def token_score(name: str, *, weighted: bool) -> TokenScore:
    """Return the score of that name.

    Args:
        name: of a card or of embeddings.
        weighted: whether the tokens have weights.

    Raises:
        VerificationError: there is none of that name, or it would not look at the weights.
    """
    if name not in TOKEN_SCORES:
        raise VerificationError(
            f"vectors per token cannot be compared by the score '{name}'; there are {', '.join(TOKEN_SCORES)}"
        )
    found = TOKEN_SCORES[name]
    if weighted and not found.weighted:
        raise VerificationError(
            f"the tokens have a salience and the score '{name}' has no place for it; encode with the score "
            "that the method was trained with"
        )
    return found
