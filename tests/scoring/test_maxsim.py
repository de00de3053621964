"""MaxSim: by hand, against float64, its margin, and the dot that it is for one token."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.errors import UsageError, VerificationError
from dretrieve.scoring.dot import dot_pairs, widened
from dretrieve.scoring.maxsim import Products, products_of
from dretrieve.scoring.token_scores import TOKEN_SCORES, token_score
from dretrieve.types import Vectors, offsets_of

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=6)
NAMES = st.sampled_from(sorted(TOKEN_SCORES))


def texts(seed: int, lengths: list[int], dim: int, dtype: type, scale: float = 1.0) -> Vectors:
    values = np.random.default_rng(seed).standard_normal((sum(lengths), dim)) * scale
    return Vectors(values.astype(dtype), offsets_of(lengths))


def all_pairs(name: str, passages: Vectors, queries: Vectors, products: Products | None = None) -> np.ndarray:
    """Return [Q, N] canonical scores."""
    offsets = np.arange(len(queries) + 1, dtype=np.int64) * len(passages)
    rows = np.tile(np.arange(len(passages), dtype=np.int32), len(queries))
    scores = TOKEN_SCORES[name].pairs(passages, queries, offsets, rows, products)
    return scores.reshape(len(queries), len(passages))


def in_float64(name: str, passages: Vectors, queries: Vectors) -> np.ndarray:
    """Return ColBERT's equation 3, or its mean over the query's tokens, restated."""
    found = np.empty((len(queries), len(passages)))
    for q in range(len(queries)):
        for n in range(len(passages)):
            asked, stored = queries[q : q + 1].values, passages[n : n + 1].values
            best = (asked.astype(np.float64) @ stored.astype(np.float64).T).max(axis=1)
            found[q, n] = best.sum() if name == "maxsim_sum" else best.mean()
    return found


@given(
    name=NAMES,
    seed=st.integers(0, 2**32 - 2),
    passages=LENGTHS,
    queries=LENGTHS,
    dim=st.integers(1, 40),
    half=st.booleans(),
    scale=st.sampled_from([1.0, 1e-3, 100.0]),
)
def test_scores_are_the_equation_and_near_ones_keep_their_margin(
    name, seed, passages, queries, dim, half, scale
) -> None:
    stored = texts(seed, passages, dim, np.float16 if half else np.float32, scale)
    asked = texts(seed + 1, queries, dim, np.float32)
    scores = all_pairs(name, stored, asked)
    np.testing.assert_allclose(scores, in_float64(name, stored, asked), rtol=1e-5, atol=1e-5 * scale)
    products = products_of(stored, asked)
    assert np.array_equal(all_pairs(name, stored, asked, products), scores), "tokens left out change no bit"
    near, margins = TOKEN_SCORES[name].near(stored, asked, products)
    assert near.shape == scores.shape
    assert (np.abs(near - scores) <= margins[:, None]).all()


def by_torch(name: str, passages: Vectors, queries: Vectors) -> np.ndarray:
    """Return [Q, N] as the canonical number is defined: eight lanes in turn, these in pairs, rounded once."""
    found = np.empty((len(queries), len(passages)), np.float32)
    for q in range(len(queries)):
        asked = torch.from_numpy(queries[q : q + 1].values).double()
        for n in range(len(passages)):
            products = asked[:, None] * torch.from_numpy(passages[n : n + 1].values).double()
            lanes = torch.zeros(*products.shape[:2], 8, dtype=torch.float64)
            for d in range(passages.dim):
                lanes[:, :, d % 8] += products[:, :, d]
            pairs = lanes[:, :, 0::2] + lanes[:, :, 1::2]
            halves = pairs[:, :, 0::2] + pairs[:, :, 1::2]
            total = 0.0
            for best in (halves[:, :, 0] + halves[:, :, 1]).float().amax(dim=1).tolist():
                total += best
            found[q, n] = total if name == "maxsim_sum" else total / len(asked)
    return found


@given(name=NAMES, seed=st.integers(0, 2**32 - 2), passages=LENGTHS, queries=LENGTHS, half=st.booleans())
def test_torch_gives_the_same_bits(name, seed, passages, queries, half) -> None:
    stored = texts(seed, passages, 19, np.float16 if half else np.float32)
    asked = texts(seed + 1, queries, 19, np.float32)
    scores = all_pairs(name, stored, asked)
    assert np.array_equal(by_torch(name, stored, asked).view(np.uint32), scores.view(np.uint32))


@given(name=NAMES, seed=st.integers(0, 2**32 - 2), passages=LENGTHS, dim=st.integers(1, 40))
def test_the_order_of_tokens_and_of_passages_changes_no_bit(name, seed, passages, dim) -> None:
    stored, asked = texts(seed, passages, dim, np.float16), texts(seed + 1, [3, 1], dim, np.float32)
    scores, chance = all_pairs(name, stored, asked), np.random.default_rng(seed)
    mixed = [chance.permutation(stored[row : row + 1].values) for row in range(len(stored))]
    assert np.array_equal(all_pairs(name, Vectors(np.concatenate(mixed), stored.offsets), asked), scores)
    order = chance.permutation(len(stored))
    assert np.array_equal(all_pairs(name, stored.take(order), asked), scores[:, order])


@given(name=NAMES, seed=st.integers(0, 2**32 - 2), dim=st.integers(1, 40), half=st.booleans())
def test_maxsim_of_one_token_is_its_dot_bit_for_bit(name, seed, dim, half) -> None:
    stored = texts(seed, [1] * 5, dim, np.float16 if half else np.float32)
    asked = texts(seed + 1, [1] * 3, dim, np.float32)
    offsets, rows = np.arange(4, dtype=np.int64) * 5, np.tile(np.arange(5, dtype=np.int32), 3)
    dots = dot_pairs(stored.values, widened(asked.values), offsets, rows)
    assert np.array_equal(all_pairs(name, stored, asked).ravel().view(np.uint32), dots.view(np.uint32))


def test_a_score_that_is_not_known_or_ignores_weights_or_alignment_is_refused() -> None:
    with pytest.raises(VerificationError, match="score 'bm25'; there are maxsim_sum, maxsim_mean, alignment"):
        token_score("bm25", weighted=True)
    with pytest.raises(VerificationError, match="salience and the score 'maxsim_sum' has no place for it"):
        token_score("maxsim_sum", weighted=True)
    with pytest.raises(
        UsageError, match="--set alignment=top2: .* maxsim_mean, which aligns tokens in one way"
    ):
        token_score("maxsim_mean", weighted=False, alignment="top2")
