"""Which p decides a claim."""

from __future__ import annotations

import numpy as np
import pytest

from dretrieve.metrics.significance import paired_t_test, randomization_test
from dretrieve.reports.claims_answers import answer, p_value
from dretrieve.reports.claims_samples import Sample
from dretrieve.reports.expected import Claim


def claim(relation):
    return Claim(name="a", says="a", relation=relation, left="t.a.b", margin=3.0, bound=2.0)


def sample(mean, **how):
    return Sample(values=mean + np.tile([-20.0, 20.0], 100), **how)


@pytest.mark.parametrize("mean", [-5.0, -3.5, -2.0, 0.0, 2.0, 3.5, 5.0])
def test_equal_takes_the_p_of_the_nearer_margin(mean):
    nearer = mean - 3.0 if mean > 0 else mean + 3.0
    assert p_value(claim("equal"), sample(mean)) == pytest.approx(paired_t_test(sample(nearer).values)[0])


@pytest.mark.parametrize("mean", [-5.0, -3.5, 0.0])
def test_not_below_takes_that_of_its_one_margin(mean):
    assert p_value(claim("not-below"), sample(mean)) == pytest.approx(
        paired_t_test(sample(mean + 3.0).values)[0]
    )


def test_without_a_margin_the_randomisation_test_decides_and_of_two_sets_the_t_test():
    paired, apart = sample(2.0), sample(2.0, paired=False)
    for relation in ("above", "most"):
        assert p_value(claim(relation), paired) == randomization_test(paired.values)
    assert p_value(claim("most"), apart) == paired_t_test(apart.values)[0]
    assert p_value(claim("at-most"), paired) == paired_t_test(paired.values)[0]


@pytest.mark.parametrize(
    ("ps", "outcome", "difference"),
    [
        ((0.01, 0.01, 0.01), "HOLDS", 4.0),
        ((0.01, 0.01, 0.3), "UNDECIDED", 6.0),
        ((0.01, 0.3, 0.3), "UNDECIDED", 4.0),
        ((0.3, 0.01, 0.01), "UNDECIDED", 9.0),
    ],
)
def test_most_needs_the_gain_and_every_excess(ps, outcome, difference):
    samples = [sample(9.0), sample(4.0, paired=False), sample(6.0, paired=False)]
    found = answer(claim("most"), samples, ps, 3)
    assert (found.outcome, found.difference) == (outcome, pytest.approx(difference))


def test_a_ratio_is_the_geometric_mean():
    found = answer(claim("at-most"), [Sample(values=np.log([0.5, 0.5, 2.0, 0.5]))], [0.2], 1)
    assert (found.outcome, found.difference) == ("UNDECIDED", pytest.approx(2 * 0.25**0.25))
    assert found.low < found.difference < found.high
