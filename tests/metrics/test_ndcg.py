from math import log2

import pytest


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
