"""Porter's stemmer: his paper's examples, and where his later code departs."""

from __future__ import annotations

import pytest

from dretrieve.bm25.porter import stem

# The examples of the paper, step by step, each with the stem after all steps.
PAPER = {
    "caresses": "caress",
    "ponies": "poni",
    "caress": "caress",
    "cats": "cat",
    "feed": "feed",
    "agreed": "agre",
    "plastered": "plaster",
    "bled": "bled",
    "motoring": "motor",
    "sing": "sing",
    "conflated": "conflat",
    "troubled": "troubl",
    "sized": "size",
    "hopping": "hop",
    "falling": "fall",
    "hissing": "hiss",
    "failing": "fail",
    "filing": "file",
    "happy": "happi",
    "sky": "sky",
    "relational": "relat",
    "conditional": "condit",
    "vietnamization": "vietnam",
    "triplicate": "triplic",
    "electriciti": "electr",
    "revival": "reviv",
    "adjustment": "adjust",
    "adoption": "adopt",
    "probate": "probat",
    "rate": "rate",
    "cease": "ceas",
    "controll": "control",
    "roll": "roll",
    "generalizations": "gener",
    "oscillators": "oscil",
}


@pytest.mark.parametrize(("word", "expected"), PAPER.items())
def test_the_papers_words(word: str, expected: str) -> None:
    assert stem(word) == expected


@pytest.mark.parametrize(
    ("word", "expected"), [("possibly", "possibl"), ("archaeology", "archaeolog"), ("geology", "geologi")]
)
def test_the_departures_that_lucene_has_too(word: str, expected: str) -> None:
    assert stem(word) == expected


@pytest.mark.parametrize("word", ["as", "is", "s", "", "by"])
def test_short_words_stay(word: str) -> None:
    assert stem(word) == word


def test_y_is_a_vowel_after_a_consonant_only() -> None:
    assert (stem("syzygy"), stem("sky"), stem("enjoying")) == ("syzygi", "sky", "enjoi")
