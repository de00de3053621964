"""Alignments: equations 1, 2 and 9 by hand loops, margins, the settings in which they are others."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.errors import UsageError
from dretrieve.scoring.alignment import (
    Alignment,
    aligned_grid,
    aligned_near,
    aligned_pairs,
    doubts,
    parse_alignment,
)
from dretrieve.scoring.maxsim import maxsim_pairs, products_of
from dretrieve.types import Vectors, offsets_of

LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=5)
WORDS = ["top1", "top2", "top4", "top50", "p5", "p20", "p33.3", "p100"]
SOFT = ["da,k=1,eps=0.05", "da,k=3,eps=0.5", "da,k=2,eps=20.0", "da,k=20,eps=0.1"]
EVERY = st.sampled_from(WORDS + SOFT)


def texts(
    seed: int, lengths, dim: int = 8, *, weighted=False, dtype: type = np.float32, whole=False
) -> Vectors:
    chance = np.random.default_rng(seed)
    values = chance.standard_normal((sum(lengths), dim))
    weights = chance.random(sum(lengths)) * (chance.random(sum(lengths)) < 0.7)
    values = np.rint(values) if whole else values
    return Vectors(values.astype(dtype), offsets_of(lengths), weights.astype(dtype) if weighted else None)


def all_pairs(passages: Vectors, queries: Vectors) -> tuple[np.ndarray, np.ndarray]:
    rows = np.tile(np.arange(len(passages), dtype=np.int32), len(queries))
    return np.arange(len(queries) + 1, dtype=np.int64) * len(passages), rows


def scored(word: str, passages: Vectors, queries: Vectors) -> np.ndarray:
    found = aligned_pairs(passages, queries, *all_pairs(passages, queries), alignment=parse_alignment(word))
    return found.reshape(len(queries), len(passages))


def soft_row(dots: np.ndarray, k: int, epsilon: float) -> np.ndarray:
    """Return equation 9's fixed point for a row: min(1, exp((s + a) / ε)) with the a that bisection finds."""
    if k >= len(dots):
        return np.ones(len(dots))
    low, high = -dots.max() - epsilon * 800, -dots.min() + epsilon * 800
    for _ in range(300):
        a = (low + high) / 2
        shares = np.exp(np.minimum(0.0, (dots + a) / epsilon))
        low, high = (a, high) if shares.sum() < k else (low, a)
    return shares


def by_hand(word: str, passages: Vectors, queries: Vectors) -> np.ndarray:
    """Return equations 1 and 2, one pair of tokens after the other, in float64."""
    found = np.zeros((len(queries), len(passages)))
    for q in range(len(queries)):
        for n in range(len(passages)):
            asked, stored = queries[q : q + 1], passages[n : n + 1]
            m, total, z = len(stored.values), 0.0, 0.0
            for i, query in enumerate(asked.values.astype(np.float64)):
                s = [float(query @ token) for token in stored.values.astype(np.float64)]
                if word.startswith("da"):
                    k, epsilon = (float(part.partition("=")[2]) for part in word.split(",")[1:])
                    row = soft_row(np.array(s), int(k), epsilon)
                else:
                    number = float(word.lstrip("top"))
                    wanted = min(int(number), m) if word[0] == "t" else max(math.floor(number / 100 * m), 1)
                    row = np.zeros(m)
                    row[sorted(range(m), key=lambda j: -s[j])[:wanted]] = 1
                for j in range(m):
                    weight = float(row[j])
                    if asked.weights is not None and stored.weights is not None:
                        weight *= float(asked.weights[i]) * float(stored.weights[j])
                    total, z = total + weight * s[j], z + weight
            found[q, n] = total / z if z else 0.0
    return found


@given(word=EVERY, seed=st.integers(0, 2**32 - 2), passages=LENGTHS, queries=LENGTHS, weighted=st.booleans())
def test_scores_are_equations_1_and_2_and_9(word, seed, passages, queries, weighted) -> None:
    stored, asked = texts(seed, passages, weighted=weighted), texts(seed + 1, queries, weighted=weighted)
    np.testing.assert_allclose(
        scored(word, stored, asked), by_hand(word, stored, asked), rtol=1e-5, atol=2e-5
    )


@given(
    word=EVERY,
    seed=st.integers(0, 2**32 - 2),
    passages=LENGTHS,
    queries=LENGTHS,
    weighted=st.booleans(),
    half=st.booleans(),
    whole=st.booleans(),
)
def test_near_scores_keep_their_margin(word, seed, passages, queries, weighted, half, whole) -> None:
    """Whole numbers make many dots equal: there a hair decides which tokens salience weighs."""
    dtype, more = np.float16 if half else np.float32, {"weighted": weighted, "whole": whole}
    stored, asked = texts(seed, passages, dtype=dtype, **more), texts(seed + 1, queries, **more)
    if not whole:  # rounding in another order than the dots' own
        twice = np.concatenate([asked.values, asked.values[:, ::-1]], axis=1) * 100
        asked = Vectors(np.ascontiguousarray(twice), asked.offsets, asked.weights)
        stored = Vectors(np.tile(stored.values, 2), stored.offsets, stored.weights)
    products, alignment = products_of(stored, asked), parse_alignment(word)
    near, margins = aligned_near(stored, asked, products, alignment=alignment)
    scores = scored(word, stored, asked)
    assert (np.abs(near - scores) <= margins[:, None]).all()
    sooner = aligned_pairs(stored, asked, *all_pairs(stored, asked), products, alignment=alignment)
    assert np.array_equal(sooner, scores.ravel()), "tokens left out change no bit"
    if word in WORDS:
        assert (margins < 1e-2).all(), "a margin within which nothing can be told from anything"


