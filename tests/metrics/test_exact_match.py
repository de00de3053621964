import pytest

from dretrieve.metrics.exact_match import exact_match, f1, pattern_match, squad_normalized


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Eiffel Tower!", "eiffel tower"),
        ("an apple a day", "apple day"),
        ("U.S.", "us"),
        ("theory", "theory"),
        ("the", ""),
        ("Beyoncé’s", "beyoncé’s"),
    ],
)
def test_squad_normalisation(text, expected):
    assert squad_normalized(text) == expected


def test_exact_match_takes_the_best_answer():
    assert exact_match("the Nile.", ["Rhine", "nile"]) == 1
    assert exact_match("Nile river", ["Nile"]) == 0
    assert exact_match("Nile", []) == 0


@pytest.mark.parametrize(
    ("prediction", "matches"),
    [
        ("1927", 1),
        (" May 20, 1927", 1),
        ("may 20 1927", 1),
        ("on May 20, 1927", 0),
        ("27", 0),
    ],
)
def test_a_pattern_matches_from_the_beginning_on(prediction, matches):
    """DrQA's rule; what does not compile matches nothing."""
    assert pattern_match(prediction, ["(", r"(May 20,? )?1927"]) == matches


def test_f1_by_hand():
    # prediction: river nile (2 words), answer: nile delta (2 words), 1 in common
    assert f1("the river Nile", ["Nile delta"]) == pytest.approx(2 * 0.5 * 0.5 / 1.0)
    assert f1("x", ["y", "x"]) == 1
    assert f1("the", ["a"]) == 0
    assert f1("x", []) == 0


def test_repeated_words_count_as_often_as_they_stand():
    assert f1("go go", ["go"]) == pytest.approx(2 * 0.5 * 1 / 1.5)
