import pytest


def test_the_equation_by_hand(ranking):
    # R = 2, N = 3; before a: 1 judged irrelevant, before b: 2.
    value = ranking("Bpref", "xaybz", a=1, b=1, x=0, y=0, z=0)
    assert value == pytest.approx(((1 - 1 / 2) + (1 - 2 / 2)) / 2)


def test_unjudged_hits_do_not_count(ranking):
    assert ranking("Bpref", "uvwa", a=1, x=0) == 1


def test_negative_grades_do_not_count(ranking):
    assert ranking("Bpref", "na", a=1, n=-1, x=0) == 1


def test_no_judged_irrelevant_passage(ranking):
    assert ranking("Bpref", "uab", a=1, b=1) == 1
