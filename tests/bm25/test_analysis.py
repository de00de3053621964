"""English analysis against Lucene's own output, and its rules one by one."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.bm25.analysis import STOP_WORDS, normalize, plain_words, words

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "lucene_english_terms.json").read_text())


def analyze(text: str) -> list[str]:
    """Return the index terms of a text in order."""
    return [term for term in map(normalize, words(text)) if term]


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: ascii(case["text"])[:30])
def test_terms_are_lucenes(case: dict) -> None:
    assert analyze(case["text"]) == case["terms"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("can't U.S.A. x:y", ["can't", "U.S.A", "x:y"]),
        ("3.14 1,000;5 1:2", ["3.14", "1,000;5", "1", "2"]),
        ("a_b _c_ __", ["a_b", "_c_"]),
        ("quick-brown (fox)", ["quick", "brown", "fox"]),
        ("東京 ひ", ["東", "京", "ひ"]),
        ("", []),
    ],
)
def test_words_break_where_the_standard_says(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_words_longer_than_255_are_cut() -> None:
    assert [len(word) for word in words("x" * 600)] == [255, 255, 90]


def test_a_sigma_at_the_end_stays_a_sigma_and_possessives_go() -> None:
    assert analyze("ΟΔΟΣ bees' John’s") == ["οδοσ", "bee", "john"]


def test_stop_words_are_lucenes_33() -> None:
    assert len(STOP_WORDS) == 33
    assert analyze(" ".join(sorted(STOP_WORDS))) == []


@given(st.text(alphabet="ab1_.,:;' -/Z\n", max_size=40))
def test_the_short_pattern_for_ascii_is_the_long_one(text: str) -> None:
    # A letter beyond ASCII at the end sends the same text through the other pattern.
    assert words(text) == words(f"{text} é")[:-1]


@given(st.text(max_size=60))
def test_words_stand_in_the_text_in_order(text: str) -> None:
    position = 0
    for word in plain_words(text):
        position = text.index(word, position) + len(word)


@pytest.mark.parametrize(
    ("unit", "end", "count", "first", "last"),
    [
        ("a", "", 7844, "a" * 255, "a" * 35),
        ("1234567890", "", 7844, "1234567890" * 25 + "12345", "67890" + "1234567890" * 3),
        ("\u0e01", "", 7844, "\u0e01" * 255, "\u0e01" * 35),
        ("1,", "", 7813, "1," * 127 + "1", "1," * 63 + "1"),
        ("_", "x\u00e9", 2, "_" * 254 + "x", "\u00e9"),
    ],
    ids=["letters", "digits", "thai", "numbers", "underscores"],
)
def test_a_token_of_two_millions_takes_time_in_proportion(
    unit: str, end: str, count: int, first: str, last: str
) -> None:
    """Over 20 s when every piece was searched to the end of the token; hours for underscores."""
    text = unit * (2_000_000 // len(unit)) + end
    begin = time.process_time()
    found = words(text)
    assert time.process_time() - begin < 12
    assert (len(found), found[0], found[-1]) == (count, first, last)
