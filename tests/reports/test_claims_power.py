"""What so many queries and seeds could have shown."""

from __future__ import annotations

import numpy as np
import pytest

from dretrieve.metrics.significance import paired_t_test
from dretrieve.reports.claims_power import (
    common_seeds,
    detectable,
    distance,
    factor,
    queries_needed,
    seeds_needed,
)
from dretrieve.reports.expected import Claim

# 97.5 % and 80 % points of the normal distribution; 99.75 % for ten tests together.
Z, Z_OF_TEN = 1.959964 + 0.841621, 2.807034 + 0.841621


def test_the_level_is_that_of_holms_first_step():
    assert factor(1) == pytest.approx(Z, abs=1e-5)
    assert factor(10) == pytest.approx(Z_OF_TEN, abs=1e-5)


def test_the_smallest_distance_is_what_four_of_five_samples_of_that_size_show():
    rng = np.random.default_rng(3)
    spread, queries = 0.5, 400
    drawn = rng.normal(0, 1, queries)
    drawn = (drawn - drawn.mean()) / drawn.std(ddof=1) * spread
    smallest = detectable(drawn, 1)
    assert smallest == pytest.approx(Z * spread / 20, rel=1e-5)
    shown = [paired_t_test(rng.normal(smallest, spread, queries))[0] < 0.05 for _ in range(400)]
    assert 0.74 < np.mean(shown) < 0.86


def test_where_no_query_differs_nothing_is_known():
    assert detectable(np.full(10, 0.3), 1) is None
    assert detectable(np.array([0.3]), 1) is None


@pytest.mark.parametrize(
    ("relation", "difference", "away"),
    [
        ("above", -2.0, 2.0),
        ("most", 3.0, 3.0),
        ("not-below", 0.5, 1.5),
        ("not-below", -3.0, 2.0),
        ("equal", 0.0, 1.0),
        ("equal", -0.75, 0.25),
        ("equal", 3.5, 2.5),
    ],
)
def test_the_distance_is_from_what_must_be_refuted(relation, difference, away):
    claim = Claim(name="a", says="a", relation=relation, left="t.a.b", margin=1.0)
    assert distance(claim, difference) == away


# By seed 2 and 4: v_seed = 2. By query 1.5 and 4.5: their mean has the variance 2.25; the residuals are all
# .5, their mean square 1, which over 2 seeds and 2 queries is .25: v_query = 2.
LAYOUT = {1: np.array([1.0, 3.0]), 2: np.array([2.0, 6.0])}


@pytest.mark.parametrize("away", [3.9, 4.1, 5.0, 10.0])
@pytest.mark.parametrize("tests", [1, 10])
def test_a_layout_by_hand(away, tests):
    squared = (Z if tests == 1 else Z_OF_TEN) ** 2
    room = away**2 - squared * 2
    wanted = max(2, np.ceil(squared * 2 / room)) if room > 0 else None
    assert seeds_needed([LAYOUT], away, tests) == wanted


def test_a_margin_far_away_needs_two_seeds_and_one_at_hand_no_number():
    assert seeds_needed([LAYOUT], 100.0, 1) == 2
    assert seeds_needed([LAYOUT], 3.9, 1) is None
    assert seeds_needed([LAYOUT], 0.0, 1) is None


def test_queries_that_would_show_a_distance_by_hand():
    values = np.tile([0.0, 2.0, 4.0], 5)
    found = queries_needed(values, 0.5, 1)
    assert found == np.ceil((Z * values.std(ddof=1) / 0.5) ** 2)
    assert detectable(values, 1) * np.sqrt(len(values) / found) == pytest.approx(0.5, rel=1e-2)
    assert queries_needed(values, 0.0, 1) is None
    assert queries_needed(np.ones(4), 0.5, 1) is None


def test_independent_query_sets_add_their_variances():
    """The second set mirrors the first: seeds cancel out, the variances over queries do not."""
    mirrored = {seed: -values for seed, values in LAYOUT.items()}
    assert seeds_needed([LAYOUT, mirrored], np.sqrt(4 * Z**2) + 0.01, 1) == 2
    assert seeds_needed([LAYOUT, mirrored], np.sqrt(4 * Z**2) - 0.01, 1) is None


def test_only_seeds_of_every_set_count():
    other = {2: np.ones(3), 3: np.ones(3), 1: np.ones(3)}
    assert common_seeds([LAYOUT, other]) == [1, 2]
    assert common_seeds([LAYOUT, {3: np.ones(3)}]) == []
    assert common_seeds([]) == []
    more = LAYOUT | {9: np.array([1000.0, -1000.0])}
    assert seeds_needed([more, dict.fromkeys((1, 2), np.zeros(2))], 5.0, 1) == seeds_needed([LAYOUT], 5.0, 1)


def test_that_many_seeds_show_it_in_four_of_five_experiments():
    rng = np.random.default_rng(5)
    queries, away = 300, 0.024
    of_seeds, of_queries, of_both = 0.01, 0.1, 0.3

    def drawn(seeds, mean=0.0):
        return (
            mean
            + rng.normal(0, of_seeds, (seeds, 1))
            + rng.normal(0, of_queries, queries)
            + rng.normal(0, of_both, (seeds, queries))
        )

    pilot = dict(enumerate(drawn(200)))
    needed = seeds_needed([pilot], away, 1)
    assert 8 <= needed <= 12
    error = np.sqrt((of_seeds**2 + of_both**2 / queries) / needed + of_queries**2 / queries)
    shown = [abs(drawn(needed, away).mean()) > 1.959964 * error for _ in range(400)]
    assert 0.72 < np.mean(shown) < 0.88
