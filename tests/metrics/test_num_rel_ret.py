def test_relevant_hits(ranking):
    assert ranking("NumRelRet", "axc", a=1, b=1, c=2) == 2
    assert ranking("NumRelRet(rel=2)", "axc", a=1, b=1, c=2) == 1
