def test_share_of_the_relevant_at_any_rank(ranking):
    assert ranking("SetR", "xyza", a=1, b=1) == 1 / 2
    assert ranking("SetR(rel=2)", "xyza", a=2, b=1) == 1
