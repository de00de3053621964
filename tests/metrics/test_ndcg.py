from math import log2

import pytest

from dretrieve.errors import DataError, UsageError
from dretrieve.metrics.registry import parse_measures


def test_the_equation_by_hand(ranking):
    found = 3 / log2(2) + 0 / log2(3) + 1 / log2(4)
    best = 3 / log2(2) + 2 / log2(3) + 1 / log2(4)
    assert ranking("nDCG", "axc", a=3, b=2, c=1) == pytest.approx(found / best, abs=1e-15)


def test_the_cut_limits_the_ranking_and_the_ideal(ranking):
    assert ranking("nDCG@1", "cab", a=3, b=2, c=1) == pytest.approx(1 / 3)
    assert ranking("nDCG@1", "acb", a=3, b=2, c=1) == 1


def test_gains_are_the_grades_not_powers_of_two(ranking):
    assert ranking("nDCG@1", "b", a=3, b=1) == pytest.approx(1 / 3)


def test_negative_grades_gain_nothing(ranking):
    assert ranking("nDCG", "xa", a=1, x=-2) == pytest.approx(1 / log2(3))


def test_no_relevant_passage_is_zero(ranking):
    assert ranking("nDCG@10", "ab", a=0, b=-1) == 0


def test_fewer_hits_than_the_cut(ranking):
    assert ranking("nDCG@100", "a", a=1) == 1


def test_exponential_gains_are_powers_of_two(ranking):
    found = 7 / log2(2) + 1 / log2(4)
    best = 7 / log2(2) + 3 / log2(3) + 1 / log2(4)
    assert ranking("nDCG(dcg='exp-log2')", "axc", a=3, b=2, c=1) == pytest.approx(found / best, abs=1e-15)
    assert ranking("nDCG(gain=exp)@1", "b", a=3, b=1, c=-1) == pytest.approx(1 / 7)


def test_a_grade_that_is_no_exponent_is_refused(ranking):
    with pytest.raises(DataError, match=r"2\^1001 is no number of 64 bits"):
        ranking("nDCG(gain=exp)@1", "b", a=1001)


def test_a_gain_that_nobody_knows():
    with pytest.raises(UsageError, match="nDCG: dcg must be log2 or exp-log2, got 'square'"):
        parse_measures("nDCG(dcg=square)")
