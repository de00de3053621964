"""Folds of examples: what each chooses, what is measured outside, by a hand loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.errors import DataError, PreconditionError
from dretrieve.runs.adapt import adapted, best_of, read_adapted


@given(
    seed=st.integers(0, 2**31),
    strategies=st.integers(1, 4),
    queries=st.integers(1, 20),
    size=st.integers(1, 9),
)
def test_choices_and_values_are_those_by_hand(seed, strategies, queries, size) -> None:
    size = min(size, queries)
    chance = np.random.default_rng(seed)
    values = chance.integers(0, 3, (strategies, queries)) / 2  # many are equal
    costs = chance.integers(1, 3, strategies).astype(float)
    found = adapted(values, costs, size, seed)
    assert len(found.folds) == queries // size
    drawn = np.concatenate(found.folds).tolist()
    assert len(set(drawn)) == len(drawn) == queries // size * size
    told: dict[int, list[float]] = {query: [] for query in range(queries)}
    for number, fold in enumerate(found.folds):
        worth = [sum(values[s][q] for q in fold.tolist()) for s in range(strategies)]
        best = min(range(strategies), key=lambda s: (-worth[s], costs[s], s))
        assert found.chosen[number] == best
        outside = [query for query in range(queries) if query not in fold]
        for query in outside:
            told[query].append(values[best][query])
        expected = np.mean([values[best][query] for query in outside]) if outside else np.nan
        np.testing.assert_allclose(found.outside[number], expected)
    means = [np.mean(of) if of else np.nan for of in told.values()]
    np.testing.assert_allclose(found.by_query, means)
    worth = values.sum(axis=1)
    assert best_of(values, costs) == min(range(strategies), key=lambda s: (-worth[s], costs[s], s))


def test_the_same_values_in_another_order_are_worth_the_same() -> None:
    values = np.array([[0.3, 0.2, 0.1], [0.1, 0.2, 0.3]])
    assert np.ptp([sum(of) for of in values]), "added one by one they differ"
    assert [best_of(values, np.array(costs)) for costs in ([1.0, 2.0], [2.0, 1.0])] == [0, 1]


def test_folds_are_drawn_by_the_seed() -> None:
    values = np.zeros((2, 40))
    first, again, other = (adapted(values, np.ones(2), 8, seed).folds for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_another_file_is_refused(tmp_path) -> None:
    (tmp_path / "a.json").write_text('{"alignment": "top1"}')
    with pytest.raises(DataError, match="is not what `dretrieve adapt` writes"):
        read_adapted(tmp_path / "a.json")
    with pytest.raises(PreconditionError, match="does not exist; make it with `dretrieve adapt"):
        read_adapted(tmp_path / "b.json")
