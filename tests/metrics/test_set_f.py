import pytest


def test_harmonic_mean(ranking):
    # SetP = 1/4, SetR = 1/2
    assert ranking("SetF", "xyza", a=1, b=1) == pytest.approx(2 * 0.25 * 0.5 / 0.75)


def test_nothing_found_is_zero(ranking):
    assert ranking("SetF", "x", a=1) == 0
