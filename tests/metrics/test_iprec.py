import pytest


def test_best_precision_at_or_beyond_the_recall(ranking):
    # Precision at the relevant hits: 1/2, 2/3, 3/6; R = 4.
    hits, grades = "xabyzc", {"a": 1, "b": 1, "c": 1, "d": 1}
    assert ranking("IPrec@0", hits, **grades) == pytest.approx(2 / 3)
    assert ranking("IPrec@0.5", hits, **grades) == pytest.approx(2 / 3)
    assert ranking("IPrec@0.75", hits, **grades) == pytest.approx(3 / 6)
    assert ranking("IPrec@1", hits, **grades) == 0


def test_the_recall_level_is_rounded_as_trec_eval_does(ranking):
    # R = 3: level 0.4 needs floor(1.2 + 0.5) = 1 relevant hit, level 0.6 needs 2.
    grades = {"a": 1, "b": 1, "c": 1}
    assert ranking("IPrec@0.4", "axyb", **grades) == 1
    assert ranking("IPrec@0.6", "axyb", **grades) == pytest.approx(2 / 4)
