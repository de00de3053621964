import pytest


def test_the_equation_by_hand(ranking):
    assert ranking("AP", "axbyzc", a=1, b=1, c=1, d=1) == pytest.approx((1 / 1 + 2 / 3 + 3 / 6) / 4)


def test_the_cut_keeps_the_denominator(ranking):
    assert ranking("AP@2", "xab", a=1, b=1) == pytest.approx((1 / 2) / 2)


def test_a_perfect_ranking_is_one(ranking):
    assert ranking("AP", "ab", a=1, b=1) == 1


def test_no_relevant_passage_is_zero(ranking):
    assert ranking("AP", "ab", a=0) == 0
