import pytest


def test_the_equation_by_hand(ranking):
    value = ranking("RBP(p=0.5)", "axb", a=1, b=1)
    assert value == pytest.approx(0.5 * (0.5**0 + 0.5**2))


def test_p_is_four_fifths_by_default(ranking):
    assert ranking("RBP", "xa", a=1) == pytest.approx(0.2 * 0.8)


def test_the_gain_is_the_grade_over_the_highest_of_the_query(ranking):
    assert ranking("RBP(p=0.9)", "a", a=1, b=4) == pytest.approx(0.1 / 4)


def test_the_cut(ranking):
    assert ranking("RBP@1", "xa", a=1) == 0


def test_negative_grades_gain_nothing(ranking):
    assert ranking("RBP", "n", n=-2, a=1) == 0
