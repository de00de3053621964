import pytest

from dretrieve.metrics.registry import parse_measures


def value(judged, name="GMAP"):
    (measure,) = parse_measures(name)
    return measure.aggregate(measure.values(judged))


def test_the_equation_by_hand(judged_of):
    hits = {"p": {"a": 2.0, "b": 1.0}, "q": {"x": 2.0, "a": 1.0}}
    judged = judged_of(hits, {"p": {"a": 1}, "q": {"a": 1}})
    assert value(judged) == pytest.approx((1 * 0.5) ** (1 / 2), abs=1e-15)


def test_a_query_that_found_nothing_or_is_missing_has_trec_evals_floor(judged_of):
    judged = judged_of({"p": {"a": 1.0}, "q": {"x": 1.0}}, {"p": {"a": 1}, "q": {"a": 1}, "gone": {"a": 1}})
    assert value(judged) == pytest.approx((1 * 1e-5 * 1e-5) ** (1 / 3), rel=1e-12)


def test_the_lowest_relevant_grade(judged_of):
    judged = judged_of({"p": {"x": 2.0, "a": 1.0}}, {"p": {"x": 1, "a": 2}})
    assert value(judged, "GMAP(rel=2)") == pytest.approx(0.5)
