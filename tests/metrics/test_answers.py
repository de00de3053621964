import unicodedata
import warnings

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.metrics.answers import Answers, compile_answer, joined_tokens, normalized


def dpr_tokens(text):
    """The rule of DPR's tokenizer, restated."""
    pattern = regex.compile(
        r"([\p{L}\p{N}\p{M}]+)|([^\p{Z}\p{C}])", flags=regex.IGNORECASE + regex.UNICODE + regex.MULTILINE
    )
    return [match.group().lower() for match in pattern.finditer(unicodedata.normalize("NFD", text))]


def has_answer(text, answers, regex=False):
    return Answers(answers, regex=regex).found_in(text)


def dpr_has_answer(text, answers):
    """The rule of DPR's string match, restated; but an answer without tokens matches nothing."""
    tokens = dpr_tokens(text)
    for answer in answers:
        wanted = dpr_tokens(answer)
        for start in range(len(tokens) - len(wanted) + 1):
            if wanted and tokens[start : start + len(wanted)] == wanted:
                return True
    return False


HARD = [
    ("The capital is New York City.", "new york", True),
    ("The capital is New  York\nCity.", "New York", True),
    ("Newyork", "New York", False),
    ("New Yorkers", "New York", False),
    ("New-York", "New York", False),
    ("New-York", "new - york", True),
    ("Wilhelm Conrad Röntgen won", "Röntgen", True),
    ("Wilhelm Conrad Ro\u0308ntgen won", "R\u00f6ntgen", True),
    ("Wilhelm Conrad Rontgen won", "Röntgen", False),
    ("Beyoncé's album", "beyonce\u0301", True),
    ("May 18, 2018", "May 18 2018", False),
    ("on May 18, 2018.", "May 18, 2018", True),
    ("U.S.A.", "U.S.", True),
    ("It cost $5.00", "$5", True),
    ("It cost $5.00", "5.0", False),
    ("ΟΔΟΣ ΑΘΗΝΑΣ", "οδος", True),
    ("ΟΔΟΣ'Σ", "ΟΔΟΣ", True),
    ("İstanbul", "istanbul", False),
    ("Straße", "STRASSE", False),
    ("北京 is the capital", "北京", True),
    ("北京市", "北京", False),
    ("\u00a0Paris\u2003France\u200b", "paris france", True),
    ("a\u00adb", "a b", True),
    ("naïve", "naive", False),
    ("½ cup", "½", True),
    ("", "x", False),
    ("x", "x y", False),
]


@pytest.mark.parametrize(("text", "answer", "expected"), HARD)
def test_hard_cases(text, answer, expected):
    assert has_answer(text, [answer]) is expected
    assert dpr_has_answer(text, [answer]) is expected


LETTERS = st.text(alphabet="abAB éE\u0301ΣσςİiI.-' \n\u00a0\u200b1½北", max_size=12)


@given(LETTERS, st.lists(LETTERS, max_size=3))
def test_the_rule_of_dpr_on_random_texts(text, answers):
    assert has_answer(text, answers) is dpr_has_answer(text, answers)


@given(LETTERS)
def test_tokens_are_those_of_dpr(text):
    assert joined_tokens(normalized(text)).split() == dpr_tokens(text)


def test_any_answer_suffices():
    assert has_answer("in Paris", ["London", "Paris"])
    assert not has_answer("in Paris", [])


def test_answers_without_tokens_match_nothing_and_are_counted():
    answers = Answers(["  ", "\u200b", "Paris"])
    assert answers.num_empty == 2
    assert not answers.found_in("London")
    assert answers.found_in("Paris")
    assert not Answers([" "])


@pytest.mark.parametrize(
    ("text", "pattern", "expected"),
    [
        ("in September 1927", r"Sept?(ember)?|Feb(ruary)?", True),
        ("in feb.", r"Sept?(ember)?|Feb(ruary)?", True),
        ("Long\nIsland", r"Long\s?Island", True),
        ("first\nsecond", r"^second$", True),
        ("R\u00f6ntgen", "Ro\u0308ntgen", True),
        ("anything", r"(", False),
        ("a(b", r"a\(b", True),
    ],
)
def test_regular_expressions(text, pattern, expected):
    assert has_answer(text, [pattern], regex=True) is expected


def test_patterns_that_do_not_compile_are_counted_and_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answers = Answers(["(", "[[a]"], regex=True)
    assert compile_answer("(") is None
    assert answers.num_empty >= 1


def test_a_string_is_no_pattern():
    assert not has_answer("abc", ["a.c"])
    assert has_answer("abc", ["a.c"], regex=True)
