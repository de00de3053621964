def test_share_of_all_relevant(ranking):
    assert ranking("R@3", "axb", a=1, b=1, c=1, d=1) == 2 / 4


def test_relevant_passages_never_found_count_too(ranking):
    assert ranking("R@1000", "a", a=1, b=1) == 1 / 2


def test_the_lowest_relevant_grade(ranking):
    assert ranking("R(rel=2)@2", "ab", a=1, b=2, c=3) == 1 / 2


def test_no_relevant_passage_is_zero(ranking):
    assert ranking("R@10", "ab", a=0) == 0
