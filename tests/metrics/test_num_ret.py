from dretrieve.metrics.registry import parse_measures


def test_hits_of_judged_queries_summed(judged_of):
    judged = judged_of({"q": {"a": 1.0, "b": 2.0}, "stranger": {"a": 1.0}}, {"q": {"c": 1}, "p": {"a": 1}})
    (measure,) = parse_measures("NumRet")
    assert measure.values(judged).tolist() == [2, 0]
    assert measure.aggregate(measure.values(judged)) == 2
