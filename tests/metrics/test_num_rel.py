def test_relevant_judgements(ranking):
    assert ranking("NumRel", "x", a=1, b=2, c=0, d=-1) == 2
    assert ranking("NumRel(rel=2)", "x", a=1, b=2, c=0) == 1
