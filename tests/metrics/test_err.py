import pytest

from dretrieve.errors import DataError, UsageError
from dretrieve.metrics.registry import parse_measures


def test_the_equation_by_hand(ranking):
    first, third = 15 / 16, 3 / 16  # grades 4 and 2
    assert ranking("ERR", "axc", a=4, c=2) == pytest.approx(first + (1 - first) * third / 3, abs=1e-15)


def test_the_largest_grade_is_a_constant_not_that_of_the_judgements(ranking):
    assert ranking("ERR@20", "a", a=1) == 1 / 16
    assert ranking("ERR(max=1)@20", "a", a=1) == 1 / 2


def test_the_cut(ranking):
    assert ranking("ERR@2", "xab", a=4, b=4) == pytest.approx(15 / 32, abs=1e-15)


def test_negative_and_unjudged_hits_satisfy_nobody_but_take_a_rank(ranking):
    assert ranking("ERR", "yxa", x=-2, a=4) == pytest.approx(15 / 16 / 3, abs=1e-15)


def test_queries_do_not_touch_each_other(judged_of):
    hits = {"p": {"a": 2.0, "b": 1.0}, "none": {}, "q": {"c": 2.0, "a": 1.0}}
    judged = judged_of(hits, {"p": {"a": 4, "b": 4}, "none": {"a": 4}, "q": {"c": 1, "a": 1}})
    (measure,) = parse_measures("ERR")
    one, other = 15 / 16, 1 / 16
    expected = [one + (1 - one) * one / 2, 0, other + (1 - other) * other / 2]
    assert measure.values(judged) == pytest.approx(expected, abs=1e-15)


def test_no_relevant_passage_is_zero(ranking):
    assert ranking("ERR@20", "ab", a=0) == 0


def test_a_grade_above_the_scale_is_refused_with_the_cure(ranking):
    with pytest.raises(DataError, match=r"grades up to 4 and a judgement is 7; .* ERR\(max=7\)"):
        ranking("ERR@20", "a", a=7)
    assert ranking("ERR(max=7)@20", "a", a=7) == 127 / 128


@pytest.mark.parametrize("name", ["ERR(max=0)", "ERR(max=51)", "ERR(max=x)", "ERR(rel=2)"])
def test_settings_that_are_none(name):
    with pytest.raises(UsageError, match="ERR"):
        parse_measures(name)
