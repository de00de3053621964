def test_share_of_the_places(ranking):
    assert ranking("P@4", "axbz", a=1, b=2) == 2 / 4


def test_places_without_hit_count_as_irrelevant(ranking):
    assert ranking("P@10", "a", a=1) == 1 / 10


def test_the_lowest_relevant_grade(ranking):
    assert ranking("P(rel=2)@2", "ab", a=1, b=2) == 1 / 2