@given(
    seed=st.integers(0, 2**32 - 2), passages=LENGTHS, queries=LENGTHS, half=st.booleans(), ones=st.booleans()
)
def test_top_1_is_the_mean_maxsim_and_salience_of_ones_changes_no_bit(
    seed, passages, queries, half, ones
) -> None:
    stored, asked = texts(seed, passages, dtype=np.float16 if half else np.float32), texts(seed + 1, queries)
    mean = maxsim_pairs(stored, asked, *all_pairs(stored, asked), mean=True)
    assert np.array_equal(scored("top1", stored, asked).ravel().view(np.uint32), mean.view(np.uint32))
    weighted = [Vectors(of.values, of.offsets, np.ones(len(of.values), np.float16)) for of in (stored, asked)]
    for word in WORDS + SOFT:
        assert np.array_equal(scored(word, *weighted), scored(word, stored, asked))


@given(
    seed=st.integers(0, 2**32 - 2),
    passages=LENGTHS,
    queries=LENGTHS,
    k=st.integers(1, 14),
    weighted=st.booleans(),
)
def test_a_soft_alignment_of_small_epsilon_is_top_k(seed, passages, queries, k, weighted) -> None:
    stored, asked = texts(seed, passages, weighted=weighted), texts(seed + 1, queries, weighted=weighted)
    hard, soft = scored(f"top{k}", stored, asked), scored(f"da,k={k},eps=1e-12", stored, asked)
    np.testing.assert_allclose(soft, hard, rtol=1e-6, atol=1e-7)


@given(seed=st.integers(0, 2**32 - 2), passages=LENGTHS, queries=LENGTHS, weighted=st.booleans())
def test_one_pass_gives_a_whole_grid(seed, passages, queries, weighted) -> None:
    stored, asked = texts(seed, passages, weighted=weighted), texts(seed + 1, queries, weighted=weighted)
    words = [*WORDS, *SOFT, "top2", SOFT[0]]
    products, pairs = products_of(stored, asked), all_pairs(stored, asked)
    for some in (words, WORDS):  # nothing soft: then few dots are canonical
        alignments = [parse_alignment(word) for word in some]
        grid = aligned_grid(stored, asked, *pairs, products, alignments=alignments)
        for word, scores in zip(some, grid, strict=True):
            assert np.array_equal(scores, scored(word, stored, asked).ravel()), word


@pytest.mark.parametrize("word", WORDS + SOFT)
def test_without_any_salience_the_score_is_0(word) -> None:
    stored, asked = texts(1, [3, 5], weighted=True), texts(2, [4], weighted=True)
    assert stored.weights is not None
    stored.weights[:3] = 0
    scores = scored(word, stored, asked)
    assert scores[0, 0] == 0 != scores[0, 1]


def test_a_pair_sees_neither_its_neighbours_nor_their_padding() -> None:
    stored, asked = texts(3, [3, 9, 1, 12], weighted=True), texts(4, [2, 7], weighted=True)
    for word in WORDS + SOFT:
        together = scored(word, stored, asked)
        for q in range(2):
            for n in range(4):
                alone = scored(word, stored.take(np.array([n])), asked.take(np.array([q])))
                assert alone[0, 0] == together[q, n]


@pytest.mark.parametrize(
    ("word", "spelled", "counts"),
    [
        ("top4", "top4", [1, 4, 4]),
        ("top04", "top4", [1, 4, 4]),
        ("p1.50%", "p1.5", [1, 3, 15]),
        ("p0.1", "p0.1", [1, 1, 1]),
        ("p.1", "p0.1", [1, 1, 1]),
        ("p100", "p100", [1, 200, 1000]),
        ("da,k=2,eps=.05", "da,k=2,eps=0.05", [1, 2, 2]),
        ("da,k=2,eps=1e-5", "da,k=2,eps=1e-05", [1, 2, 2]),
    ],
)
def test_an_alignment_has_one_spelling(word, spelled, counts) -> None:
    alignment = parse_alignment(word)
    assert str(alignment) == spelled
    assert parse_alignment(spelled) == alignment
    assert alignment.counts(np.array([1, 200, 1000])).tolist() == counts


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("top0", "from 1 to 1,048,576 tokens"),
        ("top9999999", "from 1 to 1,048,576 tokens"),
        ("p0", "above 0 and at most 100"),
        ("p101", "above 0 and at most 100"),
        ("da,k=0,eps=1", "k from 1"),
        ("da,k=1,eps=0", "eps above 0"),
        ("da,k=1", "expected top1"),
        ("first", "'first' is none; expected top1, top4"),
        ("p-1", "is none"),
        ("top٣", "is none"),
    ],
)
def test_another_grammar_is_refused(word, said) -> None:
    with pytest.raises(UsageError, match=said):
        parse_alignment(word)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("top4", ""),
        ("top5", "60% of the passages have fewer than 5 tokens"),
        ("da,k=9,eps=0.1", "80% of the passages have fewer than 9"),
        ("p20", ""),
        ("p19", "p19 is top1 here: the longest passage has 10 tokens"),
    ],
)
def test_an_alignment_that_hardly_fits_the_passages_is_doubted(word, said) -> None:
    found = doubts(parse_alignment(word), np.array([4, 0, 4, 4, 8, 10]))
    assert re.search(said, found) if said else not found


def test_equal_alignments_are_equal() -> None:
    assert parse_alignment("top1") == Alignment(k=1)
