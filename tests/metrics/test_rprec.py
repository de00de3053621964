def test_precision_after_as_many_hits_as_relevant(ranking):
    assert ranking("Rprec", "axbc", a=1, b=1, c=1) == 2 / 3


def test_fewer_hits_than_relevant(ranking):
    assert ranking("Rprec", "a", a=1, b=1) == 1 / 2


def test_no_relevant_passage_is_zero(ranking):
    assert ranking("Rprec", "ab", a=0) == 0
