"""Which Porter stemmer it is; the rest is nltk's to test, and words of Lucene stand in test_analysis.py."""

from __future__ import annotations

import pytest

from dretrieve.bm25.porter import stem


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        *(("caresses", "caress"), ("vietnamization", "vietnam"), ("enjoying", "enjoi")),
        # where his later code departs from his paper
        *(("possibly", "possibl"), ("archaeology", "archaeolog"), ("geology", "geologi")),
        # short words stay
        *(("as", "as"), ("is", "is"), ("by", "by"), ("s", "s"), ("", "")),
    ],
)
def test_words(word: str, expected: str) -> None:
    assert stem(word) == expected
