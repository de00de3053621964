def test_any_relevant_hit_within_the_cut(ranking):
    assert ranking("Success@3", "xya", a=1) == 1
    assert ranking("Success@2", "xya", a=1) == 0


def test_two_relevant_hits_are_no_more_than_one(ranking):
    assert ranking("Success@5", "ab", a=1, b=1) == 1


def test_the_lowest_relevant_grade(ranking):
    assert ranking("Success(rel=3)@5", "ab", a=1, b=2) == 0
