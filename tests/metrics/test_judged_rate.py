def test_judged_irrelevant_counts_as_judged(ranking):
    assert ranking("Judged@4", "axby", a=1, b=0) == 2 / 4


def test_the_denominator_is_what_was_retrieved(ranking):
    assert ranking("Judged@10", "ax", a=0) == 1 / 2


def test_pooled_but_not_judged_is_not_judged(ranking):
    assert ranking("Judged@2", "ab", a=1, b=-1) == 1 / 2


def test_a_query_without_hits_is_zero(judged_of):
    judged = judged_of({"q": {}, "p": {"a": 1.0}}, {"q": {"a": 1}, "p": {"a": 1}})
    from dretrieve.metrics.registry import parse_measures

    assert parse_measures("Judged@10")[0].values(judged).tolist() == [0, 1]
