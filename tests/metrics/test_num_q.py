from dretrieve.metrics.registry import parse_measures


def test_every_judged_query_is_one_and_they_are_summed(judged_of):
    judged = judged_of({"q": {"a": 1.0}}, {"q": {"a": 1}, "p": {"b": 1}})
    (measure,) = parse_measures("NumQ")
    assert measure.values(judged).tolist() == [1, 1]
    assert measure.aggregate(measure.values(judged)) == 2
