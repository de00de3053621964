def test_share_of_all_hits(ranking):
    assert ranking("SetP", "axby", a=1, b=1) == 2 / 4


def test_a_query_without_hits_is_zero(judged_of):
    from dretrieve.metrics.registry import parse_measures

    judged = judged_of({"q": {"a": 1.0}}, {"q": {"a": 1}, "other": {"a": 1}})
    assert parse_measures("SetP")[0].values(judged).tolist() == [1, 0]
