import pytest


@pytest.mark.parametrize(("hits", "expected"), [("ax", 1), ("xa", 1 / 2), ("xyza", 1 / 4), ("xyz", 0)])
def test_one_over_the_first_relevant_rank(ranking, hits, expected):
    assert ranking("RR", hits, a=1, b=1) == expected


def test_only_the_first_counts(ranking):
    assert ranking("RR", "xab", a=1, b=1) == 1 / 2


def test_the_cut(ranking):
    assert ranking("RR@2", "xya", a=1) == 0
    assert ranking("RR@3", "xya", a=1) == 1 / 3


def test_the_lowest_relevant_grade(ranking):
    assert ranking("RR(rel=2)", "ab", a=1, b=2) == 1 / 2
